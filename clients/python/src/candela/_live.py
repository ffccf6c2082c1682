"""The live stream: one iteration over all connections, without a hole."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from candela import _arguments, _positions
from candela._backoff import Backoff
from candela._buffer import Buffer, OnSlow
from candela._config import USER_AGENT, Config
from candela._context import Context, P
from candela._errors import TEMPORARY, CandelaError, ContinuityError, ServiceError, UnreachableError, of_code, of_status
from candela._flows import Pair
from candela._follow import SUBSCRIBE_ID, Follower, Hole, Retry, Told
from candela._generated import (
    CLOSES,
    DECODERS,
    Bar,
    BarEnd,
    Certificate,
    Discontinuity,
    Gap,
    Seam,
    Session,
    Skipped,
    Status,
    Tick,
)
from candela._positions import Position, Positions

logger = logging.getLogger("candela")
T = TypeVar("T")

#: What an iteration brings.
Message = Tick[P] | Bar[P] | BarEnd | Gap | Seam | Certificate | Session | Status | Skipped | Discontinuity

#: Between two writes of the file of positions: after a crash of the client no more than this comes again.
SAVE_SECONDS = 0.2
#: Connections that may end at a hole without a message in between, before the service is said to have one.
HOLES_AT_ONE_PLACE = 5
#: The service's own messages are far below.
MESSAGE_BYTES = 1 << 20


class Loop:
    """An event loop on a thread of its own, for those who do not have one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="candela-live", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Silence:
    """Ends a connection on which nothing was heard for too long: a network that died says nothing.

    A timer rather than a `wait_for` around each read, which costs more and, before Python 3.12, may swallow a cancellation.
    """

    def __init__(self, socket: ClientConnection, limit: float) -> None:
        self.limit = limit
        self._socket, self._loop = socket, asyncio.get_running_loop()
        self._since: float | None = None
        self._timer = self._loop.call_later(limit, self._look)

    async def recv(self) -> str | bytes:
        """The next message. Only while this waits, silence counts."""
        self._since = self._loop.time()
        try:
            return await self._socket.recv()
        finally:
            self._since = None

    def _look(self) -> None:
        silent = 0.0 if self._since is None else self._loop.time() - self._since
        if silent >= self.limit:
            self._socket.transport.abort()
            return
        self._timer = self._loop.call_later(self.limit - silent, self._look)

    def over(self) -> None:
        self._timer.cancel()


class Live(Generic[P]):
    """Follows channels through disconnects and restarts. Use it in ``with`` or ``async with``, and iterate over it.

    A message counts as read when the next one is asked for, or the ``with`` block ends without an exception; `positions`, and the
    file given as ``resume``, say up to where that is.
    """

    def __init__(
        self,
        config: Config[P],
        channels: Sequence[str],
        pairs: Callable[[], Coroutine[Any, Any, list[Pair]]],
        *,
        resume: str | os.PathLike[str] | Mapping[str, Position] | None,
        since: Any,
        partials: bool,
        max_hz: float | None,
        on_slow: OnSlow,
        queue: int,
        idle_timeout: float | None,
    ) -> None:
        if isinstance(channels, str) or not channels:
            raise ValueError(f"channels is {channels!r}; give a list, such as ['bars.5m:USD/COP']")
        if on_slow not in ("wait", "conflate", "raise"):
            raise ValueError(f"on_slow is {on_slow!r}; it is 'wait', 'conflate' or 'raise'")
        _arguments.count("queue", queue)
        if idle_timeout is not None:
            _arguments.seconds("idle_timeout", idle_timeout, least=0)
        self._config, self._channels, self._pairs = config, list(channels), pairs
        self._since, self._partials, self._max_hz = _arguments.since(since), partials, max_hz
        self._on_slow, self._queue, self._idle_timeout = on_slow, queue, idle_timeout
        self._parse_float = Decimal if config.price == "decimal" else None
        self._path = Path(resume) if isinstance(resume, (str, os.PathLike)) else None
        self._given: Positions = _positions.checked(resume) if isinstance(resume, Mapping) else {}
        self._read: Positions = {}
        self._pending: Told | None = None
        self._dirty = False
        self._contexts: dict[str, Context[P]] = {}
        self._context: Context[P] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: Loop | None = None
        #: How often it had to connect again.
        self.reconnects = 0

    # --- what users see ----------------------------------------------------------------------------------------------

    @property
    def positions(self) -> Positions:
        """Up to where each channel was read; ``resume=`` of another `live` goes on from there."""
        return dict(self._read)

    @property
    def conflated(self) -> int:
        """How many ticks a newer one stood for in the queue."""
        return self._buffer.conflated

    async def __aenter__(self) -> Live[P]:
        if self._path is not None:
            self._given = await asyncio.to_thread(_positions.load, self._path)
        self._read = dict(self._given)
        self._follower = Follower(self._given, self._channels)
        self._buffer = Buffer(self._queue, self._on_slow)
        self._ready = asyncio.Event()
        self._failed: BaseException | None = None
        self._stop = asyncio.Event()
        found = await self._pairs()
        self._contexts = {pair.symbol: Context(self._config.to_price, pair.zone) for pair in found}
        self._context = next(iter(self._contexts.values()))
        self._tasks = [asyncio.create_task(self._follow())]
        if self._path is not None:
            self._tasks.append(asyncio.create_task(self._save_now_and_then(self._path)))
        try:
            await self._ready.wait()
        except BaseException:
            await self._close()
            raise
        if self._failed is not None:
            await self._close()
            raise self._failed
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._count_as_read()
        await self._close()

    def __aiter__(self) -> AsyncIterator[Message[P]]:
        return self

    async def __anext__(self) -> Message[P]:
        while True:
            message = await self.next_message()
            if message is None:
                raise StopAsyncIteration
            decoder = DECODERS.get(message["type"])
            if decoder is not None:  # what this version does not know is not for it
                decoded: Message[P] = decoder(message, self._context_of(message))
                return decoded

    def __enter__(self) -> Live[P]:
        self._loop = Loop()
        try:
            return self._loop.run(self.__aenter__())
        except BaseException:
            self._loop.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._loop is not None:
            self._loop.run(self.__aexit__(kind, error, trace))
            self._loop.close()
            self._loop = None

    def __iter__(self) -> Iterator[Message[P]]:
        return self

    def __next__(self) -> Message[P]:
        if self._loop is None:
            raise RuntimeError("iterate inside of `with client.live(…) as live:`")
        try:
            return self._loop.run(self.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    # --- reading ---------------------------------------------------------------------------------------------------------

    async def next_message(self) -> dict[str, Any] | None:
        """The next message as it came, `replay_end` included; ``None`` at the end. For joining the stream with something else."""
        if not self._tasks:
            raise RuntimeError("iterate inside of `async with client.live(…) as live:`")
        self._count_as_read()
        while True:
            told = await self._buffer.get()
            if told is None:
                return None
            self._pending = told
            if told.message is not None:
                return told.message
            self._count_as_read()

    def _count_as_read(self) -> None:
        told, self._pending = self._pending, None
        if told is not None and told.channel is not None and told.position is not None:
            self._read[told.channel] = told.position
            self._dirty = True

    def _context_of(self, message: dict[str, Any]) -> Context[P]:
        symbol = str(message.get("channel", "")).rpartition(":")[2]
        context = self._contexts.get(symbol, self._context)
        if context is None:
            raise RuntimeError("iterate inside of `async with client.live(…) as live:`")
        return context

    async def _save_now_and_then(self, path: Path) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stop.wait(), SAVE_SECONDS)
            if self._dirty:
                self._dirty = False
                await asyncio.to_thread(_positions.save, path, dict(self._read))

    async def _close(self) -> None:
        self._stop.set()
        follow, *saver = self._tasks
        follow.cancel()
        await asyncio.wait([follow])
        self._tasks = []
        for task in saver:
            await task  # a file that cannot be written is an error that is told

    # --- following -----------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Connects again and again until it may not."""
        error: BaseException | None = None
        try:
            await self._connect_again_and_again()
        except CandelaError as known:
            error = known
        except Exception as unexpected:
            logger.exception("the live stream ends by a defect")
            error = unexpected
        self._failed = error
        self._ready.set()
        await self._buffer.end(error)

    async def _connect_again_and_again(self) -> None:
        backoff, deadline = Backoff(), time.monotonic() + self._config.retry_for
        holes, place = 0, dict(self._follower.positions)
        while True:
            told: float | None = None
            try:
                await self._connection(backoff)
                return
            except Hole as hole:
                holes = holes + 1 if place == self._follower.positions else 1
                place = dict(self._follower.positions)
                cause: Exception = hole
                if holes >= HOLES_AT_ONE_PLACE:
                    raise ContinuityError(f"{hole}, in {holes} connections one after the other") from hole
            except ConnectionClosed as closed:
                if self._is_last_close(closed):
                    return
                cause, told = closed, self._follower.reconnect_after
            except InvalidStatus as refused:
                cause, told = self._refused(refused)
            except (Retry, OSError, asyncio.TimeoutError, TimeoutError, WebSocketException) as failed:
                cause = failed
            if not self._ready.is_set() and time.monotonic() > deadline:
                raise UnreachableError(f"{self._config.url} cannot be followed: {_said(cause)}") from cause
            delay = backoff.delay(told)
            logger.info("disconnected (%s); connecting again in %.1f s", _said(cause), delay)
            self.reconnects += 1
            await asyncio.sleep(delay)

    @staticmethod
    def _is_last_close(closed: ConnectionClosed) -> bool:
        """Whether the service wants this client not to come back; raises where something must change first."""
        code = closed.rcvd.code if closed.rcvd else 1006
        name, advice = CLOSES.get(code, ("closed", "back off and resume"))
        if advice in ("fix", "not retry without a change"):
            reason = closed.rcvd.reason if closed.rcvd else ""
            raise of_code(code, name, reason or f"the service closed the connection: {name}") from closed
        return advice == "stop"

    @staticmethod
    def _refused(refused: InvalidStatus) -> tuple[Exception, float | None]:
        """The refusal of a handshake: raised if it is for good, else what to say of it and when to come back."""
        response = refused.response
        body: Any = None
        with contextlib.suppress(ValueError):
            body = json.loads(response.body or b"")
        error: ServiceError = of_status(response.status_code, body, f"the service refused the connection: {response.status_code}")
        if response.status_code not in TEMPORARY:
            raise error from refused
        after = response.headers.get("Retry-After", "")
        return error, float(after) if after.isdigit() else None

    async def _connection(self, backoff: Backoff) -> None:
        """One connection, from its handshake until it ends."""
        config, follower = self._config, self._follower
        secure: dict[str, Any] = {} if config.ssl_context is None else {"ssl": config.ssl_context}
        follower.connected()
        async with connect(
            config.websocket_url,
            additional_headers=config.headers,
            subprotocols=[Subprotocol("candela.v1")],
            user_agent_header=USER_AGENT,
            compression=None,
            open_timeout=config.timeout,
            close_timeout=1,
            max_size=MESSAGE_BYTES,
            **secure,
        ) as socket:
            wanted = [channel for channel in self._channels if channel != "status"]
            await socket.send(json.dumps(self._subscribe(wanted or ["status"])))
            silence = Silence(socket, self._idle_timeout or config.timeout)
            try:
                while True:
                    message = json.loads(await silence.recv(), parse_float=self._parse_float)
                    for told in follower.hear(message):
                        await self._buffer.put(told)
                    if follower.subscribed:
                        backoff.reset()
                        self._ready.set()
                        silence.limit = self._idle_timeout or 2 * follower.heartbeat_seconds
            except (Hole, Retry):
                await socket.close()  # in order: nothing is wrong with the connection itself
                raise
            finally:
                silence.over()

    def _subscribe(self, channels: list[str]) -> dict[str, Any]:
        since: dict[str, Any] = {}
        if self._since is not None:
            since = {channel: self._since for channel in channels if channel != "status"}
            if isinstance(self._since, dict) and any(":" in name for name in self._since):
                since = dict(self._since)  # a place for each channel
        since |= _positions.to_wire(self._follower.positions)
        options: dict[str, Any] = {"snapshot": False, "partials": self._partials}
        options["on_slow"] = "conflate" if self._on_slow == "conflate" else "close"
        if self._max_hz is not None:
            options |= {"max_hz": self._max_hz, "on_slow": "conflate"}
        return {"action": "subscribe", "id": SUBSCRIBE_ID, "channels": channels, "since": since, "options": options}


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
