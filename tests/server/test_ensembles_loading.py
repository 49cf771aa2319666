"""Ensembles come and go with the models that they are made of."""

import asyncio

import pytest

from streamgate.errors import Code, EndReason, StreamGateError
from tests.server.model_house import CONFIG, SEQUENCES, Gates, Models, model_house
from tests.waiting import until


def ensemble(*steps: str, batches: bool = False, more: str = "") -> str:
    """A chain of models with one input IN and one output OUT each."""
    parts = []
    for place, name in enumerate(steps):
        taken = f"t{place}" if place else "IN"
        given = "OUT" if place == len(steps) - 1 else f"t{place + 1}"
        parts.append(
            f'step {{ model_name: "{name}" model_version: -1 '
            f'input_map {{ key: "IN" value: "{taken}" }} '
            f'output_map {{ key: "OUT" value: "{given}" }} }}'
        )
    return f"""
platform: "ensemble" {more}
max_batch_size: {4 if batches else 0}
input {{ name: "IN" data_type: TYPE_INT32 dims: 1 }}
output {{ name: "OUT" data_type: TYPE_INT32 dims: 1 }}
ensemble_scheduling {{ {" ".join(parts)} }}
"""


def write_chain(models: Models) -> None:
    models.write("one", 1)
    models.write("ten", 10)
    models.write_ensemble("e", ensemble("one", "ten"))


async def test_an_ensemble_is_loaded_with_its_models(models: Models) -> None:
    write_chain(models)
    models.write("other")
    async with model_house(models.directory, wanted=()) as house:
        await house.load("e")
        assert await house.ask("e", 100).value() == 111
        for name in ("e", "one", "ten"):
            assert await house.states(name) == {"1": "READY"}
        assert await house.states("other") == {"": ""}


async def test_all_at_start_up_each_model_once(models: Models, gates: Gates) -> None:
    write_chain(models)
    models.write_ensemble("outer", ensemble("e", "one"))
    async with model_house(models.directory) as house:
        assert await house.ask("outer", 100).value() == 112
        assert gates.count("initialize one 1") == gates.count("initialize ten 10") == 1
        assert house.gateway.is_ready()


async def test_it_goes_with_one_of_its_models_and_comes_back(models: Models) -> None:
    write_chain(models)
    models.write_ensemble("outer", ensemble("e", "one"))
    async with model_house(models.directory) as house:
        await house.unload("ten")
        for name in ("ten", "e", "outer"):
            await house.until_state("UNAVAILABLE unloaded", name)
        assert await house.states("one") == {"1": "READY"}
        assert house.gateway.is_ready()
        with pytest.raises(StreamGateError, match="'e' has no available versions"):
            house.ask("e")
        await house.load("ten")
        assert await house.ask("outer", 100).value() == 112


async def test_what_it_has_under_way_finishes_when_a_model_goes(
    models: Models, gates: Gates
) -> None:
    write_chain(models)
    async with model_house(models.directory) as house:
        gates.close("execute one 1")
        running = house.ask("e", 100)
        await gates.wait_entered("execute one 1")
        await house.unload("ten")
        assert not await house.gateway.is_model_ready("ten", "")
        gates.open("execute one 1")
        assert await running.value() == 111
        await house.until_state("UNAVAILABLE unloaded", "ten")
        await house.until_state("UNAVAILABLE unloaded", "e")


async def test_a_reloaded_model_is_used_at_once(models: Models, gates: Gates) -> None:
    write_chain(models)
    async with model_house(models.directory) as house:
        gates.close("execute one 1")
        running = house.ask("e", 100)
        await gates.wait_entered("execute one 1")
        models.write("ten", 20)
        await house.load("ten")
        assert gates.count("finalize ten 10") == 0
        gates.open("execute one 1")
        # What was under way ends with the models that it began with.
        assert await running.value() == 111
        assert await house.ask("e", 100).value() == 121
        await until(lambda: gates.count("finalize ten 10"))


async def test_a_reloaded_model_that_does_not_fit_any_more(models: Models) -> None:
    write_chain(models)
    async with model_house(models.directory) as house:
        models.write("ten", 10, config=CONFIG.replace("dims: 1", "dims: 2"))
        await house.load("ten")
        with pytest.raises(StreamGateError, match="'e' has no available versions"):
            house.ask("e")
        assert not house.gateway.is_ready()
        assert any("inconsistent shape" in state for state in (await house.states("e")).values())
        models.write("ten", 10)
        await house.load("ten")
        assert await house.ask("e", 100).value() == 111
        assert house.gateway.is_ready()


async def test_its_models_stay_or_go_with_it(models: Models) -> None:
    write_chain(models)
    async with model_house(models.directory, wanted=()) as house:
        await house.load("one")
        await house.load("e")
        await house.unload("e")
        assert await house.states("ten") == {"1": "READY"}
        await house.load("e")
        await house.gateway.unload_model("e", unload_dependents=True)
        await house.until_state("UNAVAILABLE unloaded", "ten")
        # Somebody asked for this one itself.
        assert await house.states("one") == {"1": "READY"}


async def test_models_that_two_ensembles_share_stay_with_the_other(models: Models) -> None:
    write_chain(models)
    models.write_ensemble("f", ensemble("ten"))
    async with model_house(models.directory, wanted=()) as house:
        await house.load("e")
        await house.load("f")
        await house.gateway.unload_model("e", unload_dependents=True)
        await house.until_state("UNAVAILABLE unloaded", "one")
        assert await house.ask("f", 1).value() == 11


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        (("e",), "circular dependency between ensembles: e -> ... -> e -> e"),
        (("one", "f"), "circular dependency between ensembles: e -> ... -> f -> e"),
        (
            ("nowhere", "one", "neither"),
            "ensemble e contains models that are not available or ambiguous: nowhere, neither",
        ),
        (
            ("broken",),
            (
                "ensemble 'e' depends on 'broken' which has no loaded version. Model 'broken' "
                "loading failed with error: version 1 is at UNAVAILABLE state: Internal: "
                "ValueError: no such luck"
            ),
        ),
    ],
)
async def test_what_cannot_be_composed(models: Models, steps: tuple[str, ...], text: str) -> None:
    models.write("one")
    models.write("broken", code="raise ValueError('no such luck')\n")
    models.write_ensemble("f", ensemble("e"))
    models.write_ensemble("e", ensemble(*steps))
    async with model_house(models.directory, wanted=()) as house:
        error = await house.load_error("e")
        assert error.code is Code.INVALID_ARG
        assert error.message.startswith(f"load failed for model 'e': {text}")
        assert error.message.endswith("\n")
        assert not house.gateway.is_ready()
        await house.unload("e")
        await house.unload("broken")
        assert house.gateway.is_ready()


async def test_it_comes_when_its_models_can_be_loaded_at_last(models: Models) -> None:
    write_chain(models)
    models.write("ten", code="raise ValueError('no such luck')\n")
    async with model_house(models.directory, wanted=("e",)) as house:
        assert not house.gateway.is_ready()
        models.write("ten", 10)
        await house.load("ten")
        assert await house.ask("e", 100).value() == 111
        assert house.gateway.is_ready()


async def test_two_circles_at_start_up_hold_up_nobody(models: Models) -> None:
    models.write("one")
    models.write_ensemble("a", ensemble("b"))
    models.write_ensemble("b", ensemble("a"))
    models.write_ensemble("c", ensemble("a", "one"))
    async with model_house(models.directory) as house:
        assert await house.states("one") == {"1": "READY"}
        for name in "abc":
            (state,) = (await house.states(name)).values()
            assert "circular" in state


async def test_a_sequence_through_it_is_drained_with_its_model(models: Models) -> None:
    models.write("s", config=SEQUENCES)
    models.write_ensemble("e", ensemble("s", batches=True))
    async with model_house(models.directory) as house:
        assert await house.ask("e", 1, key=7, start=True).value() == 2
        await house.unload("s")
        await until(lambda: house.ended)
        assert house.ended == [("e", 7, EndReason.DRAINED)]
        await house.until_state("UNAVAILABLE unloaded", "e")
        await house.until_state("UNAVAILABLE unloaded", "s")


async def test_stopping_waits_for_ensembles_before_their_models(
    models: Models, gates: Gates
) -> None:
    write_chain(models)
    models.write_ensemble("outer", ensemble("e", "one"))
    async with model_house(models.directory) as house:
        gates.close("execute one 1")
        running = house.ask("outer", 100)
        await gates.wait_entered("execute one 1")
        stop = asyncio.create_task(house.lifecycle.stop(20))
        await asyncio.sleep(0)
        gates.open("execute one 1")
        assert await running.value() == 112
        await stop
        assert gates.passed[-1].startswith("finalize")


async def test_loads_of_one_ensemble_and_its_models_at_once(models: Models, gates: Gates) -> None:
    write_chain(models)
    models.write_ensemble("outer", ensemble("e", "one"))
    async with model_house(models.directory, wanted=()) as house:
        names = ("outer", "ten", "e", "one", "outer", "e")
        await asyncio.gather(*(house.load(name) for name in names))
        assert await house.ask("outer", 100).value() == 112
        assert gates.count("initialize one 1") == gates.count("initialize ten 10") == 1
        await asyncio.gather(house.unload("one"), house.load("ten"), house.unload("e"))
        await house.until_state("UNAVAILABLE unloaded", "outer")
        await asyncio.gather(*(house.load(name) for name in names))
        assert await house.ask("outer", 100).value() == 112


async def test_an_override_may_compose_other_models(models: Models) -> None:
    write_chain(models)
    models.write("five", 5)
    config = (
        '{"platform": "ensemble",'
        '"input": [{"name": "IN", "data_type": "TYPE_INT32", "dims": [1]}],'
        '"output": [{"name": "OUT", "data_type": "TYPE_INT32", "dims": [1]}],'
        '"ensemble_scheduling": {"step": [{"model_name": "five", "model_version": -1,'
        '"input_map": {"IN": "IN"}, "output_map": {"OUT": "OUT"}}]}}'
    )
    async with model_house(models.directory, wanted=("e",)) as house:
        assert await house.ask("e", 100).value() == 111
        await house.load("e", config)
        assert await house.ask("e", 100).value() == 105
        await house.load("e")
        assert await house.ask("e", 100).value() == 111
