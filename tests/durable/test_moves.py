"""Sequences on the move: a reload or a new version costs their clients nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from streamgate.errors import EndReason
from streamgate.server.settings import ControlMode
from tests.durable.house import Client, DurableHouse, durable_house
from tests.durable.models import (
    decoupled_hashes,
    ensemble_hashes,
    hashes,
    write_decoupled,
    write_ensemble,
    write_graph,
    write_objects,
    write_pinned,
)

VALUES = list(range(1, 13))
HALF = len(VALUES) // 2


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[DurableHouse]:
    """Its models come and go as they are asked for; what stays behind has half a second."""
    (tmp_path / "models").mkdir()
    async with durable_house(
        tmp_path / "models", control_mode=ControlMode.EXPLICIT, exit_timeout_seconds=0.5
    ) as running:
        yield running


def touch(folder: Path) -> None:
    """The next load of a model is a load: it has a parameter more."""
    config = folder / "config.pbtxt"
    number = config.read_text().count("touched")
    config.write_text(
        f'{config.read_text()}\nparameters {{ key: "touched{number}" '
        'value { string_value: "1" } }\n'
    )


async def feed(
    client: Client, model: str, key: int, values: list[int], *, start: bool, end: bool
) -> list[list[int]]:
    last = len(values) - 1
    return [
        await client.step(model, key, value, start=start and at == 0, end=end and at == last)
        for at, value in enumerate(values)
    ]


@pytest.mark.parametrize("write", [write_graph, write_objects, write_decoupled])
async def test_a_reload_moves_the_live_sequences(
    house: DurableHouse, tmp_path: Path, write: Callable[[Path, str], None]
) -> None:
    models, gateway = tmp_path / "models", house.server.gateway
    write(models, "hash")
    await gateway.load_model("hash", None, {})
    client, other = house.client(), house.client()
    first = await feed(client, "hash", 1, VALUES[:HALF], start=True, end=False)
    for _ in range(2):
        touch(models / "hash")
        await gateway.load_model("hash", None, {})
    # From another connection, as unary calls would.
    second = await feed(other, "hash", 1, VALUES[HALF:], start=False, end=True)
    expected = (
        decoupled_hashes(VALUES)
        if write is write_decoupled
        else [[value] for value in hashes(VALUES)]
    )
    assert first + second == expected
    assert {end[2] for end in client.ends + other.ends} <= {EndReason.CLIENT_END}
    # The ID is free again, at the version that serves now.
    assert await other.sequence("hash", 1, VALUES) == expected


async def test_a_reload_under_load_loses_and_mixes_nothing(
    house: DurableHouse, tmp_path: Path
) -> None:
    models, gateway = tmp_path / "models", house.server.gateway
    write_graph(models, "hash")
    await gateway.load_model("hash", None, {})

    async def run(key: int) -> list[int]:
        """All steps at once, a few at a time between turns of the loop."""
        client = house.client()
        calls = []
        for at in range(120):
            calls.append(client.send("hash", key, at, start=at == 0, end=at == 119))
            await asyncio.sleep(0.002)
        return [(await call)[0].outputs[0].array.item() for call in calls]

    async def reload() -> None:
        for _ in range(3):
            await asyncio.sleep(0.05)
            touch(models / "hash")
            await gateway.load_model("hash", None, {})

    *found, _ = await asyncio.gather(*(run(key) for key in range(1, 7)), reload())
    assert found == [hashes(range(120))] * 6


async def test_an_ensemble_goes_on_while_its_models_are_reloaded(
    house: DurableHouse, tmp_path: Path
) -> None:
    models, gateway = tmp_path / "models", house.server.gateway
    write_graph(models)
    write_objects(models)
    write_ensemble(models)
    await gateway.load_model("hash_ensemble", None, {})
    client = house.client()
    first = await feed(client, "hash_ensemble", 1, VALUES[:HALF], start=True, end=False)
    for name in ("hash", "hash_objects"):
        touch(models / name)
        await gateway.load_model(name, None, {})
    second = await feed(client, "hash_ensemble", 1, VALUES[HALF:], start=False, end=True)
    assert first + second == [[value] for value in ensemble_hashes(VALUES)]


async def test_a_new_version_takes_over_but_for_those_who_named_the_old_one(
    house: DurableHouse, tmp_path: Path
) -> None:
    models, gateway = tmp_path / "models", house.server.gateway
    write_graph(models, "hash")
    await gateway.load_model("hash", None, {})
    client = house.client()
    await feed(client, "hash", 1, VALUES[:HALF], start=True, end=False)
    await client.ask("hash", 2, VALUES[0], start=True, version="1")
    (models / "hash" / "2").mkdir()
    graph = (models / "hash" / "1" / "model.onnx").read_bytes()
    (models / "hash" / "2" / "model.onnx").write_bytes(graph)
    await gateway.load_model("hash", None, {})
    (response,) = await client.ask("hash", 1, VALUES[HALF])
    assert response.outputs[0].array.item() == hashes(VALUES)[HALF]
    assert response.position == HALF
    assert client.gateway.model("hash", "").version == "2"
    routes = house.server.gateway._table
    assert 1 in routes.route("hash", "").positions
    (named,) = await client.ask("hash", 2, VALUES[1], end=True, version="1")
    assert named.version == "1"
    assert named.outputs[0].array.item() == hashes(VALUES)[1]
    assert 2 not in routes.route("hash", "").positions


async def test_what_can_not_move_lives_on_until_its_time_is_up(
    house: DurableHouse, tmp_path: Path
) -> None:
    models, gateway = tmp_path / "models", house.server.gateway
    write_pinned(models, "hash")
    await gateway.load_model("hash", None, {})
    client = house.client()
    await feed(client, "hash", 1, VALUES[:HALF], start=True, end=False)
    await feed(client, "hash", 2, VALUES[:HALF], start=True, end=False)
    touch(models / "hash")
    await gateway.load_model("hash", None, {})
    rest = await feed(client, "hash", 1, VALUES[HALF:], start=False, end=True)
    assert rest == [[value] for value in hashes(VALUES)[HALF:]]
    for _ in range(500):
        if len(client.ends) == 2:
            break
        await asyncio.sleep(0.02)
    assert client.ends[-1] == ("hash", 2, EndReason.DRAINED)


async def test_a_start_takes_its_id_over_from_a_version_that_is_going(
    house: DurableHouse, tmp_path: Path
) -> None:
    models, gateway = tmp_path / "models", house.server.gateway
    write_graph(models, "hash")
    await gateway.load_model("hash", None, {})
    client = house.client()
    await feed(client, "hash", 1, VALUES[:HALF], start=True, end=False)
    touch(models / "hash")
    await gateway.load_model("hash", None, {})
    assert await client.sequence("hash", 1, VALUES) == [[value] for value in hashes(VALUES)]
    assert [end[2] for end in client.ends] == [EndReason.SUPERSEDED, EndReason.CLIENT_END]
