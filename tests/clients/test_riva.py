"""Riva's own client against us, on both gRPC transports."""

from pathlib import Path

import pytest

from streamgate.frontends.speech import Declared, SpeechStream
from streamgate.server.settings import GrpcTransport, SpeechSettings
from tests.clients.environment import drive, needs_clients, wav_file
from tests.speech.dialects.peer import small_repository
from tests.speech.house import speech_house
from tests.speech.test_stream import Listener
from tests.speech.tones import MELODY, tones, words_of

pytestmark = [needs_clients, pytest.mark.slow]
both_transports = pytest.mark.parametrize("transport", list(GrpcTransport))
TEXT = " ".join(words_of())


@both_transports
async def test_the_client_transcribes(transport: GrpcTransport, tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones())
    keys = SpeechSettings(api_keys=["key"])
    async with speech_house(speech=keys, grpc_transport=transport) as house:
        port = house.ports.grpc or 0
        heard = await drive("riva_asr", port, "key", wav)
        refused = await drive("riva_asr", port, "wrong", wav)
    assert heard["text"] == heard["raw"] == heard["offline"] == TEXT
    starts = [120 + 360 * place for place in range(len(MELODY))]
    assert heard["starts"] == pytest.approx(starts, abs=30)
    assert heard["audio_processed"] == pytest.approx(3.04, abs=0.2)
    assert heard["interims"]
    assert all(TEXT.startswith(text) for text in heard["interims"])
    assert heard["models"] == {"tone_transcriber": "en"}
    assert refused["refused"] == "UNAUTHENTICATED"


@both_transports
async def test_the_client_is_told_that_all_slots_are_taken(
    transport: GrpcTransport, tmp_path: Path
) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones())
    async with speech_house(small_repository(tmp_path, slots=1), grpc_transport=transport) as house:
        model = await house.context.models.choose()
        stream = SpeechStream(house.gateway, model, Declared("s16le", 16_000), Listener())
        await stream.open()
        refused = await drive("riva_asr", house.ports.grpc or 0, "", wav)
        stream.close()
        heard = await drive("riva_asr", house.ports.grpc or 0, "", wav)
    assert refused["refused"] == "RESOURCE_EXHAUSTED"
    assert refused["retry"] == "1"
    assert "all 1 slots of model 'tone_transcriber' are taken" in refused["details"]
    assert heard["text"] == TEXT


async def test_the_client_is_told_of_bad_audio(tmp_path: Path) -> None:
    noise = tmp_path / "noise.wav"
    noise.write_bytes(b"neither head nor tail " * 200)
    async with speech_house() as house:
        refused = await drive("riva_asr", house.ports.grpc or 0, "", noise)
    assert refused["refused"] == "INVALID_ARGUMENT"


@both_transports
async def test_the_client_translates(transport: GrpcTransport, tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones())
    async with speech_house(grpc_transport=transport) as house:
        said = await drive("riva_nmt", house.ports.grpc or 0, wav)
    assert said["texts"] == ["eno owt", "eerht"]
    assert said["pairs"] == {"reversing_translator": [["en"], ["de", "fr"]]}
    assert said["speech"] == " ".join(word[::-1] for word in words_of())
    assert said["interims"]
