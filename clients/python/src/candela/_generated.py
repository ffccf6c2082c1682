"""The service's messages as types.

Written by scripts/generate.py from /asyncapi.json and /openapi.json; not edited by hand.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal

from candela._context import Context, P


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick(Generic[P]):
    """A tick."""

    symbol: str
    time: dt.datetime
    price: P
    bid: P | None = None
    ask: P | None = None
    spread: P | None = None
    from_: int | None = None
    source: str
    received_at: dt.datetime
    channel: str
    seq: int | None = None
    published_at: dt.datetime | None = None


def decode_tick(m: Any, context: Context[P]) -> Tick[P]:
    d = m["data"]
    return Tick(
        symbol=d["symbol"],
        time=context.micros(d["timestamp"] * 1_000_000),
        price=context.price(d["price"]),
        bid=None if d.get("bid") is None else context.price(d["bid"]),
        ask=None if d.get("ask") is None else context.price(d["ask"]),
        spread=None if d.get("spread") is None else context.price(d["spread"]),
        from_=m.get("from"),
        source=d["source"],
        received_at=context.micros(d["received_us"]),
        channel=m["channel"],
        seq=m.get("seq"),
        published_at=None if m.get("timestamp") is None else context.instant(m["timestamp"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar(Generic[P]):
    """A bar: forming (base, version), closed or revised (seq)."""

    symbol: str
    interval: str
    open_time: dt.datetime
    close_time: dt.datetime
    open: P
    high: P
    low: P
    close: P
    volume: P | None
    ticks: int
    state: Literal["partial", "closed", "revised"]
    revision: int
    session_type: str
    provenance: str
    flags: tuple[str, ...]
    session_date: dt.date
    channel: str
    seq: int | None = None
    base: int | None = None
    version: int | None = None
    forming: bool | None = None
    published_at: dt.datetime | None = None


def decode_bar(m: Any, context: Context[P]) -> Bar[P]:
    d = m["data"]
    return Bar(
        symbol=d["symbol"],
        interval=d["interval"],
        open_time=context.instant(d["open_time"]),
        close_time=context.instant(d["close_time"]),
        open=context.price(d["open"]),
        high=context.price(d["high"]),
        low=context.price(d["low"]),
        close=context.price(d["close"]),
        volume=context.optional_price(d["volume"]),
        ticks=d["ticks"],
        state=d["state"],
        revision=d["revision"],
        session_type=d["session_type"],
        provenance=d["provenance"],
        flags=tuple(d["flags"]),
        session_date=dt.date.fromisoformat(d["session_date"]),
        channel=m["channel"],
        seq=m.get("seq"),
        base=m.get("base"),
        version=m.get("version"),
        forming=d.get("forming"),
        published_at=None if m.get("timestamp") is None else context.instant(m["timestamp"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BarEnd:
    """All bars of an interval are published."""

    interval: str
    open_time: dt.datetime
    complete: tuple[str, ...]
    incomplete: dict[str, Any]


def decode_bar_end(m: Any, context: Context[P]) -> BarEnd:
    return BarEnd(
        interval=m["interval"],
        open_time=context.instant(m["open_time"]),
        complete=tuple(m["complete"]),
        incomplete=m["incomplete"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A gap was opened or changed its status."""

    symbol: str
    interval: str
    id: str
    from_: dt.datetime
    to: dt.datetime
    bars: int
    status: Literal["open", "filling", "filled", "unfillable"]
    cause: str
    channel: str
    seq: int | None = None
    published_at: dt.datetime | None = None


def decode_gap(m: Any, context: Context[P]) -> Gap:
    d = m["data"]
    return Gap(
        symbol=d["symbol"],
        interval=d["interval"],
        id=d["id"],
        from_=context.instant(d["from"]),
        to=context.instant(d["to"]),
        bars=d["bars"],
        status=d["status"],
        cause=d["cause"],
        channel=m["channel"],
        seq=m.get("seq"),
        published_at=None if m.get("timestamp") is None else context.instant(m["timestamp"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seam:
    """Where prepared history ends and live bars begin, and how many bars of both differ."""

    symbol: str
    channel: str
    seq: int | None = None
    published_at: dt.datetime | None = None
    differing: int
    examples: tuple[str, ...]
    first_live_bar: dt.datetime
    last_history_bar: dt.datetime | None
    missing: int
    ours: int
    overlapping: int


def decode_seam(m: Any, context: Context[P]) -> Seam:
    d = m["data"]
    return Seam(
        symbol=d["symbol"],
        channel=m["channel"],
        seq=m.get("seq"),
        published_at=None if m.get("timestamp") is None else context.instant(m["timestamp"]),
        differing=d["differing"],
        examples=tuple(d["examples"]),
        first_live_bar=context.instant(d["first_live_bar"]),
        last_history_bar=context.optional_instant(d["last_history_bar"]),
        missing=d["missing"],
        ours=d["ours"],
        overlapping=d["overlapping"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A finished session was certified, or certified again after a correction."""

    symbol: str
    interval: str
    revision: int
    opens: dt.datetime
    closes: dt.datetime
    session_date: dt.date
    channel: str
    seq: int | None = None
    published_at: dt.datetime | None = None
    expected: int
    hash: str
    mismatched: int
    missing: int
    present: dict[str, int]
    previous: dict[str, Any] | None
    revised: int
    seam: dict[str, Any] | None
    through: int
    unfillable: tuple[dict[str, Any], ...]


def decode_certificate(m: Any, context: Context[P]) -> Certificate:
    d = m["data"]
    return Certificate(
        symbol=d["symbol"],
        interval=d["interval"],
        revision=d["revision"],
        opens=context.instant(d["opens"]),
        closes=context.instant(d["closes"]),
        session_date=dt.date.fromisoformat(d["session_date"]),
        channel=m["channel"],
        seq=m.get("seq"),
        published_at=None if m.get("timestamp") is None else context.instant(m["timestamp"]),
        expected=d["expected"],
        hash=d["hash"],
        mismatched=d["mismatched"],
        missing=d["missing"],
        present=dict(d["present"]),
        previous=d["previous"],
        revised=d["revised"],
        seam=d["seam"],
        through=d["through"],
        unfillable=tuple(d["unfillable"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session opened or closed, or soon will."""

    symbol: str
    status: Literal["opening_soon", "open", "closing_soon", "closed"]
    opens: dt.datetime
    closes: dt.datetime
    session_type: str
    session_date: dt.date
    channel: str
    seq: int | None = None
    published_at: dt.datetime | None = None


def decode_session(m: Any, context: Context[P]) -> Session:
    d = m["data"]
    return Session(
        symbol=d["symbol"],
        status=d["status"],
        opens=context.instant(d["opens"]),
        closes=context.instant(d["closes"]),
        session_type=d["type"],
        session_date=dt.date.fromisoformat(d["session_date"]),
        channel=m["channel"],
        seq=m.get("seq"),
        published_at=None if m.get("timestamp") is None else context.instant(m["timestamp"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The service's state and conditions."""

    server_status: str
    conditions: tuple[dict[str, Any], ...]
    safe_to_trade: dict[str, Any]
    unsafe_reasons: dict[str, Any] | None = None


def decode_status(m: Any, context: Context[P]) -> Status:
    return Status(
        server_status=m["server_status"],
        conditions=tuple(m["conditions"]),
        safe_to_trade=m["safe_to_trade"],
        unsafe_reasons=m.get("unsafe_reasons"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Messages that can no longer be sent."""

    from_: int
    channel: str
    seq: int
    why: str


def decode_skipped(m: Any, context: Context[P]) -> Skipped:
    return Skipped(
        from_=m["from"],
        channel=m["channel"],
        seq=m["seq"],
        why=m["why"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Discontinuity:
    """The channel has a new epoch: earlier messages do not continue in later ones."""

    channel: str
    seq: int
    epoch: str
    old_epoch: str
    why: str


def decode_discontinuity(m: Any, context: Context[P]) -> Discontinuity:
    return Discontinuity(
        channel=m["channel"],
        seq=m["seq"],
        epoch=m["epoch"],
        old_epoch=m["old_epoch"],
        why=m["why"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRecord:
    """`Gap` of /openapi.json."""

    symbol: str
    interval: str
    id: str
    from_: dt.datetime
    to: dt.datetime
    bars: int
    status: Literal["open", "filling", "filled", "unfillable"]
    cause: str
    opened_at: dt.datetime
    updated_at: dt.datetime


def decode_gap_record(m: Any, context: Context[P]) -> GapRecord:
    return GapRecord(
        symbol=m["symbol"],
        interval=m["interval"],
        id=m["id"],
        from_=context.instant(m["from"]),
        to=context.instant(m["to"]),
        bars=m["bars"],
        status=m["status"],
        cause=m["cause"],
        opened_at=context.instant(m["opened_at"]),
        updated_at=context.instant(m["updated_at"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """`Day` of /openapi.json."""

    date: dt.date
    opens: dt.datetime | None
    closes: dt.datetime | None
    type: str
    expected_bars: int
    reason: str


def decode_day(m: Any, context: Context[P]) -> Day:
    return Day(
        date=dt.date.fromisoformat(m["date"]),
        opens=context.optional_instant(m["opens"]),
        closes=context.optional_instant(m["closes"]),
        type=m["type"],
        expected_bars=m["expected_bars"],
        reason=m["reason"],
    )


#: By the `type` of a message, those that are handed out.
DECODERS: dict[str, Callable[[Any, Context[Any]], Any]] = {
    "market_data": decode_tick,
    "bar": decode_bar,
    "bar_end": decode_bar_end,
    "gap": decode_gap,
    "seam": decode_seam,
    "certificate": decode_certificate,
    "session": decode_session,
    "status": decode_status,
    "skipped": decode_skipped,
    "discontinuity": decode_discontinuity,
}

#: The others that the service may send.
CONTROL: frozenset[str] = frozenset(
    {
        "authenticated",
        "error",
        "event",
        "goaway",
        "heartbeat",
        "heartbeat_response",
        "pong",
        "replay_end",
        "slow",
        "snapshot",
        "subscribed",
        "unsubscribed",
        "welcome",
    }
)

#: Errors by code: name, and whether the same request may succeed later.
ERRORS: dict[int, tuple[str, bool]] = {
    1001: ("bad_json", False),
    1002: ("bad_message", False),
    1003: ("unknown_action", False),
    1100: ("unauthenticated", False),
    1101: ("auth_failed", False),
    1104: ("unknown_channel", False),
    1105: ("unknown_symbol", False),
    1201: ("rate_limited", True),
    1202: ("channel_limit", False),
    1203: ("connection_limit", True),
    1204: ("message_too_large", False),
    1301: ("replay_too_large", False),
    1302: ("position_expired", False),
    1402: ("not_ready", True),
}

#: Closes by code: name, and what the client should do.
CLOSES: dict[int, tuple[str, str]] = {
    1000: ("normal", "stop"),
    1001: ("going_away", "reconnect after the delay and resume"),
    1002: ("protocol_violation", "fix"),
    1003: ("unsupported_data", "fix"),
    1007: ("bad_text", "fix"),
    1009: ("message_too_large", "fix"),
    1011: ("internal", "back off"),
    1012: ("restarting", "reconnect after the delay and resume"),
    1013: ("try_later", "back off"),
    4003: ("not_ready", "back off and resume"),
    4008: ("idle", "back off and resume"),
    4010: ("slow_consumer", "back off and resume"),
    4011: ("continuity_lost", "back off and resume"),
    4029: ("too_many_requests", "back off and resume"),
    4501: ("unauthenticated", "not retry without a change"),
    4503: ("forbidden", "not retry without a change"),
    4510: ("token_revoked", "not retry without a change"),
}
