"""The live sequences of one model version and their requests, wherever they are just now.

Results come in here and are handed on or not, as the logs say; ends come in here and are told.
What is done about losses is decided elsewhere (`Troubles`).
"""

import asyncio
from functools import partial
from typing import Protocol

from streamgate.core.commands import Rejection
from streamgate.core.ids import RequestNumber
from streamgate.engine.host import Host
from streamgate.engine.rejections import failure_for
from streamgate.errors import Code, EndReason, Failure
from streamgate.link.contract import UNSTARTED, OnAnyEnd, OnWarning
from streamgate.model.config import ModelConfig
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.session.durable.counters import DurabilityCounters
from streamgate.session.durable.lane import Lane, Place, Step, Tenancy
from streamgate.session.durable.log import SequenceLog, Verdict
from streamgate.session.durable.measure import digest_of
from streamgate.session.durable.observer import LogObserver, OpenObserver


class Troubles(Protocol):
    """Who sees to what is not the ordinary way of a result."""

    def on_lost(self, step: Step, response: Response) -> None:
        """What ran the step, or held its sequence, is gone."""

    def on_refused(self, step: Step, response: Response) -> None:
        """An engine did not let it in."""

    def on_wrong(self, step: Step, why: str) -> None:
        """Its results are not what they must be."""

    def on_progress(self, step: Step, *, final: bool) -> None:
        """A result came of a step that is waited for."""

    def on_gone(self, lane: Lane) -> None:
        """Nothing lives there any more, of which something was suspected."""


class Sequences:
    """`held` are the lanes whose steps do not go straight to a place, `asleep` those of them that
    hibernate, the longest first. `watcher` is told of ends."""

    def __init__(
        self,
        config: ModelConfig,
        version: str,
        host: Host,
        counters: DurabilityCounters,
        open_observer: OpenObserver | None,
        *,
        keeps_log: bool,
    ) -> None:
        self.lanes: dict[SequenceKey, Lane] = {}
        self.steps: dict[RequestNumber, Step] = {}
        self.held: dict[Lane, None] = {}
        self.asleep: dict[Lane, None] = {}
        self.asleep_bytes = 0
        self.watcher: tuple[OnAnyEnd, OnWarning] | None = None
        self.when_empty: asyncio.Event | None = None
        self.troubles: Troubles
        self.name = config.name
        self._version = version
        self._host = host
        self._counters = counters
        self._open_observer = open_observer
        self._durability = config.durability
        self._keeps_log = keeps_log
        self._compares = config.durability.fixed_bucket
        # The engine keeps the states of these, and a step that fails leaves them as they were.
        self._failures_leave_no_trace = bool(config.states)
        self._ends_on_error = config.sequences is not None and config.sequences.end_on_error

    # -- beginnings

    def begin(self, request: Request, now: int) -> Tenancy:
        """A START came: for what is reserved, or for a sequence that is new."""
        key = request.sequence
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane(key)
        elif lane.tenancies and lane.tenancies[-1].awaits_start:
            tenancy = lane.tenancies[-1]
            tenancy.start = request
            return tenancy
        observer = None
        if self._open_observer is not None:
            observer = self._open_observer(self.name, self._version, key, request)
        began = now - request.age_ns
        tenancy = Tenancy(lane, self.new_log(observer=observer), request, began)
        lane.tenancies.append(tenancy)
        return tenancy

    def add(
        self, key: SequenceKey, log: SequenceLog[Step], *, reserved: bool, age_ns: int = 0
    ) -> Tenancy:
        """A sequence without a START: it is to be reserved, or it comes from elsewhere, where it
        has lived for so long. Its ID has no other."""
        lane = self.lanes[key] = Lane(key)
        tenancy = Tenancy(lane, log, None, self._host.now() - age_ns)
        tenancy.reserved = reserved
        lane.tenancies.append(tenancy)
        return tenancy

    def new_log(
        self,
        epoch: int = 1,
        snapshot: Snapshot | None = None,
        observer: LogObserver | None = None,
    ) -> SequenceLog[Step]:
        keeps = self._keeps_log
        return SequenceLog(
            # What is under way is bounded where it waits.
            self._durability.log_bytes if keeps else 0,
            self._durability.log_ns if keeps else 0,
            keeps_done=keeps,
            epoch=epoch,
            snapshot=snapshot,
            observer=observer,
        )

    # -- requests

    def send(self, place: Place, step: Step) -> None:
        """Give a step to the engine of its sequence."""
        epoch = step.tenancy.log.epoch
        step.sent = epoch
        step.lost = None
        link = place.link
        step.inner = link.submit(
            step.request, partial(self._receive, place, step, epoch), step.owner, step.position
        )
        if step.is_paused and not step.is_done:
            link.pause((step.inner,))

    def _receive(self, place: Place, step: Step, epoch: int, response: Response) -> None:
        tenancy = step.tenancy
        log = tenancy.log
        if response.lost or not response.admitted:
            self._receive_refusal(place, step, epoch, response)
            return
        failed, final = response.failure is not None, response.final
        lane = tenancy.lane
        place.stuck_ns = 0
        if epoch == log.epoch:
            lane.heard += 1
            if final:
                step.answered = epoch
            if failed and step.delivered and _is_no_result(response):
                self._give_up_replay(step, response)
                return
        digest = digest_of(response) if self._compares else None
        verdict = log.deliver(step, epoch, response.index, final, failed, digest)
        if verdict is not Verdict.HAND_ON:
            self._receive_no_news(step, response, verdict)
            return
        sink = step.sink
        assert sink is not None
        if final:
            if failed:
                self._note_failure(step, response)
            if step.request.end:
                tenancy.is_ended_by = EndReason.CLIENT_END
            step.sink = None
            del self.steps[step.number]
        if log.observer is not None:
            log.observer.delivered(step.position, response)
        sink(response)
        if step.is_windowed or lane.lost_ns:
            self.troubles.on_progress(step, final=final)

    def _give_up_replay(self, step: Step, response: Response) -> None:
        """A step that had been answered, in part at least, was not run again after all."""
        if step.is_done:
            self._counters.suppressed_results += 1
        else:
            self.answer(step, response)
        self.troubles.on_progress(step, final=response.final)

    def _receive_refusal(self, place: Place, step: Step, epoch: int, response: Response) -> None:
        tenancy = step.tenancy
        is_stale = epoch != tenancy.log.epoch
        if step.request.start and not response.admitted:
            # There will be no end of what has not begun.
            if is_stale or tenancy.is_over:
                place.lay_ghost(tenancy.lane.key)
            else:
                tenancy.is_attached = False
        if tenancy.is_over:
            # Nobody will run it again.
            if not step.is_done:
                self.answer(step, response)
        elif is_stale:
            # A loss is told from here, not by whom the sequence was taken from.
            self._counters.stale_results += not response.lost
        elif response.lost:
            self.troubles.on_lost(step, response)
        else:
            self.troubles.on_refused(step, response)

    def _receive_no_news(self, step: Step, response: Response, verdict: Verdict) -> None:
        match verdict:
            case Verdict.STALE:
                self._counters.stale_results += 1
                return
            case Verdict.MISMATCH:
                self._counters.mismatches += 1
                self.troubles.on_wrong(
                    step, "was replayed and gave another result than the client has had"
                )
                return
            case Verdict.GAP:
                self.troubles.on_wrong(
                    step, f"has its result {response.index} before result {step.delivered}"
                )
                return
            case Verdict.CLOSE:
                self._counters.suppressed_results += 1
                self.answer(step, step.closing())
            case _:
                self._counters.suppressed_results += 1
        self.troubles.on_progress(step, final=response.final)

    def _note_failure(self, step: Step, response: Response) -> None:
        assert response.failure is not None
        tenancy = step.tenancy
        if self._failures_leave_no_trace or not response.ran:
            tenancy.log.drop(step)
        if self._ends_on_error and response.failure.code is not Code.CANCELLED:
            tenancy.is_ended_by = EndReason.ERROR

    def answer(self, step: Step, response: Response) -> None:
        """Give a step its final response, which an engine did not, or not now."""
        response.index = step.delivered
        step.is_done = True
        sink, step.sink = step.sink, None
        self.steps.pop(step.number, None)
        if step.tenancy.log.observer is not None:
            step.tenancy.log.observer.delivered(step.position, response)
        assert sink is not None
        sink(response)

    # -- ends

    def finish(self, tenancy: Tenancy, reason: EndReason) -> None:
        """A sequence is over: what of it waits here is answered, and its end is told."""
        lane = tenancy.lane
        place = lane.tenancies.index(tenancy)
        del lane.tenancies[place]
        unsent = [step for step in lane.pending if step.tenancy is tenancy]
        if unsent:
            lane.pending = type(lane.pending)(
                step for step in lane.pending if step.tenancy is not tenancy
            )
        for step in tenancy.log:
            if step.is_windowed:
                step.is_windowed = False
                lane.in_flight -= 1
        tenancy.is_over = True
        tenancy.is_attached = False
        if not lane.tenancies:
            self.forget(lane)
        log = tenancy.log
        waiting = {step: None for step in unsent if not step.is_done}
        waiting |= {step: None for step in log.open_entries() if step.lost is not None}
        if tenancy.awaits_start:
            place = UNSTARTED
        for step in waiting:
            told = step.lost
            if told is None:
                lost = reason is EndReason.ENGINE_LOST
                why = Rejection.INSTANCE_LOST if lost else Rejection.SEQUENCE_ENDED
                told = step.failed(failure_for(why, step.request, reason), lost=lost)
            self.answer(step, told)
        if log.observer is not None:
            log.observer.ended(reason)
        if tenancy.on_answer is not None:
            # Whoever asked for it has not been promised anything yet.
            text = f"sequence {lane.key} ended ({reason.value}) before it was reserved"
            on_answer, tenancy.on_answer = tenancy.on_answer, None
            # To try again is of no use to who has lived for too long.
            code = Code.NOT_FOUND if reason is EndReason.LIFETIME else Code.UNAVAILABLE
            on_answer(Failure(code, text))
        elif self.watcher is not None:
            on_end, _ = self.watcher
            on_end(lane.key, reason, place)

    def hand_back(self, tenancy: Tenancy, failure: Failure | None) -> None:
        """It leaves without an end: it lives on elsewhere, or `failure` is why it could not come.
        What of it waits here is answered as lost."""
        lane = tenancy.lane
        lane.tenancies.remove(tenancy)
        tenancy.is_over = True
        if not lane.tenancies:
            self.forget(lane)
        for step in list(lane.pending):
            if step.tenancy is tenancy and not step.is_done:
                told = failure or failure_for(Rejection.INSTANCE_LOST, step.request)
                self.answer(step, step.failed(told, lost=True))
        on_answer, tenancy.on_answer = tenancy.on_answer, None
        if on_answer is not None:
            on_answer(failure)

    def withdraw(self, tenancy: Tenancy) -> None:
        """Its START, or its reservation, was refused: it was none after all. What was reserved for
        it is for the next START."""
        lane = tenancy.lane
        place = lane.tenancies.index(tenancy)
        if tenancy.reserved and tenancy.start and place + 1 == len(lane.tenancies):
            tenancy.start = None
            tenancy.log = self.new_log(tenancy.log.epoch + 1)
            return
        del lane.tenancies[place]
        tenancy.is_over = True
        tenancy.is_attached = False
        if tenancy.reserved and place < len(lane.tenancies):
            lane.tenancies[place].reserved = True
        if not lane.tenancies:
            self.forget(lane)

    def put_to_sleep(self, lane: Lane, size_bytes: int) -> None:
        """It lives in its snapshot alone from now on."""
        lane.hibernated_bytes = max(1, size_bytes)
        self.asleep[lane] = None
        self.asleep_bytes += lane.hibernated_bytes

    def wake(self, lane: Lane) -> None:
        """It does not any more."""
        self.asleep_bytes -= lane.hibernated_bytes
        lane.hibernated_bytes = 0
        self.asleep.pop(lane, None)

    def forget(self, lane: Lane) -> None:
        """Nothing lives under this ID any more."""
        if lane.place is not None:
            lane.place.lanes.discard(lane)
        lane.set_timer(None)
        self.held.pop(lane, None)
        self.wake(lane)
        if lane.suspect is not None:
            self.troubles.on_gone(lane)
        if self.lanes.get(lane.key) is lane:
            del self.lanes[lane.key]
        if not self.lanes and self.when_empty is not None:
            self.when_empty.set()


def _is_no_result(response: Response) -> bool:
    """Whether a failure says nothing of what the model made of the request."""
    failure = response.failure
    return not response.ran or (failure is not None and failure.code is Code.CANCELLED)
