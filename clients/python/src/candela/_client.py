"""The two clients: the same requests, blocking or asynchronous."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, overload

import httpx

from candela import _arguments
from candela._backoff import Backoff
from candela._buffer import OnSlow
from candela._config import USER_AGENT, Config
from candela._context import Context, P
from candela._errors import TEMPORARY, ServiceError, UnreachableError, of_status
from candela._flows import Answer, Body, Flow, Flows, Get, Pair, T, When
from candela._frames import Bars, Into, module
from candela._generated import Bar, Day, GapRecord, Tick
from candela._live import Live
from candela._positions import Position
from candela._tail import Tail

if TYPE_CHECKING:
    import ssl

    import pandas as pd
    import polars as pl
    import pyarrow as pa

Status = Literal["open", "filling", "filled", "unfillable"]


class _Attempts(Generic[P]):
    """One request until it is answered: what an attempt brought, and how long to wait before the next."""

    def __init__(self, config: Config[P]) -> None:
        self._config = config
        self._backoff = Backoff()
        self._deadline = time.monotonic() + config.retry_for

    def read(self, response: httpx.Response) -> Answer | float:
        """The answer, or the seconds until the next attempt; raises a refusal."""
        exact = Decimal if self._config.price == "decimal" else None
        is_json = "json" in response.headers.get("content-type", "")
        body = None
        with contextlib.suppress(ValueError):
            body = json.loads(response.text, parse_float=exact) if is_json else None
        if response.status_code == httpx.codes.OK:
            return Answer(Body.of(body, str(response.request.url)))
        sentence = f"the service answered {response.status_code} to {response.request.url.path}"
        error: ServiceError = of_status(response.status_code, body, sentence)
        if response.status_code not in TEMPORARY:
            raise error
        after = response.headers.get("retry-after", "")
        return self._again(error, float(after) if after.isdigit() else None)

    def failed(self, error: httpx.TransportError) -> float:
        """The seconds until the next attempt."""
        unreachable = UnreachableError(f"{self._config.url} cannot be reached: {error or type(error).__name__}")
        unreachable.__cause__ = error
        return self._again(unreachable, None)

    def _again(self, error: Exception, told: float | None) -> float:
        delay = self._backoff.delay(told)
        if time.monotonic() + delay > self._deadline:
            raise error
        return delay


class _Both(Generic[P]):
    """What both clients have: their settings, and what follows the stream."""

    _config: Config[P]
    _flows: Flows[P]

    def _http(self) -> dict[str, Any]:
        config = self._config
        return {
            "base_url": config.url,
            "headers": {"User-Agent": USER_AGENT, **config.headers},
            "timeout": config.timeout,
            "verify": config.ssl_context if config.ssl_context is not None else True,
        }

    def _another(self) -> AsyncClient[P]:
        """An asynchronous client of the same service, for another event loop."""
        client: AsyncClient[P] = AsyncClient.__new__(AsyncClient)
        client._begin(self._config)
        return client

    async def _pairs(self) -> list[Pair]:
        async with self._another() as client:
            return await client._run(client._flows.pairs())

    def live(
        self,
        channels: Sequence[str],
        *,
        resume: str | os.PathLike[str] | Mapping[str, Position] | None = None,
        since: Any = None,
        partials: bool = False,
        max_hz: float | None = None,
        on_slow: OnSlow = "wait",
        queue: int = 10_000,
        idle_timeout: float | None = None,
    ) -> Live[P]:
        """Follows channels, such as ``bars.5m:USD/COP``, ``ticks:*``, ``quality:USD/COP``, ``session:USD/COP``, ``status``.

        Use it in ``async with`` and ``async for``, or in plain ``with`` and ``for``. After a disconnect it goes on where it was:
        nothing is missing and nothing comes twice, or a `Skipped` or `Discontinuity` stands in the place.

        ``resume``    a file that holds how far each channel was read, kept up to date; or `Live.positions` of another stream
        ``since``     where a channel begins that has no position yet: ``{"last": 100}``, ``{"time": "2026-01-02T08:00"}``,
                      ``"session_start"``, or one of these for each channel; now, unless given
        ``partials``  also bars that are still forming
        ``max_hz``    at most so many ticks a second of each channel; the newest stands for those before it
        ``on_slow``   what happens when ``queue`` messages wait to be read. ``"wait"``: the service is read no further until there
                      is room, and what was missed meanwhile is asked for again: every message comes. ``"conflate"``: the newest
                      tick stands for the one before it. ``"raise"``: iteration ends with `SlowConsumerError`
        ``idle_timeout``  seconds of silence after which the connection is given up; two heartbeats unless given
        """
        return Live(
            self._config,
            channels,
            self._pairs,
            resume=resume,
            since=since,
            partials=partials,
            max_hz=max_hz,
            on_slow=on_slow,
            queue=queue,
            idle_timeout=idle_timeout,
        )

    def tail(
        self,
        symbol: str,
        interval: str = "5m",
        *,
        last: int = 60,
        into: Into = "pandas",
        idle_timeout: float | None = None,
    ) -> Tail[P]:
        """The last bars as a table, anew at the end of each bar: history and stream joined without a hole.

        Iterate with ``async for`` or ``for``. A revised bar replaces the one before it. ``attrs`` says for which bar the table
        was made (``bar_end``), why that bar is missing if it is (``incomplete``), and whether it was over before it could be told
        (``replayed``).
        """
        if into != "list":
            module(into)
        return Tail(self._another, symbol, interval, last, into, {"idle_timeout": idle_timeout})


class Client(_Both[P]):
    """A blocking client.

    ``url`` and ``token`` come from ``CANDELA_URL`` and ``CANDELA_TOKEN`` unless given. ``price="decimal"`` makes prices exact
    `Decimal` values instead of `float`. ``retry_for`` is for how many seconds a request is tried again while the service cannot
    be reached or cannot answer.
    """

    @overload
    def __init__(
        self: Client[float],
        url: str | None = None,
        token: str | None = None,
        *,
        price: Literal["float"] = "float",
        timeout: float = 10.0,
        retry_for: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: Client[Decimal],
        url: str | None = None,
        token: str | None = None,
        *,
        price: Literal["decimal"],
        timeout: float = 10.0,
        retry_for: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None: ...
    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        price: Literal["float", "decimal"] = "float",
        timeout: float = 10.0,
        retry_for: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._config = Config.of(url, token, price, timeout, retry_for, ssl_context)
        self._flows = Flows(self._config)
        self._client = httpx.Client(**self._http())

    def __enter__(self) -> Client[P]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def _run(self, flow: Flow[T]) -> T:
        try:
            request = next(flow)
            while True:
                request = flow.send(self._get(request))
        except StopIteration as ended:
            result: T = ended.value
            return result

    def _get(self, request: Get) -> Answer:
        attempts = _Attempts(self._config)
        while True:
            try:
                response = self._client.get(request.path, params=dict(request.params))
            except httpx.TransportError as error:
                delay = attempts.failed(error)
            else:
                read = attempts.read(response)
                if isinstance(read, Answer):
                    return read
                delay = read
            time.sleep(delay)

    @overload
    def bars(
        self,
        symbol: str,
        interval: str = "5m",
        *,
        start: When | None = None,
        end: When | None = None,
        as_of: When | None = None,
        limit: int | None = None,
        into: Literal["pandas"] = "pandas",
    ) -> pd.DataFrame: ...
    @overload
    def bars(
        self,
        symbol: str,
        interval: str = "5m",
        *,
        start: When | None = None,
        end: When | None = None,
        as_of: When | None = None,
        limit: int | None = None,
        into: Literal["polars"],
    ) -> pl.DataFrame: ...
    @overload
    def bars(
        self,
        symbol: str,
        interval: str = "5m",
        *,
        start: When | None = None,
        end: When | None = None,
        as_of: When | None = None,
        limit: int | None = None,
        into: Literal["arrow"],
    ) -> pa.Table: ...
    @overload
    def bars(
        self,
        symbol: str,
        interval: str = "5m",
        *,
        start: When | None = None,
        end: When | None = None,
        as_of: When | None = None,
        limit: int | None = None,
        into: Literal["list"],
    ) -> list[Bar[P]]: ...
    def bars(
        self,
        symbol: str,
        interval: str = "5m",
        *,
        start: When | None = None,
        end: When | None = None,
        as_of: When | None = None,
        limit: int | None = None,
        into: Into = "pandas",
    ) -> Any:
        """Bars that open from ``start`` on and before ``end``, the earliest first; the latest ``limit`` of them, if given.

        ``as_of`` asks for what was known then. Instants without an offset are wall time of the market's zone. The index of a
        pandas table is ``open_time`` in that zone; ``attrs`` says how many bars are ``expected`` and ``missing``, and the
        ``gaps``.
        """
        if into != "list":
            module(into)
        return self._run(self._flows.bars(symbol, interval, start, end, as_of, limit)).into(into)

    @overload
    def ticks(
        self,
        symbol: str,
        *,
        start: When | None = None,
        end: When | None = None,
        limit: int | None = None,
        into: Literal["pandas"] = "pandas",
    ) -> pd.DataFrame: ...
    @overload
    def ticks(
        self,
        symbol: str,
        *,
        start: When | None = None,
        end: When | None = None,
        limit: int | None = None,
        into: Literal["polars"],
    ) -> pl.DataFrame: ...
    @overload
    def ticks(
        self,
        symbol: str,
        *,
        start: When | None = None,
        end: When | None = None,
        limit: int | None = None,
        into: Literal["arrow"],
    ) -> pa.Table: ...
    @overload
    def ticks(
        self,
        symbol: str,
        *,
        start: When | None = None,
        end: When | None = None,
        limit: int | None = None,
        into: Literal["list"],
    ) -> list[Tick[P]]: ...
    def ticks(
        self,
        symbol: str,
        *,
        start: When | None = None,
        end: When | None = None,
        limit: int | None = None,
        into: Into = "pandas",
    ) -> Any:
        """Accepted ticks from ``start`` on and before ``end``, the earliest first; the first ``limit`` of them, if given."""
        if into != "list":
            module(into)
        return self._run(self._flows.ticks(symbol, start, end, limit)).into(into)

    def gaps(
        self, symbol: str, start: When | None = None, end: When | None = None, *, status: Status | None = None
    ) -> list[GapRecord]:
        """Gaps and what became of them, the earliest first."""
        return self._run(self._flows.gaps(symbol, start, end, status))

    def calendar(
        self,
        year: int | None = None,
        *,
        start: dt.date | str | None = None,
        end: dt.date | str | None = None,
        symbol: str | None = None,
    ) -> list[Day]:
        """Each day of a year, or from ``start`` to ``end``, both included: its session, or why it has none."""
        return self._run(self._flows.calendar(symbol, *_arguments.days(year, start, end)))

    def status(self) -> dict[str, Any]:
        """`/status`: everything there is to know, in named parts."""
        return self._run(self._flows.status())

    def latest(self, symbol: str) -> dict[str, Any]:
        """The last price, with its instant."""
        return self._run(self._flows.latest(symbol))

    def pairs(self) -> list[Pair]:
        """The pairs that are served, with their intervals and zones."""
        return self._run(self._flows.pairs())


class AsyncClient(_Both[P]):
    """The same as `Client`, to be awaited."""

    @overload
    def __init__(
        self: AsyncClient[float],
        url: str | None = None,
        token: str | None = None,
        *,
        price: Literal["float"] = "float",
        timeout: float = 10.0,
        retry_for: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: AsyncClient[Decimal],
        url: str | None = None,
        token: str | None = None,
        *,
        price: Literal["decimal"],
        timeout: float = 10.0,
        retry_for: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None: ...
    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        price: Literal["float", "decimal"] = "float",
        timeout: float = 10.0,
        retry_for: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._begin(Config.of(url, token, price, timeout, retry_for, ssl_context))

    def _begin(self, config: Config[P]) -> None:
        self._config = config
        self._flows = Flows(config)
        self._client = httpx.AsyncClient(**self._http())

    async def __aenter__(self) -> AsyncClient[P]:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _run(self, flow: Flow[T]) -> T:
        try:
            request = next(flow)
            while True:
                request = flow.send(await self._get(request))
        except StopIteration as ended:
            result: T = ended.value
            return result

    async def _get(self, request: Get) -> Answer:
        attempts = _Attempts(self._config)
        while True:
            try:
                response = await self._client.get(request.path, params=dict(request.params))
            except httpx.TransportError as error:
                delay = attempts.failed(error)
            else:
                read = attempts.read(response)
                if isinstance(read, Answer):
                    return read
                delay = read
            await asyncio.sleep(delay)

    @overload
    async def bars(
        self,
        symbol: str,
        interval: str = "5m",
        *,
        start: When | None = None,
        end: When | None = None,
        as_of: When | None = None,
        limit: int | None = None,
        into: Literal["pandas"] = "pandas",
    ) -> pd.DataFrame: ...
    @overload
    async def bars(
        self,
        symbol: str,
        interval: str = "5m",
        *,
        start: When | None = None,
        end: When | None = None,
        as_of: When | None = None,
        limit: int | None = None,
        into: Literal["polars"],
    ) -> pl.DataFrame: ...
    @overload
    async def bars(
        self,
        symbol: str,
        interval: str = "5m",
        *,
        start: When | None = None,
        end: When | None = None,
        as_of: When | None = None,
        limit: int | None = None,
        into: Literal["arrow"],
    ) -> pa.Table: ...
    @overload
    async def bars(
        self,
        symbol: str,
        interval: str = "5m",
        *,
        start: When | None = None,
        end: When | None = None,
        as_of: When | None = None,
        limit: int | None = None,
        into: Literal["list"],
    ) -> list[Bar[P]]: ...
    async def bars(
        self,
        symbol: str,
        interval: str = "5m",
        *,
        start: When | None = None,
        end: When | None = None,
        as_of: When | None = None,
        limit: int | None = None,
        into: Into = "pandas",
    ) -> Any:
        """As `Client.bars`."""
        if into != "list":
            module(into)
        return (await self._run(self._flows.bars(symbol, interval, start, end, as_of, limit))).into(into)

    @overload
    async def ticks(
        self,
        symbol: str,
        *,
        start: When | None = None,
        end: When | None = None,
        limit: int | None = None,
        into: Literal["pandas"] = "pandas",
    ) -> pd.DataFrame: ...
    @overload
    async def ticks(
        self,
        symbol: str,
        *,
        start: When | None = None,
        end: When | None = None,
        limit: int | None = None,
        into: Literal["polars"],
    ) -> pl.DataFrame: ...
    @overload
    async def ticks(
        self,
        symbol: str,
        *,
        start: When | None = None,
        end: When | None = None,
        limit: int | None = None,
        into: Literal["arrow"],
    ) -> pa.Table: ...
    @overload
    async def ticks(
        self,
        symbol: str,
        *,
        start: When | None = None,
        end: When | None = None,
        limit: int | None = None,
        into: Literal["list"],
    ) -> list[Tick[P]]: ...
    async def ticks(
        self,
        symbol: str,
        *,
        start: When | None = None,
        end: When | None = None,
        limit: int | None = None,
        into: Into = "pandas",
    ) -> Any:
        """As `Client.ticks`."""
        if into != "list":
            module(into)
        return (await self._run(self._flows.ticks(symbol, start, end, limit))).into(into)

    async def gaps(
        self, symbol: str, start: When | None = None, end: When | None = None, *, status: Status | None = None
    ) -> list[GapRecord]:
        """As `Client.gaps`."""
        return await self._run(self._flows.gaps(symbol, start, end, status))

    async def calendar(
        self,
        year: int | None = None,
        *,
        start: dt.date | str | None = None,
        end: dt.date | str | None = None,
        symbol: str | None = None,
    ) -> list[Day]:
        """As `Client.calendar`."""
        return await self._run(self._flows.calendar(symbol, *_arguments.days(year, start, end)))

    async def status(self) -> dict[str, Any]:
        """As `Client.status`."""
        return await self._run(self._flows.status())

    async def latest(self, symbol: str) -> dict[str, Any]:
        """As `Client.latest`."""
        return await self._run(self._flows.latest(symbol))

    async def pairs(self) -> list[Pair]:
        """As `Client.pairs`."""
        return await self._run(self._flows.pairs())

    async def pair(self, symbol: str) -> Pair:
        """The pair by any of its names; raises with the service's sentence where there is none."""
        return await self._run(self._flows.pair(symbol))

    def context(self, pair: Pair) -> Context[P]:
        return self._flows.context(pair)

    async def latest_bars(self, symbol: str, interval: str, last: int) -> Bars[P]:
        """The latest bars, with what is to be said of them."""
        return await self._run(self._flows.bars(symbol, interval, None, None, None, last))
