#!/usr/bin/env python3
"""Alerts are made to fire by real faults: Prometheus with the rules as they stand reads two candelas, one on PostgreSQL and Redis.
Names at its end the alerts for which it has no fault.
Only the waits (`for`) are shortened to two seconds. Market time runs twenty times as fast as real time.

`CANDELA` is the binary, `SCRATCH` an empty folder. Prints how long each alert took; ends with 77 where a tool lacks.
"""
import glob, json, os, pathlib, re, shutil, signal, socket, subprocess, sys, time, urllib.request

CANDELA, SCRATCH = os.environ["CANDELA"], pathlib.Path(os.environ["SCRATCH"])
ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 180
SPEED = 20
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


faketime = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1") or lacks("faketime, from Debian's package faketime")
redis_server = shutil.which("redis-server") or lacks("redis-server, from Debian's package redis-server")
prometheus = shutil.which("prometheus") or lacks("prometheus, from Debian's package prometheus")
postgres_bin = (sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [lacks("PostgreSQL, from Debian's package postgresql")])[-1]


class Market:
    """Where all processes are at one market time, whenever they start."""

    def __init__(self, began):
        self.began, self.real = began, time.time()

    def environment(self):
        now = self.began + (time.time() - self.real) * SPEED
        at = time.strftime("@%Y-%m-%d %H:%M:%S", time.gmtime(now))
        return {"LD_PRELOAD": faketime[0], "FAKETIME": f"{at} x{SPEED}", "TZ": "UTC"}


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
        until("PostgreSQL", lambda: socket.create_connection(("127.0.0.1", self.port), 1))


class Redis:
    def __init__(self):
        self.port = free_port()
        self.run()

    def run(self):
        self.process = start([redis_server, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", SCRATCH], "redis.log")
        until("Redis", lambda: socket.create_connection(("127.0.0.1", self.port), 1))


class Candela:
    """A service beside a simulated vendor of its own, which plays `scenario`."""

    def __init__(self, name, market, scenario, port, **settings):
        self.home, self.name, self.market, self.port = SCRATCH / name, name, market, port
        (self.home / "signals").mkdir(parents=True)
        (self.home / "play.txt").write_text(scenario)
        log = SCRATCH / f"{name}-vendor.log"
        simulate = [CANDELA, "simulate", "--symbols", "USD/COP", "--per-second", "1", "--json", "--scenario", self.home / "play.txt"]
        start(simulate, log.name, env=os.environ | market.environment())
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

    def raise_flag(self):
        (self.home / "signals" / "new").write_text('{"ready":true,"timestamp":"2026-03-02T08:30:00-05:00"}')
        (self.home / "signals" / "new").rename(self.home / "signals" / "l0_ready.flag")


class Prometheus:
    """Reads the rules as they stand, but for the waits."""

    def __init__(self, targets):
        folder, self.port = SCRATCH / "prometheus", free_port()
        folder.mkdir()
        for rules in (ROOT / "deploy/monitoring/rules").glob("*.yml"):
            (folder / rules.name).write_text(re.sub(r"\bfor: \w+", "for: 2s", rules.read_text()))
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

    def is_silent(self, alert, port):
        until(f"{alert} to end", lambda: (alert, str(port)) not in self.firing())


# What the pipeline prepared: a bar for each five minutes of twelve days.
HISTORY = """INSERT INTO market_data (symbol, datetime, open, high, low, close, source)
    SELECT 'USDCOP', at, 3808, 3809, 3807, 3808, 'l0' FROM generate_series('2026-02-18'::timestamptz, '2026-03-02 13:55Z', '5 minutes') AS at"""
# 14:00 UTC is 09:00 in Bogota, and a minute of real time twenty of the market.
MUTE = "at 09:35:00 mute for 35m\n"
WITHOUT_LINK = "at start refuse connections for 9h\n"


def play():
    market = Market(1_772_460_000)  # 2026-03-02T14:00:00Z
    database, cache = Postgres(), Redis()
    first, second = free_port(), free_port()
    alerts = Prometheus([first, second])
    alerts.fires("CandelaAbsent", "no candela runs", "")
    migrated = subprocess.run([CANDELA, "migrate"], env={"PATH": os.environ["PATH"], "DATABASE_URL": database.url}, capture_output=True, text=True)
    assert migrated.returncode == 0, migrated.stderr
    database.sql(HISTORY)
    main = Candela("main", market, MUTE, first, DATABASE_URL=database.url, REDIS_URL=f"redis://127.0.0.1:{cache.port}")
    alerts.fires("CandelaNotReady", "the history pipeline raised no flag", first)
    alerts.fires("CandelaCondition", "the history is not verified", first)
    main.raise_flag()
    alerts.is_silent("CandelaNotReady", first)
    poor = Candela("poor", market, WITHOUT_LINK, second, CANDELA__UPSTREAM__CREDITS_PER_DAY="12")
    poor.raise_flag()
    alerts.fires("CandelaKeysForecastShort", "a key of 12 calls a day, and no link", second)
    alerts.fires("CandelaKeysNearlySpent", "polling on that key", second)
    alerts.fires("CandelaKeysExhausted", "polling on that key", second)
    mute = "the vendor sends no price, on one link after the other"
    alerts.fires("CandelaFeedSilentInSession", mute, first)
    alerts.fires("CandelaNotSafeInSession", mute, first)
    alerts.is_silent("CandelaFeedSilentInSession", first)
    print(f"{len(alerts.fired)} alerts fired; without a fault here: {', '.join(sorted(alerts.names - set(alerts.fired)))}")


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
