"""Models whose sequences can move, and a client that sees the engine as a session's log does."""

import asyncio
import pickle
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from streamgate.backend.contract import LoadContext
from streamgate.backend.fake import FakeBackend, Plan
from streamgate.backend.fake.hashing import Step, expected_answers
from streamgate.backend.fake.layout import Layout
from streamgate.backend.fake.request import FakeRequestSession
from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.engine.host import AsyncioHost
from streamgate.engine.instances import RestartPolicy
from streamgate.engine.runtime import ModelRuntime
from streamgate.errors import EndReason, Failure
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.model.tensor import Tensor
from tests.engine.house import FILES, WAIT_SECONDS, samples

ME = OwnerNumber(1)
AT_ONCE = RestartPolicy(delays_ns=(0,))


class Keeping(FakeRequestSession):
    """Keeps its sequences in objects of its own, and can hand them over."""

    keeps_states = True
    hears_sequence_ends = True

    def __init__(self, layout: Layout, instance: str, plan: Plan) -> None:
        super().__init__(layout, instance, plan)
        self.ends: list[tuple[SequenceKey, EndReason]] = []
        self.dropped: list[SequenceKey] = []
        self.broken = ""

    def get_state(self, correlation_id: SequenceKey) -> bytes:
        if self.broken == "get":
            raise ValueError("can't get it")
        return pickle.dumps(self._sequences[correlation_id])

    def set_state(self, correlation_id: SequenceKey, state: bytes) -> None:
        if self.broken == "set":
            raise ValueError("can't set it")
        self._sequences[correlation_id] = pickle.loads(state)

    def drop_state(self, correlation_id: SequenceKey) -> None:
        self.dropped.append(correlation_id)
        self._sequences.pop(correlation_id, None)

    def on_sequence_end(self, correlation_id: SequenceKey, reason: EndReason) -> None:
        self.ends.append((correlation_id, reason))
        self._sequences.pop(correlation_id, None)


class KeepingBackend(FakeBackend):
    """Loads models of style `request` as `Keeping`."""

    def __init__(self, plan: Plan | None = None) -> None:
        super().__init__(plan)
        self.sessions: list[Keeping] = []
        self.contexts: list[LoadContext] = []

    def load(self, context: LoadContext) -> Keeping:
        session = Keeping(Layout(context.config), context.instance.name, self.plan)
        self.sessions.append(session)
        self.contexts.append(context)
        return session


@dataclass
class Engine:
    """One loaded model as others see it over a link."""

    runtime: ModelRuntime
    plan: Plan
    ended: list[tuple[SequenceKey, EndReason]] = field(default_factory=list)
    snapshots: list[tuple[SequenceKey, Snapshot, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runtime.watch_sequences(
            lambda key, reason, _: self.ended.append((key, reason)), lambda *_: None
        )

    async def hand_over(self, key: SequenceKey) -> Snapshot | Failure:
        answer: asyncio.Future[Snapshot | Failure] = asyncio.get_running_loop().create_future()
        self.runtime.hand_over(key, answer.set_result)
        assert not answer.done(), "answered before the call returned"
        async with asyncio.timeout(WAIT_SECONDS):
            return await answer

    def restore(self, key: SequenceKey, snapshot: Snapshot) -> "asyncio.Future[Failure | None]":
        answer: asyncio.Future[Failure | None] = asyncio.get_running_loop().create_future()
        self.runtime.restore(key, ME, snapshot, answer.set_result)
        assert not answer.done(), "answered before the call returned"
        return answer


@dataclass
class Talk:
    """One sequence as its log has it: steps with positions, and what each was answered."""

    key: SequenceKey
    history: list[Step] = field(default_factory=list)
    answers: "list[asyncio.Future[Response]]" = field(default_factory=list)
    answered: list[int] = field(default_factory=list)

    def say(self, engine: Engine, *values: int, end: bool = False) -> RequestNumber:
        """The next step, which is a START if it is the first."""
        position = len(self.history)
        self.history.append(Step([samples(*values)], position == 0, end, self.key))
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.send(engine, position)

    def send(self, engine: Engine, position: int) -> RequestNumber:
        """Send a step, perhaps again; its newest answer counts."""
        step = self.history[position]
        if self.answers[position].done():
            self.answers[position] = asyncio.get_running_loop().create_future()
        answer = self.answers[position]
        (payload,) = step.inputs
        assert payload is not None
        tensor = Tensor("INPUT", DataType.INT16, (1, len(payload) // 2), raw=payload)
        request = Request(
            "fake", inputs=[tensor], sequence=self.key, start=step.start, end=step.end
        )

        def sink(response: Response) -> None:
            assert response.position == position
            self.answered.append(position)
            if response.outputs or response.failure is not None:
                answer.set_result(response)

        return engine.runtime.submit(request, sink, ME, position)

    async def answer(self, position: int) -> Response:
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.answers[position]

    async def check(self, positions: Sequence[int] | None = None) -> None:
        """Every step, or those at these positions, was answered as in an undisturbed run."""
        expected = expected_answers(self.history)
        for position in range(len(self.history)) if positions is None else positions:
            response = await self.answer(position)
            assert response.failure is None, response.failure
            (found,) = [each for each in response.outputs if each.name == "HASH"]
            assert int(found.array.ravel()[0]) == expected[position], position


@asynccontextmanager
async def open_engine(
    config: ModelConfig,
    plan: Plan | None = None,
    backend: FakeBackend | None = None,
    *,
    watches: bool = False,
) -> AsyncIterator[Engine]:
    """Load the model on this loop; at the end close it, and check that nothing is left. Models
    that keep objects can hand them over."""
    keeps = config.parameters.get("style") == "request"
    backend = backend or (KeepingBackend(plan) if keeps else FakeBackend(plan))
    runtime = ModelRuntime(config, "1", AsyncioHost(asyncio.get_running_loop()), AT_ONCE)
    await runtime.load(
        lambda instance, on_lost: backend.load(
            LoadContext(config, FILES, instance, on_lost=on_lost)
        )
    )
    engine = Engine(runtime, backend.plan)
    if watches:
        runtime.watch_snapshots(lambda *told: engine.snapshots.append(told))
    try:
        yield engine
    finally:
        await runtime.close(WAIT_SECONDS)
        statistics = runtime.statistics()
        assert statistics.pending == 0
        if statistics.sequences is not None:
            assert statistics.sequences.active == 0
            assert statistics.sequences.backlog == 0
        moves, places = runtime._moves, runtime.places
        for left in (moves._coming, moves._going, moves._copies, moves._hand_overs):
            assert not left
        assert not places._places
        assert not places._positions
