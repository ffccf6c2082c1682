"""Continuity is checked, and positions are kept whole: the parts without a network."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

import candela
from candela import _positions
from candela._backoff import LONGEST_SECONDS, Backoff
from candela._buffer import Buffer
from candela._follow import Follower, Hole, Retry, Told
from candela._positions import Position

TICKS = "ticks:USD/COP"


def tick(seq: int, since: int | None = None) -> dict[str, Any]:
    covered = {} if since is None else {"from": since}
    return {"type": "market_data", "channel": TICKS, "seq": seq, **covered}


def subscribed(seq: int, **answer: Any) -> dict[str, Any]:
    return {"type": "subscribed", "id": 1, "channels": [{"channel": TICKS, "seq": seq, "epoch": "aaaa", **answer}]}


def follower(at: int = 5) -> Follower:
    following = Follower({}, [TICKS])
    following.connected()
    following.hear(subscribed(at))
    return following


def handed_on(following: Follower, *messages: dict[str, Any]) -> list[Any]:
    told = [told for message in messages for told in following.hear(message)]
    return [one.message.get("seq") for one in told if one.message is not None]


def test_what_follows_is_handed_on_and_what_comes_twice_is_not() -> None:
    following = follower()
    assert handed_on(following, tick(6), tick(6), tick(5), tick(9, 7)) == [6, 9]
    assert following.positions == {TICKS: Position("aaaa", 9)}
    assert following.duplicates == 2


@pytest.mark.parametrize(
    "message",
    [
        tick(7),
        tick(9, 7),
        {"type": "skipped", "channel": TICKS, "from": 8, "seq": 9, "why": "x"},
        {"type": "heartbeat", "heads": {TICKS: {"epoch": "aaaa", "seq": 6}}},
        {"type": "replay_end", "channel": TICKS, "seq": 6, "count": 1},
    ],
)
def test_a_hole_ends_the_connection(message: dict[str, Any]) -> None:
    following = follower()
    with pytest.raises(Hole):
        following.hear(message)
    assert following.positions == {TICKS: Position("aaaa", 5)}, "the next connection goes on after the last good message"


def test_what_the_service_says_it_cannot_bring_is_handed_on() -> None:
    following = follower()
    skipped = {"type": "skipped", "channel": TICKS, "from": 6, "seq": 8, "why": "position_expired"}
    anew = {"type": "discontinuity", "channel": TICKS, "old_epoch": "aaaa", "epoch": "bbbb", "seq": 2, "why": "x"}
    assert handed_on(following, skipped, tick(9), anew, tick(3)) == [8, 9, 2, 3]
    assert following.positions == {TICKS: Position("bbbb", 3)}


def test_the_next_connection_goes_on_or_says_why_not() -> None:
    following = follower()
    following.connected()
    assert handed_on(following, subscribed(7, recovered=True, replayed=2), tick(6), tick(7)) == [6, 7]
    following.connected()
    (told,) = following.hear(subscribed(20, recovered=False, reason="position_expired"))
    assert told.message is not None
    assert (told.message["type"], told.message["why"]) == ("discontinuity", "position_expired")
    following.connected()
    with pytest.raises(Hole):
        following.hear(subscribed(25, recovered=True, replayed=3))


def test_errors_are_temporary_or_final() -> None:
    refused = {"type": "error", "code": 1402, "name": "not_ready", "message": "not yet", "temporary": True}
    with pytest.raises(Retry):
        follower().hear(refused)
    final = {"type": "error", "code": 1105, "name": "unknown_symbol", "message": "no such pair", "temporary": False}
    with pytest.raises(candela.NotFoundError, match="no such pair"):
        follower().hear(final)


def test_positions_are_replaced_in_one_step(tmp_path: Path) -> None:
    path, over = tmp_path / "positions.json", threading.Event()
    _positions.save(path, {TICKS: Position("aaaa", 0)})

    def write() -> None:
        for seq in range(1, 200):
            _positions.save(path, {f"{TICKS}{n}": Position("aaaa", seq) for n in range(20)})
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not over.is_set():
        found = _positions.load(path)
        assert len({at.seq for at in found.values()}) == 1, "a file of two saves"
        reads += 1
    writer.join()
    assert reads > 10
    assert [left.name for left in tmp_path.iterdir()] == ["positions.json"]
    path.write_text('{"ticks:USD/COP": {"ep')
    with pytest.raises(ValueError, match="is not a file of positions"):
        _positions.load(path)
    assert _positions.load(tmp_path / "none.json") == {}


def test_a_full_queue_does_what_its_policy_says() -> None:
    async def fill() -> None:
        waits = Buffer(2, "wait")
        for seq in (1, 2):
            await waits.put(Told(tick(seq), TICKS, Position("a", seq)))
        third = asyncio.create_task(waits.put(Told(tick(3), TICKS, Position("a", 3))))
        await asyncio.sleep(0.01)
        assert not third.done()
        assert [(await waits.get()).message["seq"] for _ in range(3)] == [1, 2, 3]  # type: ignore[union-attr, index]

        conflates = Buffer(2, "conflate")
        bar = {"type": "bar", "channel": "bars.5m:USD/COP", "seq": 1}
        for message in (tick(1), tick(2), tick(3), tick(4)):
            await conflates.put(Told(message, TICKS, Position("a", message["seq"])))
        queued = [await conflates.get() for _ in range(2)]
        assert [told.message for told in queued if told] == [tick(1), tick(4, 2)]
        assert conflates.conflated == 2

        raises = Buffer(1, "raise")
        await raises.put(Told(bar, "bars.5m:USD/COP", None))
        with pytest.raises(candela.SlowConsumerError):
            await raises.put(Told(bar, "bars.5m:USD/COP", None))

    asyncio.run(fill())


def test_the_wait_doubles_scatters_and_obeys_the_service() -> None:
    backoff = Backoff()
    delays = [backoff.delay() for _ in range(12)]
    assert delays[0] <= 0.2
    assert LONGEST_SECONDS / 2 <= delays[-1] <= LONGEST_SECONDS
    backoff.reset()
    assert 3.0 <= backoff.delay(3.0) < 3.1


def test_positions_are_read_back_as_the_service_wants_them() -> None:
    positions = {TICKS: Position("aaaa", 7)}
    assert _positions.from_wire(json.loads(json.dumps(_positions.to_wire(positions)))) == positions
