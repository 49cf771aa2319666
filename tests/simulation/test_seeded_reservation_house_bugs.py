"""The simulation catches what reservations can get wrong between connection and scheduler."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis.stateful import run_state_machine_as_test

from streamgate.core.events import Reserve
from streamgate.core.ids import Ns, OwnerNumber
from streamgate.core.roster import Roster
from streamgate.core.sequence import Sequence
from streamgate.core.tenancies import Tenancies
from streamgate.engine.runtime import ModelRuntime
from streamgate.errors import EndReason
from streamgate.link.contract import OnReservation
from streamgate.model.request import SequenceKey
from streamgate.session.connection import SessionConnection
from streamgate.session.positions import Positions
from tests.model.settings import CAUGHT, ONLY_LONG, SEEDED
from tests.simulation.house_machine import ReservingHouseMachine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Bug = Callable[[pytest.MonkeyPatch], None]

reserve = Tenancies.reserve


def nothing(*_: Any, **__: Any) -> None:
    return None


def its_start_supersedes_it(patch: pytest.MonkeyPatch) -> None:
    def forget(self: Tenancies, key: SequenceKey, now: Ns) -> Sequence | None:
        sequence = reserve(self, key, now)
        if sequence is not None:
            sequence.reserved = False
        return sequence

    patch.setattr(Tenancies, "reserve", forget)


def reserved_for_ever(patch: pytest.MonkeyPatch) -> None:
    def unwatched(self: Tenancies, key: SequenceKey, now: Ns) -> Sequence | None:
        sequence = reserve(self, key, now)
        if sequence is not None:
            self.idle.stop(sequence)
        return sequence

    patch.setattr(Tenancies, "reserve", unwatched)


def its_owner_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    note_owner = Roster.note_owner

    def forget(self: Roster, sequence: Sequence, owner: OwnerNumber) -> None:
        if not sequence.reserved:
            note_owner(self, sequence, owner)

    patch.setattr(Roster, "note_owner", forget)


def nobody_hears_of_its_end(patch: pytest.MonkeyPatch) -> None:
    keep = Positions.reserve

    def without_listener(self: Positions, key: SequenceKey, _: Any) -> bool:
        return keep(self, key, None)

    patch.setattr(Positions, "reserve", without_listener)


def its_start_has_a_place_of_its_own(patch: pytest.MonkeyPatch) -> None:
    """As if the START had not been what the reservation waited for."""

    def unprepared(self: Positions, key: SequenceKey, _: Any) -> bool:
        return key not in self._tenancies

    patch.setattr(Positions, "reserve", unprepared)
    patch.setattr(Positions, "refuse_reservation", nothing)


def refused_reservations_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Positions, "refuse_reservation", nothing)


def it_waits_for_the_next_request(patch: pytest.MonkeyPatch) -> None:
    def without_turn(
        self: ModelRuntime, sequence: SequenceKey, owner: OwnerNumber, on_answer: OnReservation
    ) -> None:
        number = self._next_number()
        self._bookings.note(number, sequence, on_answer)
        self._scheduler.receive(Reserve(number, sequence, owner), self._host.now())

    patch.setattr(ModelRuntime, "reserve", without_turn)


def a_lost_connection_keeps_what_it_reserved(patch: pytest.MonkeyPatch) -> None:
    """It remembers only the models to which it has sent requests."""
    ask = SessionConnection.ask_to_reserve

    def forget(self: SessionConnection, *rest: Any) -> Any:
        routes = dict(self._routes)
        route = ask(self, *rest)
        self._routes = routes
        return route

    patch.setattr(SessionConnection, "ask_to_reserve", forget)


def its_end_is_taken_for_that_of_a_start(patch: pytest.MonkeyPatch) -> None:
    end = Positions.end

    def confuse(self: Positions, key: SequenceKey, reason: EndReason, place: int = 0) -> None:
        end(self, key, reason, max(place, 0))

    def say_started(self: Tenancies, sequence: Sequence, reason: EndReason) -> None:
        sequence.reserved = False
        say_ended(self, sequence, reason)

    say_ended = Tenancies._say_ended
    patch.setattr(Positions, "end", confuse)
    patch.setattr(Tenancies, "_say_ended", say_started)


@pytest.mark.parametrize(
    "bug",
    [
        its_start_supersedes_it,
        reserved_for_ever,
        pytest.param(its_owner_is_forgotten, marks=ONLY_LONG),
        nobody_hears_of_its_end,
        its_start_has_a_place_of_its_own,
        refused_reservations_stay,
        it_waits_for_the_next_request,
        a_lost_connection_keeps_what_it_reserved,
        its_end_is_taken_for_that_of_a_start,
    ],
    ids=lambda bug: bug.__name__,
)
def test_bug_is_caught(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    with pytest.raises(CAUGHT):
        run_state_machine_as_test(ReservingHouseMachine, settings=SEEDED)
