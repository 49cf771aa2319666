"""Sequences that leave an engine and come (back) to one: state, order, answers, and who is told."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from streamgate.backend.contract import ModelRequest, SessionLostError
from streamgate.backend.fake import Block, Plan
from streamgate.backend.fake.layout import Layout
from streamgate.backend.fake.request import FakeRequestSession
from streamgate.core.ids import OwnerNumber
from streamgate.errors import Code, EndReason, Failure
from streamgate.model.config import ModelConfig
from streamgate.model.snapshot import Snapshot
from tests.backend.fake_models import stateless_config
from tests.engine.moving import Engine, Keeping, KeepingBackend, Talk, open_engine
from tests.engine.test_engine_sequences import (
    DIRECT,
    MODELS,
    OLDEST,
    ONE_INSTANCE,
    TWO_INSTANCES,
    request_model,
    tensor_model,
)
from tests.waiting import until

ONE_SLOT = replace(OLDEST, slots=1)


def snapshot_of(answer: Snapshot | Failure) -> Snapshot:
    assert isinstance(answer, Snapshot), answer
    return answer


def sequences(engine: Engine) -> Any:
    return engine.runtime.statistics().sequences


@pytest.mark.parametrize("config", MODELS)
async def test_a_sequence_goes_on_elsewhere_as_if_nothing_had_been(config: ModelConfig) -> None:
    async with open_engine(config) as here, open_engine(config) as there:
        talks = [Talk(key) for key in range(1, 5)]
        for talk in talks:
            for value in range(3):
                talk.say(here, value, int(talk.key))
        moved = talks[1]
        # What is queued runs first.
        snapshot = snapshot_of(await here.hand_over(moved.key))
        assert snapshot.position == 2
        assert all(answer.done() for answer in moved.answers)
        for engine in (there, here):  # away, and back into another slot
            restored = engine.restore(moved.key, snapshot)
            for value in range(4):
                moved.say(engine, value)
            await moved.check()
            assert await restored is None
            assert (sequences(engine).restored, sequences(engine).left) == (1, engine is here)
            snapshot = snapshot_of(await engine.hand_over(moved.key))
            assert snapshot.position == len(moved.history) - 1
        for talk in talks:
            if talk is not moved:
                talk.say(here, 7, end=True)
                await talk.check()
        assert sorted(key for key, _ in here.ended) == [1, 3, 4]
        assert there.ended == []


async def test_a_model_drops_what_it_keeps_and_is_told_no_end() -> None:
    backend = KeepingBackend()
    async with open_engine(request_model(), backend=backend) as engine:
        (session,) = backend.sessions
        talk = Talk(5)
        talk.say(engine, 1)
        snapshot = snapshot_of(await engine.hand_over(5))
        assert snapshot.objects is not None
        await until(lambda: session.dropped == [5])
        assert session.open_sequences == []
        assert session.ends == []
        assert await engine.restore(5, snapshot) is None
        assert session.open_sequences == [5]
        talk.say(engine, 2, end=True)
        await talk.check()
        await until(lambda: session.ends == [(5, EndReason.CLIENT_END)])
        assert engine.ended == [(5, EndReason.CLIENT_END)]


async def test_who_is_restored_waits_for_a_slot_as_others_do() -> None:
    async with open_engine(tensor_model(ONE_SLOT)) as engine:
        first, second, third = Talk(1), Talk(2), Talk(3)
        first.say(engine, 1)
        snapshot = snapshot_of(await engine.hand_over(1))
        second.say(engine, 1)
        third.say(engine, 1, end=True)
        restored = engine.restore(1, snapshot)
        first.say(engine, 2)
        await second.answer(0)
        assert sequences(engine).backlog == 2
        assert not restored.done()
        second.say(engine, 2, end=True)
        assert await restored is None
        for talk in (first, second, third):
            await talk.check()


async def test_nobody_can_take_over_a_live_sequence() -> None:
    async with open_engine(tensor_model()) as engine:
        talk = Talk(5)
        talk.say(engine, 1)
        snapshot = snapshot_of(await engine.hand_over(5))
        assert await engine.restore(5, snapshot) is None
        assert await engine.restore(5, snapshot) == Failure(
            Code.ALREADY_EXISTS, "sequence 5 of model 'fake' lives already: it can't be restored"
        )
        talk.say(engine, 2)
        await talk.check()


async def refused(engine: Engine, snapshot: Snapshot) -> Failure:
    """Why a sequence can't be restored; what followed at once is lost, and nobody hears an end."""
    talk = Talk(5)
    talk.say(engine, 1)
    await talk.answer(0)
    snapshot_of(await engine.hand_over(5))
    restored = engine.restore(5, snapshot)
    talk.say(engine, 2)
    talk.say(engine, 3)
    failure = await restored
    assert failure is not None
    for position in (1, 2):
        response = await talk.answer(position)
        assert response.lost
        assert response.failure is not None
    assert engine.ended == []
    assert sequences(engine).active == 0
    return failure


async def test_a_snapshot_of_another_schema_is_refused() -> None:
    async with open_engine(tensor_model()) as engine:
        failure = await refused(engine, Snapshot(0, "0" * 16))
        assert failure.code is Code.INVALID_ARG
        assert "is of state schema 0000000000000000, expected one of" in failure.message


async def test_a_state_that_can_not_be_put_in_ends_its_sequence_quietly() -> None:
    backend = KeepingBackend()
    async with open_engine(request_model(), backend=backend) as engine:
        (session,) = backend.sessions
        talk = Talk(6)
        talk.say(engine, 1)
        snapshot = snapshot_of(await engine.hand_over(6))
        session.broken = "set"
        failure = await refused(engine, snapshot)
        assert failure.code is Code.INTERNAL
        assert "set_state of model 'fake' failed for sequence 5: can't set it" in failure.message
        assert session.ends == []
        session.broken = ""
        # Its slot is free for others.
        engine.restore(6, snapshot)
        talk.say(engine, 2, end=True)
        await talk.check()


async def test_a_drained_engine_takes_nobody_in() -> None:
    async with open_engine(tensor_model()) as engine:
        talk = Talk(5)
        talk.say(engine, 1)
        snapshot = snapshot_of(await engine.hand_over(5))
        engine.runtime.drain()
        failure = await engine.restore(5, snapshot)
        assert failure is not None
        assert failure.code is Code.UNAVAILABLE
        assert "stopping" in failure.message


async def test_a_wait_for_a_slot_that_is_given_up() -> None:
    async with open_engine(tensor_model(ONE_SLOT)) as engine:
        first, second = Talk(1), Talk(2)
        first.say(engine, 1)
        snapshot = snapshot_of(await engine.hand_over(1))
        second.say(engine, 1)
        restored = engine.restore(1, snapshot)
        engine.runtime.end_sequence(1, EndReason.CLIENT_ABORT, drain=False)
        assert await restored == Failure(
            Code.UNAVAILABLE,
            "sequence 1 of model 'fake' ended (client_abort) before its state was restored",
        )
        assert engine.ended == []
        second.say(engine, 1)
        await second.check()


async def test_steps_wait_for_their_state() -> None:
    """It is put in by the thread that runs the steps, which is busy with others."""
    block = Block()
    async with open_engine(tensor_model(), Plan({1: block})) as engine:
        first, second = Talk(1), Talk(2)
        first.say(engine, 1)
        snapshot = snapshot_of(await engine.hand_over(1))
        second.say(engine, 1)
        await asyncio.to_thread(block.entered.wait, 10)
        restored = engine.restore(1, snapshot)
        first.say(engine, 2)
        first.say(engine, 3)
        await asyncio.sleep(0.01)
        assert not restored.done()
        assert sequences(engine).active == 2
        block.release.set()
        await first.check()
        await second.check()
        assert await restored is None


@pytest.mark.parametrize("key", [9, 5], ids=["unknown", "reserved"])
async def test_who_is_not_here_can_not_be_handed_over(key: int) -> None:
    async with open_engine(tensor_model()) as engine:
        granted: asyncio.Future[Failure | None] = asyncio.get_running_loop().create_future()
        engine.runtime.reserve(5, OwnerNumber(1), granted.set_result)
        assert await granted is None
        answer = await engine.hand_over(key)
        engine.runtime.hang_up(OwnerNumber(1))
        assert isinstance(answer, Failure)
        assert answer.code is Code.NOT_FOUND


async def test_a_sequence_that_ends_first_is_not_handed_over() -> None:
    block = Block()
    async with open_engine(tensor_model(), Plan({0: block})) as engine:
        talk = Talk(5)
        talk.say(engine, 1)
        handing = asyncio.create_task(engine.hand_over(5))
        await asyncio.to_thread(block.entered.wait, 10)
        engine.runtime.end_sequence(5, EndReason.CLIENT_ABORT, drain=False)
        block.release.set()
        answer = await handing
        assert isinstance(answer, Failure)
        assert answer.code is Code.NOT_FOUND
        assert engine.ended == [(5, EndReason.CLIENT_ABORT)]


async def test_what_comes_while_a_sequence_leaves_is_lost_to_it() -> None:
    block = Block()
    async with open_engine(tensor_model(), Plan({0: block})) as here:
        talk = Talk(5)
        talk.say(here, 1)
        handing = asyncio.create_task(here.hand_over(5))
        await asyncio.to_thread(block.entered.wait, 10)
        talk.say(here, 2)
        response = await talk.answer(1)
        assert response.lost
        assert not response.admitted
        block.release.set()
        snapshot = snapshot_of(await handing)
        talk.send(here, 1)
        assert (await talk.answer(1)).lost  # as much as if it came later
        assert await here.restore(5, snapshot) is None
        talk.send(here, 1)
        await talk.check()


async def test_a_new_sequence_of_the_id_waits_for_the_old_one_to_leave() -> None:
    block = Block()
    async with open_engine(tensor_model(), Plan({0: block})) as engine:
        old, new = Talk(5), Talk(5)
        old.say(engine, 1)
        handing = asyncio.create_task(engine.hand_over(5))
        await asyncio.to_thread(block.entered.wait, 10)
        new.say(engine, 9, 9)
        new.say(engine, 9, end=True)
        block.release.set()
        snapshot_of(await handing)
        await new.check()
        assert engine.ended == [(5, EndReason.CLIENT_END)]


async def test_a_pinned_sequence_stays_and_goes_on() -> None:
    async with open_engine(request_model(), backend=PlainBackend()) as engine:
        talk = Talk(5)
        talk.say(engine, 1)
        answer = await engine.hand_over(5)
        assert isinstance(answer, Failure)
        assert answer.code is Code.UNSUPPORTED
        talk.say(engine, 2, end=True)
        await talk.check()
        assert engine.ended == [(5, EndReason.CLIENT_END)]


async def test_stateless_models_have_nobody_to_move() -> None:
    async with open_stateless() as engine:
        answer = await engine.hand_over(5)
        assert isinstance(answer, Failure)
        assert answer.code is Code.UNSUPPORTED
        failure = await engine.restore(5, Snapshot(0, "0" * 16))
        assert failure is not None
        assert failure.code is Code.UNSUPPORTED


async def test_a_lost_instance_takes_those_with_it_whose_state_was_on_its_way() -> None:
    block = Block()
    backend = KeepingBackend(Plan({1: block}))
    async with open_engine(request_model(), backend=backend) as engine:
        talk = Talk(5)
        talk.say(engine, 1)
        snapshot = snapshot_of(await engine.hand_over(5))
        other = Talk(6)
        other.say(engine, 1)
        await asyncio.to_thread(block.entered.wait, 10)
        restored = engine.restore(5, snapshot)
        talk.say(engine, 2)
        await asyncio.sleep(0.01)
        backend.contexts[0].on_lost(SessionLostError("gone"))
        block.release.set()
        assert (await restored) is None or engine.ended != [(5, EndReason.ENGINE_LOST)]
        assert (await talk.answer(1)).lost
        again = engine.restore(5, snapshot)
        talk.send(engine, 1)
        await talk.check()
        assert await again is None


async def test_an_engine_that_answers_late_hands_over_when_it_has_answered() -> None:
    backend = LateBackend()
    config = request_model(decoupled=True)
    async with open_engine(config, backend=backend) as engine:
        talk = Talk(5)
        talk.say(engine, 1)
        handing = asyncio.create_task(engine.hand_over(5))
        await until(lambda: len(backend.late.held) == 1)
        await asyncio.sleep(0.01)
        assert not handing.done()
        backend.late.finish()
        assert snapshot_of(await handing).position == 0
        await talk.check()


@pytest.mark.parametrize("config", [tensor_model(DIRECT), request_model(OLDEST)])
async def test_many_moves_between_two_engines_of_two_instances(config: ModelConfig) -> None:
    config = replace(config, instances=TWO_INSTANCES)
    async with open_engine(config) as one, open_engine(config) as two:
        talks = {key: Talk(key) for key in range(1, 13)}
        homes = dict.fromkeys(talks, one)
        for round_ in range(6):
            for key, talk in talks.items():
                for value in range(1 + key % 3):
                    talk.say(homes[key], round_, value)
            for key in [key for key in talks if (key + round_) % 4 == 0 and round_ > 0]:
                await talks[key].check()
                snapshot = snapshot_of(await homes[key].hand_over(key))
                assert snapshot.position == len(talks[key].history) - 1
                homes[key] = two if homes[key] is one else one
                homes[key].restore(key, snapshot)
            if round_ == 0:  # there are 8 slots on each
                for key in (9, 10, 11, 12):
                    talks[key].say(homes[key], 0, end=True)
                    del talks[key]
        for key, talk in talks.items():
            talk.say(homes[key], 1, end=True)
            await talk.check()
        assert sum(sequences(engine).left for engine in (one, two)) == 10


class PlainBackend(KeepingBackend):
    """Loads models that keep objects and can't hand them over."""

    def load(self, context: Any) -> Any:
        return FakeRequestSession(Layout(context.config), context.instance.name, self.plan)


class Late(Keeping):
    """Answers when it is told to."""

    def __init__(self, layout: Layout, instance: str, plan: Plan) -> None:
        super().__init__(layout, instance, plan)
        self.held: list[ModelRequest] = []

    def execute(self, requests: Sequence[ModelRequest]) -> None:
        self.held += [request for request in requests if not request.null]

    def finish(self) -> None:
        super().execute(self.held)


class LateBackend(KeepingBackend):
    late: Late

    def load(self, context: Any) -> Any:
        self.late = Late(Layout(context.config), context.instance.name, self.plan)
        return self.late


def open_stateless() -> Any:
    return open_engine(stateless_config(instances=ONE_INSTANCE))


async def taken(engine: Engine, key: int) -> Snapshot | Failure:
    answer: asyncio.Future[Snapshot | Failure] = asyncio.get_running_loop().create_future()
    engine.runtime.take_snapshot(key, answer.set_result)
    assert not answer.done(), "answered before the call returned"
    return await answer


@pytest.mark.parametrize("config", MODELS)
async def test_a_copy_goes_on_elsewhere_while_the_sequence_stays(config: ModelConfig) -> None:
    async with open_engine(config) as here, open_engine(config) as there:
        talk = Talk(7)
        for value in range(3):
            talk.say(here, value)
        await talk.check()
        snapshot = snapshot_of(await taken(here, 7))
        assert snapshot.position == 2
        copy = Talk(7, list(talk.history), list(talk.answers))
        assert await there.restore(7, snapshot) is None
        for each, engine in ((talk, here), (copy, there)):
            each.say(engine, 5)
            each.say(engine, 6, end=True)
            await each.check()
        await until(lambda: here.ended == there.ended == [(7, EndReason.CLIENT_END)])


async def test_who_asks_for_a_copy_of_what_is_not_there_is_told() -> None:
    async with open_engine(request_model()) as engine:
        answer = await taken(engine, 7)
        assert isinstance(answer, Failure)
        assert answer.code is Code.NOT_FOUND
    async with open_engine(stateless_config(instances=ONE_INSTANCE)) as engine:
        answer = await taken(engine, 7)
        assert isinstance(answer, Failure)
        assert answer.code is Code.UNSUPPORTED
