"""Client of candela: bars as tables, and a live stream without holes.

>>> import candela
>>> client = candela.Client("http://127.0.0.1:8080")
>>> table = client.bars("USDCOP", "5m", start="2026-01-02", end="2026-02-01")
"""

from candela._client import AsyncClient, Client
from candela._config import __version__
from candela._errors import (
    AuthenticationError,
    BadRequestError,
    CandelaError,
    ContinuityError,
    ForbiddenError,
    NotFoundError,
    ServiceError,
    SlowConsumerError,
    UnavailableError,
    UnreachableError,
)
from candela._flows import Pair
from candela._generated import (
    Bar,
    BarEnd,
    Certificate,
    Day,
    Discontinuity,
    Gap,
    GapRecord,
    Seam,
    Session,
    Skipped,
    Status,
    Tick,
)
from candela._live import Live, Message
from candela._positions import Position
from candela._tail import Tail

__all__ = [
    "AsyncClient",
    "AuthenticationError",
    "BadRequestError",
    "Bar",
    "BarEnd",
    "CandelaError",
    "Certificate",
    "Client",
    "ContinuityError",
    "Day",
    "Discontinuity",
    "ForbiddenError",
    "Gap",
    "GapRecord",
    "Live",
    "Message",
    "NotFoundError",
    "Pair",
    "Position",
    "Seam",
    "ServiceError",
    "Session",
    "Skipped",
    "SlowConsumerError",
    "Status",
    "Tail",
    "Tick",
    "UnavailableError",
    "UnreachableError",
    "__version__",
]
