"""Bars and ticks, and the tables made of them. pandas, polars and pyarrow are imported when they are asked for."""

from __future__ import annotations

import datetime as dt
import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal

from candela._context import Context, P
from candela._generated import Bar, Gap, GapRecord, Tick

#: What to make of an answer: a table of one of these libraries, or a list of typed messages.
Into = Literal["pandas", "polars", "arrow", "list"]

_MODULES = {"pandas": "pandas", "polars": "polars", "arrow": "pyarrow"}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_MICROSECOND = dt.timedelta(microseconds=1)
_PRICES = ("open", "high", "low", "close", "volume", "price", "bid", "ask", "spread")
_INTEGERS = ("ticks", "revision", "seq")


def module(into: str) -> Any:
    """The library, or a sentence that says how to get it."""
    if into not in _MODULES:
        raise ValueError(f"into is {into!r}; it is one of {', '.join((*_MODULES, 'list'))}")
    try:
        return importlib.import_module(_MODULES[into])
    except ImportError as error:
        raise ImportError(
            f"into={into!r} needs {_MODULES[into]}: pip install {_MODULES[into]}, or ask for into='list'"
        ) from error


def _micros(at: dt.datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def is_open_in(gap: Gap | GapRecord, interval: str, start: dt.datetime, end: dt.datetime) -> bool:
    """Whether a gap explains a missing bar of this stretch. Bars longer than five minutes are composed of those."""
    base = "1m" if interval == "1m" else "5m"
    return gap.interval == base and gap.status != "filled" and gap.from_ < end and start < gap.to


def _described(gap: Gap | GapRecord) -> dict[str, Any]:
    """A gap as plain values: what stands in ``attrs`` must survive a copy and a file."""
    return {
        "id": gap.id,
        "from": gap.from_.isoformat(),
        "to": gap.to.isoformat(),
        "bars": gap.bars,
        "status": gap.status,
        "cause": gap.cause,
    }


@dataclass(slots=True)
class Bars(Generic[P]):
    """Bars, the earliest first, and what is to be said of them."""

    context: Context[P]
    symbol: str
    interval: str
    bars: list[Bar[P]] = field(default_factory=list)
    attrs: dict[str, Any] = field(default_factory=dict)
    #: The service's clock when it answered.
    now: dt.datetime = _EPOCH

    def explain(self, expected: int, gaps: Sequence[Gap | GapRecord]) -> None:
        """Says how many bars there should be, and which gaps explain those that are not there."""
        missing = max(expected - len(self.bars), 0)
        self.attrs |= {
            "symbol": self.symbol,
            "interval": self.interval,
            "expected": expected,
            "missing": missing,
            "complete": missing == 0,
            "gaps": [_described(gap) for gap in gaps],
        }

    def into(self, into: Into) -> Any:
        if into == "list":
            return self.bars
        names = ("close_time", *_PRICES[:5], "ticks", "state", "revision", "provenance")
        columns: dict[str, list[Any]] = {name: [getattr(bar, name) for bar in self.bars] for name in names}
        columns["flags"] = ["|".join(bar.flags) for bar in self.bars]  # as in the service's CSV
        return table(into, "open_time", [bar.open_time for bar in self.bars], columns, self.context, self.attrs)


@dataclass(slots=True)
class Ticks(Generic[P]):
    """Ticks, the earliest first, with the epoch of each one's number."""

    context: Context[P]
    symbol: str
    ticks: list[Tick[P]] = field(default_factory=list)
    epochs: list[str] = field(default_factory=list)

    def into(self, into: Into) -> Any:
        if into == "list":
            return self.ticks
        names = ("price", "bid", "ask", "spread", "received_at", "source", "seq")
        columns: dict[str, list[Any]] = {name: [getattr(tick, name) for tick in self.ticks] for name in names}
        columns["epoch"] = list(self.epochs)
        return table(into, "time", [tick.time for tick in self.ticks], columns, self.context, {"symbol": self.symbol})


def table(
    into: Into,
    index: str,
    times: list[dt.datetime],
    columns: dict[str, list[Any]],
    context: Context[Any],
    attrs: dict[str, Any],
) -> Any:
    """A table of one of the libraries. Instants have the market's zone; prices are exact decimals where these were asked for."""
    library = module(into)
    exact = context.price is not float
    make = {"pandas": _pandas, "polars": _polars, "arrow": _arrow}[into]
    return make(library, index, times, columns, str(context.zone), exact, attrs)


def _is_time(name: str) -> bool:
    return name.endswith(("_time", "_at"))


def _pandas(
    pd: Any,
    index: str,
    times: list[dt.datetime],
    columns: dict[str, list[Any]],
    zone: str,
    exact: bool,
    attrs: dict[str, Any],
) -> Any:
    def instants(values: list[dt.datetime]) -> Any:
        micros = pd.array([_micros(at) for at in values], dtype="int64")
        return pd.to_datetime(micros, unit="us", utc=True).tz_convert(zone)

    held: dict[str, Any] = {}
    for name, values in columns.items():
        if _is_time(name):
            held[name] = instants(values)
        elif name in _PRICES:
            held[name] = pd.array(values, dtype=object) if exact else pd.array(values, dtype="float64").to_numpy(float)
        elif name in _INTEGERS:
            held[name] = pd.array(values, dtype="int64")
        else:
            held[name] = values
    frame = pd.DataFrame(held, index=instants(times).rename(index))
    frame.attrs = dict(attrs)
    return frame


def _polars(
    pl: Any,
    index: str,
    times: list[dt.datetime],
    columns: dict[str, list[Any]],
    zone: str,
    exact: bool,
    attrs: dict[str, Any],
) -> Any:
    del attrs  # a polars frame has no place for them: the methods `gaps` and `calendar` say the same

    def instants(name: str, values: list[dt.datetime]) -> Any:
        micros = pl.Series(name, [_micros(at) for at in values], dtype=pl.Int64)
        return micros.cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone)

    held = [instants(index, times)]
    for name, values in columns.items():
        if _is_time(name):
            held.append(instants(name, values))
        elif name in _PRICES:
            held.append(pl.Series(name, values, dtype=pl.Decimal(18, 6) if exact else pl.Float64))
        elif name in _INTEGERS:
            held.append(pl.Series(name, values, dtype=pl.Int64))
        else:
            held.append(pl.Series(name, values, dtype=pl.String))
    return pl.DataFrame(held)


def _arrow(
    pa: Any,
    index: str,
    times: list[dt.datetime],
    columns: dict[str, list[Any]],
    zone: str,
    exact: bool,
    attrs: dict[str, Any],
) -> Any:
    def instants(values: list[dt.datetime]) -> Any:
        return pa.array([_micros(at) for at in values], pa.int64()).cast(pa.timestamp("us", tz=zone))

    held = {index: instants(times)}
    for name, values in columns.items():
        if _is_time(name):
            held[name] = instants(values)
        elif name in _PRICES:
            held[name] = pa.array(values, pa.decimal128(18, 6) if exact else pa.float64())
        elif name in _INTEGERS:
            held[name] = pa.array(values, pa.int64())
        else:
            held[name] = pa.array(values, pa.string())
    return pa.table(held).replace_schema_metadata({"candela": json.dumps(attrs)})
