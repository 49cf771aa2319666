"""Configurations and files that come with a load request."""

import asyncio
import gc
import json
from pathlib import Path
from typing import Any

import pytest

from streamgate.errors import Code
from tests.server.model_house import BROKEN, MODEL, Gates, ModelHouse, Models, model_house
from tests.waiting import until


def config_of(**changes: Any) -> str:
    """The models' usual configuration in JSON."""
    fields = {
        "backend": "python",
        "input": [{"name": "IN", "data_type": "TYPE_INT32", "dims": [1]}],
        "output": [{"name": "OUT", "data_type": "TYPE_INT32", "dims": [1]}],
        "instance_group": [{"kind": "KIND_CPU"}],
    }
    return json.dumps(fields | changes)


def files_of(answer: int) -> dict[str, bytes]:
    return {"1/model.py": MODEL.replace("ANSWER", str(answer)).encode()}


def folder_of(house: ModelHouse, name: str = "m") -> Path:
    """Where the files of a model that came with its load request lie."""
    route = house.table.route(name, "")
    kept = house.lifecycle._served[route].source.kept
    assert kept is not None
    assert kept.path.is_dir()
    return kept.path


async def until_gone(folder: Path) -> None:
    def is_gone() -> bool:
        gc.collect()
        return not folder.exists()

    await until(is_gone)


async def test_a_configuration_replaces_the_file_until_the_next_load(
    models: Models, gates: Gates
) -> None:
    models.write("m", 1)
    async with model_house(models.directory) as house:
        await house.load("m", config_of(max_batch_size=16))
        assert house.gateway.model("m", "").config.max_batch_size == 16
        await house.load("m", config_of(max_batch_size=16))
        assert gates.count("initialize m 1") == 2
        await house.load("m")
        assert house.gateway.model("m", "").config.max_batch_size == 0
        assert gates.count("initialize m 1") == 3


@pytest.mark.parametrize(
    "config",
    ["{bad", "7", config_of(nonsense=1), config_of(name="x"), config_of(max_batch_size=-1)],
)
async def test_a_configuration_that_can_not_be_leaves_what_serves(
    models: Models, config: str
) -> None:
    models.write("m", 1)
    async with model_house(models.directory) as house:
        error = await house.load_error("m", config)
        assert error.code is Code.INTERNAL
        assert error.message.startswith(
            "failed to load 'm', failed to poll from model repository: "
        )
        assert await house.ask(value=10).value() == 11
        assert house.gateway.is_ready()


async def test_files_without_a_configuration_are_refused(models: Models) -> None:
    async with model_house(models.directory) as house:
        error = await house.load_error("m", None, files_of(1))
        assert error.code is Code.INTERNAL
        assert error.message.startswith("failed to load 'm', failed to poll from model repository")


async def test_a_model_may_come_with_its_load_request(models: Models) -> None:
    async with model_house(models.directory) as house:
        await house.load("m", config_of(), files_of(7))
        assert await house.ask(value=10).value() == 17
        assert await house.states() == {"1": "READY"}
        folder = folder_of(house)
        await house.unload()
        await until_gone(folder)
        error = await house.load_error("m")
        assert "no model folder 'm'" in error.message


async def test_files_live_as_long_as_who_may_read_them(models: Models, gates: Gates) -> None:
    async with model_house(models.directory) as house:
        await house.load("m", config_of(), files_of(1))
        first = folder_of(house)
        gates.close("execute m 1")
        running = house.ask(value=10)
        await gates.wait_entered("execute m 1")
        await house.load("m", config_of(), files_of(2))
        second = folder_of(house)
        assert await house.ask(value=10).value() == 12
        gc.collect()
        assert first.is_dir()
        gates.open("execute m 1")
        assert await running.value() == 11
        await until_gone(first)
        assert second.is_dir()


async def test_files_of_a_load_that_fails_go_and_those_that_serve_stay(models: Models) -> None:
    async with model_house(models.directory) as house:
        await house.load("m", config_of(), files_of(1))
        folder = folder_of(house)
        await house.load_error("m", config_of(), {"1/model.py": BROKEN.encode()})
        gc.collect()
        assert folder_of(house) == folder
        assert await house.ask(value=10).value() == 11
        assert [each.name for each in folder.parent.parent.glob(f"{folder.parent.name}*")]


async def test_files_are_gone_when_the_server_stops(models: Models) -> None:
    async with model_house(models.directory) as house:
        await house.load("m", config_of(), files_of(1))
        folder = folder_of(house)
        await house.lifecycle.stop(5)
        house.table.route("m", "")
        await until_gone(folder)


async def test_a_plain_load_goes_back_to_the_folder(models: Models) -> None:
    models.write("m", 1)
    async with model_house(models.directory) as house:
        await house.load("m", config_of(), files_of(5))
        assert await house.ask(value=10).value() == 15
        folder = folder_of(house)
        await house.load("m")
        assert await house.ask(value=10).value() == 11
        await until_gone(folder)


async def test_loads_of_one_model_come_one_after_the_other(models: Models) -> None:
    async with model_house(models.directory) as house:
        loads = [house.load("m", config_of(), files_of(answer)) for answer in range(1, 5)]
        await asyncio.gather(*loads)
        assert await house.ask(value=10).value() in {11, 12, 13, 14}
        assert await house.states() == {"1": "READY"}
        assert len(house.lifecycle._locks) == 0
