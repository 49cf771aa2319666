"""How long sequences live, where they move and come from elsewhere: their lifetime goes on."""

from dataclasses import replace
from typing import Any

from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.errors import EndReason, Failure
from streamgate.link.contract import OnReservation
from streamgate.model.request import Request, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.session.durable.link import DurableLink
from tests.session.durable.fake_place import FakePlace, request_of
from tests.session.durable.house import DurableHouse


def mortal_house(places: int = 1) -> DurableHouse:
    """Sequences live for 10 s. Engines here do nothing about it."""
    house = DurableHouse(0)
    config = house.config.sequences
    assert config is not None
    limited = replace(config, max_lifetime_ns=10_000_000_000, max_idle_ns=0)
    house.config = replace(house.config, scheduling=limited)
    house.link = DurableLink(house.config, "1", house.host)
    house.link.watch_sequences(house._on_end, lambda key, warning: None)
    for _ in range(places):
        house.add()
    return house


def test_a_sequence_lives_no_longer_for_having_moved() -> None:
    house = mortal_house()
    (place,) = house.places
    for key in (1, 2, 3):
        house.run(key, 1)
    house.wait(6)
    place.hibernate(3)
    place.lives.pop(2)
    place.on_end(2, EndReason.ENGINE_LOST, 0)
    house.wait(5)
    # The first has never been away: its engine, which does nothing here, sees to it.
    assert [tenancy.ends for tenancy in house.all] == [
        [],
        [EndReason.LIFETIME],
        [EndReason.LIFETIME],
    ]
    house.come_to_rest()


async def test_where_a_sequence_goes_it_is_told_how_long_it_has_lived() -> None:
    """By a snapshot, and by the START that is run again without one."""
    house = mortal_house(2)
    house.run(1, 1)
    house.run(2, 1)
    house.wait(6)
    told: dict[SequenceKey, int] = {}
    for place in house.places:
        note_ages(place, told)
    house.link._moves.leave(house.link._sequences.lanes[1])
    lost = house.at(2)
    lost.lives.pop(2)
    lost.on_end(2, EndReason.ENGINE_LOST, 0)
    house.finish()
    assert told.keys() == {1, 2}
    assert all(6_000_000_000 <= age_ns < 6_100_000_000 for age_ns in told.values()), told
    house.wait(5)
    assert [tenancy.ends for tenancy in house.all] == [[EndReason.LIFETIME]] * 2
    house.come_to_rest()


def note_ages(place: FakePlace, told: dict[SequenceKey, int]) -> None:
    """Keep what it hears of the age of each sequence that comes."""
    submit, restore = place.submit, place.restore

    def submitted(request: Request, *rest: Any) -> RequestNumber:
        if request.start:
            told[request.sequence] = request.age_ns
        return submit(request, *rest)

    def restored(
        key: SequenceKey, owner: OwnerNumber, snapshot: Snapshot, on_answer: OnReservation
    ) -> None:
        told[key] = snapshot.age_ns
        restore(key, owner, snapshot, on_answer)

    place.submit = submitted  # type: ignore[method-assign, assignment]
    place.restore = restored  # type: ignore[method-assign, assignment]


def test_a_sequence_from_elsewhere_has_lived_already() -> None:
    house = mortal_house()
    (place,) = house.places
    ends: list[tuple[SequenceKey, EndReason, int]] = []
    house.link.watch_sequences(lambda *end: ends.append(end), lambda key, warning: None)
    answers: list[Failure | None] = []
    age_ns = 7_000_000_000
    kept = Snapshot(3, "hash", objects=b"5", age_ns=age_ns)
    house.link.restore(1, OwnerNumber(1), kept, answers.append)
    start = request_of(2, 1, start=True)
    start.age_ns = age_ns
    house.link.submit(start, lambda response: None, OwnerNumber(1), 0)
    house.finish()
    assert answers == [None]
    assert set(place.lives) == {1, 2}
    house.wait(2.9)
    assert ends == []
    house.wait(0.2)
    assert sorted(ends) == [(1, EndReason.LIFETIME, 0), (2, EndReason.LIFETIME, 0)]
    assert place.lives == {}


def test_who_hands_a_sequence_over_says_how_long_it_has_lived() -> None:
    house = DurableHouse(1)
    house.run(7, 1)
    house.wait(4)
    answers: list[Snapshot | Failure] = []
    house.link.hand_over(7, answers.append)
    house.finish()
    (snapshot,) = answers
    assert isinstance(snapshot, Snapshot)
    assert 4_000_000_000 <= snapshot.age_ns < 4_100_000_000
