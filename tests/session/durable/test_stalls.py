"""Streams whose results stop: the decision in simulated time, and what a durable link does."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgate.errors import Code, EndReason
from streamgate.session.durable.stalls import Sign, Stalls
from tests.durable.models import hashes, mix
from tests.session.durable.house import DurableHouse

LIMIT = 100


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, Sign[int]]]:
    """One stream, looked at again and again: moments that rise, and what is seen."""
    now, epoch, position, heard = 0, 1, 0, 0
    found = []
    for _ in range(draw(st.integers(1, 40))):
        now += draw(st.integers(1, 60))
        match draw(st.sampled_from(["silent", "silent", "silent", "result", "step", "anew"])):
            case "result":
                heard += 1
            case "step":
                position, heard = position + 1, heard + 1
            case "anew":
                epoch, position, heard = epoch + 1, draw(st.integers(0, position)), 0
        is_held = draw(st.sampled_from([False, False, False, True]))
        found.append((now, Sign(7, epoch, position, heard, is_held)))
    return found


@given(histories())
def test_a_stall_is_told_once_and_only_after_silence(history: list[tuple[int, Sign[int]]]) -> None:
    stalls: Stalls[int] = Stalls(LIMIT)
    last: Sign[int] | None = None
    since = 0
    is_told = False
    counts: dict[int, int] = {}
    for now, sign in history:
        at = sign.epoch, sign.position, sign.heard
        has_changed = last is None or at != (last.epoch, last.position, last.heard)
        if has_changed:
            is_told = False
        if has_changed or sign.is_held:
            since = now
        last = sign
        found = stalls.look(now, [sign])
        assert len(found) <= 1
        for stall in found:
            assert not is_told
            assert stall.position == sign.position
            assert stall.silent_ns == now - since
            assert stall.silent_ns >= LIMIT << min(stall.count - 1, 6)
            counts[stall.position] = stall.count
            is_told = True
        # The longest patience is for a request that has stalled most often.
        if not is_told:
            assert now - since < LIMIT << min(max(counts.values(), default=0), 6)
        assert stalls.stalled <= 1


def test_each_stall_of_one_request_takes_twice_as_long() -> None:
    stalls: Stalls[int] = Stalls(LIMIT)
    now, told = 0, []
    for epoch in range(1, 4):
        began = now
        while True:
            now += 10
            found = stalls.look(now, [Sign(7, epoch, 3, 1, is_held=False)])
            if found:
                told.append((found[0].count, now - began))
                break
    assert told == [(1, 110), (2, 210), (3, 410)]
    assert stalls.stalled == 1
    # It has got past it: a later one is another matter.
    assert stalls.look(now + 10, [Sign(7, 4, 4, 9, is_held=False)]) == []
    assert stalls.stalled == 0
    (stall,) = stalls.look(now + 110, [Sign(7, 4, 4, 9, is_held=False)])
    assert (stall.count, stall.position) == (1, 4)
    # What waits for nothing has not stalled.
    assert stalls.look(now + 120, []) == []
    assert stalls.stalled == 0


def test_a_sequence_that_stalls_goes_on_elsewhere(caplog: pytest.LogCaptureFixture) -> None:
    house = DurableHouse(2, stall_ns=1_000_000_000)
    house.run(7, 1, 2)
    first = house.at(7)
    waiting = house.send(7, 4)
    house.wait(0.9)
    assert 7 in first.lives
    with caplog.at_level(logging.WARNING):
        house.wait(1)
    (line,) = [record.message for record in caplog.records if "has stalled" in record.message]
    assert "sequence 7 of model 'm' has stalled at place" in line
    assert "position 2" in line
    house.finish()
    assert 7 not in first.lives
    assert waiting.results == [mix(hashes([1, 2, 4])[-1], 0)]
    assert house.counted.stalled == 1
    house.wait(0.3)
    assert (house.counted.stalls, house.counted.stalled, house.counted.recovered) == (1, 0, 1)
    house.come_to_rest()


def test_one_that_waits_for_a_slot_or_for_its_client_does_not_stall() -> None:
    house = DurableHouse(1, stall_ns=1_000_000_000)
    # Nothing was heard of it, and no slot is known that it has.
    house.send(8, 1, start=True)
    house.run(7, 1)
    paused = house.send(7, 4)
    house.link.pause([paused.number])
    house.wait(10)
    assert house.counted.stalls == 0
    house.link.resume([paused.number])
    house.wait(1.5)
    assert house.counted.stalls == 1
    house.come_to_rest()


def test_a_request_that_stalls_again_is_quarantined() -> None:
    house = DurableHouse(2, stall_ns=1_000_000_000)
    house.run(7, 1)
    house.run(8, 1)
    stuck = house.send(7, 4)
    behind = house.send(7, 5)
    for _ in range(2):
        house.wait(2.5)
        # What came before is run again, the request that stalls is not.
        place = house.at(7) if 7 in house.live else None
        while place is not None and len(place.lives[7][0].queue) > 2:
            place.work(7)
    house.wait(2.5)
    assert stuck.final is not None
    assert stuck.final.failure is not None
    assert "stuck 2 times" in stuck.final.failure.message
    assert behind.final is not None
    assert behind.final.failure is not None
    assert behind.final.failure.code is Code.CANCELLED
    assert [tenancy.ends for tenancy in house.all] == [[EndReason.ERROR], []]
    assert (house.counted.stalls, house.counted.quarantined) == (2, 1)
    house.come_to_rest()


def test_what_can_not_begin_anew_is_only_told() -> None:
    house = DurableHouse(2, stall_ns=1_000_000_000, log_bytes=10)
    house.run(7, 1)
    waiting = house.send(7, 4)
    house.wait(10)
    assert (house.counted.stalls, house.counted.stalled, house.counted.lost) == (1, 1, 0)
    house.finish()
    assert waiting.results == [mix(hashes([1, 4])[-1], 0)]
    house.wait(1)
    assert house.counted.stalled == 0
    house.come_to_rest()


def test_lags_are_looked_at_each_second() -> None:
    house = DurableHouse(1)
    house.run(7, 1)
    house.run(8, 1)
    house.wait(2.02)
    house.send(8, 4)
    house.wait(3)
    lags = house.counted.lag_seconds
    assert house.counted.stalls == 0
    # Two looks at two idle sequences, and three at one that is idle and one that lags 1, 2, 3 s.
    assert sum(lags.counts) == 10
    assert lags.counts[0] == 7
    assert 0 < lags.total <= 6
    house.come_to_rest()
