"""One request on its way through the steps of an ensemble.

`Flow` says what can run, `Lane` when it is its turn; here it is run, in the models that the steps
name, and their answers are taken in.
"""

from collections.abc import Callable
from functools import partial
from typing import final

from streamgate.core.dataflow import Course, Flow, Frame, Progress, Run, StepIndex
from streamgate.core.ids import Ns, OwnerNumber, RequestNumber
from streamgate.core.line import Line
from streamgate.core.value import value
from streamgate.engine.ensemble.lanes import EnsembleSequence, Lane, go_all
from streamgate.engine.ensemble.runs import StepRuns
from streamgate.engine.ensemble.sequences import EnsembleSequences
from streamgate.engine.ensemble.tensors import (
    Held,
    SequencePlace,
    ensemble_output,
    place_parameters,
    request_tensors,
    step_input,
    step_outputs,
)
from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.link.contract import FindRoute, Listener, ModelRoute, Needs
from streamgate.model.config import Ensemble, ModelConfig
from streamgate.model.request import Request, Response


@value
class _InnerCall:
    """A request to one of the models."""

    run: Run[Held]
    route: ModelRoute
    request: Request
    place: SequencePlace | None
    sequence: EnsembleSequence | None


@final
class EnsembleCall:
    """One request under way. `on_over` is called once, with its final response."""

    def __init__(
        self,
        number: RequestNumber,
        config: ModelConfig,
        course: Course,
        request: Request,
        owner: OwnerNumber,
        position: int,
        arrived_ns: Ns,
        sink: Callable[[Response], None],
        on_over: Callable[["EnsembleCall", Response], None],
    ) -> None:
        assert config.ensemble is not None
        self.number = number
        self.request = request
        self.owner = owner
        self.arrived_ns = arrived_ns
        self.started_ns = arrived_ns
        self.closed = False
        self.sequence: EnsembleSequence | None = None
        self.lane: Lane | None = None
        self._config = config
        self._ensemble: Ensemble = config.ensemble
        self._course = course
        self._position = position
        self._sink = sink
        self._on_over = on_over
        self._sequences: EnsembleSequences | None = None
        self._flow: Flow[Held] = Flow(course)
        self._routes: dict[StepIndex, ModelRoute] = {}
        self._turns: dict[Run[Held], _StepTurn] = {}
        self._runs = StepRuns(config.ensemble, self._submit)
        # Answers of a decoupled ensemble leave in the order in which their frames came to be.
        self._answers: Line[Frame[Held]] = Line()
        self._answer_turn: _AnswerTurn | None = None
        self._answer: Response | None = None
        self._is_stopped = False
        self._has_begun = False
        # How many runs may have left something in a stateful model.
        self._traces = 0
        self._index = 0

    def enter(self, sequences: EnsembleSequences) -> None:
        """Take its place in its sequence. Call before `start`."""
        request = self.request
        self._sequences = sequences
        self.lane, self.sequence = sequences.enter(
            request.sequence, start=request.start, end=request.end
        )
        if not self._config.decoupled:
            self._answer_turn = _AnswerTurn(self)
            self.lane.answers.join(self._answer_turn)

    def start(self, find_route: FindRoute, now: Ns) -> None:
        """Run what can run, unless it was cancelled meanwhile."""
        self.started_ns = now
        if self.closed:
            return
        if self.sequence is not None:
            self._has_begun = True
            self.sequence.progress.begin(self._position, now)
        try:
            for steps in self._course.steps.values():
                for index in steps:
                    step = self._ensemble.steps[index]
                    # A sequence goes on where it lives, though another version has come.
                    route = self.sequence.places.get(index) if self.sequence else None
                    if route is None or route.retired:
                        route = find_route(step.model, step.version)
                    self._routes[index] = route
                    route.hold()
            self._advance(self._flow.begin(request_tensors(self.request, self._config)))
        except StreamGateError as error:
            self.fail(error.failure)

    def fail(self, failure: Failure, *, lost: bool = False) -> None:
        """Something in it went wrong: that is its answer. Runs of stateful models go on. `lost`:
        what was to give it is gone; in a sequence that has a log, so is all the rest of it."""
        if self.closed or self._is_stopped:
            return
        self._stop(with_stateful=False)
        name = self._config.name
        told = Failure(failure.code, f"in ensemble '{name}', {failure.message}")
        sequence, sequences, lane = self.sequence, self._sequences, self.lane
        if lost and sequence is not None and sequences is not None and sequences.have_logs:
            # Not all of its models have had this step.
            sequence.lose()
        is_gone = sequence is not None and sequence.reason is EndReason.ENGINE_LOST
        self._conclude(self._response(failure=told, lost=lost or is_gone))
        if is_gone and sequence is not None and sequences is not None and lane is not None:
            sequences.lose(lane, sequence)

    def lose(self, failure: Failure) -> None:
        """Its sequence is lost, or lives elsewhere now: it may be run again there."""
        if self._answer is not None and self._answer.lost and self._answer.failure is not None:
            failure = self._answer.failure
        self._give_up(failure, lost=True)

    def cancel(self, failure: Failure, reason: EndReason | None = None) -> None:
        """Nobody wants its answer any more. `reason` is why its sequence ends, if it does."""
        if not self.closed and reason is not None and self.sequence is not None:
            self.sequence.close(reason)
        self._give_up(failure)

    def _give_up(self, failure: Failure, *, lost: bool = False) -> None:
        if self.closed:
            return
        self._stop(with_stateful=True)
        self._deliver(self._response(failure=failure, lost=lost))
        if self.lane is not None and self._answer_turn is not None:
            go_all(self.lane.answers.leave(self._answer_turn))

    def pause(self, *, paused: bool) -> None:
        """Its client does not read, or reads again."""
        self._runs.pause(paused=paused)

    def needs(self) -> Needs:
        """What the steps that are under way need to go on."""
        return [group for route, number in self._runs for group in route.link.needs_of(number)]

    # -- steps

    def _advance(self, progress: Progress[Held]) -> None:
        """Run what can run and answer what can be answered. Raises what a model says at once."""
        if progress.opened is not None:
            self._take_turns(progress.opened)
        for run in progress.ready:
            turn = self._turns.get(run)
            if turn is None:
                self.run(run)
            else:
                assert self.lane is not None
                go_all(self.lane.lines[run.step].ready(turn))
        if self._config.decoupled:
            for frame in progress.answered:
                self._emit(self._answers.ready(frame))
        elif progress.answered:
            self._answer = self._answer_of(progress.answered[0])
        self._runs.balance(len(self._turns))
        if self._flow.is_over and not self.closed and not self._is_stopped:
            self._conclude(self._answer or self._response(empty=True))

    def _take_turns(self, frame: Frame[Held]) -> None:
        if self.lane is not None:
            for step in self._course.steps.get(frame.level, ()):
                if step in self._ensemble.stateful:
                    run = Run(frame, step)
                    turn = self._turns[run] = _StepTurn(self, run)
                    self.lane.lines[step].join(turn)
        if self._config.decoupled and frame.level == self._course.answer_level:
            self._answers.join(frame)

    def run(self, run: Run[Held]) -> None:
        """It is its turn, if it had to wait for one. Raises what a model says at once."""
        self._turns.pop(run, None)
        self._runs.start(run)

    def _submit(self, run: Run[Held]) -> tuple[ModelRoute, RequestNumber]:
        inner = self._inner_call(run)
        listener = self._listener(inner)
        sink = partial(self._on_response, inner)
        number = inner.route.submit(inner.request, sink, self.owner, listener)
        if inner.sequence is not None and self.lane is not None:
            self.lane.reach(inner.sequence, run.step, inner.route, end=inner.request.end)
            inner.sequence.progress.runs += 1
            self._traces += 1
        return inner.route, number

    def _listener(self, inner: _InnerCall) -> Listener | None:
        """Who is told what becomes of the sequence in the model of the step."""
        is_stateful = inner.run.step in self._ensemble.stateful
        if self._sequences is None or self.lane is None or not is_stateful:
            return None
        # Also for a request that comes too late for its sequence: it may belong to another in this
        # model, which would take it that nobody wants to know of that one's end any more.
        told = self.sequence or self.lane.newest_in(inner.run.step)
        if told is None or (inner.place is not None and inner.sequence is None):
            return None
        return self._sequences.listener(self.lane, told, inner.run.step)

    def _inner_call(self, run: Run[Held]) -> _InnerCall:
        request = self.request
        step = self._ensemble.steps[run.step]
        route = self._routes[run.step]
        config = route.config
        specs = {spec.name: spec for spec in config.inputs}
        tensors = []
        place = None
        for name, tensor_name in step.inputs.items():
            held = run.frame.tensors[tensor_name]
            spec = specs.get(name)
            if held is None or spec is None:
                continue  # Left out; whether the model can do without, its checks tell.
            tensors.append(step_input(held, spec, batches=config.batches))
            place = held.place or place
        sequence = self.sequence if run.step in self._ensemble.stateful else None
        if place is not None and not self._has_reserved(run.step, place):
            if sequence is not None:
                sequence.progress.stray = config.name
            sequence = None
        told = place or SequencePlace(request.sequence, request.start, request.end)
        if sequence is not None and place is None:
            start = run.step not in sequence.reached
            told = SequencePlace(request.sequence, start, request.end and run.frame.is_last)
        inner = Request(
            config.name,
            route.version,
            request.id,
            tensors,
            self._course.asked[run.step],
            request.parameters,
            told.key,
            told.start,
            told.end,
            request.priority,
            request.timeout_us,
            age_ns=request.age_ns if told.start else 0,
        )
        return _InnerCall(run, route, inner, place, sequence)

    def _has_reserved(self, step: StepIndex, place: SequencePlace) -> bool:
        """Whether the place that a model names is the one that the sequence has reserved."""
        sequence = self.sequence
        return sequence is not None and step in sequence.held and place.key == sequence.key

    def _on_response(self, inner: _InnerCall, response: Response) -> None:
        sequence = inner.sequence
        if sequence is None or not response.final:
            self._take_in(inner, response)
            return
        sequence.progress.runs -= 1
        self._traces -= not response.ran
        was_over = self.closed
        self._take_in(inner, response)
        if was_over:
            # Nobody else looks whether the sequence is at rest now.
            assert self._sequences is not None
            self._sequences.look_at(sequence.key)

    def _take_in(self, inner: _InnerCall, response: Response) -> None:
        run = inner.run
        if response.final:
            self._runs.done(run)
            if response.failure is not None and inner.sequence is not None:
                self._note_failure(inner, response)
        if self.closed or self._is_stopped:
            return
        if response.failure is not None:
            self.fail(response.failure, lost=response.lost)
            return
        try:
            outputs = self._outputs(inner, response)
            progress = self._flow.respond(run, outputs, final=response.final)
            if response.final:
                self._runs.start_next(run.step)
            self._advance(progress)
        except StreamGateError as error:
            self.fail(error.failure)

    def _outputs(self, inner: _InnerCall, response: Response) -> dict[str, Held] | None:
        if response.empty:
            return None
        names = self._ensemble.steps[inner.run.step].outputs
        try:
            return step_outputs(response, names, inner.request, inner.route.config, inner.place)
        except ValueError as error:
            raise StreamGateError(Code.INVALID_ARG, str(error)) from error

    def _note_failure(self, inner: _InnerCall, response: Response) -> None:
        """A request to a stateful model failed: START and END may have been lost with it."""
        sequence = inner.sequence
        assert sequence is not None
        step = inner.run.step
        if inner.request.start and not response.admitted:
            sequence.lose_start(step)
        if inner.request.end:
            sequence.ended.discard(step)

    # -- answers

    def _emit(self, frames: list[Frame[Held]]) -> None:
        """Answers of a decoupled ensemble whose turn it is."""
        for place, frame in enumerate(frames, start=1):
            if self.closed or self._is_stopped:
                return
            response = self._answer_of(frame)
            response.final = self._flow.is_over and not len(self._answers) and place == len(frames)
            self._deliver(response)

    def _conclude(self, response: Response) -> None:
        """This is its last answer; in a sequence, those before it come first."""
        self._answer = response
        if self.lane is None or self._answer_turn is None:
            self._deliver(response)
        else:
            go_all(self.lane.answers.ready(self._answer_turn))

    def deliver_answer(self) -> None:
        """It is its turn."""
        answer, self._answer, self._answer_turn = self._answer, None, None
        assert answer is not None
        self._deliver(answer)

    def _deliver(self, response: Response) -> None:
        response.index = self._index
        self._index += 1
        if response.final:
            self.closed = True
            self._runs.end()
            for route in self._routes.values():
                route.release()
            self._on_over(self, response)
        self._sink(response)
        if response.final and self.lane is not None and self._sequences is not None:
            self._sequences.leave(self.lane, self.sequence, begun=self._has_begun)

    def _stop(self, *, with_stateful: bool) -> None:
        """Run nothing more; cancel what runs, and give up every turn."""
        self._is_stopped = True
        self._runs.stop(with_stateful=with_stateful)
        turns, self._turns = self._turns, {}
        for run, turn in turns.items():
            assert self.lane is not None
            go_all(self.lane.lines[run.step].leave(turn))

    def _answer_of(self, frame: Frame[Held]) -> Response:
        # Triton lists the outputs of an ensemble in the order of a hash table: nearly always this.
        pairs = [
            (held, spec)
            for spec in reversed(self._config.outputs)
            if spec.name in self._course.wanted
            and (held := frame.tensors.get(spec.name)) is not None
        ]
        response = self._response()
        batches = self._config.batches
        response.outputs = [ensemble_output(held, spec, batches=batches) for held, spec in pairs]
        response.parameters = place_parameters([held for held, _ in pairs], self.request)
        return response

    def _response(
        self, *, failure: Failure | None = None, empty: bool = False, lost: bool = False
    ) -> Response:
        request = self.request
        return Response(
            request,
            request.model,
            request.version,
            failure=failure,
            empty=empty,
            position=self._position,
            lost=lost,
            ran=failure is None or self.sequence is None or self._traces > 0,
        )


class _StepTurn:
    """A run that waits for those of earlier requests of its sequence."""

    __slots__ = ("_call", "_run")

    def __init__(self, call: EnsembleCall, run: Run[Held]) -> None:
        self._call = call
        self._run = run

    def go(self) -> None:
        try:
            self._call.run(self._run)
        except StreamGateError as error:
            self._call.fail(error.failure)


class _AnswerTurn:
    """An answer that waits for those of earlier requests of its sequence."""

    __slots__ = ("_call",)

    def __init__(self, call: EnsembleCall) -> None:
        self._call = call

    def go(self) -> None:
        self._call.deliver_answer()
