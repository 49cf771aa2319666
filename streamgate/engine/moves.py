"""Sequences that come from elsewhere, leave for it, or make way for others: where their states go.

On the host's thread, but for what steppers copy. The scheduler decides who goes and when; here is
what it means. What a model hands out is copied behind all steps that its instance was given, and
put in before any that follow, so that a snapshot and its position always agree.

A sequence that has left did not end: nobody is told an end, its model neither, with which it is
no business of the model any more. What the model keeps for it in objects of its own is dropped by
`StateDropper.drop_state`, where the session has that.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from streamgate.core.commands import (
    Command,
    Evict,
    HandOverRefused,
    Leave,
    RestoreRefused,
    SequenceEnded,
    SequenceLeft,
    SequenceParked,
    SequenceStays,
    SlotTaken,
    Step,
)
from streamgate.core.events import Arrived, Copied, Event, HandOver, Hibernate, NotCopied, Restore
from streamgate.core.ids import NO_REQUEST, Ns, OwnerNumber, RequestNumber
from streamgate.engine.arena import schema_of
from streamgate.engine.backups import Backups
from streamgate.engine.counters import Counters
from streamgate.engine.host import Host, Timer
from streamgate.engine.instances import Instances
from streamgate.engine.live import LiveRequest
from streamgate.engine.places import Place, Places
from streamgate.engine.recent_ends import RecentEnds
from streamgate.engine.rejections import restore_failure_for
from streamgate.engine.snapshots import Keepers
from streamgate.engine.tensor_runner import failure_of
from streamgate.errors import Code, Failure
from streamgate.link.contract import OnHandOver, OnReservation, OnSnapshot
from streamgate.model.config import ModelConfig
from streamgate.model.request import SequenceKey
from streamgate.model.snapshot import Snapshot

T = TypeVar("T")

TURN_NS: Final = 250_000_000
"""How long a sequence may keep its slot at the least, though others wait for it and it is busy:
what it costs to change is then a small part of it."""

LATE_NS: Final = 5_000_000_000
"""How long a sequence that is to go is waited for while its model still owes it answers."""


@dataclass(slots=True)
class _Coming:
    """A state on its way to a slot. `on_answer`: who waits for it; None for one that comes back."""

    sequence: SequenceKey
    snapshot: Snapshot
    on_answer: OnReservation | None
    failure: Failure | None = None


@dataclass(slots=True)
class _Going:
    """A sequence whose state is to be copied when no answer is owed to it any more."""

    sequence: SequenceKey
    hand_over: RequestNumber
    timer: Timer | None = None


class Moves:
    """The moves of one model version's sequences.

    The scheduler acts at once on what it is told, and soon on what it is asked.
    """

    def __init__(
        self,
        config: ModelConfig,
        host: Host,
        instances: Instances,
        places: Places,
        recent_ends: RecentEnds,
        counters: Counters,
        next_number: Callable[[], RequestNumber],
        ask: Callable[[Event], None],
        tell: Callable[[Event], None],
    ) -> None:
        self._config = config
        self._model = config.name
        self._schema = schema_of(config.states)
        rules = config.sequences
        self._has_sequences = rules is not None and not rules.iterative
        self._host = host
        self._instances = instances
        self._places = places
        self._recent_ends = recent_ends
        self._counters = counters
        self._next_number = next_number
        self._ask = ask
        self._tell = tell
        self._coming: dict[RequestNumber, _Coming] = {}
        self._hand_overs: dict[RequestNumber, OnHandOver] = {}
        self._going: dict[Place, _Going] = {}
        self._copies: dict[Place, tuple[RequestNumber, Snapshot]] = {}
        self._backups: Backups | None = None
        self._on_snapshot: OnSnapshot | None = None

    def watch(self, on_snapshot: OnSnapshot) -> None:
        """Take snapshots from now on, and let idle sequences hibernate, as the model asks for."""
        self._on_snapshot = on_snapshot
        if not self._has_sequences:
            return
        self._backups = Backups(
            self._config, self._host, self._instances, self._places, on_snapshot
        )
        self._places.on_gone = self._backups.forget
        idle_ns = self._config.durability.hibernate_ns
        if idle_ns > 0:
            self._ask(Hibernate(idle_ns, max(idle_ns, TURN_NS)))

    def ran(self, step: Step, lives: Sequence[LiveRequest | None]) -> None:
        """A step was given to its instance."""
        if self._backups is not None:
            self._backups.ran(step, lives)

    def stop(self) -> None:
        """Nobody moves any more."""
        if self._backups is not None:
            self._backups.stop()

    def change(self, command: SlotTaken | SequenceLeft | SequenceParked) -> None:
        """A slot changes hands: what is to be done in order with the steps of its instance."""
        if not isinstance(command, SlotTaken):
            self._clear(command)
        elif command.restores != NO_REQUEST:
            self._seat(command)

    def perform(self, command: Command) -> None:
        """The rest of what the scheduler says of moves."""
        match command:
            case RestoreRefused():
                self._refuse(command)
            case Leave() | Evict():
                self._copy(command)
            case HandOverRefused():
                self._refuse_hand_over(command)
            case SequenceLeft():
                self._leave(command)
            case SequenceParked():
                self._counters.sequences_parked += 1
            case SequenceStays(instance, slot, generation):
                del self._copies[instance, slot, generation]
            case _:
                raise AssertionError(f"nothing is known of {command!r}")

    # -- from elsewhere

    def restore(
        self,
        sequence: SequenceKey,
        owner: OwnerNumber,
        snapshot: Snapshot,
        on_answer: OnReservation,
    ) -> None:
        """A sequence comes, with its state. What can be seen to be wrong takes no slot."""
        trouble = self._trouble_with(snapshot)
        if trouble is not None:
            self._recent_ends.note_moved(sequence)
            self._host.call_soon(partial(on_answer, trouble))
            return
        number = self._next_number()
        self._coming[number] = _Coming(sequence, snapshot, on_answer)
        self._ask(Restore(number, sequence, owner))

    def _trouble_with(self, snapshot: Snapshot) -> Failure | None:
        if not self._has_sequences:
            return self._unsupported()
        if snapshot.parts or snapshot.schema != self._schema:
            found = "an ensemble's" if snapshot.parts else f"of state schema {snapshot.schema}"
            return Failure(
                Code.INVALID_ARG,
                f"snapshot is {found}, expected one of state schema {self._schema} "
                f"(model '{self._model}')",
            )
        return None

    def _refuse(self, command: RestoreRefused) -> None:
        """The scheduler does not let it in."""
        coming = self._coming.pop(command.request)
        self._recent_ends.note_moved(coming.sequence)
        assert coming.on_answer is not None
        coming.on_answer(restore_failure_for(command.reason, self._model, coming.sequence))

    def _seat(self, taken: SlotTaken) -> None:
        """A sequence whose state comes has its slot: put it in, before any step of it."""
        coming = self._coming[taken.restores]
        sequence, snapshot, slot = coming.sequence, coming.snapshot, taken.slot
        place = (taken.instance, slot, taken.generation)
        self._places.arrive(sequence, place, snapshot.position)

        def put(keepers: Keepers) -> None:
            keepers.begin(slot)
            keepers.put(slot, sequence, snapshot)

        asked = self._instances.ask_keepers(taken.instance, put)
        asked.add_done_callback(self._later(partial(self._note_put, taken.restores, place)))

    def _note_put(self, number: RequestNumber, place: Place, done: "Future[None]") -> None:
        coming = self._coming.get(number)
        if coming is None:
            return  # it has ended meanwhile
        error = done.exception()
        if isinstance(error, Exception):
            coming.failure = failure_of(error)
            self._places.clear(coming.sequence, place)
            self._tell(Arrived(number, failed=True))
            return
        del self._coming[number]
        self._counters.sequences_restored += 1
        self._tell(Arrived(number))
        if coming.on_answer is not None:
            coming.on_answer(None)

    def has_ended_unseen(self, ended: SequenceEnded) -> bool:
        """Whether a sequence that ended was to be restored and is not yet: who asked for it is
        told so, and nobody else anything."""
        coming = self._coming.pop(ended.restores, None)
        if coming is None or coming.on_answer is None:
            return False
        self._recent_ends.note_moved(coming.sequence)
        coming.on_answer(
            coming.failure
            or Failure(
                Code.UNAVAILABLE,
                f"sequence {coming.sequence} of model '{self._model}' ended "
                f"({ended.reason.value}) before its state was restored",
            )
        )
        return True

    # -- here and now

    def take_snapshot(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        """Copy a sequence that stays, behind the steps that its instance was given."""
        place = self._places.place_of(sequence)
        failure: Failure | None = None
        if not self._has_sequences:
            failure = self._unsupported()
        elif place is None:
            text = f"no step of sequence {sequence} of model '{self._model}' has run here"
            failure = Failure(Code.NOT_FOUND, text)
        elif self._places.owed(sequence):
            text = f"model '{self._model}' still owes sequence {sequence} answers"
            failure = Failure(Code.UNAVAILABLE, text)
        if failure is not None:
            self._host.call_soon(partial(on_answer, failure))
            return
        assert place is not None
        instance, slot, _ = place
        position = self._places.position_of(sequence)
        asked = self._instances.ask_keepers(
            instance, lambda keepers: keepers.take(slot, sequence, position)
        )

        def note(done: "Future[Snapshot]") -> None:
            error = done.exception()
            on_answer(failure_of(error) if isinstance(error, Exception) else done.result())

        asked.add_done_callback(self._later(note))

    # -- away

    def hand_over(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        """A sequence is to leave after what it has queued."""
        if not self._has_sequences:
            self._host.call_soon(partial(on_answer, self._unsupported()))
            return
        number = self._next_number()
        self._hand_overs[number] = on_answer
        self._ask(HandOver(number, sequence))

    def _refuse_hand_over(self, command: HandOverRefused) -> None:
        """It is not there, or not any more."""
        on_answer = self._hand_overs.pop(command.request, None)
        if on_answer is not None:
            text = f"no sequence of this ID of model '{self._model}' is here to be handed over"
            on_answer(Failure(Code.NOT_FOUND, text))

    def _copy(self, command: Leave | Evict) -> None:
        """A sequence is to go: copy its state, as soon as its model owes it no answer."""
        number = command.request if isinstance(command, Leave) else NO_REQUEST
        place = (command.instance, command.slot, command.generation)
        going = _Going(command.sequence, number)
        if self._places.owed(command.sequence):
            give_up_at = Ns(self._host.now() + LATE_NS)
            going.timer = self._host.call_at(give_up_at, partial(self._give_up, place))
            self._going[place] = going
        else:
            self._take(place, going)

    def look_again(self) -> None:
        """Answers have been given: who waits for them may go now."""
        if self._backups is not None:
            self._backups.look_again()
        if not self._going:
            return
        for place, going in list(self._going.items()):
            if not self._places.owed(going.sequence):
                del self._going[place]
                if going.timer is not None:
                    going.timer.cancel()
                self._take(place, going)

    def _give_up(self, place: Place) -> None:
        going = self._going.pop(place, None)
        if going is not None:
            text = f"model '{self._model}' still owes sequence {going.sequence} answers"
            self._stay(place, going, Failure(Code.UNAVAILABLE, text))

    def _take(self, place: Place, going: _Going) -> None:
        instance, slot, _ = place
        sequence, position = going.sequence, self._places.position_of(going.sequence)
        asked = self._instances.ask_keepers(
            instance, lambda keepers: keepers.take(slot, sequence, position)
        )
        asked.add_done_callback(self._later(partial(self._note_copy, place, going)))

    def _note_copy(self, place: Place, going: _Going, done: "Future[Snapshot]") -> None:
        error = done.exception()
        if isinstance(error, Exception):
            self._stay(place, going, failure_of(error))
            return
        number = self._next_number()
        self._copies[place] = number, done.result()
        self._tell(Copied(*place, number))

    def _stay(self, place: Place, going: _Going, failure: Failure) -> None:
        self._tell(NotCopied(*place, for_ever=failure.code is Code.UNSUPPORTED))
        on_answer = self._hand_overs.pop(going.hand_over, None)
        if on_answer is not None:
            on_answer(failure)

    def _clear(self, command: SequenceLeft | SequenceParked) -> None:
        """A sequence has gone from its slot, which others may have now."""
        place = (command.instance, command.slot, command.generation)
        self._places.clear(command.sequence, place)
        if isinstance(command, SequenceParked):
            number, snapshot = self._copies.pop(place)
            self._coming[number] = _Coming(command.sequence, snapshot, None)

    def _leave(self, command: SequenceLeft) -> None:
        """A sequence is not here any more: whoever is to have it gets it."""
        place = (command.instance, command.slot, command.generation)
        _, snapshot = self._copies.pop(place)
        self._recent_ends.note_moved(command.sequence)
        self._counters.sequences_left += 1
        on_answer = self._hand_overs.pop(command.request, None)
        if on_answer is not None:
            on_answer(snapshot)
        elif self._on_snapshot is not None:
            self._on_snapshot(command.sequence, snapshot, True)

    def _later(self, note: Callable[["Future[T]"], None]) -> Callable[["Future[T]"], None]:
        """From a stepper's thread: on the host's, note what came of it."""
        return lambda done: self._host.post(partial(note, done))

    def _unsupported(self) -> Failure:
        text = f"model '{self._model}' has no sequences of its clients' naming that could move"
        return Failure(Code.UNSUPPORTED, text)
