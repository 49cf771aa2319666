"""Snapshots that nobody asked for one by one, so that sequences can be recovered.

On the host's thread, but for the copying: that is done by the thread that runs the steps, right
behind the step after which a snapshot is due, so that none is stopped for it and position and state
agree. A snapshot is handed over only when all that its sequence was answered up to there has been
delivered. Of a model that answers later than its steps are over, none is taken while it still owes
the sequence an answer. Of a sequence whose first one nobody keeps, no other is taken.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from streamgate.core.commands import Step
from streamgate.core.ids import InstanceIndex, SlotIndex
from streamgate.engine.alarm import Alarm
from streamgate.engine.due import Due
from streamgate.engine.host import Host
from streamgate.engine.instances import Instances
from streamgate.engine.live import LiveRequest
from streamgate.engine.places import Place, Places
from streamgate.engine.snapshots import Keepers
from streamgate.errors import Code, StreamGateError
from streamgate.link.contract import OnSnapshot
from streamgate.model.config import ModelConfig
from streamgate.model.request import SequenceKey
from streamgate.model.snapshot import Snapshot

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Copy:
    """A snapshot to be taken, and the requests that must have been answered before. `taken` is
    None when it could not be; `failure` says why, if that is not because an answer is owed."""

    sequence: SequenceKey
    place: Place
    position: int
    lives: Sequence[LiveRequest]
    taken: Snapshot | None = None
    failure: StreamGateError | None = None

    def take(self, keepers: Keepers) -> None:
        """On the stepper's thread, behind the step. What a lost step has left is no state of its
        sequence."""
        if any(live.lost or not live.answered for live in self.lives):
            return
        try:
            self.taken = keepers.take(self.place[1], self.sequence, self.position)
        except StreamGateError as error:
            self.failure = error


class Backups:
    """The snapshots of one model version's sequences."""

    def __init__(
        self,
        config: ModelConfig,
        host: Host,
        instances: Instances,
        places: Places,
        on_snapshot: OnSnapshot,
    ) -> None:
        self._model = config.name
        self._host = host
        self._instances = instances
        self._places = places
        self._on_snapshot = on_snapshot
        self._due = Due(config.durability)
        self._alarm = Alarm(host, self._on_alarm)
        self._unripe: list[_Copy] = []
        self._objects_bytes = 0
        self._is_pinned = False

    def ran(self, step: Step, lives: Sequence[LiveRequest | None]) -> None:
        """A step was given to its instance: take what is due behind it."""
        if self._is_pinned:
            return
        now = self._host.now()
        is_due = self._due.step
        copies = []
        for row, live in zip(step.rows, lives, strict=True):
            sequence = row.sequence
            if row.start:
                self._due.begin(sequence)
            if live is None or not sequence or row.end or not is_due(sequence, now):
                continue
            if self._due.is_room(sequence, self._size(step.instance, row.slot), now):
                place = (step.instance, row.slot, row.generation)
                owed = self._places.owed(sequence)
                copies.append(_Copy(sequence, place, live.position, owed))
        if copies:
            self._ask(step.instance, copies)
        self._alarm.set(self._due.next_at())

    def forget(self, sequence: SequenceKey) -> None:
        """A sequence is not here any more."""
        self._due.forget(sequence)

    def look_again(self) -> None:
        """Answers have been delivered: hand over what has waited for them."""
        if self._unripe:
            unripe, self._unripe = self._unripe, []
            for copy in unripe:
                self._hand_over(copy)

    def stop(self) -> None:
        """Take no more."""
        self._alarm.stop()

    def _on_alarm(self) -> None:
        now = self._host.now()
        for sequence in self._due.overdue(now):
            place = self._places.place_of(sequence)
            if place is None or not self._due.is_room(sequence, self._size(*place[:2]), now):
                continue
            position = self._places.position_of(sequence)
            copy = _Copy(sequence, place, position, self._places.owed(sequence))
            self._ask(place[0], [copy])
        self._alarm.set(self._due.next_at())

    def _size(self, instance: InstanceIndex, slot: SlotIndex) -> int:
        """About how large a snapshot will be, in bytes."""
        return self._instances.state_bytes(instance, slot) + self._objects_bytes

    def _ask(self, instance: InstanceIndex, copies: list[_Copy]) -> None:
        def take(keepers: Keepers) -> None:
            for copy in copies:
                copy.take(keepers)

        asked = self._instances.ask_keepers(instance, take)
        asked.add_done_callback(lambda done: self._host.post(partial(self._note, copies, done)))

    def _note(self, copies: list[_Copy], done: "Future[None]") -> None:
        """They were taken, or not: when the instance was gone before, none was."""
        lost = done.exception()
        if lost is not None:
            log.debug("no snapshots of model '%s': %s", self._model, lost)
        now = self._host.now()
        for copy in copies:
            if not self._places.is_at(copy.sequence, copy.place):
                continue  # it has left, or is another's now; `forget` knew
            if copy.taken is None:
                self._due.missed(copy.sequence, now)
                if copy.failure is not None:
                    self._note_failure(copy.failure)
                continue
            size = copy.taken.size_bytes
            has_news = self._places.position_of(copy.sequence) != copy.position
            self._due.taken(copy.sequence, size, now, has_news=has_news)
            self._objects_bytes = len(copy.taken.objects or b"")
            self._hand_over(copy)
        self._alarm.set(self._due.next_at())

    def _note_failure(self, failure: StreamGateError) -> None:
        if failure.code is Code.UNSUPPORTED:
            self._is_pinned = True
            log.info("no snapshots of model '%s': %s", self._model, failure)
        else:
            log.warning("a snapshot of model '%s' failed: %s", self._model, failure)

    def _hand_over(self, copy: _Copy) -> None:
        if not self._places.is_at(copy.sequence, copy.place):
            return
        if not all(live.closed for live in copy.lives):
            self._unripe.append(copy)
            return
        assert copy.taken is not None
        if self._on_snapshot(copy.sequence, copy.taken, False) is False:
            # An ensemble's, which sees to it that all of its models are saved together.
            self._due.let_be(copy.sequence)
