"""The live slot table: who is in which slot of which model."""

from dataclasses import replace

import numpy as np
import pytest

from streamgate.engine.arena import Arena
from streamgate.errors import Code, StreamGateError
from streamgate.model.config import StateSpec
from streamgate.model.datatypes import DataType
from streamgate.model.statistics import SlotTable
from streamgate.session import local
from tests.backend.fake_models import HASH_STATE, stateless_config
from tests.engine.ensemble_house import CHAIN, CHAIN_MODELS, EnsembleHouse, Talk
from tests.engine.house import Client, House, open_house, samples
from tests.engine.test_engine_sequences import TWO_INSTANCES, tensor_model

STATE_BYTES = 16
"""Of the fake model: a hash and a count, 8 bytes each."""


async def table_of(house: House) -> SlotTable:
    (table,) = await house.gateway.slots("fake", "")
    return table


async def test_who_is_in_which_slot() -> None:
    async with open_house(tensor_model()) as house:
        connection = house.connect()
        await connection.reserve("fake", "", 3)
        client = Client(connection, 7)
        for value in range(3):
            client.send(samples(value), start=value == 0)
        await client.collect()
        table = await table_of(house)
        assert (table.name, table.version, table.slots) == ("fake", "1", 4)
        assert (table.taken, table.backlog, table.left_out) == (2, 0, 0)
        waiting, active = table.views
        assert (waiting.sequence, waiting.is_reserved, waiting.steps) == (3, True, 0)
        assert (waiting.position, waiting.state_bytes) == (-1, 0)
        assert (active.sequence, active.is_reserved, active.steps) == (7, False, 3)
        assert (active.instance, active.slot, active.generation) == ("fake_0", 1, 1)
        assert (active.position, active.state_bytes) == (2, STATE_BYTES)
        assert (active.queued, active.is_running, active.lag_seconds) == (0, False, 0)
        assert active.held_seconds >= active.idle_seconds > 0
        client.send(samples(9), end=True)
        await client.collect()


async def test_a_step_that_waits_is_lag() -> None:
    async with open_house(tensor_model()) as house:
        connection = house.connect()
        client = Client(connection, 7)
        connection.pause()
        client.send(samples(1), start=True)
        client.send(samples(2), end=True)
        (view,) = (await table_of(house)).views
        assert (view.queued, view.idle_seconds, view.position) == (2, 0, 1)
        assert view.lag_seconds > 0
        connection.resume()
        await client.collect()


async def test_no_more_are_shown_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_house(tensor_model(instances=TWO_INSTANCES)) as house:
        connection = house.connect()
        for key in range(1, 6):
            await connection.reserve("fake", "", key)
        table = await table_of(house)
        assert [(view.instance, view.slot) for view in table.views] == [
            *(("fake_0", slot) for slot in range(3)),
            *(("fake_1", slot) for slot in range(2)),
        ]
        monkeypatch.setattr(local, "SLOTS_SHOWN", 2)
        table = await table_of(house)
        assert (len(table.views), table.taken, table.left_out) == (2, 5, 3)


async def test_models_without_sequences_have_none() -> None:
    async with open_house(stateless_config(instances=TWO_INSTANCES)) as house:
        assert await house.gateway.slots("fake", "") == []
        assert await house.gateway.slots("", "") == []
        with pytest.raises(StreamGateError) as refused:
            await house.gateway.slots("unknown", "")
        assert refused.value.code is Code.NOT_FOUND


def test_an_ensemble_shows_its_own_sequences_in_its_models() -> None:
    house = EnsembleHouse.open(CHAIN_MODELS, CHAIN)
    ours, other = Talk(house, 7), Talk(house, 8, model="last")
    ours.reserve()
    other.send(1, start=True)
    house.host.finish()
    ours.send(1, start=True)
    house.host.finish()
    tables = house.runtimes["e"].slot_tables(10)
    assert [(table.name, table.taken) for table in tables] == [("first", 1), ("last", 2)]
    assert [[view.sequence for view in table.views] for table in tables] == [[7], [7]]
    assert [table.left_out for table in tables] == [0, 0]
    (last,) = house.runtimes["last"].slot_tables(10)
    assert {view.sequence for view in last.views} == {7, 8}
    assert [table.views for table in house.runtimes["e"].slot_tables(10, (8,))] == [(), ()]
    (first, _) = house.runtimes["e"].slot_tables(0)
    assert (first.views, first.left_out) == ((), 1)


def test_states_that_grow_and_strings_count_as_they_are() -> None:
    growing = replace(HASH_STATE, shape=(-1,), initial_shape=(0,))
    texts = StateSpec("texts", "texts_out", DataType.BYTES, (2,))
    arena = Arena((growing, texts), 2, batches=True)
    assert arena.size_of(0) == 0
    arena.write(
        0,
        {"hash": np.zeros(5, np.uint64), "texts": np.array([b"abc", b"de"], dtype=np.object_)},
    )
    assert (arena.size_of(0), arena.size_of(1)) == (45, 0)
