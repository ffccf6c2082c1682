"""The real service, the simulated vendor's record, and a network that fails: what the tests stand on."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

#: The market that the service hears, and that the vendor's record is of.
SEED = "7"
#: How long anything may take before it counts as hanging.
PATIENCE = 120.0
T = TypeVar("T")


def wait_until(what: str, condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {PATIENCE} s for {what}")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, for no longer than PATIENCE."""

    async def bounded() -> T:
        return await asyncio.wait_for(coroutine, PATIENCE)

    return asyncio.run(bounded())


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Process:
    """A `candela …` that cannot outlive its test, and what it printed."""

    def __init__(self, binary: str, args: list[str], folder: Path, env: dict[str, str] | None = None) -> None:
        self.lines: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [binary, *args],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={"PATH": os.environ["PATH"], **(env or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self.lines.append(json.loads(line))

    def line(self, event: str, count: int = 1) -> dict[str, Any]:
        """Waits for the so manieth line about an event."""

        def found() -> Any:
            assert self._process.poll() is None, f"it ended with {self._process.returncode}"
            of_event = [line for line in self.lines if line.get("event") == event]
            return of_event[count - 1] if len(of_event) >= count else None

        told: dict[str, Any] = wait_until(f"{count} lines about {event}", found)
        return told

    def end(self, number: signal.Signals) -> None:
        self._process.send_signal(number)
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)


class Service:
    """`candela demo` on the data of one folder and on one port: the whole service, on a market that runs faster than real."""

    def __init__(self, binary: str, folder: Path, speed: int) -> None:
        self._binary, self._folder, self._speed = binary, folder, speed
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = self._start()

    def _start(self) -> Process:
        args = ["demo", "--json", "--seed", SEED, "--speed", str(self._speed)]
        args += ["--port", str(self.port), "--data", str(self._folder / "data")]
        process = Process(self._binary, args, self._folder)
        process.line("listening")
        return process

    def minutes_left(self) -> int:
        """Of the session that is open, in the market's time."""
        with urllib.request.urlopen(f"{self.url}/market/session", timeout=20) as answer:
            return int(json.load(answer).get("minutes_until_close", 0))

    def restart(self, number: signal.Signals) -> None:
        self.process.end(number)
        self.process = self._start()


class Network:
    """A TCP proxy that can cut every connection, or fall silent."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: set[socket.socket] = set()
        self._flows = threading.Event()
        self._flows.set()
        self.connected_at: list[float] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connected_at.append(time.monotonic())
            try:
                server = socket.create_connection(("127.0.0.1", self._behind))
            except OSError:
                client.close()
                continue
            self._sockets |= {client, server}
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(4096):
                self._flows.wait()
                target.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, target):
                self._sockets.discard(end)
                end.close()

    def cut(self) -> None:
        """Resets every connection."""
        for end in list(self._sockets):
            try:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def stall(self, seconds: float) -> None:
        """Keeps every connection open and passes nothing on."""
        self._flows.clear()
        time.sleep(seconds)
        self._flows.set()

    def close(self) -> None:
        self._listener.close()
        self._flows.set()
        self.cut()


def _is_in_session(wall: str) -> bool:
    """USD/COP's from 08:00 to 12:55 on business days. The vendor's made-up market never closes."""
    at = dt.datetime.fromisoformat(wall)
    return at.weekday() < 5 and dt.time(8) <= at.time() < dt.time(12, 55)


class Record:
    """What the simulated vendor says that the bars are: another process, asked by its own REST interface."""

    def __init__(self, listening: dict[str, Any]) -> None:
        self.rest_url: str = listening["rest_url"]
        self.ws_url: str = listening["ws_url"]

    def bars(self, start: str, end: str) -> dict[str, tuple[str, ...]]:
        """Those of the sessions, by open in the market's wall time: open, high, low, close, as the vendor spells them."""
        query = {"symbol": "USD/COP", "interval": "5min", "start_date": start, "end_date": end, "outputsize": "5000"}
        query |= {"timezone": "America/Bogota", "order": "ASC", "apikey": "any"}
        with urllib.request.urlopen(f"{self.rest_url}/time_series?{urllib.parse.urlencode(query)}", timeout=20) as answer:
            values = json.load(answer)["values"]
        prices = {bar["datetime"]: tuple(bar[of] for of in ("open", "high", "low", "close")) for bar in values}
        return {at: bar for at, bar in prices.items() if _is_in_session(at)}


@pytest.fixture(scope="session")
def binary() -> str:
    path = os.environ.get("CANDELA_BINARY", "")
    assert Path(path).is_file(), "CANDELA_BINARY names the candela to test against; cargo build makes target/debug/candela"
    return str(Path(path).resolve())


@pytest.fixture(scope="session")
def record(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    args = ["simulate", "--symbols", "USD/COP", "--seed", SEED, "--json"]
    vendor = Process(binary, args, tmp_path_factory.mktemp("vendor"))
    yield Record(vendor.line("listening"))
    vendor.end(signal.SIGTERM)


@pytest.fixture(scope="session")
def made(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Service]]:
    """Gives the service that many tests share; another one when its session is nearly over."""
    running: list[Service] = []

    def of() -> Service:
        if not running or running[-1].minutes_left() < 100:
            running.append(Service(binary, tmp_path_factory.mktemp("quiet"), speed=100))
        return running[-1]

    yield of
    for service in running:
        service.process.end(signal.SIGTERM)


@pytest.fixture
def quiet(made: Callable[[], Service]) -> Service:
    """A service in its session that goes through one outage of its vendor, and is left alone otherwise."""
    return made()


@pytest.fixture
def service(binary: str, tmp_path: Path) -> Iterator[Service]:
    """A service to be killed."""
    service = Service(binary, tmp_path, speed=200)
    yield service
    service.process.end(signal.SIGKILL)


@pytest.fixture
def network(service: Service) -> Iterator[Network]:
    network = Network(service.port)
    yield network
    network.close()
