"""Speechmatics' real-time protocol: conversations over a real socket."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from streamgate.frontends.dialects.speechmatics import Speechmatics
from streamgate.server.settings import SpeechSettings
from tests.speech.dialects.peer import Peer, dialled, mounted, pieces, refusal, small_repository
from tests.speech.house import SpeechHouse, speech_house
from tests.speech.tones import MELODY, s16le, tones, words_of

PATH = "/v2"
AUDIO = s16le(tones())
SILENCE = b"\0" * 32_000
RAW = {"type": "raw", "encoding": "pcm_s16le", "sample_rate": 16_000}
START: dict[str, Any] = {
    "message": "StartRecognition",
    "audio_format": RAW,
    "transcription_config": {"language": "en"},
}


def port_of(house: SpeechHouse) -> int:
    assert house.ports.websocket is not None
    return house.ports.websocket


def end_of_stream(frames: int) -> dict[str, Any]:
    return {"message": "EndOfStream", "last_seq_no": frames}


def heard(peer: Peer, kind: str) -> list[dict[str, Any]]:
    return [each for each in peer.heard if each["message"] == kind]


def transcript(peer: Peer) -> str:
    return "".join(each["metadata"]["transcript"] for each in heard(peer, "AddTranscript"))


async def test_each_frame_is_acknowledged_and_final_transcripts_are_appended() -> None:
    frames = pieces(AUDIO, 3200)
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say(START)
        assert (await peer.hear())["message"] == "RecognitionStarted"
        await peer.say(*frames, end_of_stream(len(frames)))
        assert await peer.hear_all() == (1000, "")
    assert [each["seq_no"] for each in heard(peer, "AudioAdded")] == list(range(1, len(frames) + 1))
    assert transcript(peer) == " ".join(words_of()) + " "
    assert heard(peer, "AddPartialTranscript") == []
    assert heard(peer, "EndOfUtterance") == []
    assert peer.heard[-1] == {"message": "EndOfTranscript"}
    results = [each for final in heard(peer, "AddTranscript") for each in final["results"]]
    assert [each["alternatives"][0]["content"] for each in results] == words_of()
    starts = [0.12 + 0.36 * place for place in range(len(MELODY))]
    assert [each["start_time"] for each in results] == pytest.approx(starts, abs=0.03)


async def test_partial_transcripts_hold_what_may_still_change() -> None:
    config = {
        "language": "en",
        "enable_partials": True,
        "conversation_config": {"end_of_utterance_silence_trigger": 0.5},
    }
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say({**START, "transcription_config": config})
        await peer.say(*pieces(AUDIO + SILENCE, 3200), end_of_stream(0))
        await peer.hear_all()
    partials = heard(peer, "AddPartialTranscript")
    assert len(partials) > 3
    words = words_of()
    assert {each["metadata"]["transcript"].strip() for each in partials} <= set(words)
    assert transcript(peer).split() == words
    (end,) = heard(peer, "EndOfUtterance")
    assert end["metadata"]["end_time"] > 2.88


async def test_an_utterance_is_ended_by_force() -> None:
    half = round(0.36 * 4 * 16_000) * 2
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say(START, AUDIO[:half], {"message": "ForceEndOfUtterance"})
        await peer.hear_until(message="EndOfUtterance")
        assert transcript(peer).split() == words_of()[:4]
        await peer.say(AUDIO[half:], end_of_stream(2))
        await peer.hear_all()
    assert transcript(peer).split() == words_of()
    assert len(heard(peer, "EndOfUtterance")) == 1


async def test_partials_may_be_wanted_later() -> None:
    later = {"message": "SetRecognitionConfig", "transcription_config": {"enable_partials": True}}
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say(START, later, *pieces(AUDIO, 3200), end_of_stream(0))
        await peer.hear_all()
    assert heard(peer, "AddPartialTranscript")


async def test_translations_come_beside_and_a_language_that_there_is_not_is_a_warning() -> None:
    wish = {"target_languages": ["de", "fr", "ja"], "enable_partials": True}
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say({**START, "translation_config": wish})
        await peer.say(*pieces(AUDIO + SILENCE + AUDIO, 3200), end_of_stream(0))
        assert await peer.hear_all() == (1000, "")
    words = [word[::-1] for word in words_of((*MELODY, *MELODY))]
    texts: dict[str, list[str]] = {"de": [], "fr": []}
    for each in heard(peer, "AddTranslation"):
        texts[each["language"]] += [result["content"] for result in each["results"]]
    assert texts["de"] == [" ".join(words[:8]), " ".join(words[8:])]
    assert texts["fr"] == [text.upper() for text in texts["de"]]
    assert heard(peer, "AddPartialTranslation")
    (warning,) = heard(peer, "Warning")
    assert "ja" in warning["reason"]
    assert peer.heard[-1] == {"message": "EndOfTranscript"}


async def test_without_a_slot_the_client_sees_the_error_and_never_started(tmp_path: Path) -> None:
    async with (
        speech_house(small_repository(tmp_path, slots=1)) as house,
        dialled(port_of(house), PATH) as first,
        dialled(port_of(house), PATH) as second,
    ):
        await first.say(START)
        await first.hear()
        await second.say(START)
        code, _ = await second.hear_all()
        assert code == 4005
        assert [each["message"] for each in second.heard] == ["Error"]
        assert second.heard[0]["type"] == "quota_exceeded"


@pytest.mark.parametrize(
    ("message", "kind", "named"),
    [
        ("{", "invalid_message", "JSON"),
        (b"\0\0", "invalid_message", "StartRecognition"),
        ({"message": "EndOfStream"}, "invalid_message", "StartRecognition"),
        ({**START, "audio_format": {"type": "raw"}}, "invalid_audio_type", "audio_format"),
        ({**START, "audio_format": {**RAW, "sample_rate": "x"}}, "invalid_audio_type", "rate"),
        ({**START, "audio_format": {**RAW, "sample_rate": 1}}, "invalid_message", "1 Hz"),
        ({**START, "transcription_config": 3}, "invalid_message", "transcription_config"),
        ({**START, "transcription_config": {"language": "xx"}}, "invalid_model", "xx"),
        ({**START, "transcription_config": {"model": "none"}}, "invalid_model", "none"),
        ({**START, "translation_config": {"target_languages": [1]}}, "invalid_message", "target"),
    ],
)
async def test_a_start_that_cannot_be_served_is_an_error(
    message: Any, kind: str, named: str
) -> None:
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say(message)
        await peer.hear_all()
    (error,) = peer.heard
    assert (error["message"], error["type"]) == ("Error", kind)
    assert named in error["reason"]


async def test_a_message_that_is_not_known_is_an_error() -> None:
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say(START, {"message": "Dance"})
        assert (await peer.hear_all())[0] == 1003
    assert "Dance" in peer.heard[-1]["reason"]


async def test_a_client_that_does_not_start_is_not_waited_for() -> None:
    async with (
        speech_house() as house,
        mounted(Speechmatics(house.context, start_seconds=0.2)) as port,
        dialled(port, PATH) as peer,
    ):
        assert (await peer.hear_all())[0] == 1003
    assert peer.heard[0]["type"] == "protocol_error"


async def test_a_stream_without_audio_is_told_so(tmp_path: Path) -> None:
    short = {"max_sequence_idle_microseconds: 30000000": "max_sequence_idle_microseconds: 300000"}
    repository = small_repository(tmp_path, changes=short)
    async with speech_house(repository) as house, dialled(port_of(house), PATH) as peer:
        await peer.say(START, AUDIO)
        assert (await peer.hear_all())[0] == 1008
    assert peer.heard[-1]["type"] == "idle_timeout"


async def test_the_key_is_a_bearer_token_and_kserve_keeps_its_path() -> None:
    async with speech_house(speech=SpeechSettings(api_keys=["key"])) as house:
        for port in (port_of(house), house.ports.http or 0):
            assert (await refusal(port, PATH))[0] == 401
            async with dialled(port, f"{PATH}?jwt=key&sm-sdk=x") as peer:
                await peer.say(START)
                assert (await peer.hear())["message"] == "RecognitionStarted"
        upgrade = {"Connection": "Upgrade", "Upgrade": "h2c"}
        for headers in ({}, upgrade):
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{house.ports.http}/v2", headers=headers) as answer,
            ):
                assert "extensions" in await answer.json()


async def test_half_a_sample_at_the_end_costs_no_text() -> None:
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say(START, AUDIO[:-1], end_of_stream(1))
        assert (await peer.hear_all())[0] == 1000
    assert transcript(peer).split() == words_of()
    warning, end = peer.heard[-2:]
    assert (warning["type"], end["message"]) == ("data_error", "EndOfTranscript")
