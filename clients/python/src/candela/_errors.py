"""What can go wrong, in the service's own sentences."""

from __future__ import annotations

from typing import Any


class CandelaError(Exception):
    """Everything that this package raises on purpose."""


class ServiceError(CandelaError):
    """The service refused a request. The message is the service's sentence."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: int | None = None,
        name: str | None = None,
        parameter: str | None = None,
        given: Any = None,
        allowed: Any = None,
    ) -> None:
        super().__init__(message)
        #: HTTP status, where the answer was REST's or a handshake's.
        self.status = status
        #: Code of an error or of a close, where the WebSocket said it.
        self.code = code
        #: The problem's name, such as ``unknown_symbol``.
        self.name = name
        #: The wrong parameter, what was given, and what is allowed.
        self.parameter, self.given, self.allowed = parameter, given, allowed


class BadRequestError(ServiceError):
    """A parameter is wrong (400); ``parameter``, ``given`` and ``allowed`` say which."""


class AuthenticationError(ServiceError):
    """The token is missing or not valid (401, 1100, 1101, 4501, 4510)."""


class ForbiddenError(ServiceError):
    """The token does not open this (403, 4503)."""


class NotFoundError(ServiceError):
    """There is no such symbol, channel or address (404, 1104, 1105)."""


class UnavailableError(ServiceError):
    """The service cannot answer now, and still could not after retrying (429, 502, 503, 504)."""


class UnreachableError(CandelaError):
    """The service could not be reached, and still could not after retrying."""


class ContinuityError(CandelaError):
    """The service left a hole in a channel again and again, at the same place."""


class SlowConsumerError(CandelaError):
    """The queue is full, and the policy is ``raise``."""


BY_STATUS: dict[int, type[ServiceError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    429: UnavailableError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}
#: Statuses after which the same request may succeed.
TEMPORARY = frozenset({429, 502, 503, 504})

_BY_CODE: dict[int, type[ServiceError]] = {
    1100: AuthenticationError,
    1101: AuthenticationError,
    1104: NotFoundError,
    1105: NotFoundError,
    4501: AuthenticationError,
    4503: ForbiddenError,
    4510: AuthenticationError,
}


def of_status(status: int, body: Any, fallback: str) -> ServiceError:
    """The exception for an HTTP answer; ``body`` is its ``application/problem+json``, if it had one."""
    told = body if isinstance(body, dict) else {}
    kind = str(told.get("type", ""))
    return BY_STATUS.get(status, ServiceError)(
        str(told.get("detail") or fallback),
        status=status,
        name=kind.rsplit(":", 1)[-1] or None,
        parameter=told.get("parameter"),
        given=told.get("given"),
        allowed=told.get("allowed"),
    )


def of_code(code: int, name: str, message: str) -> ServiceError:
    """The exception for an ``error`` message or a close of the WebSocket."""
    return _BY_CODE.get(code, ServiceError)(message, code=code, name=name)
