"""Whoever's sequence can't move hears of its end before it comes, on each wire."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import numpy as np
import pytest
import tritonclient.grpc.aio as tritongrpc

from streamgate.server.processes.control import ask_server
from streamgate.server.processes.runtime_directory import CONTROL
from tests.durable.models import write_graph, write_pinned
from tests.frontends.websocket_client import Client, connected
from tests.speech.house import speech_house
from tests.speech.tones import s16le, tones
from tests.system.server_process import WAIT_SECONDS, ServerProcess, serving

SECONDS = 300.0
"""For whatever has to end; all that is waited for here comes much earlier."""

LEFT = "streamgate_drain_seconds_left"


@asynccontextmanager
async def server_of(directory: Path, *flags: str) -> AsyncIterator[tuple[ServerProcess, Path]]:
    """A server of `hash`, which moves, and `hash_pinned`, which does not; its runtime directory."""
    models = directory / "models"
    models.mkdir()
    write_graph(models)
    write_pinned(models)
    with TemporaryDirectory(prefix="sg-") as runtime:
        all_flags = [
            *("--exit-timeout-secs", f"{SECONDS:g}", "--model-control-mode", "explicit"),
            *("--load-model", "*", *flags),
        ]
        if "--embedded" not in flags:
            all_flags += ["--runtime-directory", runtime]
        async with serving(models, *all_flags) as server:
            yield server, Path(runtime)
            if not any("SIGTERM" in line for line in server.errors):
                server.terminate()
            assert await server.exit_status() == 0


def reload(models: Path, name: str) -> None:
    """The next load of the model is another one."""
    config = models / name / "config.pbtxt"
    parameter = 'parameters { key: "touched" value { string_value: "1" } }'
    config.write_text(f"{config.read_text()}\n{parameter}\n")


async def call(server: ServerProcess, path: str, body: dict[str, Any]) -> dict[str, Any]:
    url = f"http://{server.addresses['http']}/v2/{path}"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
        text = await answer.text()
        assert answer.status == 200, text
        return dict(json.loads(text)) if text else {}


async def step(server: ServerProcess, model: str, key: int, **flags: bool) -> dict[str, Any]:
    """One step over HTTP: the parameters of its response."""
    body = {
        "inputs": [{"name": "IN", "datatype": "INT64", "shape": [1, 1], "data": [1]}],
        "parameters": {"sequence_id": key, **flags},
    }
    answer = await call(server, f"models/{model}/infer", body)
    return dict(answer.get("parameters", {}))


async def begun(client: Client, model: str) -> None:
    await client.open(model)
    await client.frame(bytes(8))
    assert (await client.hear())["type"] == "response"


async def ended(client: Client) -> None:
    await client.say("end")
    assert (await client.hear_end())["reason"] == "client_end"


@pytest.mark.parametrize("flags", [("--embedded",), ("--engines", "2")], ids=["embedded", "two"])
async def test_a_reload_warns_those_that_can_not_move(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    async with server_of(tmp_path, *flags) as (server, _):
        url = f"ws://{server.addresses['websocket']}/v1/sequence"
        async with connected(url) as pinned, connected(url) as moves:
            await begun(pinned, "hash_pinned")
            await begun(moves, "hash")
            assert LEFT not in await step(server, "hash_pinned", 7, sequence_start=True)
            for model in ("hash", "hash_pinned"):
                reload(tmp_path / "models", model)
                await call(server, f"repository/models/{model}/load", {})
            reason, seconds_left = await pinned.hear_drain()
            assert reason == "reload"
            assert SECONDS / 2 < seconds_left <= SECONDS
            # It may live at the other engine, which may be told later.
            async with asyncio.timeout(WAIT_SECONDS):
                while LEFT not in (said := await step(server, "hash_pinned", 7)):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            assert 0 < said[LEFT] <= SECONDS
            await step(server, "hash_pinned", 7, sequence_end=True)
            # It goes on as long as it may, and others were not told.
            await pinned.frame(bytes(8))
            assert (await pinned.hear())["type"] == "response"
            await ended(pinned)
            await moves.frame(bytes(8))
            assert (await moves.hear())["type"] == "response"
            await ended(moves)


async def test_an_engine_that_is_drained_and_a_server_that_stops_warn(tmp_path: Path) -> None:
    async with server_of(tmp_path) as (server, runtime):
        url = f"ws://{server.addresses['websocket']}/v1/sequence"

        def drain() -> Any:
            value = {"name": "engine-0", "seconds": SECONDS}
            return ask_server(runtime / CONTROL, "drain", value, seconds=SECONDS)

        async with connected(url) as first:
            await begun(first, "hash")
            await step(server, "hash", 7, sequence_start=True)
            draining = asyncio.create_task(asyncio.to_thread(drain))
            reason, seconds_left = await first.hear_drain()
            assert reason == "drain"
            assert 0 < seconds_left <= SECONDS
            async with tritongrpc.InferenceServerClient(server.addresses["grpc"]) as grpc:
                value = tritongrpc.InferInput("IN", [1, 1], "INT64")
                value.set_data_from_numpy(np.ones((1, 1), np.int64))
                answer = await grpc.infer("hash", [value], sequence_id=7, sequence_end=True)
                parameter = answer.get_response().parameters[LEFT]
                assert 0 < parameter.double_param <= SECONDS
            assert not draining.done()
            await ended(first)
        assert (await draining)["left"] == 0
        async with connected(url) as second:
            await begun(second, "hash")
            server.terminate()
            assert await second.hear_drain() == ("stop", SECONDS)
            await server.read_error("SIGTERM")
            await ended(second)


async def test_speech_is_warned(tmp_path: Path) -> None:
    async with speech_house(exit_timeout_seconds=SECONDS) as house:
        url = f"http://127.0.0.1:{house.ports.websocket}/v1/speech?encoding=s16le&sample_rate=16000"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            assert (await socket.receive_json())["type"] == "ready"
            stopping = asyncio.create_task(house.server.stop())
            warning = await socket.receive_json()
            del warning["event"]
            assert warning == {"type": "drain_warning", "reason": "stop", "seconds_left": SECONDS}
            await socket.send_bytes(s16le(tones()))
            await socket.send_json({"type": "end"})
            messages = [json.loads(message.data) async for message in socket]
            assert messages[-1]["reason"] == "client_end"
            assert not [each for each in messages if each["type"] == "drain_warning"]
        await stopping
