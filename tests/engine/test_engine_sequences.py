"""The whole way of a sequence: connection, checks, scheduler, stepper, arena, responses."""

import asyncio

import numpy as np
import pytest

from streamgate.backend.fake import Block, Crash, Fail, Plan
from streamgate.errors import Code, EndReason, StreamGateError
from streamgate.model.config import (
    DirectStrategy,
    Execution,
    Instance,
    InstanceKind,
    ModelConfig,
    OldestStrategy,
    SequenceBatching,
)
from tests.backend.fake_models import fake_config, request_config
from tests.engine.house import Client, House, hashes, open_house, samples
from tests.waiting import until

DIRECT = SequenceBatching(DirectStrategy(), 4, max_idle_ns=60_000_000_000)
OLDEST = SequenceBatching(OldestStrategy(4, (4,)), 4, max_idle_ns=60_000_000_000)
ONE_INSTANCE = (Instance("fake_0", InstanceKind.CPU),)
TWO_INSTANCES = (*ONE_INSTANCE, Instance("fake_1", InstanceKind.CPU))


def tensor_model(scheduling: SequenceBatching = DIRECT, **changes: object) -> ModelConfig:
    fields = {"scheduling": scheduling, "instances": ONE_INSTANCE} | changes
    return fake_config(**fields)


def request_model(scheduling: SequenceBatching = DIRECT, **changes: object) -> ModelConfig:
    fields = {"scheduling": scheduling, "instances": ONE_INSTANCE} | changes
    return request_config(**fields)


MODELS = [
    pytest.param(tensor_model(DIRECT), id="tensor-direct"),
    pytest.param(tensor_model(OLDEST), id="tensor-oldest"),
    pytest.param(request_model(DIRECT), id="request-direct"),
    pytest.param(request_model(OLDEST), id="request-oldest"),
    pytest.param(tensor_model(DIRECT, instances=TWO_INSTANCES), id="two-instances"),
    pytest.param(tensor_model(OLDEST, execution=Execution.INLINE), id="inline"),
]


def active_sequences(house: House) -> int:
    sequences = house.runtime.statistics().sequences
    assert sequences is not None
    return sequences.active


@pytest.mark.parametrize("config", MODELS)
async def test_interleaved_sequences_each_see_only_their_own_history(config: ModelConfig) -> None:
    async with open_house(config) as house:
        connection = house.connect()
        # More sequences than slots: some wait in the backlog for others to end.
        clients = [Client(connection, key) for key in range(1, 12)]
        for step in range(6):
            for client in clients:
                assert isinstance(client.key, int)
                payload = samples(step, client.key)
                client.send(payload, start=step == 0, end=step == 5)
        for client in clients:
            responses = await client.collect()
            assert hashes(responses) == client.expected()
            assert [response.position for response in responses] == list(range(6))
        await until(lambda: len(house.ended) == len(clients))
        assert {reason for _, reason in house.ended} == {EndReason.CLIENT_END}


async def test_steps_of_different_sequences_share_a_batch() -> None:
    block = Block()
    async with open_house(tensor_model(OLDEST), Plan({0: block})) as house:
        connection = house.connect()
        first, *others = [Client(connection, key) for key in range(1, 5)]
        first.send(samples(1), start=True)
        await asyncio.to_thread(block.entered.wait, 10)
        for client in others:
            client.send(samples(2), start=True)
        # All three have to be submitted to the scheduler before the blocked step returns.
        await until(lambda: house.runtime.statistics().pending == 3)
        block.release.set()
        for client in (first, *others):
            assert hashes(await client.collect()) == client.expected()
        assert [rows for _, _, rows in house.plan.steps] == [1, 3]


async def test_a_failed_step_fails_its_rows_only_and_its_sequences_go_on() -> None:
    async with open_house(request_model(OLDEST), Plan({1: Fail("bad row", row=0)})) as house:
        client = Client(house.connect(), 5)
        client.send(samples(1), start=True)
        await client.collect()
        client.send(samples(2))
        failed = (await client.collect())[1]
        assert failed.failure is not None
        assert failed.failure.message == "bad row"
        client.history.pop()  # the failing step never reached the model's state
        client.send(samples(3), end=True)
        last = (await client.collect())[2]
        assert hashes([last]) == [client.expected()[-1]]


async def test_an_unknown_exception_of_a_backend_is_an_internal_error() -> None:
    async with open_house(tensor_model(), Plan({0: Crash("boom")})) as house:
        client = Client(house.connect(), 5)
        client.send(samples(1), start=True)
        (response,) = await client.collect()
        assert response.failure is not None
        assert response.failure.code is Code.INTERNAL
        assert "boom" in response.failure.message
        assert house.runtime.statistics().failures["BACKEND"] == 1


async def test_a_missing_start_is_refused_and_nothing_else_changes() -> None:
    async with open_house(tensor_model()) as house:
        client = Client(house.connect(), 9)
        client.send(samples(1))
        (response,) = await client.collect()
        assert response.failure is not None
        assert response.failure.message == (
            "inference request for sequence 9 to model 'fake' must specify the START flag on the "
            "first request of the sequence"
        )
        assert not response.admitted
        assert house.runtime.statistics().fail.count == 0


async def test_snapshot_and_restore_continue_bit_identically() -> None:
    async with open_house(tensor_model()) as house:
        connection = house.connect()
        original = Client(connection, 1)
        for value in range(3):
            original.send(samples(value), start=value == 0)
        await original.collect()
        snapshot = await house.runtime.places.snapshot(1, position=2)
        assert snapshot.position == 2

        # Another sequence, in another slot, with another history, takes over the state.
        other = Client(connection, 2)
        other.send(samples(77), start=True)
        await other.collect()
        await house.runtime.places.restore(2, snapshot)
        for value in range(3, 6):
            original.send(samples(value))
            other.send(samples(value))
        # The hash mixes in the correlation ID, so the two continuations are computed apart.
        continued = hashes((await other.collect())[1:])
        replayed = [*original.history[:3], *other.history[1:]]
        other.history = replayed
        assert continued == other.expected()[3:]
        assert hashes(await original.collect()) == original.expected()
        for client in (original, other):
            client.send(samples(0), end=True)
            await client.collect()


async def test_a_snapshot_is_refused_where_the_state_schema_differs() -> None:
    async with open_house(tensor_model()) as house:
        client = Client(house.connect(), 1)
        client.send(samples(1), start=True)
        await client.collect()
        snapshot = await house.runtime.places.snapshot(1, position=0)
        foreign = type(snapshot)(0, "0" * 16, snapshot.states)
        with pytest.raises(StreamGateError, match="state schema 0000000000000000, expected"):
            await house.runtime.places.restore(1, foreign)
        with pytest.raises(StreamGateError, match="no step of sequence 3 of model 'fake' has run"):
            await house.runtime.places.snapshot(3, position=0)
        client.send(samples(2), end=True)
        assert hashes(await client.collect()) == client.expected()


async def test_a_lost_connection_ends_its_sequences_and_frees_their_slots() -> None:
    async with open_house(tensor_model()) as house:
        lost = house.connect()
        for key in range(1, 5):
            Client(lost, key).send(samples(key), start=True)
        other = Client(house.connect(), 100)
        other.send(samples(1), start=True, end=True)
        await until(lambda: active_sequences(house) == 4)
        lost.close(abort=True)
        # All four slots were taken: only their release lets this one run.
        assert hashes(await other.collect()) == other.expected()
        ended = house.runtime.statistics().sequences
        assert ended is not None
        assert ended.ended[EndReason.CLIENT_ABORT] == 4


async def test_an_orderly_close_leaves_sequences_to_be_continued_elsewhere() -> None:
    async with open_house(tensor_model()) as house:
        first = house.connect()
        client = Client(first, 3)
        client.send(samples(1), start=True)
        await client.collect()
        first.close(abort=False)
        client.connection = house.connect()
        client.send(samples(2), end=True)
        responses = await client.collect()
        assert hashes(responses) == client.expected()
        assert [response.position for response in responses] == [0, 1]


async def test_cancelling_a_queued_request_takes_no_neighbour_with_it() -> None:
    block = Block()
    async with open_house(tensor_model(), Plan({0: block})) as house:
        client = Client(house.connect(), 3)
        client.send(samples(1), start=True)
        await asyncio.to_thread(block.entered.wait, 10)
        client.send(samples(2))
        client.send(samples(3), end=True)
        await until(lambda: house.runtime.statistics().pending == 2)
        client.calls[1].cancel()
        block.release.set()
        first, cancelled, last = await client.collect()
        assert cancelled.failure is not None
        assert cancelled.failure.code is Code.CANCELLED
        del client.history[1]
        assert hashes([first, last]) == client.expected()
        assert house.runtime.statistics().failures["CANCELED"] == 1


async def test_cancelling_a_running_request_answers_at_once_and_the_sequence_goes_on() -> None:
    block = Block()
    async with open_house(tensor_model(), Plan({0: block})) as house:
        client = Client(house.connect(), 3)
        client.send(samples(1), start=True)
        await asyncio.to_thread(block.entered.wait, 10)
        client.calls[0].cancel()
        (response,) = await client.collect()
        assert response.failure is not None
        assert response.failure.code is Code.CANCELLED
        client.send(samples(2), end=True)
        block.release.set()
        # The model did run the cancelled step: the state has seen it.
        assert hashes([(await client.collect())[1]]) == [client.expected()[1]]


async def test_an_idle_sequence_ends_with_its_reason() -> None:
    idle = SequenceBatching(DirectStrategy(), 4, max_idle_ns=20_000_000)
    async with open_house(tensor_model(idle)) as house:
        client = Client(house.connect(), 3)
        client.send(samples(1), start=True)
        await client.collect()
        await until(lambda: house.ended == [(3, EndReason.IDLE)])


async def test_ending_a_sequence_without_the_model_lets_its_queue_run_first() -> None:
    async with open_house(tensor_model()) as house:
        connection = house.connect()
        client = Client(connection, 3)
        client.send(samples(1), start=True)
        client.send(samples(2))
        connection.end_sequence("fake", "", 3)
        assert hashes(await client.collect()) == client.expected()
        await until(lambda: house.ended == [(3, EndReason.CLIENT_END)])


async def test_closing_the_model_ends_its_sequences_and_refuses_new_ones() -> None:
    async with open_house(tensor_model()) as house:
        client = Client(house.connect(), 3)
        client.send(samples(1), start=True)
        await client.collect()
        await house.runtime.close(10)
        assert house.ended == [(3, EndReason.DRAINED)]
        late = Client(house.connect(), 4)
        late.send(samples(1), start=True)
        (response,) = await late.collect()
        assert response.failure is not None
        assert response.failure.code is Code.UNAVAILABLE


async def test_a_model_that_never_returns_does_not_hold_up_closing() -> None:
    block = Block()
    async with open_house(tensor_model(), Plan({0: block})) as house:
        client = Client(house.connect(), 3)
        client.send(samples(1), start=True)
        await asyncio.to_thread(block.entered.wait, 10)
        await house.runtime.close(0.05)
        (response,) = await client.collect()
        assert response.failure is not None
        assert response.failure.message == "Server exiting"
        block.release.set()


async def test_statistics_count_requests_steps_and_rows() -> None:
    house_steps = 3
    async with open_house(tensor_model(OLDEST)) as house:
        client = Client(house.connect(), 3)
        for step in range(house_steps):
            client.send(samples(step), start=step == 0, end=step == house_steps - 1)
        await client.collect()
        statistics = house.runtime.statistics()
        assert statistics.success.count == house_steps
        assert statistics.inference_count == house_steps
        assert statistics.execution_count == house_steps
        assert statistics.queue.count == house_steps
        assert sum(statistics.occupancy.counts) == house_steps
        assert statistics.batches[0].batch_size == 1
        assert statistics.batches[0].compute_infer.count == house_steps
        assert statistics.sequences is not None
        assert statistics.sequences.started == 1
        assert statistics.last_inference_ms > 0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("config", MODELS)
async def test_random_traffic_loses_and_mixes_nothing(config: ModelConfig, seed: int) -> None:
    generator = np.random.default_rng(seed)
    async with open_house(config) as house:
        await _random_traffic(house, generator)


async def _random_traffic(house: House, generator: np.random.Generator) -> None:
    """Sequences over several connections, steps in bursts, keys used again after their end."""
    connections = [house.connect() for _ in range(3)]
    live: dict[int, Client] = {}
    done: list[Client] = []
    for _ in range(150):
        key = int(generator.integers(1, 10))
        client = live.get(key)
        start = client is None
        if client is None:
            client = live[key] = Client(connections[0], key)
        client.connection = connections[int(generator.integers(3))]
        end = bool(generator.random() < 0.2)
        client.send(samples(int(generator.integers(1000))), start=start, end=end)
        if end:
            done.append(live.pop(key))
        if generator.random() < 0.3:
            await asyncio.sleep(0)
    for client in live.values():
        client.send(samples(0), end=True)
        done.append(client)
    for client in done:
        assert hashes(await client.collect()) == client.expected()
