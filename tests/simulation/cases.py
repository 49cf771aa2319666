"""What the audit knows of requests, sequences and correlation IDs."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from streamgate.errors import EndReason
from streamgate.model.config import ModelConfig, SequenceBatching
from streamgate.model.request import Response, SequenceKey
from tests.simulation.diary import Asked, Dispatched, Lost, Ran, Resized, SlotAsked


@dataclass(eq=False)
class Life:
    """One sequence, from a START that was let in to its end.

    `state` and `steps` are what the model keeps of it; `asked` counts its requests, refused ones
    too. `listeners` may be told of its end: the connection of its newest request, or of one that
    was refused since. `abandoned`: that connection is lost. `replaced`: a START was to replace it,
    but was refused. `reserved`: what it was reserved by, until its START comes. `since` is when
    its lifetime began.
    """

    since: int
    reserved: SlotAsked | None = None
    cases: list["Case"] = field(default_factory=list)
    open: bool = True
    asked: int = 0
    listeners: set[int] = field(default_factory=set)
    begun: bool = False
    failed: bool = False
    abandoned: bool = False
    replaced: bool = False
    instance: int | None = None
    active_at: int = 0
    state: int = 0
    steps: int = 0
    answered: int = 0

    @property
    def owner(self) -> int:
        """The connection of its newest request, or of its reservation."""
        if self.cases:
            return self.cases[-1].asked.connection
        assert self.reserved is not None
        return self.reserved.connection

    @property
    def is_settled(self) -> bool:
        return all(case.is_answered for case in self.cases)


@dataclass(eq=False)
class Case:
    """One request. `final` is known from the start, `is_answered` says whether it has come."""

    asked: Asked
    final: Response
    final_at: int
    life: Life | None = None
    positions: range = range(0)
    responses: int = 0
    is_answered: bool = False
    unwanted_from: int | None = None
    dispatched: Dispatched | None = None
    ran: Ran | None = None
    expected: tuple[int, int] | None = None

    @property
    def is_refused(self) -> bool:
        return self.final.failure is not None and not self.final.admitted

    @property
    def is_unwanted(self) -> bool:
        return self.unwanted_from is not None

    @property
    def is_waiting(self) -> bool:
        return self.dispatched is None and not self.is_answered


@dataclass(eq=False)
class Key:
    """One correlation ID: its sequences that live, oldest first, and all its requests.

    `unsure`: it is not known which of them take requests.
    Counted by instance: sequences that `begun` and ends that were `heard` by the model; the latter
    and those that it had to hear (`told`) by reason, too.
    """

    lives: list[Life] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    unsure: bool = False
    begun: Counter[int] = field(default_factory=Counter)
    heard: Counter[int] = field(default_factory=Counter)
    heard_reasons: Counter[tuple[int, EndReason]] = field(default_factory=Counter)
    told: Counter[tuple[int, EndReason]] = field(default_factory=Counter)


class Facts:
    """All that the audit knows at one moment.

    `patience_ns`: how long anybody waits for a lost instance. `lateness_ns`: how late timers are.
    `later`: models answer after their steps. `moves`: sequences go and come back.
    """

    def __init__(
        self,
        config: ModelConfig,
        patience_ns: int,
        *,
        lateness_ns: int,
        later: bool,
        moves: bool = False,
    ) -> None:
        self.moves = moves
        assert config.sequences is not None
        self.lateness_ns = lateness_ns
        self.config = config
        self.rules: SequenceBatching = config.sequences
        self.patience_ns = patience_ns
        self.later = later
        self.cases: dict[int, Case] = {}
        self.keys: dict[SequenceKey, Key] = defaultdict(Key)
        self.losses: list[Lost] = []
        self.away: dict[int, Lost] = {}
        """Instances that were lost and not loaded again yet."""
        self.resizes: list[Resized] = []
        self.closed_connections: set[int] = set()
        self.draining = self.closing = False
        self.counts: Counter[str] = Counter()
        self.ends: Counter[EndReason] = Counter()

    def is_overdue(self, at: int) -> bool:
        """Whether an instance has been away for longer than anybody waits."""
        return any(at - lost.at >= self.patience_ns for lost in self.away.values())

    def is_preempted(self, at: int) -> bool:
        """Whether an instance may have had to go by now."""
        return any(at - resized.at >= resized.grace_ns for resized in self.resizes)

    def is_aged(self, life: Life, at: int) -> bool:
        """Whether a sequence may have had to end by now, if only after its step under way."""
        lived_ns = at - life.since
        return 0 < self.rules.max_lifetime_ns <= lived_ns or self.is_preempted(at)

    def was_lost(self, instance: int) -> bool:
        return any(lost.instance == instance for lost in self.losses)

    def muddle(self) -> None:
        """Anything may have ended."""
        for key in self.keys.values():
            key.unsure = bool(key.lives)
