"""A slot that is reserved at a client's handshake: over the whole way, from connection to model."""

import asyncio

import pytest

from streamgate.errors import Code, EndReason, StreamGateError
from streamgate.model.config import (
    ControlInput,
    ControlKind,
    DirectStrategy,
    ModelConfig,
    OldestStrategy,
    SequenceBatching,
)
from streamgate.model.datatypes import DataType
from streamgate.model.request import SequenceKey
from streamgate.session.connection import SessionConnection
from tests.backend.fake_models import CONTROLS, stateless_config
from tests.engine.house import Client, House, hashes, open_house, samples
from tests.engine.test_engine_sequences import MODELS, active_sequences, tensor_model
from tests.waiting import until

TWO_SLOTS = SequenceBatching(DirectStrategy(), 2, max_idle_ns=60_000_000_000)


async def refusal(
    connection: SessionConnection, key: SequenceKey, model: str = "fake"
) -> tuple[Code, str]:
    """Why it can't be reserved."""
    with pytest.raises(StreamGateError) as refused:
        await connection.reserve(model, "", key)
    return refused.value.code, refused.value.message


def slots_of(house: House) -> int:
    sequences = house.runtime.statistics().sequences
    assert sequences is not None
    return sequences.slots


@pytest.mark.parametrize("config", MODELS)
async def test_who_is_promised_a_slot_has_it_and_others_are_refused(config: ModelConfig) -> None:
    async with open_house(config) as house:
        slots = slots_of(house)
        connection, late = house.connect(), house.connect()
        keys = range(1, slots + 1)
        for key in keys:
            await connection.reserve("fake", "", key)
        assert active_sequences(house) == slots
        assert await refusal(late, 99) == (
            Code.UNAVAILABLE,
            f"all {slots} slots of model 'fake' are taken",
        )
        waiting = Client(late, 50)
        waiting.send(samples(1), start=True, end=True)
        clients = [Client(connection, key) for key in keys]
        for step in range(4):
            for client in clients:
                assert isinstance(client.key, int)
                client.send(samples(step, client.key), start=step == 0, end=step == 3)
        for client in (*clients, waiting):
            responses = await client.collect()
            assert hashes(responses) == client.expected()
            assert [response.position for response in responses] == list(range(len(responses)))
        await until(lambda: len(house.ended) == slots + 1)
        assert {reason for _, reason in house.ended} == {EndReason.CLIENT_END}
        await late.reserve("fake", "", 99)
        statistics = house.runtime.statistics().reservations
        assert (statistics.granted, statistics.refused) == (slots + 1, {"slots_taken": 1})


async def test_who_never_sends_loses_the_slot() -> None:
    scheduling = SequenceBatching(
        DirectStrategy(), 1, max_idle_ns=30_000_000, idle_warning_ns=10_000_000
    )
    async with open_house(tensor_model(scheduling)) as house:
        warned: list[SequenceKey] = []
        connection = house.gateway.connect(
            lambda _, key, reason: house.ended.append((key, reason)),
            lambda _, key, seconds: warned.append(key),
        )
        await connection.reserve("fake", "", 7)
        await until(lambda: bool(house.ended))
        assert (warned, house.ended) == ([7], [(7, EndReason.IDLE)])
        assert active_sequences(house) == 0
        # A late START is one as others are.
        client = Client(connection, 7)
        client.send(samples(1), start=True, end=True)
        assert hashes(await client.collect()) == client.expected()


@pytest.mark.parametrize("starts", [False, True])
async def test_what_a_connection_reserved_is_lost_with_it(starts: bool) -> None:
    async with open_house(tensor_model(TWO_SLOTS)) as house:
        lost, other = house.connect(), house.connect()
        await lost.reserve("fake", "", 1)
        await lost.reserve("fake", "", 2)
        if starts:
            client = Client(lost, 1)
            client.send(samples(1), start=True)
            await client.collect()
        assert (await refusal(other, 3))[0] is Code.UNAVAILABLE
        lost.close(abort=True)
        await other.reserve("fake", "", 3)
        await other.reserve("fake", "", 4)
        assert house.ended == []  # Nobody is there to be told.


async def test_a_reservation_is_given_back() -> None:
    async with open_house(tensor_model(TWO_SLOTS)) as house:
        connection = house.connect()
        await connection.reserve("fake", "", 1)
        connection.end_sequence("fake", "", 1)
        await until(lambda: house.ended == [(1, EndReason.CLIENT_END)])
        assert active_sequences(house) == 0


async def test_who_does_not_wait_for_the_answer_gets_nothing() -> None:
    async with open_house(tensor_model(TWO_SLOTS)) as house:
        connection = house.connect()
        reserving = [
            asyncio.create_task(connection.reserve("fake", "", key)) for key in range(1, 6)
        ]
        await asyncio.sleep(0)
        for task in reserving:
            task.cancel()
        await asyncio.gather(*reserving, return_exceptions=True)
        await until(lambda: active_sequences(house) == 0)
        assert all(task.cancelled() for task in reserving)
        await connection.reserve("fake", "", 1)


async def test_a_connection_that_closes_meanwhile_is_promised_nothing() -> None:
    async with open_house(tensor_model(TWO_SLOTS)) as house:
        for abort in (True, False):
            connection = house.connect()
            reserving = asyncio.create_task(connection.reserve("fake", "", 1))
            await asyncio.sleep(0)
            connection.close(abort=abort)
            with pytest.raises(StreamGateError, match="closed before sequence 1 began"):
                await reserving
            assert active_sequences(house) == 0


async def test_what_can_be_told_at_once() -> None:
    corrid = ControlInput("CORRID", ControlKind.CORRID, DataType.BYTES)
    controls = (*CONTROLS[:-1], corrid)
    async with open_house(tensor_model(TWO_SLOTS, controls=controls)) as house:
        connection = house.connect()
        assert await refusal(connection, "") == (
            Code.INVALID_ARG,
            "a reservation for model 'fake' must specify a non-zero or non-empty correlation ID",
        )
        assert (
            "data-type is 'UINT64', but model 'fake' expects" in (await refusal(connection, 7))[1]
        )
        assert (await refusal(connection, "a", "unknown"))[0] is Code.NOT_FOUND
        await connection.reserve("fake", "", "a")
        assert await refusal(connection, "a") == (
            Code.ALREADY_EXISTS,
            "sequence a of model 'fake' lives already: no other can be reserved",
        )


async def test_models_without_sequences_of_their_clients() -> None:
    async with open_house(stateless_config(instances=tensor_model().instances)) as house:
        assert await refusal(house.connect(), 1) == (
            Code.INVALID_ARG,
            "model 'fake' has no sequences: no slot can be reserved",
        )
    iterative = SequenceBatching(OldestStrategy(4, (4,)), 4, iterative=True)
    async with open_house(tensor_model(iterative)) as house:
        assert await refusal(house.connect(), 1) == (
            Code.INVALID_ARG,
            "model 'fake' has no sequences of its clients' naming: no slot can be reserved",
        )
        assert house.runtime.statistics().reservations.refused == {"nothing_to_reserve": 1}


async def test_a_draining_model_keeps_what_it_promised() -> None:
    async with open_house(tensor_model(TWO_SLOTS)) as house:
        connection = house.connect()
        await connection.reserve("fake", "", 1)
        house.runtime.drain()
        code, message = await refusal(connection, 2)
        assert (code, "stopped accepting" in message) == (Code.UNAVAILABLE, True)
        client = Client(connection, 1)
        client.send(samples(1), start=True, end=True)
        assert hashes(await client.collect()) == client.expected()


async def test_a_step_before_the_start_is_refused() -> None:
    async with open_house(tensor_model(TWO_SLOTS)) as house:
        connection = house.connect()
        await connection.reserve("fake", "", 1)
        early, client = Client(connection, 1), Client(connection, 1)
        early.send(samples(1))
        (response,) = await early.collect()
        assert response.failure is not None
        assert "must specify the START flag" in response.failure.message
        client.send(samples(1), start=True)
        client.send(samples(2), end=True)
        responses = await client.collect()
        assert hashes(responses) == client.expected()
        assert [response.position for response in responses] == [0, 1]


async def test_who_says_that_it_is_there_keeps_its_slot() -> None:
    scheduling = SequenceBatching(DirectStrategy(), 2, max_idle_ns=300_000_000)
    async with open_house(tensor_model(scheduling)) as house:
        connection = house.connect()
        await connection.reserve("fake", "", 7)
        await connection.reserve("fake", "", 8)
        connection.keep("fake", "", 9)
        while not house.ended:
            connection.keep("fake", "", 7)
            await asyncio.sleep(0.005)
        assert house.ended == [(8, EndReason.IDLE)]
        assert active_sequences(house) == 1
