"""Whose turn is next: the instances of a stateless model, the longest idle one first.

Knows no requests. An instance that is away or is to go gets no step; one that is to go has gone
when its step is back.
"""

from collections import deque
from typing import final

from streamgate.core.commands import Command, InstanceGone
from streamgate.core.events import InstanceLost, Resize
from streamgate.core.fleet import Absence, Departure, Fleet, Member
from streamgate.core.ids import InstanceIndex, Ns, StepNumber
from streamgate.core.timers import Timers


@final
class Rota:
    """`idle` are the instances that could run a step, `running` those that do, by step."""

    def __init__(self, instances: int, out: list[Command]) -> None:
        self.idle: deque[InstanceIndex] = deque()
        self.running: dict[StepNumber, InstanceIndex] = {}
        self._timers: Timers[object] = Timers()
        self._fleet = Fleet(self._timers)
        self._out = out
        for index in range(instances):
            self._join(InstanceIndex(index))

    @property
    def is_deserted(self) -> bool:
        """Whether nobody is left for whom it is worth waiting."""
        return self._fleet.is_deserted

    def start(self, step: StepNumber, index: InstanceIndex) -> None:
        """Give a step to an idle instance."""
        if self.idle[0] == index:
            self.idle.popleft()
        else:
            self.idle.remove(index)
        self.running[step] = index

    def complete(self, step: StepNumber) -> None:
        """A step is back."""
        index = self.running.pop(step)
        member = self._fleet.get(index)
        assert member is not None
        if member.takes:
            self.idle.append(index)
        else:
            self._see_off(member)

    def lose(self, event: InstanceLost, now: Ns) -> None:
        """An instance is lost, and so is what it ran."""
        index = event.instance
        if self._fleet.lose(index, Ns(now + event.patience_ns)) is None:
            return
        for step in [step for step, where in self.running.items() if where == index]:
            self.complete(step)
        self._take_off(index)

    def welcome(self, index: InstanceIndex) -> None:
        """A lost instance is back."""
        member = self._fleet.welcome(index)
        if member is not None and member.takes:
            self.idle.append(index)

    def resize(self, event: Resize, now: Ns) -> None:
        """Take in new instances, and let those go that are left out."""
        assert event.instances, "a model without instances"
        for index in event.instances:
            member = self._fleet.get(index)
            if member is None:
                self._join(index)
            elif member.departure is not None:
                self._fleet.keep(member)
        for member in self._fleet.others(event.instances):
            self._fleet.dismiss(member, Ns(now + event.grace_ns))
            self._take_off(member.index)
            self._see_off(member)

    def expire(self, now: Ns) -> bool:
        """Give up on those that are away for too long; whether there were any."""
        found = False
        while (subject := self._timers.pop_due(now)) is not None:
            match subject:
                case Absence():
                    self._fleet.give_up(subject)
                    found = True
                case Departure():
                    # A step is never taken back: it goes when the step is done.
                    subject.timer = None
                case _:
                    raise AssertionError(f"nothing is due for {subject!r}")
        return found

    def next_at(self) -> Ns | None:
        """When the next moment comes up to which somebody is waited for."""
        return self._timers.next_at()

    def _join(self, index: InstanceIndex) -> None:
        self._fleet.join(index)
        self.idle.append(index)

    def _take_off(self, index: InstanceIndex) -> None:
        if index in self.idle:
            self.idle.remove(index)

    def _see_off(self, member: Member) -> None:
        """An instance that is to go and runs nothing has gone."""
        if member.departure is not None and member.index not in self.running.values():
            self._fleet.remove(member)
            self._out.append(InstanceGone(member.index))
