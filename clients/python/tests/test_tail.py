"""History and stream joined: one table at the end of each bar, through `kill -9` of the service."""

from __future__ import annotations

import datetime as dt
import itertools
import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
from conftest import Network, Record, Service, run, wait_until

import candela
from candela._context import Context
from candela._tail import Past, Window

BOGOTA = ZoneInfo("America/Bogota")
OHLC = ["open", "high", "low", "close"]


def check(tables: list[pd.DataFrame], record: Record) -> None:
    """One table for each bar, in order, and each of them is the vendor's record of the bars up to then."""
    ends = [dt.datetime.fromisoformat(table.attrs["bar_end"]) for table in tables]
    for before, after in itertools.pairwise(ends):
        assert after - before == dt.timedelta(minutes=5), "a bar's end is missing or doubled"
    vendor = record.bars("2025-10-20 00:00:00", "2025-10-22 23:59:00")
    for table, end in zip(tables, ends, strict=True):
        assert len(table) == 70
        if table.index[-1] != end:
            assert table.attrs["incomplete"] or not table.attrs["complete"]
        for at, bar in zip(table.index, table[OHLC].to_numpy(), strict=True):
            expected = [float(price) for price in vendor[at.strftime("%Y-%m-%d %H:%M:%S")]]
            flawed = table.loc[at, "flags"]
            assert flawed or list(bar) == expected, (at, bar, expected)
        assert table.index.is_monotonic_increasing
        assert table.index.is_unique


def test_a_table_at_each_bars_end_through_kills(service: Service, network: Network, record: Record) -> None:
    tables: list[pd.DataFrame] = []
    over = threading.Event()

    async def follow() -> None:
        async for table in candela.Client(network.url).tail("USDCOP", "5m", last=70, idle_timeout=1.0):
            tables.append(table)
            if over.is_set():
                return

    def wait_for_tables(count: int) -> None:
        wanted = len(tables) + count
        wait_until(f"{wanted} tables", lambda: len(tables) >= wanted)

    thread = threading.Thread(target=lambda: run(follow()))
    thread.start()
    kill = partial(service.restart, signal.SIGKILL)
    troubles: list[Callable[[], None]] = [kill, network.cut, kill]
    for trouble in troubles:
        wait_for_tables(2)
        trouble()
    wait_for_tables(3)
    over.set()
    thread.join(30)
    assert not thread.is_alive()
    check(tables, record)
    last = tables[-1]
    assert (last.attrs["missing"], last.attrs["gaps"]) == (0, [])


def test_the_plain_loop_joins_history_and_stream(quiet: Service) -> None:
    tables = list(itertools.islice(candela.Client(quiet.url).tail("USDCOP", last=5, into="list"), 2))
    assert [len(table) for table in tables] == [5, 5]
    assert tables[0][1:] == tables[1][:-1] or tables[0][-1].open_time < tables[1][-1].open_time


def bar(minute: int, *, revision: int = 0, close: float = 1.0, seq: int | None = 1) -> dict[str, Any]:
    opens = f"2025-10-22T08:{minute:02}:00-05:00"
    data: dict[str, Any] = {
        "symbol": "USD/COP",
        "interval": "5m",
        "open_time": opens,
        "close_time": f"2025-10-22T08:{minute + 5:02}:00-05:00",
        **dict.fromkeys(OHLC, close),
        "volume": None,
        "ticks": 1,
        "state": "revised" if revision else "closed",
        "revision": revision,
        "provenance": "live",
        "flags": [],
        "session_date": "2025-10-22",
        "session_type": "spot",
    }
    return {"type": "bar", "channel": "bars.5m:USD/COP", "seq": seq, "data": data, "timestamp": opens}


def end(minute: int, incomplete: str | None = None) -> dict[str, Any]:
    opens = f"2025-10-22T08:{minute:02}:00-05:00"
    lacking = {"USD/COP": incomplete} if incomplete else {}
    return {
        "type": "bar_end",
        "interval": "5m",
        "open_time": opens,
        "complete": [] if incomplete else ["USD/COP"],
        "incomplete": lacking,
    }


REPLAYED = {"type": "replay_end", "channel": "bars.5m:USD/COP", "seq": 1, "count": 1}


def shown(window: Window[float], *messages: dict[str, Any]) -> list[tuple[str, list[float], bool]]:
    tables = [table for message in messages for table in window.hear(message)]
    return [(table.attrs["bar_end"][11:16], [bar.close for bar in table.bars], table.attrs["replayed"]) for table in tables]


def window() -> Window[float]:
    made: Window[float] = Window(Context(float, BOGOTA), "USD/COP", "5m", last=3)
    day = candela.Day(
        date=dt.date(2025, 10, 22),
        opens=dt.datetime(2025, 10, 22, 8, tzinfo=BOGOTA),
        closes=dt.datetime(2025, 10, 22, 12, 55, tzinfo=BOGOTA),
        expected_bars=59,
        reason="business day",
        type="spot",
    )
    made.remember(Past([], [day], []))
    return made


def test_a_revised_bar_replaces_the_one_before_it_and_an_older_one_does_not() -> None:
    made = window()
    assert shown(made, bar(0), REPLAYED, bar(5, close=2.0), end(5)) == [("08:05", [1.0, 2.0], False)]
    revised, older = bar(0, revision=1, close=9.0), bar(0, close=1.0)
    assert shown(made, revised, older, bar(10, close=3.0), end(10)) == [("08:10", [9.0, 2.0, 3.0], False)]
    assert shown(made, bar(15, close=4.0), end(15)) == [("08:15", [2.0, 3.0, 4.0], False)]


def test_a_bar_that_ended_while_nobody_listened_gets_its_table_afterwards() -> None:
    made = window()
    assert shown(made, bar(0), REPLAYED, end(0)) == [("08:00", [1.0], False)]
    missed = shown(made, bar(5, close=2.0), bar(10, close=3.0), REPLAYED)
    assert missed == [("08:05", [1.0, 2.0], True), ("08:10", [1.0, 2.0, 3.0], True)]
    assert shown(made, end(10)) == [], "its end, held back at the join, is not told twice"


def test_an_incomplete_bar_has_a_table_too_and_the_gap_explains_it() -> None:
    made = window()
    gap = {
        "type": "gap",
        "channel": "quality:USD/COP",
        "seq": 1,
        "timestamp": "2025-10-22T08:10:00-05:00",
        "data": {
            "id": "g-1",
            "symbol": "USD/COP",
            "interval": "5m",
            "from": "2025-10-22T08:05:00-05:00",
            "to": "2025-10-22T08:10:00-05:00",
            "bars": 1,
            "status": "open",
            "cause": "feed_gap",
        },
    }
    (table,) = [table for message in (bar(0), REPLAYED, gap, end(5, "feed_gap")) for table in made.hear(message)]
    assert table.attrs["incomplete"] == "feed_gap"
    assert (table.attrs["expected"], table.attrs["missing"], table.attrs["complete"]) == (2, 1, False)
    assert [gap["cause"] for gap in table.attrs["gaps"]] == ["feed_gap"]


def test_a_log_that_lost_something_makes_history_asked_for_again() -> None:
    made = window()
    lost = {"type": "discontinuity", "channel": "bars.5m:USD/COP", "old_epoch": "a", "epoch": "b", "seq": 9, "why": "x"}
    made.hear(lost)
    assert made.is_stale
    made.remember(Past([], made.days, []))
    assert not made.is_stale
