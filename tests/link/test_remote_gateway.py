"""A front end's gateway over an engine's link: what clients see is what the engine has."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from streamgate.errors import Code, EndReason, StreamGateError
from streamgate.frontends.kserve_http import HttpFrontEnd, HttpOptions
from streamgate.session.gateway import ModelIndexEntry
from tests.frontends.http_client import HttpClient, values
from tests.link.house import link_house
from tests.server.model_house import BROKEN, SEQUENCES, Gates, Models, gates_for_models
from tests.waiting import until


@pytest.fixture
def gates(tmp_path: Path) -> Iterator[Gates]:
    with gates_for_models(tmp_path) as gates:
        yield gates


@pytest.fixture
def models(gates: Gates, tmp_path: Path) -> Models:
    """`plain` adds 1 to each request, `steps` 2 to each step of a sequence."""
    del gates
    models = Models(tmp_path / "models")
    models.write("plain", 1)
    models.write("steps", 2, config=SEQUENCES)
    return models


async def test_requests_and_sequences_are_answered(models: Models, tmp_path: Path) -> None:
    async with link_house(models.directory, tmp_path) as house:
        front = await house.front()
        assert await front.ask("plain", 3).value() == 4
        answers = [
            front.ask("steps", value, key=7, start=value == 0, end=value == 4) for value in range(5)
        ]
        responses = [await answer.response() for answer in answers]
        assert [int(each.outputs[0].array.item()) for each in responses] == [2, 3, 4, 5, 6]
        assert [each.position for each in responses] == [0, 1, 2, 3, 4]
        await until(lambda: front.ended)
        assert front.ended == [("steps", 7, EndReason.CLIENT_END)]
        assert house.server.sequences == 0
        late = await front.ask("steps", 1, key=7).response()
        assert late.failure is not None
        assert late.failure.code is Code.INVALID_ARG
        assert not late.admitted


async def test_over_http(models: Models, tmp_path: Path) -> None:
    async with link_house(models.directory, tmp_path) as house:
        front_end = HttpFrontEnd(await house.front_end(), HttpOptions())
        port = await front_end.start("127.0.0.1", 0)

        def ask() -> list[list[object]]:
            body = {"name": "IN", "datatype": "INT32", "shape": [1, 1], "data": [5]}
            found: list[list[object]] = []
            with HttpClient(f"127.0.0.1:{port}") as client:
                for start, end in ((True, False), (False, False), (False, True)):
                    flags = {"sequence_start": start, "sequence_end": end}
                    document = {"inputs": [body], "parameters": {"sequence_id": 9, **flags}}
                    found.append(values(client.infer(document, "steps")))
                document = {"inputs": [{**body, "shape": [1]}]}
                found.append(values(client.infer(document, "plain")))
            return found

        try:
            assert await asyncio.to_thread(ask) == [[7], [7], [7], [6]]
        finally:
            await front_end.stop(0)


async def test_statistics_slots_and_the_index_are_the_engines(
    models: Models, tmp_path: Path
) -> None:
    async with link_house(models.directory, tmp_path) as house:
        front = await house.front()
        await front.ask("steps", 0, key=7, start=True).value()
        await front.ask("steps", 0, key=7).value()
        (statistics,) = await front.gateway.statistics("steps", "")
        assert statistics.inference_count == 2
        assert statistics.durability is not None
        assert (
            replace(statistics, durability=None)
            == (await house.models.gateway.statistics("steps", ""))[0]
        )
        (table,) = await front.gateway.slots("steps", "")
        assert [(view.sequence, view.position) for view in table.views] == [(7, 1)]
        assert await front.gateway.repository_index(ready_only=True) == [
            ModelIndexEntry("plain", "1", "READY"),
            ModelIndexEntry("steps", "1", "READY"),
        ]
        assert await front.gateway.is_model_ready("steps", "")
        assert not await front.gateway.is_model_ready("steps", "2")
        assert front.gateway.model("steps", "").config == (
            house.models.gateway.model("steps", "").config
        )
        with pytest.raises(StreamGateError, match="requested model 'x' is not available"):
            await front.gateway.statistics("x", "")


async def test_models_come_and_go(models: Models, tmp_path: Path) -> None:
    async with link_house(models.directory, tmp_path, wanted=["plain"]) as house:
        front = await house.front()
        with pytest.raises(StreamGateError, match="'steps' is not found"):
            front.ask("steps", 0)
        await front.load("steps")
        assert await front.ask("steps", 1, key=1, start=True, end=True).value() == 3
        await front.unload("steps")
        await front.until_state("UNAVAILABLE unloaded", "steps")
        with pytest.raises(StreamGateError, match="has no available versions"):
            front.ask("steps", 0)
        assert front.gateway.is_ready()
        models.write("steps", code=BROKEN)
        error = await front.load_error("steps")
        assert error.message == (await house.models.load_error("steps")).message
        assert "no such luck" in (await front.states("steps"))["1"]
        assert not front.gateway.is_ready()
