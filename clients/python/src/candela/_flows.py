"""REST, written once for the blocking and the asynchronous client.

A flow is a generator that yields requests and is sent their answers; `Client` and `AsyncClient` drive it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from candela import _arguments
from candela._config import Config
from candela._context import Context, P
from candela._errors import NotFoundError, ServiceError
from candela._expected import count_expected
from candela._frames import Bars, Ticks, is_open_in
from candela._generated import Bar, Day, GapRecord, decode_bar, decode_day, decode_gap_record, decode_tick

T = TypeVar("T")
#: An instant: aware, or wall time of the market's zone, as the service reads it.
When = str | dt.date | dt.datetime

#: The most that the service gives in one page, and the most days of one calendar.
PAGE = 10_000
CALENDAR_DAYS = 366


class Get(NamedTuple):
    """A request to be made."""

    path: str
    params: Mapping[str, str]


class Body(dict[str, Any]):
    """The members of an answer. A server that answers without them is not candela."""

    url = ""

    @classmethod
    def of(cls, said: Any, url: str) -> Body:
        if not isinstance(said, dict):
            raise ServiceError(f"the server at {url} is not candela: its answer is no JSON object")
        body = cls(said)
        body.url = url
        return body

    def __missing__(self, name: str) -> Any:
        raise ServiceError(f"the server at {self.url} is not candela: its answer has no {name!r}")


class Answer(NamedTuple):
    """What came of it."""

    json: Body


Flow = Generator[Get, Answer, T]


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair that is served: its name, how its bars are told, and its zone."""

    symbol: str
    intervals: tuple[str, ...]
    zone: dt.tzinfo


def _plain(symbol: str) -> str:
    return "".join(letter for letter in symbol.upper() if letter.isalnum())


def instant(value: When, zone: dt.tzinfo) -> dt.datetime | None:
    """An instant of what a caller gave; ``None`` for a text that only the service can read."""
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day, tzinfo=zone)
    return value.replace(tzinfo=zone) if value.tzinfo is None else value.astimezone(zone)


def _check(limit: int | None, *instants: When | None) -> None:
    """Arguments that cannot be meant are errors before anything is sent."""
    if limit is not None:
        _arguments.count("limit", limit)
    for value in instants:
        if value is not None:
            _arguments.when(value)


def _wire(value: When, zone: dt.tzinfo) -> str:
    at = instant(value, zone)
    return str(value) if at is None else at.isoformat()


class Flows(Generic[P]):
    """The requests of one client, and what it remembers of the answers."""

    def __init__(self, config: Config[P]) -> None:
        self.config = config
        self._pairs: dict[str, Pair] = {}

    def pairs(self) -> Flow[list[Pair]]:
        answer = yield Get("/market/symbols", {})
        found = [Pair(one["symbol"], tuple(one["intervals"]), ZoneInfo(one["zone"])) for one in answer.json["symbols"]]
        self._pairs = {_plain(pair.symbol): pair for pair in found}
        return found

    def pair(self, symbol: str) -> Flow[Pair]:
        """The pair by any of its names: ``USDCOP``, ``USD-COP``, ``USD/COP``."""
        _arguments.pair(symbol)
        if not self._pairs:
            yield from self.pairs()
        found = self._pairs.get(_plain(symbol))
        if found is None:
            yield Get("/market/session", {"symbol": symbol})  # the service says it better, and with a suggestion
            raise NotFoundError(f"{symbol} is not served here; there are {', '.join(self._pairs)}", status=404)
        return found

    def context(self, pair: Pair) -> Context[P]:
        return Context(self.config.to_price, pair.zone)

    def status(self) -> Flow[dict[str, Any]]:
        answer = yield Get("/status", {})
        return dict(answer.json)

    def latest(self, symbol: str) -> Flow[dict[str, Any]]:
        pair = yield from self.pair(symbol)
        answer = yield Get("/market/latest", {"symbol": pair.symbol})
        context, told = self.context(pair), answer.json
        prices = {name: context.price(told[name]) for name in ("price", "bid", "ask", "spread") if name in told}
        return {**told, **prices, "timestamp": context.instant(told["timestamp"])}

    def calendar(self, symbol: str | None, start: dt.date, end: dt.date) -> Flow[list[Day]]:
        """Each day from ``start`` to ``end``, both included."""
        pairs = list(self._pairs.values()) or (yield from self.pairs())
        pair = (yield from self.pair(symbol)) if symbol is not None else pairs[0]
        days: list[Day] = []
        while start <= end:
            last = min(end, start + dt.timedelta(days=CALENDAR_DAYS - 1))
            params = {"symbol": pair.symbol, "from": start.isoformat(), "to": last.isoformat()}
            answer = yield Get("/market/calendar", params)
            days += [decode_day(day, self.context(pair)) for day in answer.json["days"]]
            start = last + dt.timedelta(days=1)
        return days

    def gaps(
        self, symbol: str, start: When | None = None, end: When | None = None, status: str | None = None
    ) -> Flow[list[GapRecord]]:
        """Gaps, the earliest first."""
        _check(None, start, end)
        pair = yield from self.pair(symbol)
        params = {"symbol": pair.symbol, "limit": str(PAGE), **_stretch(pair, start, end)}
        if status:
            params["status"] = status
        gaps: list[GapRecord] = []
        while True:
            answer = yield Get("/market/gaps", params)
            gaps += [decode_gap_record(gap, self.context(pair)) for gap in answer.json["gaps"]]
            if answer.json["next_cursor"] is None:
                return gaps[::-1]
            params["cursor"] = answer.json["next_cursor"]

    def ticks(self, symbol: str, start: When | None, end: When | None, limit: int | None) -> Flow[Ticks[P]]:
        _check(limit, start, end)
        pair = yield from self.pair(symbol)
        found: Ticks[P] = Ticks(self.context(pair), pair.symbol)
        params = {"symbol": pair.symbol, **_stretch(pair, start, end)}
        while True:
            wanted = PAGE if limit is None else min(PAGE, limit - len(found.ticks))
            answer = yield Get("/market/ticks", {**params, "limit": str(wanted)})
            for one in answer.json["ticks"]:
                message = {"channel": f"ticks:{pair.symbol}", "seq": one["seq"], "data": one["data"]}
                found.ticks.append(decode_tick(message, found.context))
                found.epochs.append(one["epoch"])
            cursor = answer.json["next_cursor"]
            if cursor is None or (limit is not None and len(found.ticks) >= limit):
                return found
            params["cursor"] = cursor

    def bars(
        self,
        symbol: str,
        interval: str,
        start: When | None,
        end: When | None,
        as_of: When | None,
        limit: int | None,
    ) -> Flow[Bars[P]]:
        """Bars, the earliest first: all of a stretch, or the latest ``limit`` of it."""
        _check(limit, start, end, as_of)
        pair = yield from self.pair(symbol)
        found: Bars[P] = Bars(self.context(pair), pair.symbol, interval)
        params = {"symbol": pair.symbol, "interval": interval, **_stretch(pair, start, end)}
        params["order"] = "asc" if limit is None else "desc"
        if as_of is not None:
            params["as_of"] = _wire(as_of, pair.zone)
        pages: list[list[Bar[P]]] = []
        left = limit
        while left is None or left > 0:
            wanted = PAGE if left is None else min(PAGE, left)
            answer = yield Get("/market/bars", {**params, "limit": str(wanted)})
            channel = f"bars.{interval}:{pair.symbol}"
            page = [decode_bar({"channel": channel, "data": bar}, found.context) for bar in answer.json["bars"]]
            pages.append(page)
            left = None if left is None else left - len(page)
            cursor = answer.json["next_cursor"]
            if cursor is None:
                break
            params["cursor"] = cursor
        for page in pages if limit is None else reversed(pages):
            found.bars += page
        yield from self._explain(pair, found, start, end, as_of)
        return found

    def _explain(self, pair: Pair, found: Bars[P], start: When | None, end: When | None, as_of: When | None) -> Flow[None]:
        """Says of the bars how many there should be, and why some are missing."""
        context = self.context(pair)
        status = yield from self.status()
        found.now = context.instant(status["timestamp"])
        bounds = [at for at in (instant(value, pair.zone) for value in (end, as_of) if value is not None) if at]
        until = min([found.now, *bounds])
        begin = None if start is None else instant(start, pair.zone)
        if begin is None:
            begin = found.bars[0].open_time if found.bars else until
        found.attrs |= {"zone": str(pair.zone), "start": begin.isoformat(), "end": until.isoformat()}
        found.attrs["as_of"] = None if as_of is None else _wire(as_of, pair.zone)
        days: list[Day] = []
        gaps: list[GapRecord] = []
        if begin < until:
            days = yield from self.calendar(pair.symbol, begin.date(), until.date())
            gaps = yield from self.gaps(pair.symbol, begin, until)
        expected = count_expected(days, found.interval, begin, until)
        found.explain(expected, [gap for gap in gaps if is_open_in(gap, found.interval, begin, until)])


def _stretch(pair: Pair, start: When | None, end: When | None) -> dict[str, str]:
    given = {"from": start, "to": end}
    return {name: _wire(value, pair.zone) for name, value in given.items() if value is not None}
