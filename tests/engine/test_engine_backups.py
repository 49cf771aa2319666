"""Snapshots that nobody asked for: exact under load, in order, behind the answers."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from streamgate.backend.contract import ModelRequest, SessionLostError
from streamgate.backend.fake import Block, Lose, Plan
from streamgate.errors import EndReason
from streamgate.model.config import Durability, ModelConfig, OldestStrategy, SequenceBatching
from streamgate.model.request import SequenceKey
from streamgate.model.snapshot import Snapshot
from tests.engine.moving import Engine, Keeping, KeepingBackend, Talk, open_engine
from tests.engine.test_engine_moves import LateBackend, PlainBackend
from tests.engine.test_engine_sequences import (
    DIRECT,
    MODELS,
    TWO_INSTANCES,
    request_model,
    tensor_model,
)
from tests.waiting import until

EACH_STEP = Durability(snapshot_steps=1, snapshot_ns=0, snapshot_bytes_per_second=0)
SOON = Durability(snapshot_steps=0, snapshot_ns=1_000_000, snapshot_bytes_per_second=0)


def kept(engine: Engine) -> dict[SequenceKey, list[Snapshot]]:
    by_key = defaultdict(list)
    for key, snapshot, _ in engine.snapshots:
        by_key[key].append(snapshot)
    return by_key


async def goes_on(config: ModelConfig, talk: Talk, snapshot: Snapshot) -> None:
    """Replayed from the snapshot, the sequence answers as it did."""
    again = Talk(talk.key, talk.history, list(talk.answers))
    async with open_engine(config) as engine:
        restored = engine.restore(talk.key, snapshot)
        positions = range(snapshot.position + 1, len(talk.history))
        for position in positions:
            again.send(engine, position)
        assert await restored is None
        await again.check(positions)


@pytest.mark.parametrize("config", MODELS)
async def test_each_snapshot_is_what_was_after_its_step(config: ModelConfig) -> None:
    """Though many steps are queued, so that others run while it is taken and handed over."""
    config = replace(config, durability=replace(EACH_STEP, snapshot_steps=2))
    async with open_engine(config, watches=True) as engine:
        talks = [Talk(key) for key in range(1, 5)]
        for value in range(12):
            for talk in talks:
                talk.say(engine, value, int(talk.key))
            if value % 4 == 3:
                for talk in talks:
                    await talk.check()
                await asyncio.sleep(0.005)
        found = kept(engine)
        assert set(found) == {1, 2, 3, 4}
    for talk in talks:
        positions = [snapshot.position for snapshot in found[talk.key]]
        assert positions == sorted(set(positions))
        assert len(positions) >= 3
        assert max(positions) >= 8
        for snapshot in found[talk.key]:
            await goes_on(config, talk, snapshot)


async def test_a_snapshot_comes_behind_the_answers_up_to_it() -> None:
    """Though they are held back until an older request on another instance is answered."""
    rules = SequenceBatching(OldestStrategy(4, preserve_ordering=True), 4)
    config = tensor_model(rules, durability=EACH_STEP, instances=TWO_INSTANCES)
    block = Block()
    async with open_engine(config, Plan({("fake_0", 0): block}), watches=True) as engine:
        first, second = Talk(1), Talk(2)
        first.say(engine, 1)
        await asyncio.to_thread(block.entered.wait, 10)
        second.say(engine, 1)
        await until(lambda: len(engine.plan.steps) == 2)
        await asyncio.sleep(0.01)
        assert second.answered == []
        assert engine.snapshots == []
        block.release.set()
        await until(lambda: set(kept(engine)) == {1, 2})
        await second.check()


async def test_of_a_sequence_that_nobody_keeps_no_second_one_is_taken() -> None:
    """It is an ensemble's, say. Another sequence of its ID begins anew."""
    told: list[tuple[SequenceKey, int]] = []

    def receive(key: SequenceKey, snapshot: Snapshot, _: bool) -> bool:
        told.append((key, snapshot.position))
        return key != 5

    def has(one: tuple[SequenceKey, int]) -> bool:
        return one in told

    async with open_engine(tensor_model(durability=EACH_STEP)) as engine:
        engine.runtime.watch_snapshots(receive)
        foreign, own = Talk(5), Talk(6)
        for value in range(6):
            for talk in (foreign, own):
                talk.say(engine, value)
                await talk.check()
            # Answers may be there before the snapshot is.
            await until(partial(has, (6, value)))
        assert [position for key, position in told if key == 5] == [0]
        assert [position for key, position in told if key == 6] == [*range(6)]
        again = Talk(5)
        again.say(engine, 1)
        await again.check()
        await until(lambda: told.count((5, 0)) == 2)


async def test_who_rests_has_its_snapshot_in_time() -> None:
    async with open_engine(tensor_model(durability=SOON), watches=True) as engine:
        talk = Talk(5)
        talk.say(engine, 1)
        talk.say(engine, 2)
        await talk.check()
        await until(lambda: [each.position for each in kept(engine)[5]][-1:] == [1])
        count = len(engine.snapshots)
        await asyncio.sleep(0.02)
        assert len(engine.snapshots) == count  # nothing has happened since


async def test_of_a_model_that_answers_late_only_what_it_has_answered() -> None:
    backend = LateBackend()
    config = request_model(decoupled=True, durability=SOON)
    async with open_engine(config, backend=backend, watches=True) as engine:
        talk = Talk(5)
        talk.say(engine, 1)
        await until(lambda: len(backend.late.held) == 1)
        await asyncio.sleep(0.02)
        assert engine.snapshots == []
        backend.late.finish()
        await talk.check()
        await until(lambda: [each.position for each in kept(engine)[5]] == [0])


async def test_one_that_was_cancelled_is_still_with_its_model() -> None:
    """Its client has an answer. What the model makes of it nobody knows before it says so."""
    backend = LateBackend()
    config = request_model(decoupled=True, durability=SOON)
    async with open_engine(config, backend=backend, watches=True) as engine:
        talk = Talk(5)
        number = talk.say(engine, 1)
        await until(lambda: len(backend.late.held) == 1)
        engine.runtime.cancel(number)
        assert (await talk.answer(0)).failure is not None
        handing = asyncio.create_task(engine.hand_over(5))
        await asyncio.sleep(0.02)
        assert engine.snapshots == []
        assert not handing.done()
        backend.late.finish()
        assert isinstance(await handing, Snapshot)


@pytest.mark.parametrize("make", [tensor_model, request_model], ids=["states", "objects"])
async def test_a_lost_step_is_in_no_snapshot(make: Callable[..., ModelConfig]) -> None:
    config = make(durability=EACH_STEP)
    async with open_engine(config, Plan({2: Lose()}), watches=True) as engine:
        talk = Talk(5)
        for value in range(2):
            talk.say(engine, value)
            await talk.check()
            await until(lambda: len(engine.snapshots) == value + 1)  # noqa: B023
        talk.say(engine, 2)
        assert (await talk.answer(2)).lost
        await until(lambda: engine.runtime.statistics().instances.restarts == 1)
        assert [each.position for each in kept(engine)[5]][-1] == 1
        if make is tensor_model:
            # What the arena has is as it was before.
            snapshot = await engine.hand_over(5)
            assert isinstance(snapshot, Snapshot)
            assert snapshot.position == 1
            await goes_on(config, talk, snapshot)


async def test_nothing_is_handed_over_of_who_has_gone() -> None:
    block = Block()
    config = tensor_model(DIRECT, durability=EACH_STEP)
    async with open_engine(config, Plan({1: block}), watches=True) as engine:
        first, second = Talk(1), Talk(2)
        first.say(engine, 1)
        await until(lambda: len(engine.snapshots) == 1)
        first.say(engine, 2)
        await asyncio.to_thread(block.entered.wait, 10)
        second.say(engine, 1)
        engine.runtime.end_sequence(1, EndReason.DRAINED, drain=False)
        block.release.set()
        await second.check()
        await until(lambda: 2 in kept(engine))
        assert [each.position for each in kept(engine)[1]] == [0]


async def test_pinned_sequences_are_left_alone() -> None:
    config = request_model(durability=EACH_STEP)
    async with open_engine(config, backend=PlainBackend(), watches=True) as engine:
        talk = Talk(5)
        for value in range(4):
            talk.say(engine, value)
        await talk.check()
        await asyncio.sleep(0.01)
        assert engine.snapshots == []


async def test_a_model_that_fails_to_give_its_state_serves_on() -> None:
    backend = KeepingBackend()
    config = request_model(durability=EACH_STEP)
    async with open_engine(config, backend=backend, watches=True) as engine:
        (session,) = backend.sessions
        session.broken = "get"
        talk = Talk(5)
        talk.say(engine, 1)
        await talk.answer(0)
        await asyncio.sleep(0.01)
        session.broken = ""
        talk.say(engine, 2)
        await talk.check()
        await until(lambda: [each.position for each in kept(engine)[5]] == [1])


async def test_an_instance_that_is_lost_right_behind_a_step() -> None:
    backend = KeepingBackend()
    config = request_model(durability=SOON)
    async with open_engine(config, backend=backend, watches=True) as engine:
        talk = Talk(5)
        talk.say(engine, 1)
        await talk.check()
        backend.contexts[0].on_lost(SessionLostError("gone"))
        await until(lambda: engine.ended != [])
        count = len(engine.snapshots)
        await until(lambda: engine.runtime.statistics().instances.restarts == 1)
        await asyncio.sleep(0.01)
        assert len(engine.snapshots) == count


async def test_who_does_not_ask_for_them_pays_nothing() -> None:
    class Counting(Keeping):
        copies = 0

        def get_state(self, correlation_id: SequenceKey) -> bytes:
            Counting.copies += 1
            return super().get_state(correlation_id)

        def execute(self, requests: Sequence[ModelRequest]) -> None:
            super().execute(requests)

    class Backend(KeepingBackend):
        def load(self, context: Any) -> Any:
            return Counting(super().load(context)._layout, "fake_0", self.plan)

    async with open_engine(request_model(durability=EACH_STEP), backend=Backend()) as engine:
        talk = Talk(5)
        for value in range(4):
            talk.say(engine, value)
        await talk.check()
        assert Counting.copies == 0
