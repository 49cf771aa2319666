"""The WebSocket front end on a real engine: state, slots, ends and their reasons."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streamgate.backend.fake import Block, Fail, Plan
from streamgate.backend.fake.hashing import Step, expected_answers
from streamgate.errors import EndReason
from streamgate.model.config import (
    ControlInput,
    ControlKind,
    DirectStrategy,
    Instance,
    InstanceKind,
    ModelConfig,
    OldestStrategy,
    SequenceBatching,
)
from streamgate.model.datatypes import DataType
from tests.backend.fake_models import CONTROLS, fake_config, request_config
from tests.engine.house import House, open_house, samples
from tests.frontends.websocket_client import Client, connected, served
from tests.waiting import until

MINUTE_NS = 60_000_000_000
INSTANCES = (Instance("fake_0", InstanceKind.CPU),)
FOUR_SLOTS = SequenceBatching(DirectStrategy(), 4, max_idle_ns=MINUTE_NS)
ONE_SLOT = SequenceBatching(OldestStrategy(1), 1, max_idle_ns=MINUTE_NS)


def model(scheduling: SequenceBatching = FOUR_SLOTS, **changes: Any) -> ModelConfig:
    return fake_config(**{"scheduling": scheduling, "instances": INSTANCES, **changes})


@asynccontextmanager
async def house_with_door(
    config: ModelConfig, plan: Plan | None = None
) -> AsyncIterator[tuple[House, str]]:
    async with open_house(config, plan) as house, served(house.gateway) as (url, _):
        yield house, url


def hash_of(message: dict[str, Any]) -> int:
    """The HASH output of a response in JSON."""
    assert message["type"] == "response", message
    (found,) = (output for output in message["outputs"] if output["name"] == "HASH")
    value: int = found["data"][0]
    return value


def ended(house: House, reason: EndReason) -> int:
    sequences = house.runtime.statistics().sequences
    assert sequences is not None
    return sequences.ended[reason]


async def converse(client: Client, payloads: list[bytes], *, last: bool, **fields: Any) -> None:
    """A whole sequence; every answer must be the one that its history leads to."""
    opened = await client.open("fake", **fields)
    key = opened["sequence_id"]
    history = []
    for place, payload in enumerate(payloads):
        end = last and place == len(payloads) - 1
        history.append(Step([payload], place == 0, end, key))
        if end:
            await client.say("last")
        await client.frame(payload)
    if not last:
        await client.say("end")
    for place, expected in enumerate(expected_answers(history)):
        answer = await client.hear()
        assert answer["position"] == place
        assert hash_of(answer) == expected
    assert await client.hear_end() == {
        "type": "ended",
        "reason": "client_end",
        "positions": len(payloads),
        "closed": 1000,
    }


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    "config",
    [
        pytest.param(model(), id="tensor"),
        pytest.param(request_config(scheduling=FOUR_SLOTS, instances=INSTANCES), id="request"),
    ],
)
async def test_the_model_sees_start_and_the_last_steps_end(config: ModelConfig, last: bool) -> None:
    async with house_with_door(config) as (house, url):
        async with connected(url) as client:
            await converse(client, [samples(1), samples(2, 3), samples()], last=last)
        assert ended(house, EndReason.CLIENT_END) == 1


async def test_two_hundred_connections_each_see_only_their_own_history() -> None:
    async with house_with_door(model()) as (house, url):

        async def one(number: int) -> None:
            async with connected(url) as client:
                payloads = [samples(number, step) for step in range(5)]
                fields = {"sequence_id": number + 1} if number % 2 else {}
                await converse(client, payloads, last=number % 3 == 0, **fields)

        await asyncio.gather(*(one(number) for number in range(200)))
        assert ended(house, EndReason.CLIENT_END) == 200
        assert house.runtime.statistics().success.count == 1000


@pytest.mark.parametrize(("datatype", "kind"), [(DataType.UINT64, int), (DataType.BYTES, str)])
async def test_a_new_id_is_of_the_type_that_the_model_is_given(
    datatype: DataType, kind: type
) -> None:
    corrid = ControlInput("CORRID", ControlKind.CORRID, datatype)
    config = model(controls=(*CONTROLS[:3], corrid))
    async with house_with_door(config) as (house, url), connected(url) as client:
        await converse(client, [samples(1), samples(2)], last=True)
        assert house.runtime.statistics().success.count == 2
        async with connected(url) as other:
            opened = await other.open("fake", sequence_id="")
            assert isinstance(opened["sequence_id"], kind)


async def test_an_idle_sequence_is_ended_with_4001() -> None:
    scheduling = SequenceBatching(DirectStrategy(), 4, max_idle_ns=30_000_000)
    async with house_with_door(model(scheduling)) as (house, url), connected(url) as client:
        await client.open("fake")
        await client.frame(samples(1))
        await client.hear()
        end = await client.hear_end()
        assert (end["reason"], end["positions"], end["closed"]) == ("idle", 1, 4001)
        assert ended(house, EndReason.IDLE) == 1


async def test_a_client_is_warned_before_an_idle_end_and_a_step_keeps_its_sequence() -> None:
    scheduling = SequenceBatching(
        DirectStrategy(), 4, max_idle_ns=600_000_000, idle_warning_ns=590_000_000
    )
    async with house_with_door(model(scheduling)) as (house, url), connected(url) as client:
        key = (await client.open("fake"))["sequence_id"]
        history = [Step([samples(1)], True, False, key), Step([samples(2)], False, False, key)]
        for value, expected in enumerate(expected_answers(history), 1):
            await client.frame(samples(value))
            assert hash_of(await client.hear()) == expected
            warning = await client.hear()
            assert warning.keys() == {"type", "seconds_left"}
            assert warning["type"] == "idle_warning"
            assert 0 < warning["seconds_left"] <= 0.59
        end = await client.hear_end()
        assert (end["reason"], end["positions"], end["closed"]) == ("idle", 2, 4001)
        assert ended(house, EndReason.IDLE) == 1


async def test_an_aborted_connection_frees_its_slot_at_once() -> None:
    async with house_with_door(model(ONE_SLOT)) as (house, url), connected(url) as waiting:
        async with connected(url) as holder:
            await holder.open("fake")
            await holder.frame(samples(1))
            await holder.hear()
            await waiting.open("fake")
            await waiting.frame(samples(1))
            await until(lambda: len(house.route.positions) == 2)
            holder.socket.transport.abort()
            # The idle limit is a minute: only the loss of the connection frees the slot.
            assert (await waiting.hear())["type"] == "response"
        assert ended(house, EndReason.CLIENT_ABORT) == 1


async def test_who_starts_with_the_same_id_supersedes() -> None:
    async with house_with_door(model()) as (house, url):
        async with connected(url) as old, connected(url) as new:
            await old.open("fake", sequence_id=7)
            await old.frame(samples(1))
            await old.hear()
            await new.open("fake", sequence_id=7)
            await new.frame(samples(2))
            end = await old.hear_end()
            assert (end["reason"], end["closed"]) == ("superseded", 4003)
            await new.frame(samples(3))
            history = [Step([samples(2)], True, False, 7), Step([samples(3)], False, False, 7)]
            found = [hash_of(await new.hear()) for _ in history]
            assert found == expected_answers(history)
        await until(lambda: ended(house, EndReason.CLIENT_ABORT) == 1)
        assert ended(house, EndReason.SUPERSEDED) == 1


async def test_a_model_that_goes_away_drains_its_sequences() -> None:
    async with house_with_door(model()) as (house, url), connected(url) as client:
        await client.open("fake")
        await client.frame(samples(1))
        await client.hear()
        await house.runtime.close(10)
        end = await client.hear_end()
        assert (end["reason"], end["closed"]) == ("drained", 1012)


async def test_a_backlog_that_is_full_refuses_and_the_connection_stays_usable() -> None:
    scheduling = SequenceBatching(OldestStrategy(1), 1, max_idle_ns=MINUTE_NS, max_backlog=1)
    async with (
        house_with_door(model(scheduling)) as (house, url),
        connected(url) as first,
        connected(url) as second,
        connected(url) as third,
    ):
        for client in (first, second, third):
            await client.open("fake")
        await first.frame(samples(1))
        await first.hear()
        await second.frame(samples(1))
        await until(lambda: len(house.route.positions) == 2)
        await third.frame(samples(1))
        refused = await third.hear()
        assert refused["message"] == (
            "model 'fake' has no free sequence slot and its backlog of sequences is full"
        )
        assert (refused["code"], refused["position"], refused["final"]) == ("UNAVAILABLE", 0, True)
        await first.say("end")
        await first.hear_end()
        await second.hear()
        await second.say("end")
        await second.hear_end()
        await third.frame(samples(1))
        assert (await third.hear())["position"] == 1


async def test_a_failed_step_is_told_with_its_position_and_the_sequence_goes_on() -> None:
    config = request_config(scheduling=FOUR_SLOTS, instances=INSTANCES)
    plan = Plan({1: Fail("bad step", row=0)})
    async with house_with_door(config, plan) as (_, url), connected(url) as client:
        key = (await client.open("fake"))["sequence_id"]
        for value in range(3):
            await client.frame(samples(value))
        steps = [Step([samples(value)], value == 0, False, key) for value in range(3)]
        first, failed, third = [await client.hear() for _ in range(3)]
        assert (failed["type"], failed["position"]) == ("error", 1)
        assert failed["message"] == "bad step"
        # The model of this style has not seen the step that failed.
        found = [hash_of(first), hash_of(third)]
        assert found == expected_answers([steps[0], steps[2]])


async def test_a_decoupled_model_answers_a_step_often_and_says_when_it_is_done() -> None:
    config = request_config(
        scheduling=FOUR_SLOTS,
        instances=INSTANCES,
        decoupled=True,
        parameters={"responses": "3"},
    )
    async with house_with_door(config) as (_, url), connected(url) as client:
        await client.open("fake", outputs=["COUNT"])
        await client.frame(samples(1))
        await client.say("flush", id="a")
        await client.frame(samples(1))
        await client.say("end")
        for position in range(2):
            for index in range(4):
                answer = await client.hear()
                assert (answer["position"], answer["index"]) == (position, index)
                assert answer["final"] is (index == 3)
                assert len(answer["outputs"]) == (0 if index == 3 else 1)
            if position == 0:
                assert await client.hear() == {"type": "flushed", "id": "a", "position": 1}
        assert (await client.hear_end())["positions"] == 2


async def test_steps_queued_behind_an_end_still_run() -> None:
    block = Block()
    plan = Plan({0: block})
    async with house_with_door(model(), plan) as (house, url), connected(url) as client:
        key = (await client.open("fake"))["sequence_id"]
        for value in range(3):
            await client.frame(samples(value))
        await client.say("end")
        await until(lambda: house.runtime.statistics().pending == 2)
        block.release.set()
        steps = [Step([samples(value)], value == 0, False, key) for value in range(3)]
        found = [hash_of(await client.hear()) for _ in range(3)]
        assert found == expected_answers(steps)
        assert (await client.hear_end())["reason"] == "client_end"


async def test_a_client_that_goes_behind_its_end_has_its_steps_run() -> None:
    block = Block()
    async with house_with_door(model(), Plan({0: block})) as (house, url):
        async with connected(url) as client:
            await client.open("fake")
            for value in range(3):
                await client.frame(samples(value))
            await client.say("end")
        await until(lambda: house.runtime.statistics().pending == 2)
        block.release.set()
        await until(lambda: ended(house, EndReason.CLIENT_END) == 1)
        assert house.runtime.statistics().success.count == 3
