"""The face of a scheduler: events in, commands out, time as an argument.

What every scheduler promises, each line a test:

- one sequence's requests run in order and one at a time;
- a slot belongs to one generation;
- every request gets exactly one end: a row of one step, or one Reject (one that the model asks to
  run again has rows of several steps before that);
- a cancelled request never silently takes its neighbours with it;
- `poll` before `wake_at` does nothing, unless an event came in between;
- after silence everything is free.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from streamgate.core.commands import Command
from streamgate.core.events import Event
from streamgate.core.ids import Generation, InstanceIndex, Ns, SlotIndex
from streamgate.model.request import SequenceKey


@dataclass(frozen=True, slots=True)
class SchedulerStatistics:
    """A snapshot. `pending` requests wait for a step; stateless models have no sequences.
    `headroom` is how many more sequences would be let in and have a slot now."""

    pending: int
    running_steps: int
    slots: int = 0
    headroom: int = 0
    active_sequences: int = 0
    backlog_sequences: int = 0


@dataclass(frozen=True, slots=True)
class SlotHolder:
    """A sequence that holds a slot: since when, how many steps of it are over and how many wait.

    `active_at` is when something of it was last asked for or over, `waits_since` when the oldest of
    its requests that are not over arrived, None when there is none. `reserved`: its START has not
    come.
    """

    sequence: SequenceKey
    instance: InstanceIndex
    slot: SlotIndex
    generation: Generation
    reserved: bool
    seated_at: Ns
    active_at: Ns
    steps: int
    queued: int
    running: bool
    waits_since: Ns | None


class Scheduler(Protocol):
    """Decides what runs when. Knows no clock: `now` never goes backwards."""

    def receive(self, event: Event, now: Ns) -> None:
        """Note what happened. Decides nothing that has an effect; `poll` does."""

    def poll(self, now: Ns) -> list[Command]:
        """Everything that is to be done now, in order. Empty when nothing is."""

    def wake_at(self) -> Ns | None:
        """When `poll` must be called at the latest if no event comes; None for never."""

    def statistics(self) -> SchedulerStatistics: ...

    def holders(self, limit: int, only: Collection[SequenceKey] | None = None) -> list[SlotHolder]:
        """Who holds a slot, the first `limit` of all or of these IDs."""
