"""The whole house in this process: what it opens, what it refuses to start with, how it stops."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from streamgate.errors import StreamGateError
from streamgate.server.ports import Ports
from streamgate.server.server import Server
from streamgate.server.settings import ControlMode, Settings
from tests.frontends.websocket_client import Client, connected
from tests.server.model_house import BROKEN, SEQUENCES, Gates, Models
from tests.waiting import until

INT32_ONE = b"\1\0\0\0"


def settings_of(models: Models, **changes: Any) -> Settings:
    settings = Settings(
        model_repositories=[models.directory],
        host="127.0.0.1",
        http_port=0,
        grpc_port=0,
        metrics_port=0,
        websocket_port=0,
    )
    return replace(settings, **changes)


@asynccontextmanager
async def serving(models: Models, **changes: Any) -> AsyncIterator[tuple[Server, Ports]]:
    server = Server(settings_of(models, **changes))
    ports = await server.start()
    try:
        yield server, ports
    finally:
        await server.stop()


async def status_of(ports: Ports, path: str, method: str = "GET") -> int:
    url = f"http://127.0.0.1:{ports.http}{path}"
    async with aiohttp.ClientSession() as session, session.request(method, url) as answer:
        return answer.status


async def active_sequences(ports: Ports) -> float:
    url = f"http://127.0.0.1:{ports.metrics}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        (value,) = re.findall(
            r"^streamgate_sequences_active{.*} (\S+)$", await answer.text(), re.MULTILINE
        )
    return float(value)


def sequence_url(ports: Ports) -> str:
    return f"ws://127.0.0.1:{ports.websocket}/v1/sequence"


async def begin(client: Client) -> None:
    await client.open("m")
    await client.frame(INT32_ONE)
    assert (await client.hear())["type"] == "response"


async def test_it_opens_all_ports(models: Models) -> None:
    models.write("m", config=SEQUENCES)
    async with serving(models) as (server, ports):
        assert server.ports is ports
        assert len({ports.http, ports.grpc, ports.metrics, ports.websocket}) == 4
        assert await status_of(ports, "/v2/health/ready") == 200
        async with connected(sequence_url(ports)) as client:
            await begin(client)
            await client.say("end")
            assert (await client.hear_end())["closed"] == 1000


async def test_it_opens_only_what_it_is_allowed(models: Models) -> None:
    async with serving(models, allow_grpc=False, allow_metrics=False, allow_websocket=False) as (
        _,
        ports,
    ):
        assert (ports.grpc, ports.metrics, ports.websocket) == (None, None, None)
        assert await status_of(ports, "/v2/health/ready") == 200
    async with serving(models, allow_http=False) as (_, ports):
        assert ports.http is None


@pytest.mark.parametrize(("strict", "status"), [(True, 400), (False, 200)])
async def test_a_model_that_failed_counts_for_strict_readiness_only(
    models: Models, strict: bool, status: int
) -> None:
    models.write("good")
    models.write("broken", code=BROKEN)
    async with serving(models, exit_on_error=False, strict_readiness=strict) as (_, ports):
        assert await status_of(ports, "/v2/health/ready") == status
        assert await status_of(ports, "/v2/health/live") == 200
        assert await status_of(ports, "/v2/models/good/ready") == 200
        assert await status_of(ports, "/v2/models/broken/ready") == 400


async def test_a_start_that_fails_leaves_nothing_behind(models: Models, gates: Gates) -> None:
    models.write("good")
    models.write("broken", code=BROKEN)
    server = Server(settings_of(models))
    with pytest.raises(StreamGateError, match=r"failed to load all models \(broken\)"):
        await server.start()
    assert gates.count("finalize good 1") == 1
    async with serving(models, exit_on_error=False) as (_, ports):
        second = Server(settings_of(models, exit_on_error=False, websocket_port=ports.websocket))
        with pytest.raises(StreamGateError, match=r"Address already in use \(change it with"):
            await second.start()
        assert gates.count("finalize good 1") == 2
        await second.stop()
        assert await status_of(ports, "/v2/models/good/ready") == 200


async def test_a_start_that_is_given_up_leaves_nothing_behind(models: Models, gates: Gates) -> None:
    models.write("m")
    gates.close("initialize m 1")
    starting = asyncio.create_task(Server(settings_of(models)).start())
    await gates.wait_entered("initialize m 1")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    gates.open("initialize m 1")
    await until(lambda: gates.count("finalize m 1"))


async def test_unloading_a_model_over_http_drains_a_sequence_over_websocket(
    models: Models,
) -> None:
    models.write("m", config=SEQUENCES)
    explicit = {"control_mode": ControlMode.EXPLICIT, "load_models": ("m",)}
    async with serving(models, **explicit) as (_, ports), connected(sequence_url(ports)) as client:
        await begin(client)
        assert await status_of(ports, "/v2/repository/models/m/unload", "POST") == 200
        end = await client.hear_end()
        assert (end["reason"], end["positions"], end["closed"]) == ("drained", 1, 1012)
        async with connected(sequence_url(ports)) as late:
            refused = await late.open("m")
            assert refused["message"] == "Request for unknown model: 'm' has no available versions"
            assert await status_of(ports, "/v2/repository/models/m/load", "POST") == 200
            await begin(late)


async def test_a_reload_drains_sequences_and_they_may_come_again(models: Models) -> None:
    models.write("m", 1, config=SEQUENCES)
    explicit = {"control_mode": ControlMode.EXPLICIT, "load_models": ("*",)}
    async with (
        serving(models, exit_timeout_seconds=0.5, **explicit) as (_, ports),
        connected(sequence_url(ports)) as client,
    ):
        await begin(client)
        models.write("m", 5, config=SEQUENCES)
        assert await status_of(ports, "/v2/repository/models/m/load", "POST") == 200
        assert await client.hear_drain() == ("reload", 0.5)
        assert (await client.hear_end())["closed"] == 1012
        async with connected(sequence_url(ports)) as again:
            await again.open("m")
            await again.frame(INT32_ONE)
            assert (await again.hear())["outputs"][0]["data"] == [6]


LATE = """
import threading
import model_gates
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.answer, args=(request.get_response_sender(),)).start()

    def answer(self, sender):
        model_gates.enter("answer")
        tensor = pb_utils.Tensor("OUT", np.array([[7]], np.int32))
        sender.send(pb_utils.InferenceResponse([tensor]))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


async def test_answers_that_come_after_the_last_step_is_over_are_not_lost(
    models: Models, gates: Gates
) -> None:
    config = SEQUENCES + "model_transaction_policy { decoupled: true }\n"
    models.write("m", config=config, code=LATE)
    async with serving(models) as (_, ports), connected(sequence_url(ports)) as client:
        await client.open("m")
        gates.close("answer")
        await client.say("last")
        await client.frame(INT32_ONE)
        await gates.wait_entered("answer")
        # For the scheduler the sequence is over: its slot is free before its answer is there.
        while (await active_sequences(ports)) > 0:  # noqa: ASYNC110, a scrape has no event
            await asyncio.sleep(0.002)
        gates.open("answer")
        answer = await client.hear()
        assert (answer["outputs"][0]["data"], answer["final"]) == ([7], False)
        final = await client.hear()
        assert (final["outputs"], final["final"]) == ([], True)
        assert (await client.hear_end())["reason"] == "client_end"


async def test_stopping_tells_a_live_sequence_and_everybody_else(models: Models) -> None:
    models.write("m", config=SEQUENCES)
    async with (
        serving(models, exit_timeout_seconds=0.02) as (server, ports),
        connected(sequence_url(ports)) as client,
        connected(sequence_url(ports)) as onlooker,
    ):
        await begin(client)
        await onlooker.open("m")
        await asyncio.gather(server.stop(), server.stop())
        assert await client.hear_drain() == ("stop", 0.02)
        assert (await client.hear_end())["closed"] == 1012
        assert (await onlooker.hear_close())[0] == 1001
        with pytest.raises(aiohttp.ClientConnectorError):
            await status_of(ports, "/v2/health/live")


async def test_a_path_of_a_repository_that_is_no_folder(tmp_path: Path, models: Models) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(StreamGateError, match="not a directory"):
        await Server(settings_of(models, model_repositories=[path])).start()
