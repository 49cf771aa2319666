"""NVIDIA's own realtime client against us."""

from pathlib import Path

import pytest

from streamgate.server.settings import SpeechSettings
from tests.clients.environment import drive, needs_clients, wav_file
from tests.speech.dialects.talk import repository_with, talk
from tests.speech.house import speech_house
from tests.speech.tones import tones, words_of

pytestmark = [needs_clients, pytest.mark.slow]


@pytest.mark.parametrize("how", ["file", "mic"])
async def test_the_client_transcribes(how: str, tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones())
    async with speech_house(speech=SpeechSettings(api_keys=["right"])) as house:
        port = house.ports.http or 0
        heard = await drive("riva_realtime", port, wav, "right", how)
        assert heard["text"] == " ".join(words_of())
        assert heard["session"]["input_audio_format"] == ("none" if how == "file" else "pcm16")
        refused = await drive("riva_realtime", port, wav, "wrong", how)
    assert "401" in refused["refused"]


async def test_the_client_is_refused_when_slots_are_full(tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones())
    repository = repository_with(tmp_path, max_candidate_sequences="1")
    async with speech_house(repository) as house:
        port = house.ports.http or 0
        async with talk(port, "/v1/realtime?intent=transcription") as first:
            await first.hear("session.created")
            refused = await drive("riva_realtime", port, wav, "", "file")
    assert "429" in refused["refused"]
