"""Deepgram's own SDK against us."""

from pathlib import Path

import pytest

from streamgate.server.settings import SpeechSettings
from tests.clients.environment import drive, needs_clients, wav_file
from tests.speech.house import speech_house
from tests.speech.tones import MELODY, tones, words_of

pytestmark = [needs_clients, pytest.mark.slow]


async def test_the_sdk_streams_v1(tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones())
    async with speech_house(speech=SpeechSettings(api_keys=["key"])) as house:
        for port in (house.ports.websocket or 0, house.ports.http or 0):
            heard = await drive("deepgram_listen", port, "key", wav)
            assert heard["text"] == " ".join(words_of())
            starts = [0.12 + 0.36 * place for place in range(len(MELODY))]
            assert heard["words"] == pytest.approx(starts, abs=0.03)
            assert heard["types"] == [
                "ListenV1Metadata",
                "ListenV1Results",
                "ListenV1SpeechStarted",
            ]
            assert heard["duration"] == pytest.approx(3.0, abs=0.01)
        refused = await drive("deepgram_listen", house.ports.websocket or 0, "wrong", wav)
    assert "401" in refused["refused"]


async def test_the_sdk_streams_flux(tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones())
    async with speech_house() as house:
        for port in (house.ports.websocket or 0, house.ports.http or 0):
            heard = await drive("deepgram_flux", port, "key", wav)
            assert heard["text"] == " ".join(words_of())
            assert heard["numbers"] == list(range(len(heard["numbers"])))
            assert heard["types"] == ["ListenV2Connected", "ListenV2TurnInfo"]
