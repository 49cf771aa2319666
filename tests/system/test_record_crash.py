"""`streamgate serve --record-sequences` as a process that is killed: what had been answered before
is on the disk, and `streamgate replay` as a process runs it."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamgate.recording.bundle import Bundle, read_bundle
from tests.frontends.websocket_client import connected
from tests.system.server_process import ROOT, WAIT_SECONDS, serving, write_fake_model


def bundle_of(folder: Path) -> Bundle | None:
    """The one that is being written, once it has all three answers."""
    for path in folder.iterdir():
        bundle = read_bundle(path)
        if len(bundle.steps) == 3 and all(step.is_complete for step in bundle.steps):
            return bundle
    return None


async def recorded(models: Path, folder: Path) -> None:
    async with serving(models, "--record-sequences", str(folder)) as server:
        url = f"ws://{server.addresses['websocket']}/v1/sequence"
        async with connected(url) as client:
            await client.open("fake")
            for value in range(3):
                await client.frame(bytes([value, 0]))
                await client.hear()
            async with asyncio.timeout(WAIT_SECONDS):
                while bundle_of(folder) is None:  # noqa: ASYNC110 - another process writes it
                    await asyncio.sleep(0.01)
            os.kill(server.process.pid, signal.SIGKILL)
            await server.exit_status()


@pytest.mark.slow
def test_a_server_that_is_killed(tmp_path: Path) -> None:
    write_fake_model(tmp_path / "models")
    asyncio.run(recorded(tmp_path / "models", tmp_path / "bundles"))
    bundle = bundle_of(tmp_path / "bundles")
    assert bundle is not None
    assert "the file ends before its sequence does" in bundle.cut
    replayed = subprocess.run(
        [
            *(sys.executable, "-m", "streamgate", "replay", str(bundle.path)),
            *("--model-repository", str(tmp_path / "models")),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'backends'}"},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert replayed.stdout == "same: 3 steps, 3 responses\n", replayed.stderr
    assert replayed.returncode == 0
    assert "note: the recording is not whole" in replayed.stderr
