"""Wyoming's own client against us."""

from pathlib import Path

import pytest

from streamgate.server.settings import SpeechSettings
from tests.clients.environment import drive, needs_clients, wav_file
from tests.speech.house import speech_house
from tests.speech.tones import tones, words_of

pytestmark = [needs_clients, pytest.mark.slow]


async def test_the_client_hears_the_text_in_pieces_and_whole(tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones())
    async with speech_house(speech=SpeechSettings(ports={"wyoming": 0})) as house:
        heard = await drive("wyoming_client", house.ports.dialects["wyoming"], wav)
    text = " ".join(words_of())
    assert heard == {"text": text, "chunks": text, "models": ["tone_transcriber"]}
