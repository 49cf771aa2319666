"""The unmodified clients of other speech services, in an environment of their own.

`make speech-clients` makes it. A driver is a small script in `drivers/` that uses one of them as
its documentation shows, and prints one JSON document.
"""

import asyncio
import json
import os
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamgate.model.tensor import Array

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".venv-clients"
PYTHON = ENVIRONMENT / "bin/python"
DRIVERS = Path(__file__).parent / "drivers"
SECONDS = 100

needs_clients = pytest.mark.skipif(
    not PYTHON.exists(), reason="no environment with the speech clients (make speech-clients)"
)


async def drive(name: str, *arguments: str | int | Path, **variables: str) -> Any:
    """Run a driver with the clients' interpreter; what it printed last, from JSON."""
    output = await run(PYTHON, DRIVERS / f"{name}.py", *arguments, **variables)
    return json.loads(output.strip().splitlines()[-1])


async def run(program: Path, *arguments: str | int | Path, **variables: str) -> str:
    """Run a program of the environment; what it printed. It must exit with 0."""
    process = await asyncio.create_subprocess_exec(
        program,
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": "", "no_proxy": "*", **variables},
    )
    try:
        async with asyncio.timeout(SECONDS):
            output, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    text = output.decode(errors="replace")
    assert process.returncode == 0, text
    return text


def wav_file(path: Path, samples: Array, rate_hz: int = 16_000) -> Path:
    """FP32 `[n]` in [-1, 1] as a 16-bit mono WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return path
