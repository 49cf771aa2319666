"""The instances of a model as an audit knows them, and what may happen to them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from hypothesis import strategies as st

from streamgate.core.events import InstanceBack, InstanceLost, Resize
from streamgate.core.ids import InstanceIndex, Ns

INSTANCES_MAX = 3


@dataclass
class Roll:
    """What the audit knows of the instances: those that there are, until when those that are away
    are waited for, and until when those that leave may stay."""

    present: list[InstanceIndex] = field(default_factory=list)
    away: dict[InstanceIndex, Ns] = field(default_factory=dict)
    given_up: set[InstanceIndex] = field(default_factory=set)
    leaving: dict[InstanceIndex, Ns] = field(default_factory=dict)
    named: int = 0

    @property
    def is_deserted(self) -> bool:
        return all(index in self.leaving or index in self.given_up for index in self.present)

    def takes(self, index: InstanceIndex) -> bool:
        return index in self.present and index not in self.away and index not in self.leaving

    def saw_back(self, index: InstanceIndex) -> None:
        self.away.pop(index, None)
        self.given_up.discard(index)

    def saw_resize(self, event: Resize, now: Ns) -> None:
        for index in self.present:
            if index in event.instances:
                self.leaving.pop(index, None)
            else:
                self.leaving.setdefault(index, Ns(now + event.grace_ns))

    def give_up(self, now: Ns) -> None:
        self.given_up |= {index for index, until in self.away.items() if until <= now}

    def saw_gone(self, index: InstanceIndex) -> None:
        self.present.remove(index)
        self.saw_back(index)
        del self.leaving[index]


InstanceEvent = InstanceLost | InstanceBack | Resize


def _lose(pick: int, keeps_states: bool, patience_ns: int, back: bool, roll: Roll) -> InstanceEvent:
    index = roll.present[pick % len(roll.present)]
    if back and index in roll.away:
        return InstanceBack(index)
    return InstanceLost(index, keeps_states, patience_ns)


def _resize(kept: int, added: int, grace_ns: int, roll: Roll) -> InstanceEvent:
    indexes = [index for bit, index in enumerate(roll.present) if kept >> bit & 1]
    for _ in range(min(max(added, not indexes), INSTANCES_MAX - len(indexes))):
        roll.named += 1
        indexes.append(InstanceIndex(100 + roll.named))
    return Resize(tuple(indexes), grace_ns)


instance_events: st.SearchStrategy[Callable[[Roll], InstanceEvent]] = st.one_of(
    st.builds(
        lambda *fields: partial(_lose, *fields),
        st.integers(0, 2),
        st.booleans(),
        st.sampled_from((0, 40, 500)),
        st.booleans(),
    ),
    st.builds(
        lambda *fields: partial(_resize, *fields),
        st.integers(0, 7),
        st.integers(0, 2),
        st.sampled_from((0, 50, 500)),
    ),
)
"""Instances that are lost, come back, are added and are to go, given those that there are."""
