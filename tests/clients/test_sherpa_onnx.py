"""sherpa-onnx's own C++ client against us."""

import json
from pathlib import Path

import pytest

from streamgate.server.settings import SpeechSettings
from tests.clients.environment import ENVIRONMENT, needs_clients, run, wav_file
from tests.speech.house import speech_house
from tests.speech.tones import tones, words_of

pytestmark = [needs_clients, pytest.mark.slow]

CLIENT = ENVIRONMENT / "bin/sherpa-onnx-online-websocket-client"


async def test_the_client_ends_and_shows_the_text(tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones())
    libraries = next(ENVIRONMENT.glob("lib/python3*/site-packages/sherpa_onnx/lib"))
    async with speech_house(speech=SpeechSettings(ports={"sherpa-onnx": 0})) as house:
        output = await run(
            CLIENT,
            f"--server-port={house.ports.dialects['sherpa-onnx']}",
            "--samples-per-message=8000",
            "--seconds-per-message=0.05",
            wav,
            LD_LIBRARY_PATH=str(libraries),
        )
    results = [
        json.loads(line[line.index("{") :]) for line in output.splitlines() if '"text"' in line
    ]
    assert results[-1]["text"] == " ".join(words_of())
    assert results[-1]["is_eof"]
