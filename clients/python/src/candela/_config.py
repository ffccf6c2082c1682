"""Where the service is, and how it is spoken to."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic
from urllib.parse import urlsplit, urlunsplit

from candela import _arguments
from candela._context import P

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

DEFAULT_URL = "http://127.0.0.1:8080"
__version__ = "0.1.0"
USER_AGENT = f"candela-client/{__version__}"
PRICES: dict[str, Callable[[Any], Any]] = {"float": float, "decimal": lambda value: Decimal(str(value))}


@dataclass(frozen=True, slots=True)
class Config(Generic[P]):
    """Everything that REST and WebSocket have in common."""

    url: str
    token: str | None = field(repr=False)
    price: str
    timeout: float
    retry_for: float
    ssl_context: ssl.SSLContext | None

    @classmethod
    def of(
        cls,
        url: str | None,
        token: str | None,
        price: str,
        timeout: float,
        retry_for: float,
        ssl_context: ssl.SSLContext | None,
    ) -> Config[P]:
        url = url or os.environ.get("CANDELA_URL") or DEFAULT_URL
        if not _is_address(url):
            raise ValueError(f"url is {url!r}; give the service's address, such as {DEFAULT_URL}")
        if price not in PRICES:
            raise ValueError(f"price is {price!r}; it is 'float' or 'decimal'")
        token = token or os.environ.get("CANDELA_TOKEN") or None
        if token is not None and not (isinstance(token, str) and token.isascii() and token.isprintable()):
            raise ValueError("token has characters that no header may have; give it as the service's administrator wrote it")
        timeout = _arguments.seconds("timeout", timeout, least=0.001)
        retry_for = _arguments.seconds("retry_for", retry_for, least=0)
        return cls(url.rstrip("/"), token, price, timeout, retry_for, ssl_context)

    @property
    def websocket_url(self) -> str:
        parts = urlsplit(self.url)
        return urlunsplit(("wss" if parts.scheme == "https" else "ws", parts.netloc, f"{parts.path}/ws", "channels=status", ""))

    @property
    def headers(self) -> dict[str, str]:
        """The token goes into a header: addresses reach access logs."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @property
    def to_price(self) -> Callable[[Any], Any]:
        return PRICES[self.price]


def _is_address(url: Any) -> bool:
    """Whether it has a scheme and a host, and its port is one."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except (ValueError, TypeError, AttributeError):
        return False
