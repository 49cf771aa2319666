"""Google's own clients against us, on both gRPC transports."""

from pathlib import Path

import pytest

from streamgate.frontends.speech import Declared, SpeechStream
from streamgate.server.settings import GrpcTransport
from tests.clients.environment import drive, needs_clients, wav_file
from tests.speech.dialects.peer import small_repository
from tests.speech.house import speech_house
from tests.speech.test_stream import Listener
from tests.speech.tones import MELODY, tones, words_of

pytestmark = [needs_clients, pytest.mark.slow]
TEXT = " ".join(words_of())


@pytest.mark.parametrize("transport", list(GrpcTransport))
async def test_the_clients_recognize(transport: GrpcTransport, tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones())
    async with speech_house(grpc_transport=transport) as house:
        heard = await drive("google_speech", house.ports.grpc or 0, wav)
    starts = [0.12 + 0.36 * place for place in range(len(MELODY))]
    for version in ("v1", "v2"):
        assert heard[version]["whole"] == TEXT
        stream = heard[version]["stream"]
        assert stream["text"] == TEXT
        assert stream["starts"] == pytest.approx(starts, abs=0.03)
        assert stream["interims"] >= len(MELODY)
        assert stream["events"] == ["SPEECH_ACTIVITY_BEGIN"]
        assert stream["end"] == pytest.approx(2.88, abs=0.05)
        assert stream["billed"] == pytest.approx(3.0, abs=0.01)


async def test_the_client_is_told_that_all_slots_are_taken(tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones())
    async with speech_house(small_repository(tmp_path, slots=1)) as house:
        model = await house.context.models.choose()
        stream = SpeechStream(house.gateway, model, Declared("s16le", 16_000), Listener())
        await stream.open()
        refused = await drive("google_speech", house.ports.grpc or 0, wav)
        stream.close()
    assert refused["refused"] == "ResourceExhausted"
    assert "are taken" in refused["details"]
