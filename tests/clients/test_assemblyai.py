"""AssemblyAI's own SDK against us."""

from pathlib import Path

import pytest

from streamgate.server.settings import SpeechSettings
from tests.clients.environment import drive, needs_clients, wav_file
from tests.speech.house import speech_house
from tests.speech.tones import tones, words_of

pytestmark = [needs_clients, pytest.mark.slow]


async def test_the_sdk_streams_and_hears_a_refusal(tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones())
    async with speech_house(speech=SpeechSettings(api_keys=["key"])) as house:
        port = house.ports.websocket or 0
        heard = await drive("assemblyai_streaming", port, "key", wav)
        assert heard["text"] == " ".join(words_of())
        assert heard["others"] == ["Begin", "Termination"]
        assert heard["errors"] == []
        refused = await drive("assemblyai_streaming", port, "wrong", wav)
    assert "401" in refused["errors"][0]
