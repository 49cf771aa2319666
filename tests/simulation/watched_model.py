"""The fake's sessions, watched: what they see goes to the diary, and they fail when told to.

With `later`, a model's answers are kept back as promises, to be kept after its step.
"""

import enum
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import assert_never

import numpy as np

from streamgate.backend.contract import (
    LoadContext,
    ModelFiles,
    ModelRequest,
    Reply,
    SessionLostError,
    TensorStep,
)
from streamgate.backend.fake import FakeBackend, Plan
from streamgate.backend.fake.plan import Crash, Fail, Fault, Nan
from streamgate.backend.fake.request import FakeRequestSession
from streamgate.backend.fake.tensor import FakeTensorSession
from streamgate.errors import Code, EndReason, Failure
from streamgate.model.config import ControlKind, ModelConfig
from streamgate.model.request import (
    FLAG_SEQUENCE_END,
    FLAG_SEQUENCE_START,
    ParameterValue,
    SequenceKey,
)
from streamgate.model.tensor import Array, Tensor
from tests.simulation.diary import Diary, Heard, Loaded, Lost, Ran

FILES = ModelFiles("fake", "1", Path(), Path(), Path())
_FLAGS = (ControlKind.START, ControlKind.END, ControlKind.READY)


class Trouble(enum.Enum):
    """What can go wrong with a step."""

    FAIL = "fail"
    FAIL_ROW = "fail_row"
    CRASH = "crash"
    NAN = "nan"
    LOSE = "lose"


class Promise:
    """A `Reply` that sends when it is kept, a response at a time."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._sends: list[partial[None]] = []

    def send(
        self,
        outputs: Sequence[Tensor],
        failure: Failure | None = None,
        *,
        final: bool,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        self._sends.append(
            partial(self._reply.send, outputs, failure, final=final, parameters=parameters)
        )

    def finish(self) -> None:
        self._sends.append(partial(self._reply.finish))

    def is_cancelled(self) -> bool:
        return self._reply.is_cancelled()

    def keep(self) -> bool:
        """Send the next response. Returns whether there are more."""
        if self._sends:
            self._sends.pop(0)()
        return bool(self._sends)


Faults = dict[int | tuple[str, int], Fault]


@dataclass(eq=False)
class Desk:
    """What the sessions of all instances share, and the test gets at.

    `troubles` is what becomes of the next step of an instance. Nothing runs on the `dead` until
    they are loaded again. `open` counts the sessions of each instance that are not closed.
    """

    config: ModelConfig
    diary: Diary
    later: bool = False
    troubles: dict[int, Trouble] = field(default_factory=dict)
    promises: list[tuple[int, Promise]] = field(default_factory=list)
    dead: set[int] = field(default_factory=set)
    open: dict[int, int] = field(default_factory=dict)
    faults: int = 0

    def load(self, context: LoadContext, index: int) -> "WatchedTensors | WatchedRequests":
        self.dead.discard(index)
        self.open[index] = self.open.get(index, 0) + 1
        self.diary.note(Loaded(index))
        faults: Faults = {}
        states = tuple(replace(state, shape=(1,)) for state in context.config.states)
        fixed = replace(context, config=replace(context.config, states=states))
        inner = FakeBackend(Plan(faults)).load(fixed)
        if isinstance(inner, FakeTensorSession):
            return WatchedTensors(self, index, inner, faults)
        return WatchedRequests(self, index, inner, faults)

    def close(self, index: int) -> None:
        """A session of the instance is closed."""
        self.open[index] -= 1
        if not self.open[index]:
            del self.open[index]

    def lose(self, index: int, error: SessionLostError) -> None:
        """The instance's session is lost, and what it promised."""
        self.diary.note(Lost(index, error.failure))
        self.dead.add(index)
        self.promises = [promise for promise in self.promises if promise[0] != index]

    def failure(self, code: Code = Code.INTERNAL, lead: str = "") -> Failure:
        """A failure like no other."""
        self.faults += 1
        return Failure(code, f"{lead}fault {self.faults}")

    def begin(self, ran: Ran, place: int) -> Fault | None:
        """Note a step, and say what is to go wrong with it: all of it, or the row at `place`.

        Raises SessionLostError.
        """
        self.diary.note(ran)
        trouble = self.troubles.pop(ran.instance, None)
        if ran.instance in self.dead:
            trouble = Trouble.LOSE
        numbers = [number for number, _, _ in ran.rows]
        match trouble:
            case None:
                return None
            case Trouble.NAN:
                return Nan()
            case Trouble.FAIL:
                failure = self.failure(Code.UNAVAILABLE)
                ran.failures = dict.fromkeys(numbers, failure)
                return Fail(failure.message, failure.code)
            case Trouble.FAIL_ROW:
                failure = self.failure()
                ran.failures = {numbers[-1]: failure}
                return Fail(failure.message, row=place)
            case Trouble.CRASH:
                failure = self.failure(lead="RuntimeError: ")
                ran.failures = dict.fromkeys(numbers, failure)
                return Crash(failure.message.removeprefix("RuntimeError: "))
            case Trouble.LOSE:
                error = SessionLostError(self.failure().message)
                ran.failures = dict.fromkeys(numbers, error.failure)
                ran.lost = True
                self.lose(ran.instance, error)
                raise error
            case _:
                assert_never(trouble)


class WatchedTensors:
    """A `TensorSession`. A failure of one row is one of its step.

    A state of an open dimension is the fake's, once to three times, once more with each step.
    """

    hears_sequence_ends = True

    def __init__(self, desk: Desk, index: int, inner: FakeTensorSession, faults: Faults) -> None:
        self._desk = desk
        self._index = index
        self._inner = inner
        self._faults = faults
        self._steps = 0

    def run(self, step: TensorStep) -> dict[str, Array]:
        desk = self._desk
        numbers = step.inputs["INPUT"].reshape(step.rows, -1)[:, 0].tolist()
        flags = {kind: self._flags(step, kind) for kind in _FLAGS}
        starts, ends = flags[ControlKind.START], flags[ControlKind.END]
        rows = list(zip(numbers, starts, ends, strict=True))
        ran = Ran(self._index, tuple(row for row in rows if row[0]))
        if flags[ControlKind.READY] != [number != 0 for number in numbers]:
            ran.odd.append(f"READY is {flags[ControlKind.READY]} for {numbers}")
        ran.odd += [f"{row}" for row in rows if not row[0] and (row[1] or row[2])]
        if desk.troubles.get(self._index) is Trouble.FAIL_ROW:
            desk.troubles[self._index] = Trouble.FAIL
        fault = desk.begin(ran, 0)
        if fault is not None:
            self._faults[self._steps] = fault
        self._steps += 1
        sizes = {
            state: step.inputs[state.input_name].shape[-1]
            for state in desk.config.states
            if -1 in state.shape
        }
        inputs = dict(step.inputs)
        for state in sizes:
            copies = inputs[state.input_name]
            ran.odd += [] if np.all(copies == copies[..., :1]) else ["a state of two sequences"]
            inputs[state.input_name] = np.ascontiguousarray(copies[..., :1])
        outputs = self._inner.run(replace(step, inputs=inputs))
        for state, size in sizes.items():
            output = outputs[state.output_name]
            outputs[state.output_name] = np.repeat(output, size % 3 + 1, axis=-1)
        return outputs

    def on_sequence_end(self, correlation_id: SequenceKey, reason: EndReason) -> None:
        self._desk.diary.note(Heard(self._index, correlation_id, reason))

    def close(self) -> None:
        self._desk.close(self._index)
        self._inner.close()

    def _flags(self, step: TensorStep, kind: ControlKind) -> list[bool]:
        control = next(each for each in self._desk.config.controls if each.kind is kind)
        values: list[float] = step.inputs[control.name].reshape(step.rows).tolist()
        return [value == control.true_value for value in values]


class WatchedRequests:
    """A `RequestSession`. A START never fails, as nobody could say what its sequence is then."""

    hears_sequence_ends = True
    keeps_states = True

    def __init__(self, desk: Desk, index: int, inner: FakeRequestSession, faults: Faults) -> None:
        self._desk = desk
        self._index = index
        self._inner = inner
        self._faults = faults
        self._steps = 0

    def execute(self, requests: Sequence[ModelRequest]) -> None:
        desk = self._desk
        ran = Ran(self._index, ())
        rows = []
        place = 0
        for index, request in enumerate(requests):
            number = int(request.inputs[0].array.ravel()[0])
            start = bool(request.flags & FLAG_SEQUENCE_START)
            end = bool(request.flags & FLAG_SEQUENCE_END)
            if request.null != (number == 0):
                ran.odd.append(f"a null row is {number}, or {number} is a null row")
            if request.null:
                odd = request.flags or request.correlation_id or request.requested_outputs
                ran.odd += ["a null row that asks for something"] if odd else []
            else:
                rows.append((number, start, end))
                place = index
        ran.rows = tuple(rows)
        trouble = desk.troubles.get(self._index)
        begins = any(start for _, start, _ in rows)
        if begins and trouble is not None and trouble is not Trouble.LOSE:
            del desk.troubles[self._index]
        fault = desk.begin(ran, place)
        if fault is not None:
            self._faults[self._steps] = fault
        self._steps += 1
        self._inner.execute([self._promised(each) for each in requests] if desk.later else requests)

    def on_sequence_end(self, correlation_id: SequenceKey, reason: EndReason) -> None:
        self._desk.diary.note(Heard(self._index, correlation_id, reason))

    def close(self) -> None:
        self._desk.close(self._index)
        self._inner.close()

    def get_state(self, correlation_id: SequenceKey) -> bytes:
        self._check_alive()
        return pickle.dumps(self._inner._sequences[correlation_id])

    def set_state(self, correlation_id: SequenceKey, state: bytes) -> None:
        self._check_alive()
        self._inner._sequences[correlation_id] = pickle.loads(state)

    def drop_state(self, correlation_id: SequenceKey) -> None:
        self._inner._sequences.pop(correlation_id, None)

    def _check_alive(self) -> None:
        if self._index in self._desk.dead:
            raise SessionLostError("it is dead")

    def _promised(self, request: ModelRequest) -> ModelRequest:
        promise = Promise(request.reply)
        if not request.null:
            self._desk.promises.append((self._index, promise))
        return replace(request, reply=promise)
