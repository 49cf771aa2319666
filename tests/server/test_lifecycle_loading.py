"""Loading and reloading: states, texts, what serves meanwhile, what happens when it fails."""

import asyncio
import shutil
from pathlib import Path

import pytest

from streamgate.errors import Code, EndReason, StreamGateError
from streamgate.server.settings import ControlMode
from tests.server.model_house import BROKEN, CONFIG, FAILING, SEQUENCES, Gates, Models, model_house
from tests.waiting import until

ALL_VERSIONS = CONFIG + "version_policy { all { } }\n"


def no_luck(version: int) -> str:
    return f"version {version} is at UNAVAILABLE state: Internal: ValueError: no such luck"


async def test_everything_is_loaded_at_the_start(models: Models) -> None:
    models.write("a", 1)
    models.write("b", 2)
    async with model_house(models.directory, ControlMode.NONE, ()) as house:
        assert await house.ask("a", 10).value() == 11
        assert await house.ask("b", 10).value() == 12
        assert house.gateway.is_ready()


async def test_without_explicit_control_nobody_loads_or_unloads(models: Models) -> None:
    models.write("m")
    async with model_house(models.directory, ControlMode.NONE, ()) as house:
        for call in (house.load(), house.unload()):
            with pytest.raises(StreamGateError) as raised:
                await call
            assert raised.value.code is Code.UNAVAILABLE
            assert raised.value.message == (
                "explicit model load / unload is not allowed if polling is enabled"
            )
        assert await house.ask().value() == 1


async def test_explicit_control_loads_what_it_is_told(models: Models) -> None:
    for name in ("a", "b", "c"):
        models.write(name)
    async with model_house(models.directory, wanted=["b", "b"]) as house:
        assert await house.states("a") == {"": ""}
        assert await house.states("b") == {"1": "READY"}
        assert house.gateway.is_ready()
        await house.load("c")
        assert await house.states("c") == {"1": "READY"}
    async with model_house(models.directory, wanted=["*"]) as house:
        assert len(await house.gateway.repository_index(ready_only=True)) == 3
    async with model_house(models.directory, wanted=[]) as house:
        assert await house.gateway.repository_index(ready_only=True) == []


async def test_a_model_that_is_not_there(models: Models) -> None:
    async with model_house(models.directory) as house:
        error = await house.load_error("x")
        assert error.code is Code.INTERNAL
        assert error.message == (
            "failed to load 'x', failed to poll from model repository: no model folder 'x' in "
            f"'{models.directory}'"
        )
        assert await house.states("x") == {}
        assert house.gateway.is_ready()


async def test_an_unchanged_model_is_not_loaded_again(models: Models, gates: Gates) -> None:
    models.write("m")
    async with model_house(models.directory) as house:
        await house.load()
        await house.load()
        assert gates.count("initialize m 1") == 1
        await house.unload()
        await house.until_state("UNAVAILABLE unloaded")
        await house.load()
        assert gates.count("initialize m 1") == 2


async def test_two_loads_of_a_model_at_a_time_are_one(models: Models, gates: Gates) -> None:
    models.write("m")
    async with model_house(models.directory, wanted=()) as house:
        await asyncio.gather(*(house.load() for _ in range(5)))
        assert gates.count("initialize m 1") == 1


async def test_different_models_are_loaded_at_the_same_time(models: Models, gates: Gates) -> None:
    for name in ("a", "b", "c"):
        models.write(name)
        gates.close(f"initialize {name} 1")
    async with model_house(models.directory, wanted=()) as house:
        loads = [asyncio.create_task(house.load(name)) for name in ("a", "b", "c")]
        for name in ("a", "b", "c"):
            await gates.wait_entered(f"initialize {name} 1")
            assert await house.states(name) == {"1": "LOADING"}
        assert not house.gateway.is_ready()
        gates.open_all()
        await asyncio.gather(*loads)
        assert house.gateway.is_ready()


async def test_models_are_loaded_at_the_same_time_at_the_start_too(
    models: Models, gates: Gates
) -> None:
    for name in ("a", "b"):
        models.write(name)
        gates.close(f"initialize {name} 1")

    async def open_when_both_are_there() -> None:
        for name in ("a", "b"):
            await gates.wait_entered(f"initialize {name} 1")
        gates.open_all()

    opening = asyncio.create_task(open_when_both_are_there())
    async with model_house(models.directory) as house:
        assert house.gateway.is_ready()
    await opening


async def test_a_reload_serves_the_old_model_until_the_new_one_is_there(
    models: Models, gates: Gates
) -> None:
    models.write("m", 1)
    async with model_house(models.directory) as house:
        models.write("m", 2)
        gates.close("initialize m 2")
        load = asyncio.create_task(house.load())
        await gates.wait_entered("initialize m 2")
        assert await house.states() == {"1": "READY"}
        assert house.gateway.is_ready()
        assert await house.ask(value=10).value() == 11
        gates.open("initialize m 2")
        await load
        assert await house.ask(value=10).value() == 12
        await until(lambda: gates.count("finalize m 1"))
        assert await house.states() == {"1": "READY"}


@pytest.mark.parametrize("code", [BROKEN, FAILING], ids=["import", "initialize"])
async def test_a_reload_that_fails_leaves_the_old_model(
    models: Models, gates: Gates, code: str
) -> None:
    models.write("m", 1)
    async with model_house(models.directory) as house:
        models.write("m", code=code)
        error = await house.load_error()
        assert error.code is Code.INVALID_ARG
        assert error.message.startswith(f"load failed for model 'm': {no_luck(1)}")
        assert error.message.endswith(";\n")
        assert await house.states() == {"1": "READY"}
        assert house.gateway.is_ready()
        assert await house.ask(value=10).value() == 11
        models.write("m", 3)
        await house.load()
        assert await house.ask(value=10).value() == 13
        assert gates.count("initialize m 1") == 1


async def test_a_config_that_can_not_be_read_leaves_the_old_model(models: Models) -> None:
    models.write("m", 1)
    async with model_house(models.directory) as house:
        models.write("m", 2, config="nonsense")
        error = await house.load_error()
        assert error.code is Code.INTERNAL
        assert error.message.startswith(
            "failed to load 'm', failed to poll from model repository: "
        )
        assert await house.states() == {"1": "READY"}
        assert await house.ask(value=10).value() == 11


async def test_a_model_that_fails_to_load_says_why_until_it_is_mended(models: Models) -> None:
    models.write("m", code=BROKEN)
    async with model_house(models.directory, wanted=()) as house:
        await house.load_error()
        state = (await house.states())["1"]
        assert state.startswith("UNAVAILABLE Internal: ValueError: no such luck")
        assert not house.gateway.is_ready()
        with pytest.raises(StreamGateError, match="'m' has no available versions"):
            house.ask()
        with pytest.raises(StreamGateError, match="'m' version 1 is not at ready state"):
            house.ask(version="1")
        models.write("m", 2)
        await house.load()
        assert await house.states() == {"1": "READY"}
        assert house.gateway.is_ready()


async def test_a_model_that_fails_to_load_is_cleared_by_unloading_it(models: Models) -> None:
    models.write("m", code=BROKEN)
    async with model_house(models.directory, wanted=()) as house:
        await house.load_error()
        await house.unload()
        assert await house.states() == {"1": "UNAVAILABLE unloaded"}
        assert house.gateway.is_ready()


async def test_a_model_without_a_version_to_serve_says_so_in_the_index(models: Models) -> None:
    folder = models.write("m")
    shutil.move(folder / "1", folder / "other")
    async with model_house(models.directory, wanted=()) as house:
        error = await house.load_error()
        text = "at least one version must be available under the version policy of model 'm'"
        assert text in error.message
        (state,) = (await house.states()).values()
        assert state.startswith("UNAVAILABLE ")
        assert text in state
        assert not house.gateway.is_ready()
        models.write("m")
        await house.load()
        assert await house.states() == {"1": "READY"}
        assert house.gateway.is_ready()


async def test_what_fails_at_the_start_is_told_and_the_rest_is_served(models: Models) -> None:
    models.write("good")
    models.write("broken", code=BROKEN)
    models.write("unread", config="nonsense")
    async with model_house(models.directory, wanted=()) as house:
        failures = await house.lifecycle.start(["*", "nowhere"])
        assert set(failures) == {"broken", "unread"}
        assert not house.gateway.is_ready()
        assert await house.ask("good").value() == 1
        (state,) = (await house.states("unread")).values()
        assert state.startswith("UNAVAILABLE Internal: failed to load 'unread', failed to poll")
        failures = await house.lifecycle.start(["nowhere"])
        assert set(failures) == {"nowhere"}
        await house.unload("broken")
        await house.unload("unread")
        await house.unload("nowhere")
        assert house.gateway.is_ready()


async def test_versions_are_loaded_together_or_not_at_all(models: Models, gates: Gates) -> None:
    models.write("m", 1, version=1, config=ALL_VERSIONS)
    models.write("m", version=2, config=ALL_VERSIONS, code=FAILING)
    async with model_house(models.directory, wanted=()) as house:
        error = await house.load_error()
        assert "version 1" not in error.message
        assert f"load failed for model 'm': {no_luck(2)}" in error.message
        states = await house.states()
        assert states["1"] == "UNAVAILABLE unloaded"
        assert states["2"].startswith("UNAVAILABLE Internal: ValueError: no such luck")
        await until(lambda: gates.count("finalize m 1"))
        models.write("m", 2, version=2, config=ALL_VERSIONS)
        await house.load()
        assert await house.states() == {"1": "READY", "2": "READY"}
        models.write("m", 3, version=1, config=ALL_VERSIONS)
        models.write("m", version=2, config=ALL_VERSIONS, code=FAILING)
        await house.load_error()
        assert await house.states() == {"1": "READY", "2": "READY"}
        assert await house.ask(value=10, version="1").value() == 11
        assert await house.ask(value=10, version="2").value() == 12


async def test_a_new_version_takes_over_from_the_latest(models: Models) -> None:
    models.write("m", 1, version=1)
    async with model_house(models.directory) as house:
        models.write("m", 2, version=2)
        await house.load()
        assert await house.ask(value=10).value() == 12
        await house.until_state("UNAVAILABLE unloaded")
        assert await house.states() == {"1": "UNAVAILABLE unloaded", "2": "READY"}
        with pytest.raises(StreamGateError, match="version 1 is not at ready state"):
            house.ask(version="1")


async def test_requests_under_way_are_answered_by_the_model_that_has_them(
    models: Models, gates: Gates
) -> None:
    models.write("m", 1)
    async with model_house(models.directory) as house:
        gates.close("execute m 1")
        running = house.ask(value=10)
        await gates.wait_entered("execute m 1")
        queued = house.ask(value=20)
        models.write("m", 2)
        await house.load()
        assert await house.ask(value=10).value() == 12
        assert gates.count("finalize m 1") == 0
        gates.open("execute m 1")
        assert await running.value() == 11
        assert await queued.value() == 21


async def test_live_sequences_that_can_not_move_live_on_where_they_are(
    models: Models, gates: Gates
) -> None:
    models.write("m", 1, config=SEQUENCES)
    async with model_house(models.directory) as house:
        assert await house.ask(key=1, start=True).value() == 1
        gates.close("execute m 1")
        running = house.ask(key=7, start=True)
        await gates.wait_entered("execute m 1")
        queued = house.ask(key=7, value=10)
        models.write("m", 2, config=SEQUENCES)
        await house.load()
        assert house.ended == []
        late = house.ask(key=7, value=20, end=True)
        # A START is for what serves now, and takes its ID over.
        assert await house.ask(key=1, start=True).value() == 2
        await until(lambda: len(house.ended) == 1)
        assert house.ended == [("m", 1, EndReason.SUPERSEDED)]
        gates.open("execute m 1")
        assert await running.value() == 1
        assert await queued.value() == 11
        assert await late.value() == 21
        await until(lambda: len(house.ended) == 2)
        assert house.ended[1] == ("m", 7, EndReason.CLIENT_END)


async def test_who_does_not_wait_for_a_load_does_not_stop_it(models: Models, gates: Gates) -> None:
    models.write("m")
    gates.close("initialize m 1")
    async with model_house(models.directory, wanted=()) as house:
        load = asyncio.create_task(house.load())
        await gates.wait_entered("initialize m 1")
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        gates.open("initialize m 1")
        await house.until_state("READY")
        assert await house.ask().value() == 1


async def test_a_model_of_the_real_onnx_runtime(models: Models, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="writes a graph")
    write_onnx_adder(models.directory, onnx, 1.0)
    async with model_house(models.directory) as house:
        assert await house.states("adder") == {"1": "READY"}
        write_onnx_adder(models.directory, onnx, 22.5)
        await house.load("adder")
        assert await house.states("adder") == {"1": "READY"}
        (models.directory / "adder" / "1" / "model.onnx").write_bytes(b"no graph")
        error = await house.load_error("adder")
        assert "load failed for model 'adder': version 1 is at UNAVAILABLE state: " in error.message
        assert await house.states("adder") == {"1": "READY"}


def write_onnx_adder(directory: Path, onnx: object, number: float) -> None:
    from onnx import TensorProto, helper, save

    node = helper.make_node("Add", ["IN", "number"], ["OUT"])
    constant = helper.make_tensor("number", TensorProto.FLOAT, [1], [number])
    graph = helper.make_graph(
        [node],
        "adder",
        [helper.make_tensor_value_info("IN", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_value_info("OUT", TensorProto.FLOAT, ["batch", 1])],
        [constant],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = directory / "adder" / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    save(model, path)
    del onnx
