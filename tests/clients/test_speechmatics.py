"""Speechmatics' own SDK against us."""

from pathlib import Path

import pytest

from streamgate.server.settings import SpeechSettings
from tests.clients.environment import drive, needs_clients, wav_file
from tests.speech.house import speech_house
from tests.speech.tones import tones, words_of

pytestmark = [needs_clients, pytest.mark.slow]


async def test_the_sdk_transcribes_translates_and_hears_a_refusal(tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones())
    async with speech_house(speech=SpeechSettings(api_keys=["key"])) as house:
        for port in (house.ports.websocket or 0, house.ports.http or 0):
            heard = await drive("speechmatics_rt", port, "key", wav)
            assert heard["text"].split() == words_of()
            assert heard["translation"].split() == [word[::-1] for word in words_of()]
            assert heard["frames"] == list(range(1, 31))
        refused = await drive("speechmatics_rt", house.ports.websocket or 0, "wrong", wav)
    assert "401" in refused["refused"]
