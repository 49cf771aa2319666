"""OpenAI's own SDK against us."""

from pathlib import Path

import pytest

from streamgate.server.settings import SpeechSettings
from tests.clients.environment import drive, needs_clients, wav_file
from tests.speech.dialects.talk import repository_with, talk
from tests.speech.house import speech_house
from tests.speech.tones import MELODY, tones, words_of

pytestmark = [needs_clients, pytest.mark.slow]

TEXT = " ".join(words_of())


@pytest.mark.parametrize("how", ["sync", "async"])
async def test_the_sdk_transcribes_in_real_time(how: str, tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones(rate_hz=24_000), 24_000)
    async with speech_house(speech=SpeechSettings(api_keys=["right"])) as house:
        for port in (house.ports.http or 0, house.ports.websocket or 0):
            heard = await drive("openai_realtime", how, port, "right", wav, "gpt-realtime-whisper")
            assert heard["text"] == TEXT
            assert "".join(heard["deltas"]) == TEXT
            assert heard["session"] == "RealtimeTranscriptionSessionCreateRequest"
            assert heard["seconds"] == pytest.approx(3.0, abs=0.01)
            assert heard["classes"] == [
                "ConversationItemAdded",
                "ConversationItemDone",
                "ConversationItemInputAudioTranscriptionCompletedEvent",
                "ConversationItemInputAudioTranscriptionDeltaEvent",
                "InputAudioBufferCommittedEvent",
                "SessionCreatedEvent",
                "SessionUpdatedEvent",
            ]
        refused = await drive("openai_realtime", how, house.ports.http or 0, "wrong", wav, "x")
    assert "401" in refused["refused"]


async def test_the_sdk_is_refused_when_slots_are_full(tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones(rate_hz=24_000), 24_000)
    repository = repository_with(tmp_path, max_candidate_sequences="1")
    async with speech_house(repository) as house:
        port = house.ports.http or 0
        async with talk(port, "/v1/realtime?intent=transcription") as first:
            await first.hear("session.created")
            refused = await drive("openai_realtime", "sync", port, "any", wav, "whisper-1")
            file = await drive("openai_files", port, "any", wav)
    assert "429" in refused["refused"]
    assert file["error"] == ["RateLimitError", 429, "rate_limit_exceeded"]


async def test_the_sdk_transcribes_files(tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones())
    async with speech_house(speech=SpeechSettings(api_keys=["right"])) as house:
        heard = await drive("openai_files", house.ports.http or 0, "right", wav)
        refused = await drive("openai_files", house.ports.http or 0, "wrong", wav)
    assert refused["error"] == ["AuthenticationError", 401, "invalid_api_key"]
    assert heard["json"] == heard["verbose"] == heard["done"] == TEXT
    assert heard["text"] == TEXT + "\n"
    assert "".join(heard["deltas"]) == TEXT
    assert [word for word, _ in heard["words"]] == words_of()
    starts = [0.12 + 0.36 * place for place in range(len(MELODY))]
    assert [start for _, start in heard["words"]] == pytest.approx(starts, abs=0.03)
    assert heard["segments"] == [TEXT]
    assert heard["srt"].startswith("1\n00:00:00,")
    assert heard["models"] == ["tone_transcriber"]
    assert heard["wrong_model"] == ["NotFoundError", 404, "model_not_found"]
    assert heard["wrong_format"] == ["BadRequestError", 400, "invalid_value"]
    assert heard["translation"] == ["BadRequestError", 400, "unsupported_value"]


async def test_the_sdk_translates_in_real_time(tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones(rate_hz=24_000), 24_000)
    async with speech_house(speech=SpeechSettings(api_keys=["right"])) as house:
        port = house.ports.http or 0
        heard = await drive("openai_translations", port, "right", wav, "gpt-realtime-translate")
        refused = await drive("openai_translations", port, "right", wav, "no_such_model")
    assert heard["input"] == TEXT
    assert heard["output"] == " ".join(word[::-1].upper() for word in words_of())
    assert all(heard["elapsed_ms"])
    assert heard["classes"] == [
        "RealtimeTranslationInputTranscriptDeltaEvent",
        "RealtimeTranslationOutputTranscriptDeltaEvent",
        "RealtimeTranslationSessionClosedEvent",
        "RealtimeTranslationSessionCreatedEvent",
        "RealtimeTranslationSessionUpdatedEvent",
    ]
    assert "404" in refused["refused"]
