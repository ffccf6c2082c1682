"""The bounded queue between the connection and the one who iterates."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Literal

from candela._errors import SlowConsumerError
from candela._follow import Told

#: What happens when the queue is full.
#:
#: ``wait``: the connection is not read until there is room; the service may close it, and the next one brings what was missed:
#: every message comes, however late. ``conflate``: the newest tick of a channel stands for the queued one, and says from which
#: number on; bars, gaps and sessions still wait. ``raise``: iteration ends with `SlowConsumerError`.
OnSlow = Literal["wait", "conflate", "raise"]


class Entry:
    """A queued message. One that a newer tick stands for is emptied in place."""

    __slots__ = ("told",)

    def __init__(self, told: Told) -> None:
        self.told: Told | None = told


class Buffer:
    """First in, first out, never more than ``size`` messages."""

    def __init__(self, size: int, on_slow: OnSlow) -> None:
        self._size, self._on_slow = size, on_slow
        self._entries: deque[Entry] = deque()
        self._ticks: dict[str, Entry] = {}
        self._count = 0
        self._ended: BaseException | None = None
        self._over = False
        self._changed = asyncio.Condition()
        self.conflated = 0

    def __len__(self) -> int:
        return self._count

    async def put(self, told: Told) -> None:
        """Queues a message, as the policy says when there is no room."""
        async with self._changed:
            if self._count >= self._size:
                if self._on_slow == "raise":
                    raise SlowConsumerError(
                        f"{self._size} messages wait to be read; read faster, ask for fewer channels, or choose on_slow='wait' "
                        "or 'conflate'"
                    )
                told = self._stand_for_last_tick(told)
                await self._changed.wait_for(lambda: self._count < self._size)
            entry = Entry(told)
            self._entries.append(entry)
            self._count += 1
            if told.message is not None and told.message["type"] == "market_data":
                self._ticks[told.message["channel"]] = entry
            self._changed.notify_all()

    def _stand_for_last_tick(self, told: Told) -> Told:
        message = told.message
        if self._on_slow != "conflate" or message is None or message["type"] != "market_data":
            return told
        entry = self._ticks.get(message["channel"])
        if entry is None or entry.told is None or entry.told.message is None:
            return told
        queued: dict[str, Any] = entry.told.message
        entry.told = None
        self._count -= 1
        self.conflated += 1
        return told._replace(message={**message, "from": queued.get("from", queued["seq"])})

    async def end(self, error: BaseException | None) -> None:
        """Nothing more comes. An error of the policy outranks what is still queued."""
        async with self._changed:
            self._ended, self._over = error, True
            if isinstance(error, SlowConsumerError):
                self._entries.clear()
                self._count = 0
            self._changed.notify_all()

    async def get(self) -> Told | None:
        """The next message, or position; ``None`` at the end."""
        async with self._changed:
            while True:
                while self._entries:
                    entry = self._entries.popleft()
                    if entry.told is None:
                        continue
                    self._count -= 1
                    channel = entry.told.channel
                    if channel is not None and self._ticks.get(channel) is entry:
                        del self._ticks[channel]
                    self._changed.notify_all()
                    return entry.told
                if self._over:
                    if self._ended is not None:
                        raise self._ended
                    return None
                await self._changed.wait()
