"""What one connection after the other says, checked: no I/O, no clock.

The next message of a channel covers ``from`` (left out when equal to ``seq``) to ``seq``, and ``from`` is the last ``seq`` + 1,
or the service has said ``skipped`` or ``discontinuity`` in its place. Anything else is a hole; the connection is then given up,
and the next one asks from the last good position on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from candela._errors import ServiceError, of_code
from candela._positions import Position, Positions

#: Messages with a number in their channel's log.
DURABLE = frozenset({"market_data", "gap", "seam", "certificate", "session", "skipped"})
SUBSCRIBE_ID = 1


class Hole(Exception):  # noqa: N818  never reaches a user: the connection is given up, and resumed
    """Something is missing on this connection."""


class Retry(Exception):  # noqa: N818  as above
    """The service said that the request may succeed later."""


class Told(NamedTuple):
    """A message to hand on (``None``: only the position changed), and where its channel stands after it."""

    message: dict[str, Any] | None
    channel: str | None
    position: Position | None


class Follower:
    """Reads the messages of one connection after the other, and knows up to where each channel was heard."""

    def __init__(self, positions: Positions, channels: list[str]) -> None:
        self.positions: Positions = dict(positions)
        self._live: set[str] = set()
        self._wants_status = "status" in channels
        self.heartbeat_seconds = 15.0
        self.reconnect_after: float | None = None
        self.subscribed = False
        self.duplicates = 0

    def connected(self) -> None:
        """Another connection begins."""
        self._live.clear()
        self.reconnect_after = None
        self.subscribed = False

    def hear(self, message: dict[str, Any]) -> list[Told]:
        """The next message of the connection; what is to be handed on."""
        kind = message.get("type")
        if kind == "bar" and "seq" in message:
            return self._advance(message)
        if kind in DURABLE:
            return self._advance(message)
        if kind in ("bar", "bar_end"):
            return [Told(message, None, None)]
        if kind == "status":
            return [Told(message, None, None)] if self._wants_status else []
        if kind == "subscribed":
            return self._begin(message) if message.get("id") == SUBSCRIBE_ID else []
        if kind == "discontinuity":
            return self._begin_anew(message)
        if kind == "replay_end":
            self._compare(message["channel"], message["seq"], exactly=True)
            return [Told(message, None, None)]
        if kind == "heartbeat":
            for channel, head in message["heads"].items():
                self._compare(channel, head["seq"], exactly=False)
        elif kind == "welcome":
            self.heartbeat_seconds = float(message["heartbeat_seconds"])
        elif kind == "goaway":
            self.reconnect_after = message["reconnect_after_ms"] / 1000
        elif kind == "error":
            self._refused(message)
        return []

    def _advance(self, message: dict[str, Any]) -> list[Told]:
        channel, seq = message["channel"], message["seq"]
        first = message.get("from", seq)
        known = self.positions.get(channel)
        if known is None or channel not in self._live:
            return []  # of a channel that is not followed any more
        if seq <= known.seq:
            self.duplicates += 1
            return []
        if first > known.seq + 1:
            raise Hole(f"{channel}: {first} was received after {known.seq}")
        return [self._at(channel, Position(known.epoch, seq), message)]

    def _at(self, channel: str, position: Position, message: dict[str, Any] | None) -> Told:
        self.positions[channel] = position
        return Told(message, channel, position)

    def _begin(self, message: dict[str, Any]) -> list[Told]:
        told = []
        for answer in message["channels"]:
            if "seq" not in answer:
                continue  # status has no log
            channel, epoch, seq = answer["channel"], answer.get("epoch"), int(answer["seq"])
            self._live.add(channel)
            before = self.positions.get(channel)
            begins = Position(epoch, seq - int(answer.get("replayed", 0)))
            if before is None:
                told.append(self._at(channel, begins, None))
            elif answer.get("recovered"):
                if begins != before and before.epoch is not None:
                    raise Hole(f"{channel}: requested to continue after {before}, it continues after {begins}")
                told.append(self._at(channel, begins, None))
            else:
                why = ": ".join(str(answer[name]) for name in ("reason", "detail") if name in answer)
                lost = {
                    "type": "discontinuity",
                    "channel": channel,
                    "old_epoch": before.epoch,
                    "epoch": epoch,
                    "seq": seq,
                    "why": why or "the service did not say why",
                }
                told.append(self._at(channel, Position(epoch, seq), lost))
        self.subscribed = True
        return told

    def _begin_anew(self, message: dict[str, Any]) -> list[Told]:
        return [self._at(message["channel"], Position(message["epoch"], message["seq"]), message)]

    def _compare(self, channel: str, head: int, *, exactly: bool) -> None:
        known = self.positions.get(channel)
        if known is None or channel not in self._live:
            return
        if known.seq < head or (exactly and known.seq != head):
            raise Hole(f"{channel}: it is complete up to {head}, and {known.seq} was the last received")

    def _refused(self, message: dict[str, Any]) -> None:
        error: ServiceError = of_code(message["code"], message["name"], message["message"])
        if message["temporary"] or message["name"] == "position_expired":
            raise Retry(str(error))  # the answer to the next subscribe says what can be brought
        raise error
