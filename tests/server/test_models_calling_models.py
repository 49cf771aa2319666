"""Models that call other models: what comes back, whoever calls from wherever."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.calling_models import config, execute
from tests.server.model_house import (
    Gates,
    ModelHouse,
    Models,
    gates_for_models,
    model_house,
)

PREFIX = "Model {} - Error when running inference: "


@pytest.fixture
def gates() -> Iterator[Gates]:
    with gates_for_models() as gates:
        yield gates


@pytest.fixture
def models(tmp_path: Path, gates: Gates) -> Models:
    models = Models(tmp_path)
    models.write("plain", 10)
    return models


async def text(house: ModelHouse, name: str = "caller", value: int = 1, **more: object) -> str:
    """The TEXT that a model answers."""
    response = await house.ask(name, value, **more).response()  # type: ignore[arg-type]
    assert response.failure is None, response.failure
    [element] = response.outputs[0].array.ravel()
    return bytes(element).decode()


def caller(models: Models, body: str, *, name: str = "caller", **more: str) -> None:
    models.write(name, config=config(), code=execute(body, **more))


CALLS = [
    "return text(got(made(value_of(request), 'plain').exec()))",
    "return text(got(asyncio.run(made(value_of(request), 'plain').async_exec())))",
    """
    [response] = made(value_of(request), 'plain').exec(decoupled=True)
    return text(got(response))
    """,
    """
    answers = []
    call = lambda: answers.append(got(made(value_of(request), 'plain').exec()))
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(10)
    return text(answers[0])
    """,
]


@pytest.mark.parametrize("body", CALLS)
async def test_a_model_calls_another(models: Models, body: str) -> None:
    caller(models, body)
    async with model_house(models.directory) as house:
        assert await text(house, value=3) == "13"
        assert await text(house, value=4) == "14"


async def test_a_coroutine_calls_another(models: Models) -> None:
    body = "return text(got(await made(value_of(request), 'plain').async_exec()))"
    caller(models, body, keyword="async def")
    async with model_house(models.directory) as house:
        assert await text(house, value=3) == "13"
