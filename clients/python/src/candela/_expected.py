"""How many bars a stretch of time should have."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator

from candela._generated import Day

#: The length of each interval; the others are one bar a session.
LENGTHS = {
    "1m": dt.timedelta(minutes=1),
    "5m": dt.timedelta(minutes=5),
    "15m": dt.timedelta(minutes=15),
    "30m": dt.timedelta(minutes=30),
    "1h": dt.timedelta(hours=1),
}


def slots(days: Iterable[Day], interval: str) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    """Open and close of each bar of these days' sessions. Slots count from the open; the last is cut where the session ends."""
    for day in days:
        if day.opens is None or day.closes is None:
            continue
        length = LENGTHS.get(interval, day.closes - day.opens)
        opens = day.opens
        while opens < day.closes:
            closes = min(opens + length, day.closes)
            yield opens, closes
            opens = closes


def count_expected(days: Iterable[Day], interval: str, start: dt.datetime, end: dt.datetime) -> int:
    """Bars that open at ``start`` or later, and are closed by ``end``."""
    return sum(1 for opens, closes in slots(days, interval) if start <= opens and closes <= end)
