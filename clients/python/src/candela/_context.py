"""How values of the wire become values of Python."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

#: The type of prices: ``float``, or ``Decimal`` where the client was made with ``price="decimal"``.
P = TypeVar("P", bound="float | Decimal")

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


@dataclass(frozen=True, slots=True)
class Context(Generic[P]):
    """The type of prices, and the market's zone. Every instant that comes out of it has that zone."""

    price: Callable[[Any], P]
    zone: dt.tzinfo

    def optional_price(self, value: Any) -> P | None:
        return None if value is None else self.price(value)

    def instant(self, text: str) -> dt.datetime:
        at = dt.datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
        if at.tzinfo is None:
            raise ValueError(f"{text!r} has no offset: the service sends none such")
        return at.astimezone(self.zone)

    def optional_instant(self, value: Any) -> dt.datetime | None:
        return None if value is None else self.instant(value)

    def micros(self, value: int) -> dt.datetime:
        """An instant from whole microseconds, without a float in between."""
        return (_EPOCH + dt.timedelta(microseconds=value)).astimezone(self.zone)
