"""A model version on an engine, as a front end uses it: the link that its sequences live on."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, TypeVar

from streamgate.core.commands import Rejection
from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.engine.rejections import failure_for
from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.link.contract import (
    UNSTARTED,
    Needs,
    OnAnyEnd,
    OnHandOver,
    OnReservation,
    OnSnapshot,
    OnWarning,
)
from streamgate.link.frames import Body
from streamgate.link.lanes import Call, Lane, Lanes
from streamgate.link.losses import Loss
from streamgate.link.messages import (
    AskReady,
    Cancel,
    Ended,
    EndSequence,
    HandOver,
    HangUp,
    Pause,
    Ready,
    Reserve,
    Restore,
    Snapped,
    TakeSnapshot,
    Touch,
    Warned,
    WatchSnapshots,
)
from streamgate.link.stale import StaleCounts, Version
from streamgate.link.steps import Result, encode_step
from streamgate.model.config import ModelConfig
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.model.statistics import ModelStatistics, SlotTable

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(slots=True)
class ClientCounts:
    """What came too late; and how often the engine was lost."""

    stale: StaleCounts = field(default_factory=StaleCounts)
    stale_news: int = 0
    losses: int = 0


class Engine(Protocol):
    """The connection that a model is used over."""

    is_live: bool
    calls: dict[int, tuple["RemoteModel", Call]]
    counts: ClientCounts
    loss: Loss | None

    def next_number(self) -> int: ...

    def send(self, message: object) -> None: ...

    def send_frame(self, header: tuple[Any, ...], bodies: Sequence[Body]) -> None: ...

    def soon(self, call: Callable[[], None]) -> None: ...

    def expect_answer(
        self, model: "RemoteModel", on_answer: Callable[[Failure | None], None]
    ) -> int: ...

    def answer_soon(self, number: int, failure: Failure) -> None: ...

    def expect_hand_over(
        self, model: "RemoteModel", on_answer: Callable[[Snapshot | Failure], None]
    ) -> int: ...

    async def ask(
        self, question: Callable[[int], object], answer: type[T], seconds: float = ...
    ) -> T: ...


class RemoteModel:
    """Implements `streamgate.link.contract.MovableLink` over a connection to an engine.

    It lives as long as the connection and the version there. When either is lost, each request is
    answered as `lost` and each sequence ends with ENGINE_LOST; what is asked for later is answered
    as lost, too.
    """

    def __init__(self, engine: Engine, number: int, version: str, config: ModelConfig) -> None:
        self.engine = engine
        self.number = number
        self.version = version
        self.config = config
        self.is_ready_there = False
        """Whether it stands in the engine's table: it takes new sequences."""
        self.is_open = True
        self._lanes = Lanes()
        self._on_end: OnAnyEnd = lambda *_: None
        self._on_warning: OnWarning = lambda *_: None
        self._on_snapshot: OnSnapshot = lambda *_: None
        self._stateful = config.stateful
        limits = config.sequences or config.ensemble
        self._max_pending = limits.max_pending if limits is not None else 0
        self._statistics: ModelStatistics | None = None
        self._tables: Sequence[SlotTable] = ()

    @property
    def name_and_version(self) -> Version:
        return self.config.name, self.version

    @property
    def is_accepting(self) -> bool:
        """Whether new sequences are welcome there."""
        return self.is_ready_there and self.engine.is_live

    @property
    def sequences(self) -> int:
        """How many correlation IDs have something there."""
        return len(self._lanes)

    # -- requests

    def submit(
        self,
        request: Request,
        sink: Callable[[Response], None],
        owner: OwnerNumber,
        position: int,
    ) -> RequestNumber:
        number = self.engine.next_number()
        if not self.is_open:
            call = Call(number, request, sink, owner, 0, position, None)
            self.engine.soon(lambda: self._answer_lost(call, admitted=False))
            return RequestNumber(number)
        lane: Lane | None = None
        epoch = 0
        if self._stateful and request.sequence:
            lane, epoch = self._lanes.place(request)
        call = Call(number, request, sink, owner, epoch, position, lane)
        if lane is not None and 0 < self._max_pending <= len(lane.waiting):
            self.engine.soon(lambda: self._refuse(call))
            return RequestNumber(number)
        self.engine.calls[number] = self, call
        if lane is None:
            self._send(call)
            return RequestNumber(number)
        call.size = sum([tensor.size_bytes for tensor in request.inputs])
        if lane.waiting or not lane.has_room(call.size):
            lane.waiting.append(call)
        else:
            self._send(call)
        return RequestNumber(number)

    def _send(self, call: Call) -> None:
        call.sent = True
        lane = call.lane
        if lane is not None:
            lane.bytes_under_way += call.size
            lane.steps_under_way += 1
        try:
            header, bodies = encode_step(
                *(call.number, self.number, call.owner, call.epoch, call.position, call.request)
            )
            self.engine.send_frame(header, bodies)
        except (TypeError, ValueError, OverflowError, StreamGateError) as error:
            self._give_up(call, str(error))
            return
        if call.paused:
            self.engine.send(Pause((call.number,), on=True))

    def _give_up(self, call: Call, why: str) -> None:
        """It can't be sent. A sequence has no gaps: it ends."""
        request = call.request
        failure = Failure(Code.INVALID_ARG, f"the request can't be sent to its engine: {why}")
        response = self._failed(call, failure, admitted=not request.start)
        self.engine.soon(lambda: self._settle(call, response))
        if call.epoch and not request.start:
            self.engine.send(
                EndSequence(self.number, call.epoch, request.sequence, EndReason.ERROR, drain=False)
            )

    def _refuse(self, call: Call) -> None:
        """As the engine would, did it all wait there."""
        if call.request.start:
            self._lanes.refuse_start(call)
        failure = failure_for(Rejection.QUEUE_FULL, call.request)
        call.sink(self._failed(call, failure, admitted=False))

    def _flush(self, key: SequenceKey) -> Lane | None:
        """Send what waits of an ID, however much it is: something must stand behind it."""
        lane = self._lanes.get(key)
        if lane is not None:
            while lane.waiting:
                self._send(lane.waiting.popleft())
        return lane

    def receive(self, call: Call, result: Result) -> None:
        """A response came."""
        self._settle(call, result.response_to(call.request))

    def _settle(self, call: Call, response: Response) -> None:
        if response.final:
            if self.engine.calls.pop(call.number, None) is None:
                return
            lane = call.lane
            if lane is not None:
                lane.bytes_under_way -= call.size
                lane.steps_under_way -= 1
                if not response.admitted and call.request.start:
                    self._lanes.refuse_start(call)
                while lane.waiting and lane.has_room(lane.waiting[0].size):
                    self._send(lane.waiting.popleft())
                self._lanes.forget(lane)
        call.sink(response)

    def cancel(self, number: RequestNumber) -> None:
        call = self._call(number)
        if call is None:
            return
        if not call.sent:
            # Positions have no gaps: it takes its place in the sequence, and is cancelled there.
            self._flush(call.request.sequence)
        self.engine.send(Cancel(number))

    def pause(self, numbers: Sequence[RequestNumber]) -> None:
        self._pause(numbers, on=True)

    def resume(self, numbers: Sequence[RequestNumber]) -> None:
        self._pause(numbers, on=False)

    def _pause(self, numbers: Sequence[RequestNumber], *, on: bool) -> None:
        sent = []
        for number in numbers:
            call = self._call(number)
            if call is not None:
                call.paused = on
                if call.sent:
                    sent.append(int(number))
        if sent:
            self.engine.send(Pause(tuple(sent), on))

    def _call(self, number: RequestNumber) -> Call | None:
        model, call = self.engine.calls.get(number, (None, None))
        return call if model is self else None

    # -- sequences

    def reserve(self, sequence: SequenceKey, owner: OwnerNumber, on_answer: OnReservation) -> None:
        if not self.is_open:
            self.engine.soon(lambda: on_answer(_LOST))
            return
        epoch = self._lanes.begin(sequence, reserved=True).epoch
        number = self._expect_answer(sequence, epoch, on_answer)
        self.engine.send(Reserve(number, self.number, owner, epoch, sequence))

    def restore(
        self,
        sequence: SequenceKey,
        owner: OwnerNumber,
        snapshot: Snapshot,
        on_answer: OnReservation,
    ) -> None:
        if not self.is_open:
            self.engine.soon(lambda: on_answer(_LOST))
            return
        epoch = self._lanes.begin(sequence, reserved=False).epoch
        number = self._expect_answer(sequence, epoch, on_answer)
        try:
            self.engine.send(Restore(number, self.number, owner, epoch, sequence, snapshot))
        except (TypeError, ValueError) as error:
            failure = Failure(Code.INVALID_ARG, f"the snapshot can't be sent: {error}")
            self.engine.answer_soon(number, failure)

    def _expect_answer(self, sequence: SequenceKey, epoch: int, on_answer: OnReservation) -> int:
        def answered(failure: Failure | None) -> None:
            if failure is not None:
                self._lanes.refuse(sequence, epoch)
            on_answer(failure)

        return self.engine.expect_answer(self, answered)

    def hand_over(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        self._ask_snapshot(sequence, on_answer, HandOver)

    def take_snapshot(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        self._ask_snapshot(sequence, on_answer, TakeSnapshot)

    def _ask_snapshot(
        self,
        sequence: SequenceKey,
        on_answer: OnHandOver,
        kind: type[HandOver] | type[TakeSnapshot],
    ) -> None:
        lane = self._flush(sequence)
        if not self.is_open or lane is None or not lane.incarnations:
            self.engine.soon(lambda: on_answer(_NOT_HERE))
            return
        epoch = lane.incarnations[0].epoch

        def answered(outcome: Snapshot | Failure) -> None:
            if kind is HandOver and isinstance(outcome, Snapshot):
                self._lanes.end(sequence, epoch, unstarted=False)
            on_answer(outcome)

        number = self.engine.expect_hand_over(self, answered)
        self.engine.send(kind(number, self.number, epoch, sequence))

    def touch(self, sequence: SequenceKey) -> None:
        if self._lanes.get(sequence) is not None:
            self.engine.send(Touch(self.number, sequence))

    def hang_up(self, owner: OwnerNumber) -> None:
        for lane in self._lanes.all():
            if any(call.owner == owner for call in lane.waiting):
                self._flush(lane.key)
        if self.is_open:
            self.engine.send(HangUp(self.number, owner))

    def end_sequence(self, sequence: SequenceKey, reason: EndReason, *, drain: bool) -> None:
        lane = self._flush(sequence)
        if lane is not None and lane.incarnations:
            epoch = lane.incarnations[-1].epoch
            self.engine.send(EndSequence(self.number, epoch, sequence, reason, drain))

    def needs_for(self, request: Request) -> Needs:
        """None: who waits for whom is known where models run."""
        return ()

    def needs_of(self, number: RequestNumber) -> Needs:
        return ()

    def watch_sequences(self, on_end: OnAnyEnd, on_warning: OnWarning) -> None:
        self._on_end = on_end
        self._on_warning = on_warning

    def watch_snapshots(self, on_snapshot: OnSnapshot) -> None:
        self._on_snapshot = on_snapshot
        self.engine.send(WatchSnapshots(self.number))

    def ended(self, ended: Ended) -> None:
        key = ended.sequence
        place = self._lanes.end(key, ended.epoch, unstarted=ended.unstarted)
        if place is None:
            self.engine.counts.stale_news += 1
            return
        # What waits was meant for what has ended: it is told so there.
        self._flush(key)
        self._on_end(key, ended.reason, place)

    def warned(self, warned: Warned) -> None:
        if self._lanes.find(warned.sequence, warned.epoch) is None:
            self.engine.counts.stale_news += 1
            return
        self._on_warning(warned.sequence, warned.warning)

    def snapped(self, snapped: Snapped) -> None:
        key, epoch = snapped.sequence, snapped.epoch
        if self._lanes.find(key, epoch) is None:
            self.engine.counts.stale.note_snapshot(self.name_and_version)
            return
        if snapped.has_left:
            self._lanes.end(key, epoch, unstarted=False)
        self._on_snapshot(key, snapped.snapshot, snapped.has_left)

    # -- questions

    async def is_ready(self) -> bool:
        if not self.is_open:
            return False
        try:
            ready = await self.engine.ask(lambda number: AskReady(number, self.number), Ready)
        except StreamGateError:
            return False
        return ready.ready

    def note_statistics(self, statistics: ModelStatistics) -> None:
        """The engine told these."""
        self._statistics = statistics

    def statistics(self) -> ModelStatistics:
        """Those that the engine told last. Raises StreamGateError (UNAVAILABLE) for none."""
        if self._statistics is None:
            text = f"the engine of model '{self.config.name}' was not asked for statistics yet"
            raise StreamGateError(Code.UNAVAILABLE, text)
        return self._statistics

    def note_slots(self, tables: Sequence[SlotTable]) -> None:
        """The engine told these."""
        self._tables = tables

    def slot_tables(
        self, limit: int, only: Collection[SequenceKey] | None = None
    ) -> Sequence[SlotTable]:
        """From those that the engine told last; none before it was asked."""
        return [_narrowed(table, limit, only) for table in self._tables]

    # -- loss

    def close(self) -> None:
        """The connection is lost, or the version gone: nothing is sent any more."""
        self.is_open = self.is_ready_there = False

    def lose(self, calls: Sequence[Call]) -> None:
        """Answer these calls, and tell of each sequence that it is lost."""
        lanes = self._lanes.clear()
        for call in calls:
            self._answer_lost(call, admitted=True)
        for lane in lanes:
            for incarnation in lane.incarnations:
                place = 0 if incarnation.started else UNSTARTED
                self._tell(lambda: self._on_end(lane.key, EndReason.ENGINE_LOST, place))  # noqa: B023

    def _answer_lost(self, call: Call, *, admitted: bool) -> None:
        response = self._failed(call, _LOST, admitted=admitted, lost=True)
        self._tell(lambda: call.sink(response))

    def _failed(
        self, call: Call, failure: Failure, *, admitted: bool, lost: bool = False
    ) -> Response:
        request = call.request
        return Response(
            *(request, request.model, self.version),
            failure=failure,
            admitted=admitted,
            position=call.position,
            lost=lost,
            ran=call.sent,
        )

    def _tell(self, tell: Callable[[], None]) -> None:
        """All must be told, whatever becomes of one."""
        try:
            tell()
        except Exception:
            log.exception(
                "news of a lost engine could not be taken by model '%s'", self.config.name
            )


def _narrowed(table: SlotTable, limit: int, only: Collection[SequenceKey] | None) -> SlotTable:
    wanted = [view for view in table.views if only is None or view.sequence in only]
    views = tuple(wanted[:limit])
    hidden = len(wanted) - len(views) if only is not None else len(table.views) - len(views)
    return replace(table, views=views, left_out=table.left_out + hidden)


_LOST: Final = Failure(Code.UNAVAILABLE, "the engine that ran the model was lost")
_NOT_HERE: Final = Failure(Code.NOT_FOUND, "the sequence does not live here")
