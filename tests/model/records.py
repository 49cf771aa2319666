"""What the audit of sequences keeps of requests, tenancies and correlation IDs."""

from dataclasses import dataclass, field

from streamgate.core.events import Reserve, Submit
from streamgate.core.ids import InstanceIndex, Ns, SlotIndex
from streamgate.errors import EndReason
from streamgate.model.request import SequenceKey

Seat = tuple[InstanceIndex, SlotIndex]


@dataclass
class Seen:
    """A request, as the audit knows it. `key` is that of its rows when the model names it."""

    event: Submit
    key: SequenceKey
    starts: bool
    arrived_at: Ns
    state: str = "queued"
    passes: int = 0
    unwanted: bool = False
    paused: bool = False
    deserted: bool = False
    promised: bool = False
    tenancy: "Tenancy | None" = None


@dataclass
class Tenancy:
    """What the audit knows of one stay in a slot, `since` when it had it. `unsure`: it was to go,
    so that its idle time may have begun anew. `stepped`: a step of it ran since then."""

    key: SequenceKey
    seat: Seat
    generation: int
    start: Seen
    idle_since: Ns
    born_at: Ns
    asked_at: Ns
    since: Ns
    started: bool = False
    failed: bool = False
    preempted: bool = False
    over: bool = False
    warned_of: Ns | None = None
    unsure: bool = False
    stepped: bool = False


@dataclass
class Asked:
    """A reservation. `away`: no instance could have had it; `begun`: its START, once it came;
    `ended`: why somebody ended it before that."""

    event: Reserve
    stopping: bool
    deserted: bool
    away: bool
    granted: bool | None = None
    tenancy: Tenancy | None = None
    begun: Seen | None = None
    ended: EndReason | None = None


@dataclass
class Key:
    """What the audit knows of one correlation ID."""

    log: list[Seen] = field(default_factory=list)
    running: Seen | None = None
    open: bool = False
    muddled: bool = False
    aborted: bool = False
    starts: int = 0
    ends: int = 0
