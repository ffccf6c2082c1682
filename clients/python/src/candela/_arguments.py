"""What callers give, checked before anything is sent: an argument that cannot be meant is a `ValueError` that says what can."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any


def count(name: str, value: Any) -> int:
    """A whole number above zero."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}; give a whole number from 1")
    return value


def seconds(name: str, value: Any, *, least: float) -> float:
    """A length of time: above zero, or from zero where ``least`` is zero."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not least <= value < float("inf"):
        raise ValueError(f"{name} is {value!r}; give seconds, at least {least:g}")
    return float(value)


def pair(value: Any) -> str:
    """The name of a pair."""
    if not isinstance(value, str):
        raise ValueError(f"symbol is {value!r}; give the name of a pair, such as 'USDCOP'")  # noqa: TRY004
    return value


def when(value: Any) -> str | dt.date:
    """An instant, or what the service reads as one."""
    if not isinstance(value, (str, dt.date)):
        raise ValueError(f"{value!r} is not an instant; give a text such as '2026-01-02T08:00', a date or a datetime")  # noqa: TRY004
    return value


def date(name: str, value: Any) -> dt.date:
    """A date, also as a text or as a part of an instant."""
    if isinstance(value, str):
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            pass
    elif isinstance(value, dt.datetime):
        return value.date()
    elif isinstance(value, dt.date):
        return value
    raise ValueError(f"{name} is {value!r}; give a date, such as '2026-01-02'")


def days(year: Any, start: Any, end: Any) -> tuple[dt.date, dt.date]:
    """The stretch of days that was meant, both included."""
    if year is not None and (start is not None or end is not None):
        raise ValueError("give a year, or start and end, not both")
    if year is not None:
        if isinstance(year, bool) or not isinstance(year, int) or not dt.MINYEAR <= year <= dt.MAXYEAR:
            raise ValueError(f"year is {year!r}; give a whole number, such as 2026")
        return dt.date(year, 1, 1), dt.date(year, 12, 31)
    if start is None or end is None:
        raise ValueError("give a year, or both start and end")
    first, last = date("start", start), date("end", end)
    if last < first:
        raise ValueError(f"end is {last}, before start {first}; give the earlier one first")
    return first, last


def since(value: Any) -> Any:
    """Where channels begin, as the wire has it: an instant becomes a text."""

    def text(part: Any) -> str:
        if isinstance(part, dt.date):
            return part.isoformat()
        raise ValueError(f"since has {part!r}; give {{'last': 100}}, {{'time': '2026-01-02T08:00'}} or 'session_start'")

    return json.loads(json.dumps(value, default=text))
