"""Reloads that bring nothing new but instance groups: sequences live on."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import tritonclient.grpc as triton

from streamgate.server.settings import ControlMode
from tests.server.model_house import CONFIG, SEQUENCES, Gates, ModelHouse, Models, model_house
from tests.server.test_server import active_sequences, serving
from tests.waiting import until

SUMS = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        responses = []
        for request in requests:
            key = request.correlation_id()
            if request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START:
                self.sums[key] = 0
            value = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
            self.sums[key] += int(value.ravel()[0])
            sums = np.full(value.shape, self.sums[key], np.int32)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", sums)]))
        return responses
"""
"""Keeps a sum for each sequence, as an object of its instance."""


def resized(count: int, **changes: Any) -> str:
    """The configuration SEQUENCES in JSON, with so many instances."""
    fields = {
        "backend": "python",
        "max_batch_size": 4,
        "input": [{"name": "IN", "data_type": "TYPE_INT32", "dims": [1]}],
        "output": [{"name": "OUT", "data_type": "TYPE_INT32", "dims": [1]}],
        "instance_group": [{"kind": "KIND_CPU", "count": count}],
        "sequence_batching": {"max_sequence_idle_microseconds": 60_000_000, "oldest": {}},
    }
    return json.dumps(fields | changes)


def instances(house: ModelHouse) -> int:
    return house.runtime("m").statistics().instances.count


async def sums(house: ModelHouse, key: int, values: Sequence[int], *, start: bool) -> list[int]:
    asked = [
        house.ask("m", value, key=key, start=start and place == 0)
        for place, value in enumerate(values)
    ]
    return [await each.value() for each in asked]


async def test_sequences_outlive_a_change_of_the_instance_count(models: Models) -> None:
    models.write("m", config=SEQUENCES, code=SUMS)
    async with model_house(models.directory) as house:
        route = house.table.route("m", "")
        assert await sums(house, 7, [1, 2], start=True) == [1, 3]
        await house.load("m", resized(3))
        assert instances(house) == 3
        assert await sums(house, 7, [3], start=False) == [6]
        await house.load("m", resized(1))
        await until(lambda: instances(house) == 1)
        assert await sums(house, 7, [4], start=False) == [10]
        assert house.table.route("m", "") is route
        assert await house.states() == {"1": "READY"}


async def test_the_configuration_that_is_shown_is_the_new_one(models: Models) -> None:
    models.write("m", config=SEQUENCES, code=SUMS)
    async with model_house(models.directory) as house:
        assert len(house.gateway.model("m", "").config.instances) == 1
        await house.load("m", resized(2))
        config = house.gateway.model("m", "").config
        assert [each.name for each in config.instances] == ["m_0_0", "m_0_1"]
        assert json.loads(config.json)["instance_group"][0]["count"] == 2


async def test_a_model_that_runs_inline_is_a_new_version_beside_threads(models: Models) -> None:
    models.write("m", config=SEQUENCES, code=SUMS)
    async with model_house(models.directory) as house:
        route = house.table.route("m", "")
        parameters = {"streamgate.execution": {"string_value": "inline"}}
        await house.load("m", resized(1, parameters=parameters))
        assert house.table.route("m", "") is not route


async def test_the_same_again_changes_nothing(models: Models, gates: Gates) -> None:
    models.write("m", 1)
    config = CONFIG.replace("KIND_CPU", "KIND_CPU count: 2")
    async with model_house(models.directory) as house:
        models._put(models.directory / "m" / "config.pbtxt", config)
        await house.load("m")
        await house.load("m")
        assert gates.count("initialize m 1") == 2
        assert gates.count("finalize m 1") == 0


async def test_any_other_change_is_a_new_version(models: Models, gates: Gates) -> None:
    models.write("m", 1)
    async with model_house(models.directory) as house:
        route = house.table.route("m", "")
        models.write("m", 2, config=CONFIG.replace("KIND_CPU", "KIND_CPU count: 2"))
        await house.load("m")
        assert house.table.route("m", "") is not route
        assert await house.ask(value=1).value() == 3
        await until(lambda: gates.count("finalize m 1") == 1)


async def test_instances_that_do_not_load_leave_what_serves(models: Models) -> None:
    code = SUMS.replace(
        "        self.sums = {}",
        '        self.sums = {}\n        if args["model_instance_name"] == "m_0_1":\n'
        '            raise ValueError("no room")',
    )
    models.write("m", config=SEQUENCES, code=code)
    async with model_house(models.directory) as house:
        assert await sums(house, 7, [1], start=True) == [1]
        error = await house.load_error("m", resized(2))
        assert error.message.startswith(
            "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: "
        )
        assert "no room" in error.message
        assert await sums(house, 7, [2], start=False) == [3]
        assert instances(house) == 1
        assert await house.states() == {"1": "READY"}


async def test_a_client_resizes_a_model_while_its_sequence_lives(models: Models) -> None:
    """With the unmodified client: `load_model` with a configuration."""
    models.write("m", config=SEQUENCES, code=SUMS)
    async with serving(models, control_mode=ControlMode.EXPLICIT, load_models=["m"]) as (_, ports):

        def talk() -> list[int]:
            found = []
            with triton.InferenceServerClient(f"127.0.0.1:{ports.grpc}") as client:

                def step(value: int, **flags: bool) -> None:
                    tensor = triton.InferInput("IN", [1, 1], "INT32")
                    tensor.set_data_from_numpy(np.full((1, 1), value, np.int32))
                    result = client.infer(
                        "m", [tensor], sequence_id=7, client_timeout=20.0, **flags
                    )
                    found.append(int(result.as_numpy("OUT").ravel()[0]))

                step(1, sequence_start=True)
                for value, count in ((2, 4), (3, 2), (4, 1)):
                    client.load_model("m", config=resized(count))
                    group = client.get_model_config("m", as_json=True)["config"]["instance_group"]
                    assert group[0]["count"] == count
                    step(value)
                step(5, sequence_end=True)
            return found

        assert await asyncio.to_thread(talk) == [1, 3, 6, 10, 15]
        assert await active_sequences(ports) == 0
