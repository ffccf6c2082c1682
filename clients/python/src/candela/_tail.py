"""History and live stream joined: one table at the end of each bar."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic

from candela import _arguments
from candela._context import Context, P
from candela._expected import count_expected, slots
from candela._flows import Pair
from candela._frames import Bars, Into, is_open_in
from candela._generated import Bar, Day, Gap, GapRecord, decode_bar, decode_bar_end, decode_gap
from candela._live import Loop

if TYPE_CHECKING:
    from candela._client import AsyncClient

#: How many bars are asked of the stream itself at the join: those that the database may not have yet are among them.
OVERLAP = 100
#: How far ahead the calendar is asked for at once.
CALENDAR_AHEAD = dt.timedelta(days=30)


@dataclass(slots=True)
class Past(Generic[P]):
    """What REST knows at one moment."""

    bars: list[Bar[P]]
    days: list[Day]
    gaps: list[GapRecord]


@dataclass(slots=True)
class Window(Generic[P]):
    """The last bars, by their open, each at its newest revision. Decides when there is a table to hand out; no I/O."""

    context: Context[P]
    symbol: str
    interval: str
    last: int
    rows: dict[dt.datetime, Bar[P]] = field(default_factory=dict)
    gaps: dict[str, Gap | GapRecord] = field(default_factory=dict)
    days: list[Day] = field(default_factory=list)
    #: The newest bar when history and stream were joined, and the newest slot that a table was handed out for.
    joined_at: dt.datetime | None = None
    handed_out: dt.datetime | None = None
    is_joined: bool = False
    #: The log has lost something: history is to be asked for again.
    is_stale: bool = False

    @property
    def channel(self) -> str:
        return f"bars.{self.interval}:{self.symbol}"

    def remember(self, past: Past[P]) -> None:
        for bar in past.bars:
            self.add(bar)
        self.gaps |= {gap.id: gap for gap in past.gaps if gap.id not in self.gaps}
        self.days = past.days
        self.is_stale = False

    def add(self, bar: Bar[P]) -> None:
        held = self.rows.get(bar.open_time)
        if held is None or bar.revision >= held.revision:
            self.rows[bar.open_time] = bar
        if len(self.rows) > 2 * self.last + OVERLAP:
            for opens in sorted(self.rows)[: -self.last]:
                del self.rows[opens]

    def hear(self, message: dict[str, Any]) -> list[Bars[P]]:
        """The next message; the tables that are due now."""
        kind = message["type"]
        if kind == "bar" and message.get("channel") == self.channel and "seq" in message:
            self.add(decode_bar(message, self.context))
        elif kind == "gap":
            gap = decode_gap(message, self.context)
            self.gaps[gap.id] = gap
        elif kind == "discontinuity" and message["channel"] == self.channel:
            self.is_stale = True
        elif kind == "replay_end" and message["channel"] == self.channel:
            return self.replayed()
        elif kind == "bar_end" and message["interval"] == self.interval:
            end = decode_bar_end(message, self.context)
            if self.symbol in end.complete or self.symbol in end.incomplete:
                return self.ended(end.open_time, end.incomplete.get(self.symbol))
        return []

    def replayed(self) -> list[Bars[P]]:
        """A `bar_end` is in no log: after a disconnect, each bar that came meanwhile counts as ended."""
        if not self.is_joined:
            self.is_joined, self.joined_at = True, max(self.rows, default=None)
            return []
        after = self.handed_out or self.joined_at
        missed = [opens for opens in sorted(self.rows) if after is None or opens > after]
        return [self.table(opens, None, replayed=True) for opens in missed]

    def ended(self, opens: dt.datetime, incomplete: str | None) -> list[Bars[P]]:
        if self.handed_out is not None and opens <= self.handed_out:
            return []  # it was handed out at the end of a replay
        return [self.table(opens, incomplete, replayed=False)]

    def table(self, opens: dt.datetime, incomplete: str | None, *, replayed: bool) -> Bars[P]:
        self.handed_out = opens
        shown = [self.rows[at] for at in sorted(self.rows) if at <= opens][-self.last :]
        table: Bars[P] = Bars(self.context, self.symbol, self.interval, shown)
        begin = shown[0].open_time if shown else opens
        ends = [closes for begins, closes in slots(self.days, self.interval) if begins == opens]
        until = max([*ends, *(bar.close_time for bar in shown[-1:])], default=opens)
        expected = count_expected(self.days, self.interval, begin, until)
        gaps = [gap for gap in self.gaps.values() if is_open_in(gap, self.interval, begin, until)]
        table.explain(expected, gaps)
        table.attrs |= {
            "zone": str(self.context.zone),
            "start": begin.isoformat(),
            "end": until.isoformat(),
            "bar_end": opens.isoformat(),
            "incomplete": incomplete,
            "replayed": replayed,
        }
        return table

    def lacks_calendar(self) -> bool:
        """Whether the next bar may be of a day that the calendar does not tell of."""
        return bool(self.days and self.handed_out and self.handed_out.date() >= self.days[-1].date)


class Tail(Generic[P]):
    """An iteration over tables, plain or asynchronous."""

    def __init__(
        self,
        client: Callable[[], AsyncClient[P]],
        symbol: str,
        interval: str,
        last: int,
        into: Into,
        live: dict[str, Any],
    ) -> None:
        _arguments.pair(symbol)
        _arguments.count("last", last)
        self._client, self._symbol, self._interval = client, symbol, interval
        self._last, self._into, self._options = last, into, live

    async def _tables(self) -> AsyncGenerator[Any, None]:
        async with self._client() as client:
            pair = await client.pair(self._symbol)
            window: Window[P] = Window(client.context(pair), pair.symbol, self._interval, self._last)
            channels = [window.channel, f"quality:{pair.symbol}"]
            since = {window.channel: {"last": min(self._last, OVERLAP)}}
            # First the stream, then history: what lies between comes twice, not never.
            async with client.live(channels, since=since, **self._options) as live:
                window.remember(await self._past(client, pair))
                while (message := await live.next_message()) is not None:
                    for table in window.hear(message):
                        yield table.into(self._into)
                    if window.is_stale or window.lacks_calendar():
                        window.remember(await self._past(client, pair))

    async def _past(self, client: AsyncClient[P], pair: Pair) -> Past[P]:
        found = await client.latest_bars(pair.symbol, self._interval, self._last)
        begin = found.bars[0].open_time if found.bars else found.now
        days = await client.calendar(start=begin.date(), end=found.now.date() + CALENDAR_AHEAD, symbol=pair.symbol)
        return Past(found.bars, days, await client.gaps(pair.symbol, begin))

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._tables()

    def __iter__(self) -> Iterator[Any]:
        loop, tables = Loop(), self._tables()
        try:
            while True:
                try:
                    yield loop.run(_next_of(tables))
                except StopAsyncIteration:
                    return
        finally:
            loop.run(_close(tables))
            loop.close()


async def _next_of(tables: AsyncGenerator[Any, None]) -> Any:
    return await tables.__anext__()


async def _close(tables: AsyncGenerator[Any, None]) -> None:
    await tables.aclose()
