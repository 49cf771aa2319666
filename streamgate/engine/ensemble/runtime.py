"""A loaded ensemble: a model link that runs nothing itself and sends its requests on to others."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Final, final

from streamgate.core.commands import Rejection
from streamgate.core.dataflow import Course, StepIndex, flow_order, plan_course
from streamgate.core.ids import NO_OWNER, Ns, OwnerNumber, RequestNumber
from streamgate.core.scheduler import SchedulerStatistics
from streamgate.engine.counters import Counters
from streamgate.engine.ensemble.call import EnsembleCall
from streamgate.engine.ensemble.lanes import EnsembleSequence, Lane
from streamgate.engine.ensemble.moves import EnsembleMoves
from streamgate.engine.ensemble.sequences import EnsembleSequences
from streamgate.engine.host import Host, Timer
from streamgate.engine.rejections import failure_for, refusal_for
from streamgate.errors import Code, EndReason, EndWarning, Failure, StreamGateError
from streamgate.link.contract import (
    FindRoute,
    Holder,
    ModelRoute,
    Needs,
    OnAnyEnd,
    OnHandOver,
    OnReservation,
    OnSnapshot,
    OnWarning,
)
from streamgate.model.config import ModelConfig
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.model.statistics import InstanceStatistics, ModelStatistics, SlotTable

COURSES_MAX: Final = 64
"""Sets of requested outputs whose courses are remembered."""

MODEL_REFUSED: Final = "model_refused"
"""Why an ensemble refuses a reservation that one of its models refused."""

TOUCHES: Final = 4
"""How often within an idle limit sequences that are in use are looked after."""


@final
class EnsembleRuntime:
    """One version of an ensemble on this engine. Also the in-process `MovableLink` to it.

    `find_route` finds the models of its steps, anew for each request.
    """

    def __init__(
        self, config: ModelConfig, version: str, find_route: FindRoute, host: Host
    ) -> None:
        assert config.ensemble is not None
        self.config = config
        self.version = version
        self._ensemble = config.ensemble
        self._find_route = find_route
        self._host = host
        self._counters = Counters(config, version)
        self._sequences = EnsembleSequences(
            self._ensemble.stateful,
            self._on_sequence_end,
            self._on_warning,
            self._on_sequence_lost,
            self._on_sequence_rest,
        )
        inputs = [spec.name for spec in config.inputs]
        order = flow_order(self._ensemble.steps, inputs)
        self._moves = EnsembleMoves(
            config,
            [step for step in order if step in self._ensemble.stateful],
            self._sequences,
            self._find_route_of_step,
            host,
        )
        self._course = lru_cache(COURSES_MAX)(self._plan)
        self._calls: dict[RequestNumber, EnsembleCall] = {}
        self._owned: dict[OwnerNumber, set[EnsembleCall]] = {}
        # The models through which sequences went, for when their connection is lost.
        self._stateful_routes: dict[ModelRoute, None] = {}
        self._numbers = 0
        self._is_draining = False
        self._watcher: tuple[OnAnyEnd, OnWarning] | None = None
        self._when_idle: asyncio.Event | None = None
        self._timer: Timer | None = None

    def _plan(self, requested: frozenset[str]) -> Course:
        """The way to these outputs, all if none is named."""
        ensemble = self._ensemble
        outputs = [spec.name for spec in self.config.outputs]
        wanted = [name for name in outputs if name in requested] if requested else outputs
        inputs = [spec.name for spec in self.config.inputs]
        # What a client wants to see makes no difference to a model's state.
        return plan_course(ensemble.steps, ensemble.decoupled, inputs, wanted, ensemble.stateful)

    # -- the link

    def submit(
        self,
        request: Request,
        sink: Callable[[Response], None],
        owner: OwnerNumber,
        position: int,
    ) -> RequestNumber:
        self._numbers += 1
        number = RequestNumber(self._numbers)
        refusal = self._refusal(request)
        if refusal is not None:
            response = Response(
                request,
                request.model,
                request.version,
                failure=refusal,
                admitted=False,
                position=position,
            )
            self._host.call_soon(partial(sink, response))
            return number
        call = EnsembleCall(
            number,
            self.config,
            self._course(frozenset(request.requested_outputs)),
            request,
            owner,
            position,
            self._host.now(),
            sink,
            self._on_over,
        )
        self._calls[number] = call
        if owner != NO_OWNER:
            self._owned.setdefault(owner, set()).add(call)
        if request.sequence and self._ensemble.stateful:
            call.enter(self._sequences)
            self._watch_idleness()
        self._host.call_soon(partial(self._start, call))
        return number

    def reserve(self, sequence: SequenceKey, owner: OwnerNumber, on_answer: OnReservation) -> None:
        def answer(failure: Failure | None) -> None:
            if failure is None:
                self._counters.reservations += 1
            else:
                self._counters.refuse_reservation(MODEL_REFUSED)
                failure = self._told(failure)
            on_answer(failure)
            self._tell_idle()

        begun = None if self._is_draining else self._sequences.reserve(sequence, answer)
        if begun is None:
            reason = Rejection.STOPPING if self._is_draining else Rejection.SEQUENCE_LIVES
            self._counters.refuse_reservation(reason.value)
            refusal = refusal_for(reason, self.config.name, sequence)
            self._host.call_soon(partial(on_answer, refusal))
            return
        for step in sorted(self._ensemble.stateful):
            self._reserve_place(*begun, StepIndex(step), owner)

    def _reserve_place(
        self, lane: Lane, sequence: EnsembleSequence, step: StepIndex, owner: OwnerNumber
    ) -> None:
        """Ask the model of a step for a place of the sequence."""
        told = self._ensemble.steps[step]
        listener = self._sequences.listener(lane, sequence, step)
        answer = partial(self._sequences.answer_place, lane, sequence, step)
        try:
            route = self._find_route_of_step(told.model, told.version)
            route.reserve(sequence.key, owner, listener, partial(answer, route))
        except StreamGateError as error:
            self._host.call_soon(partial(answer, None, error.failure))

    def cancel(self, number: RequestNumber) -> None:
        call = self._calls.get(number)
        if call is not None:
            call.cancel(Failure(Code.CANCELLED, ""))

    def pause(self, numbers: Sequence[RequestNumber]) -> None:
        self._pause(numbers, paused=True)

    def resume(self, numbers: Sequence[RequestNumber]) -> None:
        self._pause(numbers, paused=False)

    def _pause(self, numbers: Sequence[RequestNumber], *, paused: bool) -> None:
        for number in numbers:
            call = self._calls.get(number)
            if call is not None:
                call.pause(paused=paused)

    def touch(self, sequence: SequenceKey) -> None:
        self._sequences.touch(sequence)

    def hang_up(self, owner: OwnerNumber) -> None:
        calls = list(self._owned.get(owner, ()))
        for route in list(self._stateful_routes):
            route.link.hang_up(owner)
        for call in calls:
            call.cancel(Failure(Code.CANCELLED, ""), EndReason.CLIENT_ABORT)

    def end_sequence(self, sequence: SequenceKey, reason: EndReason, *, drain: bool) -> None:
        if not drain:
            self._cancel_requests_of(sequence, reason)
        self._sequences.end(sequence, reason, drain=drain)

    def needs_for(self, request: Request) -> Needs:
        needs: list[Sequence[Holder]] = []
        for step in self._ensemble.steps:
            with suppress(StreamGateError):
                inner = Request(step.model, step.version, sequence=request.sequence)
                needs += self._find_route(step.model, step.version).link.needs_for(inner)
        return needs

    def needs_of(self, number: RequestNumber) -> Needs:
        call = self._calls.get(number)
        if call is None:
            return ()
        # Steps that are over are not left out: that would be of use in circles only.
        return [*self.needs_for(call.request), *call.needs()]

    def watch_sequences(self, on_end: OnAnyEnd, on_warning: OnWarning) -> None:
        # An ensemble's sequences end in the order of their STARTs.
        self._watcher = (on_end, on_warning)

    async def is_ready(self) -> bool:
        """Whether the models of all steps are."""
        try:
            routes = [self._find_route(step.model, step.version) for step in self._ensemble.steps]
        except StreamGateError:
            return False
        return all(await asyncio.gather(*(route.link.is_ready() for route in routes)))

    def statistics(self) -> ModelStatistics:
        # What waits, waits in the models of its steps.
        return self._counters.read(
            SchedulerStatistics(pending=0, running_steps=0), InstanceStatistics()
        )

    def slot_tables(
        self, limit: int, only: Collection[SequenceKey] | None = None
    ) -> Sequence[SlotTable]:
        """Those of the models of its steps, with the ensemble's own sequences."""
        tables: list[SlotTable] = []
        for step in sorted(self._ensemble.stateful):
            told = self._ensemble.steps[step]
            with suppress(StreamGateError):
                route = self._find_route(told.model, told.version)
                keys = self._sequences.keys_in(StepIndex(step), route)
                tables += route.link.slot_tables(
                    limit, keys if only is None else keys & frozenset(only)
                )
        return tables

    # -- moving

    def restore(
        self,
        sequence: SequenceKey,
        owner: OwnerNumber,
        snapshot: Snapshot,
        on_answer: OnReservation,
    ) -> None:
        def answer(failure: Failure | None) -> None:
            on_answer(failure)
            self._tell_idle()

        if self._is_draining:
            refusal = refusal_for(Rejection.STOPPING, self.config.name, sequence)
            self._host.call_soon(partial(on_answer, refusal))
        else:
            self._moves.restore(sequence, owner, snapshot, answer)

    def hand_over(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        def answer(answer: Snapshot | Failure) -> None:
            on_answer(answer)
            self._tell_idle()

        self._moves.ask(sequence, answer, leaves=True)

    def take_snapshot(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        self._moves.ask(sequence, on_answer, leaves=False)

    def watch_snapshots(self, on_snapshot: OnSnapshot) -> None:
        self._moves.watch(on_snapshot)

    # -- life

    def drain(self) -> None:
        """Accept no new sequences and no stateless requests from now on."""
        self._is_draining = True

    async def wait_idle(self) -> None:
        """Wait until no request is under way and no sequence lives. May wait long: bound it."""
        while self._calls or self._sequences.open_keys():
            self._when_idle = asyncio.Event()
            await self._when_idle.wait()

    async def close(self, timeout_seconds: float) -> None:
        """End every sequence and every request. Its models have nothing of it to finish then."""
        del timeout_seconds
        self.discard()

    def discard(self) -> None:
        self._is_draining = True
        if self._timer is not None:
            self._timer.cancel()
        for key in self._sequences.open_keys():
            self.end_sequence(key, EndReason.DRAINED, drain=False)
        for call in list(self._calls.values()):
            call.cancel(Failure(Code.UNAVAILABLE, "Server exiting"))

    # -- requests

    def _refusal(self, request: Request) -> Failure | None:
        if self._is_draining:
            sequence = self._sequences.newest(request.sequence)
            if sequence is None or (request.start and not sequence.reserved):
                return failure_for(Rejection.STOPPING, request)
        limit = self._ensemble.max_pending
        if limit and len(self._calls) >= limit:
            return failure_for(Rejection.QUEUE_FULL, request)
        return None

    def _start(self, call: EnsembleCall) -> None:
        lane = call.lane
        if lane is not None:
            if lane.shut_for is None and call.sequence is not None and not call.closed:
                self._moves.shut_if_overdue(lane, call.sequence)
            if lane.shut_for is not None:
                lane.waiting.append(partial(self._start, call))
                return
        call.start(self._find_route_of_step, self._host.now())

    def _watch_idleness(self) -> None:
        """While a request is under way, its sequence is idle in no model: not in the first one
        while the last is at work, nor in the last while the first is."""
        limit_ns = self._ensemble.max_idle_ns
        if limit_ns and self._timer is None:
            due_at = Ns(self._host.now() + limit_ns // TOUCHES)
            self._timer = self._host.call_at(due_at, self._touch)

    def _touch(self) -> None:
        self._timer = None
        if self._sequences.touch_busy():
            self._watch_idleness()

    def _find_route_of_step(self, model: str, version: str) -> ModelRoute:
        route = self._find_route(model, version)
        if route.config.stateful and route not in self._stateful_routes:
            routes = [old for old in self._stateful_routes if not old.retired]
            self._stateful_routes = dict.fromkeys([*routes, route])
        return route

    def _cancel_requests_of(self, key: SequenceKey, reason: EndReason) -> None:
        newest = self._sequences.newest(key)
        for call in list(self._calls.values()):
            if newest is not None and call.sequence is newest:
                call.cancel(failure_for(Rejection.SEQUENCE_ENDED, call.request, reason), reason)

    def _on_sequence_rest(self, lane: Lane, sequence: EnsembleSequence) -> None:
        self._moves.rest(lane, sequence)

    def _on_sequence_lost(self, sequence: EnsembleSequence, told: Failure | None) -> None:
        for call in list(self._calls.values()):
            if call.sequence is sequence:
                ended = Rejection.SEQUENCE_ENDED
                call.lose(told or failure_for(ended, call.request, EndReason.ENGINE_LOST))

    def _on_over(self, call: EnsembleCall, response: Response) -> None:
        del self._calls[call.number]
        owned = self._owned.get(call.owner)
        if owned is not None:
            owned.discard(call)
            if not owned:
                del self._owned[call.owner]
        now = self._host.now()
        limit_ns = self._ensemble.max_idle_ns
        if limit_ns and call.sequence is not None:
            self._sequences.keep(call.sequence, now, limit_ns // TOUCHES)
        if response.failure is None:
            self._counters.last_inference_ms = time.time_ns() // 1_000_000
            self._counters.count_ensemble_run(
                call.request.rows, call.started_ns - call.arrived_ns, now - call.started_ns
            )
        else:
            cancelled = response.failure.code is Code.CANCELLED
            reason = "CANCELED" if cancelled else "OTHER"
            self._counters.count_failure(reason, now - call.arrived_ns)
        self._tell_idle()

    def _told(self, failure: Failure) -> Failure:
        """What a client is told that does not know of the models behind."""
        return Failure(failure.code, f"in ensemble '{self.config.name}', {failure.message}")

    def _on_sequence_end(self, key: SequenceKey, reason: EndReason, place: int) -> None:
        if self._watcher is not None:
            on_end, _ = self._watcher
            on_end(key, reason, place)
        self._tell_idle()

    def _on_warning(self, key: SequenceKey, warning: EndWarning) -> None:
        if self._watcher is not None and not warning.is_for_all:
            _, on_warning = self._watcher
            on_warning(key, warning)

    def _tell_idle(self) -> None:
        if self._when_idle is not None:
            # What has just ended is taken out first.
            self._host.call_soon(self._when_idle.set)
