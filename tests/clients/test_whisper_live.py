"""WhisperLive's own client against us."""

from pathlib import Path

import pytest

from streamgate.server.settings import SpeechSettings
from tests.clients.environment import drive, needs_clients, wav_file
from tests.speech.dialects.peer import dialled, small_repository
from tests.speech.house import speech_house
from tests.speech.tones import tones, words_of

pytestmark = [needs_clients, pytest.mark.slow]


async def test_the_client_hears_the_text_or_that_the_server_is_full(tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones())
    settings = SpeechSettings(ports={"whisper-live": 0})
    async with speech_house(small_repository(tmp_path, slots=1), speech=settings) as house:
        port = house.ports.dialects["whisper-live"]
        heard = await drive("whisper_live_client", port, wav)
        assert heard["text"] == " ".join(words_of())
        assert heard["partials"] > 0
        async with dialled(port) as other:
            await other.say({"uid": "other"})
            await other.hear()
            refused = await drive("whisper_live_client", port, wav)
    # The client's threads race: it may see that the connection is over before what it was told.
    assert refused["refused"] in ("Server is full.", "Connection closed normally (code 1000)")
