"""What the coming and going of instances means for the sequences on them.

Knows no steps: of a lost instance's step nothing is left when this is asked.
"""

from collections.abc import Callable
from typing import assert_never, final

from streamgate.core.commands import Command, InstanceGone, Rejection
from streamgate.core.endings import Endings
from streamgate.core.events import InstanceBack, InstanceLost, Resize
from streamgate.core.fleet import Absence, Departure, Fleet
from streamgate.core.ids import InstanceIndex, Ns
from streamgate.core.instance import Instance
from streamgate.core.lineup import Lineup
from streamgate.core.sequence import Sequence
from streamgate.core.slots import SlotPool
from streamgate.core.tenancies import Tenancies
from streamgate.core.timers import Timers
from streamgate.errors import EndReason


@final
class Crew:
    """The instances of a stateful model. `instances` are those that there are, by index."""

    def __init__(
        self,
        tenancies: Tenancies,
        endings: Endings,
        instances: dict[InstanceIndex, Instance],
        timers: Timers[object],
        out: list[Command],
        new_lineup: Callable[[], Lineup],
    ) -> None:
        self.touched: list[Instance] = []
        self._tenancies = tenancies
        self._endings = endings
        self._slots: SlotPool = tenancies.slots
        self._instances = instances
        self._timers = timers
        self._out = out
        self._new_lineup = new_lineup
        self._fleet = Fleet(timers)

    @property
    def is_deserted(self) -> bool:
        """Whether nobody is left for whom it is worth waiting."""
        return self._fleet.is_deserted

    @property
    def is_away(self) -> bool:
        """Whether every instance that is to stay is lost, for now at least."""
        return not self._slots.open

    def join(self, index: InstanceIndex) -> None:
        """A new instance, free and with free slots."""
        instance = Instance(self._fleet.join(index), self._new_lineup(), self.touched)
        self._instances[index] = instance
        self._slots.add(index)

    def look_at(self, index: InstanceIndex) -> None:
        """An instance, if it is there, may start a step now."""
        instance = self._instances.get(index)
        if instance is not None:
            instance.touch()

    def lose(self, event: InstanceLost, now: Ns) -> None:
        """An instance is lost, and its step is over. Who waits gets a slot elsewhere."""
        index = event.instance
        if self._fleet.lose(index, Ns(now + event.patience_ns)) is not None:
            self._slots.shut(index)
            for sequence in () if event.keeps_states else self._sequences_on(index):
                # One whose START has not run has nothing to lose.
                if not sequence.fresh:
                    self._tenancies.withdraw(sequence)
                    self._endings.finish(
                        sequence, EndReason.ENGINE_LOST, Rejection.INSTANCE_LOST, now
                    )
        self._tenancies.fill(now)

    def welcome(self, event: InstanceBack, now: Ns) -> None:
        """A lost instance is back."""
        member = self._fleet.welcome(event.instance)
        if member is None:
            return
        self._instances[event.instance].touch()
        if member.takes:
            self._slots.reopen(event.instance)
            self._tenancies.fill(now)

    def resize(self, event: Resize, now: Ns) -> None:
        """Take in new instances, and let those go that are left out."""
        assert event.instances, "a model without instances"
        for index in event.instances:
            member = self._fleet.get(index)
            if member is None:
                self.join(index)
            elif member.departure is not None:
                self._fleet.keep(member)
                if member.takes:
                    self._slots.reopen(index)
        for member in self._fleet.others(event.instances):
            self._fleet.dismiss(member, Ns(now + event.grace_ns))
            self._slots.shut(member.index)
            self._instances[member.index].touch()
        self._send_away(now)
        self._tenancies.fill(now)

    def expire(self, subject: Absence | Departure, now: Ns) -> None:
        """An instance took too long to come back, or to go."""
        match subject:
            case Absence():
                self._fleet.give_up(subject)
                reason, rejection = EndReason.ENGINE_LOST, Rejection.INSTANCE_AWAY
            case Departure():
                subject.timer = None
                reason, rejection = EndReason.PREEMPTED, Rejection.SEQUENCE_ENDED
            case _:
                assert_never(subject)
        self._tenancies.hold()
        for sequence in self._sequences_on(subject.member.index):
            self._endings.abort(sequence, reason, rejection, now)
        self._send_away(now)
        self._tenancies.fill(now)

    def is_gone(self, instance: Instance) -> bool:
        """Whether the instance was to go and now has; seen when it is touched."""
        member = instance.member
        if member.departure is None or not self._slots.is_vacant(member.index):
            return False
        if instance.timer is not None:
            self._timers.discard(instance.timer)
        self._fleet.remove(member)
        self._slots.remove(member.index)
        del self._instances[member.index]
        self._out.append(InstanceGone(member.index))
        return True

    def _send_away(self, now: Ns) -> None:
        """Who waits for a slot is rejected where it is not worth waiting."""
        if self.is_deserted:
            for sequence in tuple(self._tenancies.roster):
                if sequence.slot is None:
                    self._endings.abort(
                        sequence, EndReason.ENGINE_LOST, Rejection.INSTANCE_AWAY, now
                    )

    def _sequences_on(self, index: InstanceIndex) -> list[Sequence]:
        return [
            sequence
            for sequence in self._tenancies.roster
            if sequence.slot is not None and sequence.slot.instance == index
        ]
