"""Ensembles of fake models on the real engine, in a time of their own.

    first (sequences) -> middle (stateless, three instances) -> last (sequences)

Each answers with a running hash, so that a step lost, repeated or out of order in any of them
changes what comes out at the end.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streamgate.backend.contract import LoadContext
from streamgate.backend.fake import FakeBackend, Plan, Step, expected_answers
from streamgate.core.ids import OwnerNumber
from streamgate.engine.ensemble.runtime import EnsembleRuntime
from streamgate.engine.runtime import ModelRuntime
from streamgate.errors import EndReason, EndWarning, Failure
from streamgate.model.config import (
    DirectStrategy,
    Ensemble,
    EnsembleStep,
    Instance,
    InstanceKind,
    ModelConfig,
    OldestStrategy,
    SequenceBatching,
)
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.tensor import Tensor, TensorSpec
from streamgate.repository.composition import compose
from streamgate.repository.ensembles import MAX_INFLIGHT
from streamgate.session.connection import OpenCall, SessionConnection
from streamgate.session.routing import READY, ModelTable, Route, VersionState
from tests.backend.fake_models import FILES, fake_config, request_config, stateless_config
from tests.engine.play_host import PlayHost

IDLE_NS = 60_000_000_000
WORDS = TensorSpec("INPUT", DataType.UINT64, (1,))
HASH = TensorSpec("HASH", DataType.UINT64, (1,))


def instances(name: str, count: int) -> tuple[Instance, ...]:
    return tuple(Instance(f"{name}_{number}", InstanceKind.CPU) for number in range(count))


def stateful(name: str, **changes: object) -> ModelConfig:
    """A sequence model of words."""
    scheduling = SequenceBatching(DirectStrategy(), 4, max_idle_ns=IDLE_NS)
    fields = {"name": name, "inputs": (WORDS,), "outputs": (HASH,), "scheduling": scheduling}
    return fake_config(**(fields | {"instances": instances(name, 1)} | changes))


def oldest(name: str, **changes: object) -> ModelConfig:
    scheduling = SequenceBatching(OldestStrategy(4, (4,)), 4, max_idle_ns=IDLE_NS)
    return request_config(
        **{"name": name, "inputs": (WORDS,), "outputs": (HASH,), "scheduling": scheduling}
        | {"instances": instances(name, 1)}
        | changes
    )


def stateless(name: str, count: int = 3, **changes: object) -> ModelConfig:
    """A stateless model of words with so many instances."""
    fields = {"name": name, "inputs": (WORDS,), "outputs": (HASH,)} | changes
    return stateless_config(instances=instances(name, count), **fields)


def step(model: str, taken: str, given: str) -> EnsembleStep:
    return EnsembleStep(model, "", {"INPUT": taken}, {"HASH": given})


def ensemble(
    *steps: EnsembleStep,
    name: str = "e",
    outputs: Sequence[TensorSpec] = (HASH,),
    max_batch_size: int = 4,
    max_inflight: int = MAX_INFLIGHT,
    max_pending: int = 10_000,
) -> ModelConfig:
    """An ensemble of words that gives HASH."""
    return ModelConfig(
        name=name,
        backend="",
        platform="ensemble",
        max_batch_size=max_batch_size,
        inputs=(WORDS,),
        outputs=tuple(outputs),
        scheduling=Ensemble(tuple(steps), max_inflight, max_pending),
    )


CHAIN = ensemble(step("first", "INPUT", "a"), step("middle", "a", "b"), step("last", "b", "HASH"))
CHAIN_MODELS = (oldest("first"), stateless("middle"), stateful("last"))


def word(value: int) -> bytes:
    return value.to_bytes(8, "little")


@dataclass(repr=False)
class EnsembleHouse:
    """The models, the ensembles over them, and one connection for each owner."""

    host: PlayHost
    table: ModelTable
    runtimes: dict[str, ModelRuntime | EnsembleRuntime]
    plans: Mapping[str, Plan]
    connections: dict[int, SessionConnection] = field(default_factory=dict)
    ended: list[tuple[SequenceKey, EndReason]] = field(default_factory=list)
    warned: list[tuple[SequenceKey, EndWarning]] = field(default_factory=list)

    @classmethod
    def open(
        cls, models: Sequence[ModelConfig], *ensembles: ModelConfig, **plans: Plan
    ) -> "EnsembleHouse":
        """Load the models, then the ensembles over them, in order."""
        host = PlayHost()
        table = ModelTable()
        runtimes: dict[str, ModelRuntime | EnsembleRuntime] = {}
        for config in models:
            backend = FakeBackend(plans.get(config.name))
            runtimes[config.name] = asyncio.run(_load(config, host, backend))
        for config in models:
            _enter(table, runtimes[config.name])
        host.loaded()
        for config in ensembles:
            known = {name: runtime.config for name, runtime in runtimes.items()}
            made = EnsembleRuntime(compose(config, known), "1", table.route, host)
            runtimes[config.name] = made
            _enter(table, made)
        return cls(host, table, runtimes, plans)

    def connection(self, owner: int = 1) -> SessionConnection:
        if owner not in self.connections:
            self.connections[owner] = SessionConnection(
                OwnerNumber(owner),
                self.table,
                lambda _, key, reason: self.ended.append((key, reason)),
                lambda _, key, warning: self.warned.append((key, warning)),
            )
        return self.connections[owner]

    def hang_up(self, owner: int) -> None:
        self.connections.pop(owner).close(abort=True)

    def asked(self, *names: str) -> list[int]:
        """How many sequences live in each of these models."""
        counts = []
        for name in names:
            sequences = self.runtimes[name].statistics().sequences
            counts.append(-1 if sequences is None else sequences.active)
        return counts

    def check_empty(self) -> None:
        """Nothing lives, waits or is remembered anywhere."""
        for route in self.table.routes():
            statistics = route.link.statistics()
            assert statistics.pending == 0, route.config.name
            if statistics.sequences is not None:
                assert statistics.sequences.active == 0, route.config.name
            assert len(route.positions) == 0, route.config.name
            assert not route.is_held, route.config.name
        for runtime in self.runtimes.values():
            if isinstance(runtime, EnsembleRuntime):
                assert runtime._calls == {}
                assert runtime._owned == {}
                assert runtime._sequences.open_keys() == []


async def _load(config: ModelConfig, host: PlayHost, backend: FakeBackend) -> ModelRuntime:
    runtime = ModelRuntime(config, "1", host)
    await runtime.load(
        lambda instance, on_lost: backend.load(
            LoadContext(config, FILES, instance, on_lost=on_lost)
        )
    )
    return runtime


def _enter(table: ModelTable, runtime: ModelRuntime | EnsembleRuntime) -> None:
    route = Route(runtime)
    table.set(runtime.config.name, 1, VersionState(READY, route=route))


@dataclass
class Talk:
    """One sequence of requests to an ensemble: what was sent, and what came."""

    house: EnsembleHouse = field(repr=False)
    key: SequenceKey
    owner: int = 1
    model: str = "e"
    sent: list[tuple[int, bool, bool]] = field(default_factory=list)
    calls: list[OpenCall] = field(default_factory=list, repr=False)
    finals: dict[int, Response] = field(default_factory=dict, repr=False)
    order: list[int] = field(default_factory=list)
    reserved: list[Failure | None] = field(default_factory=list)

    def reserve(self) -> None:
        """Ask for the sequence's places before its START. The answer comes to `reserved`."""
        connection = self.house.connection(self.owner)
        connection.ask_to_reserve(self.model, "", self.key, self.reserved.append)

    def send(self, value: int, *, start: bool = False, end: bool = False) -> int:
        """Submit a word. Returns the place of the request."""
        place = len(self.sent)
        tensor = Tensor("INPUT", DataType.UINT64, (1, 1), raw=word(value))

        def sink(response: Response) -> None:
            if response.final:
                assert place not in self.finals, "two final responses"
                self.finals[place] = response
                self.order.append(place)

        request = Request(self.model, inputs=[tensor], sequence=self.key, start=start, end=end)
        self.sent.append((value, start, end))
        self.calls.append(self.house.connection(self.owner).submit(request, sink))
        return place

    @property
    def hashes(self) -> list[int | Failure]:
        """What each request was answered, in the order in which they were sent."""
        answers: list[int | Failure] = []
        for place in range(len(self.sent)):
            response = self.finals[place]
            if response.failure is not None:
                answers.append(response.failure)
            else:
                (tensor,) = response.outputs
                answers.append(int(tensor.array.ravel()[0]))
        return answers

    def expected(self) -> list[int]:
        """The answers of the chain to all that was sent, each model on its own."""
        first = expected_answers(
            Step([word(value)], start, end, self.key) for value, start, end in self.sent
        )
        middle = [expected_answers([Step([word(value)])])[0] for value in first]
        return expected_answers(
            Step([word(value)], start, end, self.key)
            for value, (_, start, end) in zip(middle, self.sent, strict=True)
        )
