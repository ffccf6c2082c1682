"""How long to wait before trying again."""

from __future__ import annotations

import random

FIRST_SECONDS = 0.2
LONGEST_SECONDS = 15.0


class Backoff:
    """Doubles up to a limit, and scatters, so that many clients do not come back at one instant."""

    def __init__(self) -> None:
        self._next = FIRST_SECONDS

    def reset(self) -> None:
        self._next = FIRST_SECONDS

    def delay(self, told: float | None = None) -> float:
        """Seconds to wait. ``told`` is the service's own wish (``goaway``, ``Retry-After``): never less than it."""
        scattered = self._next * random.uniform(0.5, 1.0)  # noqa: S311  no secret depends on it
        self._next = min(self._next * 2, LONGEST_SECONDS)
        return scattered if told is None else told + scattered / 4
