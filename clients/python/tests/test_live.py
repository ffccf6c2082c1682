"""The stream survives kills, restarts, a network that fails, and slow phases: nothing is missing, nothing comes twice."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import Network, Record, Service, run, wait_until
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

import candela

CHANNELS = ["ticks:USD/COP", "bars.5m:USD/COP", "quality:USD/COP", "session:USD/COP"]


def check(messages: Iterable[Any]) -> dict[str, int]:
    """Nothing is missing and nothing comes twice, by the numbers alone. How many came of each channel."""
    last: dict[str, int] = {}
    counts: dict[str, int] = {}
    for message in messages:
        assert not isinstance(message, (candela.Skipped, candela.Discontinuity)), message
        if getattr(message, "seq", None) is None:
            continue
        first = getattr(message, "from_", None)
        first = first if isinstance(first, int) else message.seq
        assert message.channel not in last or first == last[message.channel] + 1, message
        last[message.channel] = message.seq
        counts[message.channel] = counts.get(message.channel, 0) + 1
    return counts


def check_bars(messages: Iterable[Any], record: Record) -> int:
    """The newest revision of every bar is the vendor's. How many there are."""
    newest = {message.open_time: message for message in messages if isinstance(message, candela.Bar)}
    opens = sorted(newest)
    vendor = record.bars(f"{opens[0]:%Y-%m-%d %H:%M:%S}", f"{opens[-1]:%Y-%m-%d %H:%M:%S}")
    assert [f"{at:%Y-%m-%d %H:%M:%S}" for at in opens] == list(vendor)
    for at, expected in zip(opens, vendor.values(), strict=True):
        bar = newest[at]
        assert (bar.open, bar.high, bar.low, bar.close) == tuple(float(price) for price in expected), bar
    return len(opens)


def check_ticks(messages: Iterable[Any], service: Service) -> None:
    """The ticks are those that the service has written down."""
    ticks = [message for message in messages if isinstance(message, candela.Tick)]
    stored = {tick.seq: tick for tick in candela.Client(service.url).ticks("USDCOP", into="list")}
    for tick in ticks:
        assert tick.seq is not None
        assert (stored[tick.seq].price, stored[tick.seq].time) == (tick.price, tick.time)


def test_kills_restarts_cuts_and_stalls_leave_no_hole(service: Service, network: Network, record: Record, tmp_path: Path) -> None:
    heard: list[Any] = []
    over = threading.Event()

    def bars() -> int:
        return sum(isinstance(message, candela.Bar) and message.revision == 0 for message in heard)

    def wait_for_bars(count: int) -> None:
        wanted = bars() + count
        wait_until(f"{wanted} bars", lambda: bars() >= wanted)

    async def follow() -> None:
        client = candela.AsyncClient(network.url)
        positions = tmp_path / "positions.json"
        async with client.live(CHANNELS, since={"last": 100}, resume=positions, idle_timeout=1.0) as live:
            async for message in live:
                heard.append(message)
                if over.is_set():
                    reconnects.append(live.reconnects)
                    return

    reconnects: list[int] = []
    thread = threading.Thread(target=lambda: run(follow()))
    thread.start()
    wait_for_bars(2)
    troubles: list[Callable[[], None]] = [
        partial(service.restart, signal.SIGKILL),
        network.cut,
        partial(network.stall, 2.0),
        partial(service.restart, signal.SIGTERM),
        network.cut,
        partial(service.restart, signal.SIGKILL),
    ]
    for trouble in troubles:
        trouble()
        wait_for_bars(1)
    wait_until("the last bar healed", lambda: not candela.Client(service.url).gaps("USDCOP", status="open"))
    wait_for_bars(1)
    over.set()
    thread.join(30)
    assert not thread.is_alive()
    counts = check(heard)
    assert counts["ticks:USD/COP"] > 300
    assert check_bars(heard, record) >= 8
    check_ticks(heard, service)
    assert reconnects[0] >= 6


def test_a_client_that_is_killed_goes_on_where_it_was(quiet: Service, tmp_path: Path) -> None:
    program = (
        "import candela, sys\n"
        "with candela.Client(sys.argv[1]).live(['ticks:USD/COP'], resume='at.json') as live:\n"
        "    for tick in live: print(tick.seq, flush=True)\n"
    )
    seen: list[list[int]] = []
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", program, quiet.url], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        run = [int(child.stdout.readline()) for _ in range(15)]
        time.sleep(0.3)
        child.kill()
        rest, _ = child.communicate()
        seen.append(run + [int(line) for line in rest.split()])
        assert json.loads((tmp_path / "at.json").read_text())["ticks:USD/COP"]["seq"] >= run[0]
    for run in seen:
        assert run == list(range(run[0], run[-1] + 1)), "within one run nothing is missing or doubled"
    for before, after in itertools.pairwise(seen):
        assert before[0] < after[0] <= before[-1] + 1, "nothing is missing from one run to the next"


def test_a_clean_end_repeats_nothing_and_a_failed_block_repeats_its_message(quiet: Service, tmp_path: Path) -> None:
    client, path = candela.Client(quiet.url), tmp_path / "at.json"
    seen: list[int] = []
    for _ in range(3):
        with client.live(["ticks:USD/COP"], resume=path) as live:
            for tick in live:
                assert isinstance(tick, candela.Tick)
                assert tick.seq is not None
                seen.append(tick.seq)
                if len(seen) % 5 == 0:
                    break
    assert seen == list(range(seen[0], seen[0] + 15))
    with pytest.raises(KeyError), client.live(["ticks:USD/COP"], resume=path) as live:
        next(iter(live))
        raise KeyError
    with client.live(["ticks:USD/COP"], resume=path) as live:
        again = next(iter(live))
        assert isinstance(again, candela.Tick)
        assert again.seq == seen[-1] + 1


def test_slow_phases_leave_no_hole_and_cost_what_the_policy_says(service: Service) -> None:
    service.process.line("bar", 1)
    client = candela.Client(service.url)
    slow: list[Any] = []
    with client.live(["ticks:USD/COP", "bars.5m:USD/COP"], queue=20) as live:
        for number, message in enumerate(live):
            slow.append(message)
            if number in (10, 60):
                time.sleep(1.5)
            if number > 150:
                break
    check(slow)
    assert all(message.from_ is None for message in slow if isinstance(message, candela.Tick)), "every tick came"

    newest: list[Any] = []
    with client.live(["ticks:USD/COP"], queue=20, on_slow="conflate") as live:
        for number, message in enumerate(live):
            newest.append(message)
            if number == 5:
                time.sleep(1.5)
            if number > 60:
                break
        assert live.conflated > 0
    check(newest)
    assert any(tick.from_ is not None for tick in newest), "some ticks stand for others, and say so"

    with pytest.raises(candela.SlowConsumerError), client.live(["ticks:*"], queue=5, on_slow="raise") as live:
        for _ in live:
            time.sleep(0.2)


def test_the_wait_that_a_stopping_service_asks_for_is_kept(service: Service, network: Network) -> None:
    service.process.line("bar", 1)
    heard: list[Any] = []
    told: list[float] = []

    async def watch() -> None:
        """Another client, that hears what the service asks for."""
        async with connect(f"ws://127.0.0.1:{service.port}/ws?channels=status") as plain:
            async for text in plain:
                if json.loads(text)["type"] == "goaway":
                    told.append(json.loads(text)["reconnect_after_ms"] / 1000)
                    return

    async def follow() -> None:
        watching = asyncio.create_task(watch())
        async with candela.AsyncClient(network.url).live(["ticks:USD/COP"]) as live:
            heard.append(await live.__anext__())
            stopped = asyncio.create_task(asyncio.to_thread(service.restart, signal.SIGTERM))
            async for message in live:
                heard.append(message)
                if stopped.done() and len(heard) > 50:
                    break
        await watching

    before = len(network.connected_at)
    began = time.monotonic()
    run(follow())
    check(heard)
    assert told
    assert told[0] > 0
    came_back = [at for at in network.connected_at[before:] if at > began][2]  # after REST and the first connection
    assert came_back - network.connected_at[before + 1] >= told[0]


class Forgetful:
    """Between a client and the service: leaves out every twentieth tick, or the twentieth for ever."""

    def __init__(self, port: int, *, for_ever: bool) -> None:
        self._behind, self._for_ever, self._passed = f"ws://127.0.0.1:{port}", for_ever, 0
        self._forgotten: set[int] = set()
        self.left_out = 0

    async def serve(self, client: ServerConnection) -> None:
        assert client.request is not None
        async with connect(self._behind + client.request.path) as server:
            up = asyncio.create_task(self._up(client, server))
            async for text in server:
                message = json.loads(text)
                if message["type"] == "market_data":
                    self._passed += 1
                    if self._passed == 20 or (self._passed % 20 == 0 and not self._for_ever):
                        self._forgotten.add(message["seq"])
                        self.left_out += 1
                        continue
                    if self._for_ever and message["seq"] in self._forgotten:
                        continue
                await client.send(text)
            up.cancel()

    @staticmethod
    async def _up(client: ServerConnection, server: Any) -> None:
        async for text in client:
            await server.send(text)
        await server.close()


@pytest.mark.parametrize("for_ever", [False, True])
def test_a_hole_is_filled_by_resuming_and_one_that_stays_is_an_error(quiet: Service, for_ever: bool) -> None:
    async def follow() -> tuple[list[Any], int]:
        client = candela.AsyncClient(quiet.url)
        between = Forgetful(quiet.port, for_ever=for_ever)
        heard: list[Any] = []
        async with serve(between.serve, "127.0.0.1", 0) as server:
            live = client.live(["ticks:USD/COP"])
            port = next(iter(server.sockets)).getsockname()[1]
            # REST goes to the service itself; only the stream is forgetful.
            live._config = type(live._config).of(f"http://127.0.0.1:{port}", None, "float", 10.0, 30.0, None)
            async with live:
                async for message in live:
                    heard.append(message)
                    if len(heard) == 70:
                        break
        return heard, between.left_out

    if for_ever:
        with pytest.raises(candela.ContinuityError, match="in 5 connections"):
            run(follow())
        return
    heard, left_out = run(follow())
    check(heard)
    assert len(heard) == 70
    assert left_out >= 3
