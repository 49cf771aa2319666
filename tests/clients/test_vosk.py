"""Vosk's own transcriber against us."""

from pathlib import Path

import numpy as np
import pytest

from streamgate.server.settings import SpeechSettings
from tests.clients.environment import drive, needs_clients, wav_file
from tests.speech.house import speech_house
from tests.speech.tones import MELODY, tones, words_of

pytestmark = [needs_clients, pytest.mark.slow]


async def test_the_transcriber_gets_the_text_and_its_times(tmp_path: Path) -> None:
    both = np.concatenate([tones(), np.zeros(16_000, np.float32), tones()])
    wav = wav_file(tmp_path / "tones.wav", both)
    async with speech_house(speech=SpeechSettings(ports={"vosk": 0})) as house:
        url = f"ws://127.0.0.1:{house.ports.dialects['vosk']}"
        heard = await drive("vosk_transcriber", url, wav, tmp_path)
    assert heard["text"].split() == words_of((*MELODY, *MELODY))
    assert "00:00:00,120 --> " in heard["srt"]
