"""The sequences of one correlation ID: where they are, and what of them has still to be sent there.

One after the other lives under an ID: a START that meets a live sequence waits to supersede it.
All that live are at one place, and leave it together.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, final

from streamgate.core.ids import NO_OWNER, OwnerNumber, RequestNumber
from streamgate.engine.host import Timer
from streamgate.errors import EndReason, Failure
from streamgate.link.contract import MovableLink, OnReservation
from streamgate.link.losses import Loss
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.session.durable.log import Entry, SequenceLog

Sink = Callable[[Response], None]

NOT_SENT: Final = RequestNumber(0)


@final
class Place:
    """One link. `lanes` are there now, `open` counts stateless requests. `ghosts` are sequences
    that were given up here and whose end is still to be told, by ID. Nothing new goes to one that
    `is_draining`. `stuck_ns` is when a sequence was last found to have stalled there, 0 if a result
    has come since."""

    __slots__ = ("ghosts", "is_draining", "lanes", "link", "name", "open", "stuck_ns")

    def __init__(self, link: MovableLink, name: str) -> None:
        self.link = link
        self.name = name
        self.lanes: set[Lane] = set()
        self.open = 0
        self.ghosts: dict[SequenceKey, int] = {}
        self.is_draining = False
        self.stuck_ns = 0

    def add_ghosts(self, key: SequenceKey, count: int) -> None:
        if count:
            self.ghosts[key] = self.ghosts.get(key, 0) + count

    def lay_ghost(self, key: SequenceKey) -> None:
        """The end of one was told, or there will be none."""
        left = self.ghosts.get(key, 0) - 1
        if left > 0:
            self.ghosts[key] = left
        else:
            self.ghosts.pop(key, None)


@final
class Step(Entry):
    """One request of a sequence, from its arrival until no replay can need it any more.

    `number` is ours, `inner` that of the engine which it was given to last. `sent` and `answered`
    are the epochs in which it was given to one last, and last had its final answer from it (0: not
    yet). `losses` are those of engines while it ran there, `lost` is what was answered the last
    time. `is_windowed`: the lane counts it as one that it waits for.
    """

    __slots__ = (
        "answered",
        "inner",
        "is_cancelled",
        "is_paused",
        "is_windowed",
        "losses",
        "lost",
        "number",
        "owner",
        "sent",
        "sink",
        "tenancy",
    )

    def __init__(
        self,
        number: RequestNumber,
        request: Request,
        sink: Sink,
        owner: OwnerNumber,
        position: int,
        tenancy: "Tenancy",
        at_ns: int,
        size_bytes: int,
    ) -> None:
        super().__init__(position, request, size_bytes, at_ns)
        self.number = number
        self.sink: Sink | None = sink
        self.owner = owner
        self.tenancy = tenancy
        self.inner = NOT_SENT
        self.sent = 0
        self.answered = 0
        self.losses: tuple[Loss, ...] = ()
        self.lost: Response | None = None
        self.is_paused = False
        self.is_cancelled = False
        self.is_windowed = False

    def failed(
        self,
        failure: Failure,
        *,
        admitted: bool = True,
        lost: bool = False,
        ran: bool = True,
    ) -> Response:
        """Its final response, which comes from here."""
        request = self.request
        return Response(
            request,
            request.model,
            request.version,
            failure=failure,
            admitted=admitted,
            position=self.position,
            index=self.delivered,
            lost=lost,
            ran=ran,
        )

    def closing(self) -> Response:
        """Its final response, where all of its results were delivered before it was known that no
        other would follow."""
        request = self.request
        return Response(
            request,
            request.model,
            request.version,
            empty=True,
            position=self.position,
            index=self.delivered,
        )


@final
class Tenancy:
    """One sequence, from a START to its end.

    `start` is the request that began it, None for one that began elsewhere, or was only reserved so
    far. `reserved`: it was, or is to be, reserved. `on_answer` waits to be told whether it lives.
    `is_attached`: the lane's place knows of it. `ending` is the reason for which it is to end
    behind what it has queued, `is_ended_by` what its steps led to though no end was told yet.
    `is_over`: it is. It began at `began_ns`; `is_timed`: how long it may live is seen to here.
    """

    __slots__ = (
        "began_ns",
        "ending",
        "is_attached",
        "is_ended_by",
        "is_over",
        "is_timed",
        "lane",
        "log",
        "on_answer",
        "reserved",
        "start",
    )

    def __init__(
        self, lane: "Lane", log: SequenceLog[Step], start: Request | None, began_ns: int
    ) -> None:
        self.lane = lane
        self.log = log
        self.start = start
        self.began_ns = began_ns
        self.reserved = start is None
        self.on_answer: OnReservation | None = None
        self.is_attached = False
        self.ending: EndReason | None = None
        self.is_ended_by: EndReason | None = None
        self.is_over = False
        self.is_timed = False

    @property
    def awaits_start(self) -> bool:
        """Whether it is reserved and nothing else yet."""
        return self.reserved and self.start is None


@final
class Lane:
    """One correlation ID. `place` is where its sequences are, None while they are nowhere.

    `pending` are the steps that have still to be sent, oldest first: while there are any, new ones
    go behind them. Of those that were sent from there, `in_flight` have not been answered.
    `is_restoring`: the place has not said yet that it has the sequence; `is_shaken`: something of
    it was lost there, and perhaps all of it. `is_leaving`: the place was asked to hand it over,
    which it can't if the lane `is_pinned`. `hibernated_bytes` is what a sequence that has no place
    but its snapshot takes, 0 for others.

    A recovery, or a move if it `is_moving`, began at `lost_ns` (0: there is none), has until
    `deadline_ns` and took `attempts`; the places in `refused_by` can't have the sequence, and the
    one that is `avoided` did not the last time. `suspect` is the step during which an engine was
    lost last. `heard` counts what its place has told of it in this incarnation: that it has it, and
    results.
    """

    __slots__ = (
        "attempts",
        "avoided",
        "deadline_ns",
        "heard",
        "hibernated_bytes",
        "in_flight",
        "is_leaving",
        "is_moving",
        "is_pinned",
        "is_restoring",
        "is_shaken",
        "key",
        "lost_ns",
        "owner",
        "pending",
        "place",
        "refused_by",
        "suspect",
        "tenancies",
        "timer",
    )

    def __init__(self, key: SequenceKey) -> None:
        self.key = key
        self.tenancies: deque[Tenancy] = deque()
        self.place: Place | None = None
        self.owner: OwnerNumber = NO_OWNER
        self.pending: deque[Step] = deque()
        self.in_flight = 0
        self.heard = 0
        self.is_restoring = False
        self.is_shaken = False
        self.is_leaving = False
        self.is_moving = False
        self.is_pinned = False
        self.hibernated_bytes = 0
        self.lost_ns = 0
        self.deadline_ns = 0
        self.attempts = 0
        self.refused_by: set[Place] = set()
        self.avoided: Place | None = None
        self.suspect: Step | None = None
        self.timer: Timer | None = None

    @property
    def flows(self) -> bool:
        """Whether steps go straight to the place."""
        return self.place is not None and not (self.pending or self.is_leaving)

    @property
    def is_recovering(self) -> bool:
        return self.lost_ns > 0

    def steps(self) -> Iterator[Step]:
        """All that a replay needs, in order."""
        for tenancy in self.tenancies:
            yield from tenancy.log.replay()

    def settle_down(self, place: Place) -> None:
        """From now on its sequences are at this place."""
        self.place = place
        place.lanes.add(self)

    def set_timer(self, timer: Timer | None) -> None:
        """Wait for this, and for nothing else any more."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = timer
