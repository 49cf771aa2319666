"""A sequence that is recovered, and moves, while it is recorded has one recording: all of it, as
its client saw it, and `streamgate replay` runs it again."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from streamgate.recording.bundle import Bundle, read_bundle
from streamgate.server.processes.control import ask_server
from streamgate.server.processes.runtime_directory import CONTROL
from tests.durable.models import hashes, write_graph
from tests.frontends.websocket_client import Client, connected
from tests.system.server_process import ROOT, WAIT_SECONDS, serving
from tests.system.test_drain_warnings import call, reload

VALUES = list(range(1, 10))


async def step(client: Client, place: int) -> int:
    if place == len(VALUES) - 1:
        await client.say("last")
    await client.frame(np.array([VALUES[place]], np.int64).tobytes())
    message = await client.hear()
    assert message["type"] == "response", message
    return int(message["outputs"][0]["data"][0])


async def engine_of_the_sequence(runtime: Path) -> int:
    """The process that has it, which it tells once a second."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            told: dict[str, Any] = await asyncio.to_thread(
                ask_server, runtime / CONTROL, "status", seconds=WAIT_SECONDS
            )
            for process in told["processes"]:
                if process["kind"] == "engine" and process["sequences"]:
                    return int(process["pid"])
            await asyncio.sleep(0.05)


async def recorded(models: Path, folder: Path, runtime: Path) -> list[int]:
    """What a client is answered while its engine is killed, and its model is loaded anew."""
    flags = ["--engines", "2", "--record-sequences", str(folder), "--runtime-directory"]
    control = ["--model-control-mode", "explicit", "--load-model", "*"]
    async with serving(models, *flags, str(runtime), *control) as server:
        async with connected(f"ws://{server.addresses['websocket']}/v1/sequence") as client:
            await client.open("hash")
            answers = [await step(client, place) for place in range(3)]
            os.kill(await engine_of_the_sequence(runtime), signal.SIGKILL)
            answers += [await step(client, place) for place in range(3, 6)]
            reload(models, "hash")
            await call(server, "repository/models/hash/load", {})
            answers += [await step(client, place) for place in range(6, len(VALUES))]
            assert (await client.hear_end())["reason"] == "client_end"
        server.terminate()
        assert await server.exit_status() == 0
    return answers


def test_a_recording_outlives_what_ran_its_sequence(tmp_path: Path) -> None:
    models, folder = tmp_path / "models", tmp_path / "bundles"
    models.mkdir()
    write_graph(models)
    with TemporaryDirectory(prefix="sg-") as runtime:
        answers = asyncio.run(recorded(models, folder, Path(runtime)))
    assert answers == hashes(VALUES)
    (path,) = folder.iterdir()
    bundle = read_bundle(path)
    assert (bundle.reason, bundle.cut, bundle.origin) == ("client_end", "", None)
    assert positions(bundle) == list(range(len(VALUES)))
    for recorded_step in bundle.steps:
        (result,) = recorded_step.results
        assert result.batch is not None
        assert (result.batch.rows, result.batch.sequences) == (1, 1)
        assert result.batch.instance.startswith("hash")
    replayed = subprocess.run(
        [
            *(sys.executable, "-m", "streamgate", "replay", str(path)),
            *("--model-repository", str(models)),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'backends'}"},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    count = len(VALUES)
    assert replayed.stdout == f"same: {count} steps, {count} responses\n", replayed.stderr
    assert replayed.returncode == 0


def positions(bundle: Bundle) -> list[int]:
    return [each.step.position for each in bundle.steps]
