"""How far each channel was read, on disk and in memory."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Position(NamedTuple):
    """A place in a channel's log: its incarnation, and the number of the last message."""

    epoch: str | None
    seq: int


Positions = dict[str, Position]


def to_wire(positions: Positions) -> dict[str, dict[str, Any]]:
    """As ``since`` of a subscribe, and as the file holds it."""
    return {channel: {"epoch": at.epoch, "seq": at.seq} for channel, at in sorted(positions.items())}


def from_wire(value: Any) -> Positions:
    if not isinstance(value, dict):
        raise TypeError("positions are an object of channels")
    return {str(channel): Position(at["epoch"], int(at["seq"])) for channel, at in value.items()}


def checked(given: Mapping[Any, Any]) -> Positions:
    """The positions of another stream."""
    for channel, at in given.items():
        if not isinstance(at, Position):
            raise ValueError(f"resume has {at!r} for {channel!r}; give `Live.positions` of another stream, or a file")  # noqa: TRY004
    return dict(given)


def load(path: Path) -> Positions:
    """Reads the file; none yet is no positions, and one that is not a file of positions is an error."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        return from_wire(json.loads(text))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is not a file of positions ({error}); give another, or remove it to start without positions"
        ) from error


def save(path: Path, positions: Positions) -> None:
    """Replaces the file in one step: a reader, or a crash at any instant, finds the old one or the new one whole."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    new = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(to_wire(positions), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
