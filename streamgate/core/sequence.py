"""One sequence and its queue. Knows no slot's neighbours, no batch and no clock."""

import enum
from collections.abc import Container
from dataclasses import dataclass, field
from typing import final

from streamgate.core.commands import Rejection
from streamgate.core.events import Submit
from streamgate.core.heap import Place
from streamgate.core.ids import NO_REQUEST, Ns, OwnerNumber
from streamgate.core.slots import Slot
from streamgate.errors import EndReason
from streamgate.model.request import SequenceKey


@final
class Pending:
    """A sequence's request, from its arrival to the end of its last step.

    `start` and `end` are what the next row carries: both are false once the model has asked for
    the request again (iterative sequences). `revoked`: why it won't run again if it comes back.
    `paused`: it may not start, nor what is behind it.
    """

    __slots__ = ("arrived_at", "end", "event", "paused", "revoked", "sequence", "start")

    def __init__(self, event: Submit, sequence: "Sequence", start: bool, arrived_at: Ns) -> None:
        self.event = event
        self.sequence = sequence
        self.start = start
        self.end = event.end
        self.arrived_at = arrived_at
        self.revoked: Rejection | None = None
        self.paused = False


class Eviction(enum.Enum):
    """How far a sequence is on its way out of a slot that others want.

    DUE: when its running step is over. HIBERNATING: its state is being copied, unless a step comes,
    with which it is CALLED_OFF. PREEMPTED: its state is being copied, and its steps wait.
    """

    DUE = "due"
    HIBERNATING = "hibernating"
    CALLED_OFF = "called_off"
    PREEMPTED = "preempted"


@final
class Sequence:
    """What is known of a correlation ID from a START to the end of what it started.

    A START that meets an open sequence of its ID queues up in it and takes over its slot when its
    row runs: one `Sequence` is then several sequences to the client, one tenancy after the other.
    `later_starts` counts those still in the queue.

    `open`: more requests may come. `over`: it has ended. `closing`: why it ends as soon as its
    queue is empty, if nothing else ends it before. `fresh`: the START of the present tenancy has
    not run yet. `reserved`: it has not even come yet; such a sequence is open, has a slot and
    nothing else. `followed`: a new sequence of its ID has come, though perhaps gone again.
    `predecessor`: an older sequence of the same ID, whose end this one has to wait for.
    `seated_at`, `steps` and `active_at` are of the present tenancy: when it got its slot, how many
    steps of it are over, and when something last was.

    `restores`: its state comes from elsewhere by this number, and is not in a slot yet.
    `hand_over`: it is to leave, as it was asked to with this number. `held`: its state is on its
    way in or out, so that no step may start. `pinned`: its state can't be had.
    """

    __slots__ = (
        "active_at",
        "arrived_at",
        "closing",
        "eviction",
        "followed",
        "fresh",
        "hand_over",
        "held",
        "key",
        "later_starts",
        "open",
        "order",
        "over",
        "owner",
        "owners",
        "pinned",
        "place",
        "predecessor",
        "queue",
        "reserved",
        "restores",
        "running",
        "seated_at",
        "slot",
        "steps",
        "successor",
        "timer",
    )

    def __init__(self, key: SequenceKey, order: int, arrived_at: Ns) -> None:
        self.key = key
        self.order = order
        self.arrived_at = self.seated_at = self.active_at = arrived_at
        self.steps = 0
        self.queue: list[Pending] = []
        self.running: Pending | None = None
        self.slot: Slot | None = None
        self.open = True
        self.over = False
        self.followed = False
        self.closing: EndReason | None = None
        self.fresh = True
        self.reserved = False
        self.later_starts = 0
        self.owner = OwnerNumber(0)
        self.owners: tuple[OwnerNumber, ...] = ()
        self.predecessor: Sequence | None = None
        self.successor: Sequence | None = None
        self.place: Place[Sequence] | None = None
        self.timer: Place[object] | None = None
        self.restores = NO_REQUEST
        self.hand_over = NO_REQUEST
        self.held = False
        self.pinned = False
        self.eviction: Eviction | None = None

    @property
    def deadline(self) -> Ns | None:
        """The earliest moment by which one of the queued requests wants to have begun. Who was let
        in once waits for as long as it takes."""
        if self.restores != NO_REQUEST:
            return None
        return min(
            (
                Ns(pending.arrived_at + pending.event.timeout_ns)
                for pending in self.queue
                if pending.event.timeout_ns > 0
            ),
            default=None,
        )

    @property
    def is_ready(self) -> bool:
        """Whether its next request could run now."""
        queue = self.queue
        if self.slot is None or self.running is not None or not queue or self.held:
            return False
        return not queue[0].paused

    def strike(self, requests: Container[Pending]) -> "Struck":
        """Take cancelled requests out of the queue, and those that can't run without them: a
        sequence whose START will never run is over, up to the next START."""
        struck = Struck()
        kept: list[Pending] = []
        doomed = False
        first = True
        place = 1
        for pending in self.queue:
            if pending.start:
                doomed = pending in requests
                is_own = self.fresh and first
                if doomed and is_own:
                    struck.own_start = True
                    place = 0
                elif doomed:
                    struck.later_starts.append(place)
                elif not is_own:
                    place += 1
            first = False
            if pending in requests:
                struck.cancelled.append(pending)
            elif doomed:
                struck.orphaned.append(pending)
            else:
                kept.append(pending)
                continue
            struck.end = struck.end or (pending.event.end and not doomed)
        struck.newest = doomed
        self.queue = kept
        self.later_starts -= len(struck.later_starts)
        return struck


@dataclass(slots=True)
class Struck:
    """What left a queue: `cancelled` requests, `orphaned` ones that needed their START, and what
    that means. `own_start`: the START of the present tenancy; `later_starts`: the others, each by
    the number of tenancies that are left in front of it; `newest`: the last START of all; `end`: an
    END whose START stays."""

    cancelled: list[Pending] = field(default_factory=list)
    orphaned: list[Pending] = field(default_factory=list)
    own_start: bool = False
    later_starts: list[int] = field(default_factory=list)
    newest: bool = False
    end: bool = False
