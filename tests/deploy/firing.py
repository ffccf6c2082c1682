#!/usr/bin/env python3
"""Every alert is made to fire by a real fault, and to end by its cure where a cure takes less than a day: Prometheus reads four candelas.
Of its rules only the waits (`for`) are shortened, to two seconds, and the ranges, to a minute. Market time runs twenty times as fast as
real time, but for the last of the four.

`CANDELA` is the binary with the test hooks, `SCRATCH` an empty folder. Prints how long each alert took; ends with 77 where a tool lacks.
"""
import glob, json, os, pathlib, re, resource, shutil, signal, socket, subprocess, sys, time, urllib.error, urllib.request

CANDELA, SCRATCH = os.environ["CANDELA"], pathlib.Path(os.environ["SCRATCH"])
ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 180
started = []


def lacks(what):
    print(what)
    sys.exit(77)


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def start(args, log, **more):
    process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=open(SCRATCH / log, "ab"), stderr=subprocess.STDOUT, **more)
    started.append(process)
    return process


def end(process):
    process.kill()
    process.wait()


def until(what, look, patience=PATIENCE):
    began = time.monotonic()
    while time.monotonic() - began < patience:
        try:
            if found := look():
                return found
        except (OSError, ValueError):
            pass
        time.sleep(0.1)
    raise SystemExit(f"waited {patience} s for {what}")


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return json.load(answer)


def post(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data=b"", timeout=5) as answer:
        assert answer.status == 202, (path, answer.status)


def follow(port, path, buffer=None):
    """A client of the WebSocket that reads nothing, with a small buffer where the kernel must not read in its place."""
    client = socket.socket()
    if buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.connect(("127.0.0.1", port))
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{upgrade}".encode())
    return client


faketime = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1") or lacks("faketime, from Debian's package faketime")
redis_server = shutil.which("redis-server") or lacks("redis-server, from Debian's package redis-server")
prometheus = shutil.which("prometheus") or lacks("prometheus, from Debian's package prometheus")
postgres_bin = (sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [lacks("PostgreSQL, from Debian's package postgresql")])[-1]


class Market:
    """Where all processes are at one market time, whenever they start."""

    def __init__(self, began, speed):
        self.began, self.real, self.speed = began, time.time(), speed

    def environment(self):
        now = self.began + (time.time() - self.real) * self.speed
        at = time.strftime("@%Y-%m-%d %H:%M:%S", time.gmtime(now))
        return {"LD_PRELOAD": faketime[0], "FAKETIME": f"{at} x{self.speed}", "TZ": "UTC"}


class Postgres:
    def __init__(self):
        self.data, self.port = SCRATCH / "postgres", free_port()
        self.data.mkdir()
        self.who = {}
        if os.getuid() == 0:
            SCRATCH.chmod(0o711)
            shutil.chown(self.data, "postgres", "postgres")
            self.who = {"user": "postgres", "group": "postgres", "cwd": "/"}
        subprocess.run([f"{postgres_bin}/initdb", "-D", self.data, "-U", "candela", "--auth=trust"], check=True, stdout=subprocess.DEVNULL, **self.who)
        self.url = f"postgresql://candela@127.0.0.1:{self.port}/postgres"
        self.run()

    def sql(self, text):
        subprocess.run([f"{postgres_bin}/psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.url, "-c", text], check=True)

    def run(self):
        args = [f"{postgres_bin}/postgres", "-D", self.data, "-p", str(self.port), "-h", "127.0.0.1", "-k", self.data, "-c", "fsync=off"]
        self.process = start(args, "postgres.log", **self.who)
        until("PostgreSQL", self.answers)

    def answers(self):
        if self.process.poll() is not None:  # what a killed one leaves behind takes a moment to end
            time.sleep(0.5)
            self.run()
        return socket.create_connection(("127.0.0.1", self.port), 1)


class Redis:
    def __init__(self):
        self.port = free_port()
        self.run()

    def run(self):
        self.process = start([redis_server, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", SCRATCH], "redis.log")
        until("Redis", lambda: socket.create_connection(("127.0.0.1", self.port), 1))


class Candela:
    """A service beside a simulated vendor of its own, which plays `scenario`."""

    def __init__(self, name, market, scenario, port, per_second=1, **settings):
        self.home, self.name, self.market, self.port = SCRATCH / name, name, market, port
        (self.home / "signals").mkdir(parents=True)
        (self.home / "play.txt").write_text(scenario)
        log = SCRATCH / f"{name}-vendor.log"
        simulate = [CANDELA, "simulate", "--symbols", "USD/COP", "--per-second", str(per_second), "--json", "--scenario", self.home / "play.txt"]
        self.vendor = start(simulate, log.name, env=os.environ | market.environment())
        line = until("the vendor", lambda: re.search(r'^\{.*"listening".*$', log.read_text(), re.M))
        vendor = json.loads(line[0])
        self.settings = {
            "PORT": str(port), "READY_SIGNALS_DIR": str(self.home / "signals"), "CANDELA__STORE__SQLITE_FILE": str(self.home / "candela.db"),
            "CANDELA__LEDGER__DIR": str(self.home / "ledger"), "CANDELA__MARKET__CALENDAR": "always", "API_KEY_G1_1": "f00dfeed",
            "CANDELA__UPSTREAM__WS_URL": vendor["ws_url"], "CANDELA__UPSTREAM__REST_URL": vendor["rest_url"],
        } | settings
        self.run()

    def run(self):
        env = {"PATH": os.environ["PATH"]} | self.market.environment() | self.settings
        self.process = start([CANDELA, "run"], f"{self.name}.log", env=env, cwd=self.home)
        until(f"{self.name} to answer", lambda: get(self.port, "/status"))

    def stop(self):
        end(self.process)
        end(self.vendor)

    def raise_flag(self):
        (self.home / "signals" / "new").write_text('{"ready":true,"timestamp":"2026-03-02T08:30:00-05:00"}')
        (self.home / "signals" / "new").rename(self.home / "signals" / "l0_ready.flag")


class Prometheus:
    """Reads the rules as they stand, but for waits and ranges."""

    def __init__(self, targets):
        folder, self.port = SCRATCH / "prometheus", free_port()
        folder.mkdir()
        for rules in (ROOT / "deploy/monitoring/rules").glob("*.yml"):
            text = re.sub(r"\bfor: \w+", "for: 2s", rules.read_text())
            (folder / rules.name).write_text(re.sub(r"\[\w+\]", "[1m]", text))
        jobs = [{"job_name": "candela", "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in targets]}]}]
        told = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": [f"{folder}/*.yml"], "scrape_configs": jobs}
        (folder / "prometheus.json").write_text(json.dumps(told)) # JSON is YAML
        args = [prometheus, f"--config.file={folder}/prometheus.json", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{self.port}"]
        self.process = start(args, "prometheus.log")
        self.names = set(re.findall(r"- alert: (\w+)", (ROOT / "deploy/monitoring/rules/alerts.yml").read_text()))
        self.fired = {}
        until("Prometheus", lambda: get(self.port, "/api/v1/status/buildinfo"))

    def firing(self):
        alerts = get(self.port, "/api/v1/alerts")["data"]["alerts"]
        return {(one["labels"]["alertname"], one["labels"].get("instance", "").rsplit(":")[-1]) for one in alerts if one["state"] == "firing"}

    def fires(self, alert, fault, port, patience=PATIENCE):
        began = time.monotonic()
        until(f"{alert} after: {fault}", lambda: any(name == alert and at in ("", str(port)) for name, at in self.firing()), patience)
        self.fired[alert] = fault
        print(f"{alert} fired {time.monotonic() - began:.0f} s after: {fault}", flush=True)

    def ends(self, alert, cure, port):
        began = time.monotonic()
        until(f"{alert} to end after: {cure}", lambda: not any(name == alert and at in ("", str(port)) for name, at in self.firing()))
        print(f"{alert} ended {time.monotonic() - began:.0f} s after: {cure}", flush=True)


# What the pipeline prepared: a bar for each five minutes of twelve days.
HISTORY = """INSERT INTO market_data (symbol, datetime, open, high, low, close, source)
    SELECT 'USDCOP', at, 3808, 3809, 3807, 3808, 'l0' FROM generate_series('2026-02-18'::timestamptz, '2026-03-02 13:55Z', '5 minutes') AS at"""
# 14:00 UTC is 09:00 in Bogota, and a minute of real time twenty of the market.
MUTE = "at 09:35:00 mute for 35m\n"
WITHOUT_LINK = "at start refuse connections for 9h\n"
# Bars are missing that the vendor first does not answer for, and then does not have.
HOLLOW = """at start rest empty
at start rest status 503 for 35m
at +6m refuse connections for 15m
at +6m drop 1006
"""


def of_the_vendor(alerts, market, ports, database, cache):
    """Faults of the pipeline, the keys and the vendor."""
    first, second, third = ports
    main = Candela("main", market, MUTE, first, DATABASE_URL=database.url, REDIS_URL=f"redis://127.0.0.1:{cache.port}")
    alerts.ends("CandelaAbsent", "a candela runs", first)
    alerts.fires("CandelaNotReady", "the history pipeline raised no flag", first)
    alerts.fires("CandelaCondition", "the history is not verified", first)
    main.raise_flag()
    alerts.ends("CandelaNotReady", "the flag is raised", first)
    alerts.ends("CandelaCondition", "the history is verified", first)
    poor = Candela("poor", market, WITHOUT_LINK, second, CANDELA__UPSTREAM__CREDITS_PER_DAY="12")
    poor.raise_flag()
    alerts.fires("CandelaKeysForecastShort", "a key of 12 calls a day, and no link", second)
    alerts.fires("CandelaKeysNearlySpent", "polling on that key", second)
    alerts.fires("CandelaKeysExhausted", "polling on that key", second)
    poor.stop()
    mute = "the vendor sends no price, on one link after the other"
    alerts.fires("CandelaFeedSilentInSession", mute, first)
    alerts.fires("CandelaNotSafeInSession", mute, first)
    alerts.ends("CandelaFeedSilentInSession", "prices come", first)
    alerts.ends("CandelaNotSafeInSession", "prices come", first)
    main.stop()
    hollow = Candela("hollow", market, HOLLOW, third)
    hollow.raise_flag()
    alerts.fires("CandelaFeedDown", "the vendor refuses connections", third)
    alerts.fires("CandelaGapPending", "the vendor refuses connections, and REST answers 503", third)
    alerts.ends("CandelaFeedDown", "the vendor takes connections", third)
    alerts.fires("CandelaUnfillable", "REST answers that there are no bars", third)
    alerts.ends("CandelaGapPending", "the vendor has none of the bars", third)
    alerts.ends("CandelaUnfillable", "a minute without another such bar", third)
    hollow.stop()


def of_the_machine(alerts, market, port, database, cache):
    """Faults of what candela stands on, and of its own parts; it runs at the pace of real time."""
    database.sql("CREATE DATABASE plain")
    url = database.url.removesuffix("postgres") + "plain"
    plain = Candela("plain", market, "", port, 100, DATABASE_URL=url, REDIS_URL=f"redis://127.0.0.1:{cache.port}/1")
    plain.raise_flag()
    alerts.ends("CandelaAbsent", "a candela runs", port)
    until("a price", lambda: get(port, "/status")["symbols"]["USD/COP"]["last_tick"])
    end(cache.process)
    alerts.fires("CandelaCacheDown", "Redis is killed", port)
    end(database.process)
    alerts.fires("CandelaStoreBehind", "PostgreSQL is killed", port)
    cache.run()
    alerts.ends("CandelaCacheDown", "Redis runs", port)
    database.run()
    alerts.ends("CandelaStoreBehind", "PostgreSQL runs", port)
    post(port, "/test/hang/recorder?ms=15000")
    alerts.fires("CandelaActorUnresponsive", "the Recorder hangs for 15 s", port)
    alerts.ends("CandelaActorUnresponsive", "it goes on", port)
    (plain.home / "ledger").rename(plain.home / "elsewhere")
    alerts.fires("CandelaLedgerUnwritable", "the ledger's folder is moved away", port)
    (plain.home / "elsewhere").rename(plain.home / "ledger")
    alerts.ends("CandelaLedgerUnwritable", "it is moved back", port)
    stubborn = [follow(port, "/ws", 4096) for _ in range(30)]
    alerts.fires("CandelaClientsEvicted", "30 clients do not read", port)
    post(port, "/test/panic/writer")
    alerts.fires("CandelaActorRestarted", "the Writer panics", port)
    alerts.ends("CandelaActorRestarted", "a minute without another restart", port)
    alerts.ends("CandelaClientsEvicted", "a minute without such a client", port)
    for client in stubborn:
        client.close()
    descriptors = len(os.listdir(f"/proc/{plain.process.pid}/fd"))
    allowed = resource.prlimit(plain.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(plain.process.pid, resource.RLIMIT_NOFILE, (descriptors + 8, allowed[1]))
    alerts.fires("CandelaDescriptorsNear", f"{descriptors + 8} descriptors are allowed, of which {descriptors} are in use", port)
    resource.prlimit(plain.process.pid, resource.RLIMIT_NOFILE, allowed)
    alerts.ends("CandelaDescriptorsNear", f"{allowed[0]} descriptors are allowed", port)


def play():
    database, cache = Postgres(), Redis()
    ports = [free_port() for _ in range(4)]
    alerts = Prometheus(ports)
    alerts.fires("CandelaAbsent", "no candela runs", ports[0])
    migrated = subprocess.run([CANDELA, "migrate"], env={"PATH": os.environ["PATH"], "DATABASE_URL": database.url}, capture_output=True, text=True)
    assert migrated.returncode == 0, migrated.stderr
    database.sql(HISTORY)
    of_the_vendor(alerts, Market(1_772_460_000, 20), ports[:3], database, cache)  # 2026-03-02T14:00:00Z
    of_the_machine(alerts, Market(1_772_460_000, 1), ports[3], database, cache)
    without = sorted(alerts.names - set(alerts.fired))
    assert not without, f"no fault makes these fire: {', '.join(without)}"
    print(f"all {len(alerts.fired)} alerts fired")


try:
    play()
except BaseException:
    for log in sorted(SCRATCH.glob("*.log")):
        print(f"--- {log.name}:\n" + "".join(log.read_text(errors="replace").splitlines(True)[-30:]))
    raise
finally:
    for process in reversed(started):
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
