"""More live sequences than slots: rows are copied out and come back, and nobody notices."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from streamgate.backend.contract import SessionLostError
from streamgate.backend.fake import Plan
from streamgate.engine import moves
from streamgate.errors import EndReason
from streamgate.model.config import Durability, ModelConfig
from streamgate.model.request import SequenceKey
from streamgate.model.snapshot import Snapshot
from tests.engine.moving import Engine, KeepingBackend, Talk, open_engine
from tests.engine.test_engine_moves import LateBackend, PlainBackend, sequences
from tests.engine.test_engine_sequences import OLDEST, TWO_INSTANCES, request_model, tensor_model
from tests.waiting import until

FEW_SLOTS = replace(OLDEST, slots=2)
ONE_SLOT = replace(OLDEST, slots=1)
SOON = Durability(hibernate_ns=1_000_000, snapshot_steps=0, snapshot_ns=0)


@dataclass
class Keeper:
    """What a session does for sequences that hibernate: it keeps them, and brings them back with
    their next step."""

    engine: Engine
    asleep: dict[SequenceKey, Snapshot] = field(default_factory=dict)
    slept: int = 0

    def __post_init__(self) -> None:
        self.engine.runtime.watch_snapshots(self.receive)

    def receive(self, key: SequenceKey, snapshot: Snapshot, has_left: bool) -> None:
        if has_left:
            assert key not in self.asleep
            self.asleep[key] = snapshot
            self.slept += 1

    def say(self, talk: Talk, *values: int, end: bool = False) -> None:
        snapshot = self.asleep.pop(talk.key, None)
        if snapshot is not None:
            assert snapshot.position == len(talk.history) - 1
            self.engine.restore(talk.key, snapshot)
        talk.say(self.engine, *values, end=end)


@pytest.fixture
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "TURN_NS", 2_000_000)


@pytest.mark.parametrize(
    "config",
    [
        tensor_model(FEW_SLOTS, durability=SOON),
        request_model(FEW_SLOTS, durability=SOON),
        tensor_model(ONE_SLOT, durability=SOON, instances=TWO_INSTANCES),
        tensor_model(replace(FEW_SLOTS, state_canary=True), durability=SOON),
    ],
    ids=["states", "objects", "two-instances", "canary"],
)
async def test_ten_times_as_many_sequences_as_slots(config: ModelConfig) -> None:
    """Each sends a step now and then, and is answered as if it were alone."""
    rng = random.Random(5)
    async with open_engine(config) as engine:
        keeper = Keeper(engine)
        talks = [Talk(key) for key in range(1, 21)]

        async def live(talk: Talk) -> None:
            for step in range(6):
                await asyncio.sleep(rng.random() * 0.03)
                keeper.say(talk, step, int(talk.key), end=step == 5)
                await talk.answer(step)

        await asyncio.gather(*map(live, talks))
        for talk in talks:
            await talk.check()
        assert keeper.slept > 20
        assert not keeper.asleep
        assert sorted(engine.ended) == [(key, EndReason.CLIENT_END) for key in range(1, 21)]
        assert sequences(engine).restored >= keeper.slept
        assert engine.runtime.statistics().instances.violations == 0


@pytest.mark.usefixtures("short_turns")
@pytest.mark.parametrize("make", [tensor_model, request_model], ids=["states", "objects"])
async def test_busy_sequences_take_turns(make: Callable[..., ModelConfig]) -> None:
    """All have steps waiting all the time. Whoever has to go comes back by itself."""
    config = make(ONE_SLOT, durability=SOON)
    async with open_engine(config, Plan(latency_ns=500_000)) as engine:
        keeper = Keeper(engine)
        talks = [Talk(key) for key in range(1, 5)]
        for step in range(30):
            for talk in talks:
                talk.say(engine, step, end=step == 29)
        for talk in talks:
            await talk.check()
        assert sequences(engine).parked >= 4
        assert keeper.slept == 0
        assert len(engine.ended) == 4


@pytest.mark.usefixtures("short_turns")
async def test_who_is_parked_when_its_state_can_not_come_back_is_told() -> None:
    backend = KeepingBackend(Plan(latency_ns=500_000))
    config = request_model(ONE_SLOT, durability=SOON)
    async with open_engine(config, backend=backend) as engine:
        (session,) = backend.sessions
        Keeper(engine)
        first, second = Talk(1), Talk(2)
        for step in range(40):
            first.say(engine, step)
            second.say(engine, step)
        await until(lambda: sequences(engine).parked >= 1)
        session.broken = "set"
        await until(lambda: bool(engine.ended))
        assert {reason for _, reason in engine.ended} == {EndReason.ENGINE_LOST}
        key, _ = engine.ended[0]
        gone = first if key == 1 else second
        response = await gone.answer(39)
        assert response.lost
        session.broken = ""


@pytest.mark.usefixtures("short_turns")
async def test_who_is_parked_survives_the_instance(caplog: pytest.LogCaptureFixture) -> None:
    backend = KeepingBackend(Plan(latency_ns=500_000))
    config = request_model(ONE_SLOT, durability=SOON)
    async with open_engine(config, backend=backend) as engine:
        Keeper(engine)
        talks = {1: Talk(1), 2: Talk(2)}
        for step in range(40):
            for talk in talks.values():
                talk.say(engine, step, end=step == 39)
        await until(lambda: sequences(engine).parked >= 1)
        backend.contexts[0].on_lost(SessionLostError("gone"))
        await until(lambda: bool(engine.ended))
        ((lost, reason),) = engine.ended[:1]
        assert reason is EndReason.ENGINE_LOST
        await talks[3 - int(lost)].check()


async def test_pinned_sequences_keep_their_slots() -> None:
    config = request_model(ONE_SLOT, durability=SOON)
    async with open_engine(config, backend=PlainBackend()) as engine:
        keeper = Keeper(engine)
        first, second = Talk(1), Talk(2)
        first.say(engine, 1)
        await first.check()
        second.say(engine, 1, end=True)
        await asyncio.sleep(0.02)
        assert keeper.slept == 0
        assert not second.answers[0].done()
        first.say(engine, 2, end=True)
        await first.check()
        await second.check()


async def test_nobody_hibernates_whom_its_model_owes_an_answer() -> None:
    backend = LateBackend()
    config = request_model(ONE_SLOT, decoupled=True, durability=SOON)
    async with open_engine(config, backend=backend) as engine:
        keeper = Keeper(engine)
        first, second = Talk(1), Talk(2)
        first.say(engine, 1)
        await until(lambda: len(backend.late.held) == 1)
        second.say(engine, 1)
        await asyncio.sleep(0.02)
        assert keeper.slept == 0
        backend.late.finish()
        await until(lambda: keeper.slept == 1)
        await first.check()
        await until(lambda: len(backend.late.held) == 2)
        backend.late.held = backend.late.held[1:]
        backend.late.finish()
        await second.check()


async def test_nobody_hibernates_where_nobody_keeps_them() -> None:
    async with open_engine(tensor_model(ONE_SLOT, durability=SOON)) as engine:
        first, second = Talk(1), Talk(2)
        first.say(engine, 1)
        second.say(engine, 1)
        await first.check()
        await asyncio.sleep(0.02)
        assert sequences(engine).left == 0
        assert not second.answers[0].done()
        first.say(engine, 1, end=True)
        await second.check()
