"""Sequences through an ensemble of two stateful models, over real sockets."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import numpy as np
import tritonclient.grpc.aio as tritongrpc

from streamgate.server.ports import Ports
from streamgate.server.settings import ResumeSettings
from tests.frontends.websocket_client import connected, integers
from tests.server.model_house import SEQUENCES, WAIT_SECONDS, Models
from tests.server.test_ensembles_loading import ensemble
from tests.server.test_server import sequence_url, serving

# Each answers with its sum, so that a step lost or out of order shows in all that follow.
SUM = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        responses = []
        for request in requests:
            key = request.correlation_id()
            value = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
            before = 0 if request.flags() & 1 else self.sums[key]
            self.sums[key] = before + int(value.item())
            out = np.full((1, 1), self.sums[key], np.int32)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", out)]))
        return responses
"""


def write_sums(models: Models, config: str = SEQUENCES) -> None:
    models.write("first", config=config, code=SUM)
    models.write("second", config=config, code=SUM)
    models.write_ensemble("e", ensemble("first", "second", batches=True))


async def active(ports: Ports) -> dict[str, float]:
    """The sequences that hold a slot, by model, as the metrics have it."""
    url = f"http://127.0.0.1:{ports.metrics}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        text = await answer.text()
    found = re.findall(r'^streamgate_sequences_active{model="(\w+)".* (\S+)$', text, re.MULTILINE)
    return {name: float(value) for name, value in found}


async def until_free(ports: Ports) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while set((await active(ports)).values()) != {0.0}:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.005)


async def test_a_conversation_over_websocket(models: Models) -> None:
    write_sums(models)
    async with serving(models) as (_, ports), connected(sequence_url(ports)) as client:
        opened = await client.open("e", sequence_id="a caller")
        assert opened["sequence_id"] == "a caller"
        for value in (1, 2, 3):
            await client.frame(integers(value))
        sums = [(await client.hear())["outputs"][0]["data"][0] for _ in range(3)]
        assert sums == [1, 4, 10]
        assert await active(ports) == {"first": 1, "second": 1}
        await client.say("end")
        end = await client.hear_end()
        assert (end["reason"], end["positions"]) == ("client_end", 3)
        await until_free(ports)


async def test_a_lost_websocket_frees_the_slots_in_all_models(models: Models) -> None:
    write_sums(models)
    async with serving(models, resume=ResumeSettings(0)) as (_, ports):
        async with connected(sequence_url(ports)) as client:
            await client.open("e")
            await client.frame(integers(1))
            await client.hear()
            assert await active(ports) == {"first": 1, "second": 1}
            client.socket.transport.abort()
        await until_free(ports)


async def test_an_idle_sequence_is_told_why(models: Models) -> None:
    models.write("first", config=SEQUENCES, code=SUM)
    short = SEQUENCES.replace("60000000", "200000")
    models.write("second", config=short, code=SUM)
    models.write_ensemble("e", ensemble("first", "second", batches=True))
    async with serving(models) as (_, ports), connected(sequence_url(ports)) as client:
        await client.open("e")
        await client.frame(integers(1))
        await client.hear()
        assert (await client.hear_end())["reason"] == "idle"
        # The first model's own limit is a minute.
        await until_free(ports)


async def test_sequences_on_one_grpc_stream(models: Models) -> None:
    write_sums(models)

    async def requests() -> AsyncIterator[dict[str, Any]]:
        for value in (1, 2, 3):
            for key in (11, 12):
                tensor = tritongrpc.InferInput("IN", [1, 1], "INT32")
                tensor.set_data_from_numpy(np.full((1, 1), value * key, np.int32))
                yield {
                    "model_name": "e",
                    "inputs": [tensor],
                    "request_id": f"{key}",
                    "sequence_id": key,
                    "sequence_start": value == 1,
                    "sequence_end": value == 3,
                }

    async with (
        serving(models) as (_, ports),
        tritongrpc.InferenceServerClient(f"127.0.0.1:{ports.grpc}") as client,
        asyncio.timeout(WAIT_SECONDS),
    ):
        sums: dict[str, list[int]] = {"11": [], "12": []}
        async for result, error in client.stream_infer(requests()):
            assert error is None
            response = result.get_response()
            assert response.parameters["triton_final_response"].bool_param
            sums[response.id].append(int(result.as_numpy("OUT").item()))
        assert sums == {"11": [11, 44, 110], "12": [12, 48, 120]}
        await until_free(ports)


async def test_a_cancelled_grpc_stream_frees_the_slots_in_all_models(models: Models) -> None:
    write_sums(models)
    sent = asyncio.Event()

    async def requests() -> AsyncIterator[dict[str, Any]]:
        tensor = tritongrpc.InferInput("IN", [1, 1], "INT32")
        tensor.set_data_from_numpy(np.ones((1, 1), np.int32))
        yield {"model_name": "e", "inputs": [tensor], "sequence_id": 5, "sequence_start": True}
        await sent.wait()

    async with (
        serving(models) as (_, ports),
        tritongrpc.InferenceServerClient(f"127.0.0.1:{ports.grpc}") as client,
        asyncio.timeout(WAIT_SECONDS),
    ):
        answers = client.stream_infer(requests())
        _, error = await anext(answers)
        assert error is None
        assert await active(ports) == {"first": 1, "second": 1}
        answers.cancel()
        await until_free(ports)


async def test_statistics_and_descriptions_over_http(models: Models) -> None:
    write_sums(models)
    async with serving(models) as (_, ports), aiohttp.ClientSession() as session:

        async def read(path: str) -> dict[str, Any]:
            async with session.get(f"http://127.0.0.1:{ports.http}{path}") as answer:
                assert answer.status == 200
                body: dict[str, Any] = await answer.json()
                return body

        async with tritongrpc.InferenceServerClient(f"127.0.0.1:{ports.grpc}") as client:
            tensor = tritongrpc.InferInput("IN", [1, 1], "INT32")
            tensor.set_data_from_numpy(np.ones((1, 1), np.int32))
            await client.infer("e", [tensor], sequence_id=5, sequence_start=True, sequence_end=True)
        (counted,) = (await read("/v2/models/e/stats"))["model_stats"]
        assert counted["inference_stats"]["success"]["count"] == 1
        assert (await read("/v2/models/e"))["platform"] == "ensemble"
        config = await read("/v2/models/e/config")
        assert [step["model_name"] for step in config["ensemble_scheduling"]["step"]] == [
            "first",
            "second",
        ]
        url = f"http://127.0.0.1:{ports.metrics}/metrics"
        async with session.get(url) as answer:
            assert 'nv_inference_request_success{model="e",version="1"} 1.0' in await answer.text()
