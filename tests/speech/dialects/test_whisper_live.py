"""WhisperLive's server: conversations over a real socket."""

from pathlib import Path
from typing import Any

import pytest

from streamgate.frontends.dialects.whisper_live import WhisperLive
from streamgate.server.settings import SpeechSettings
from tests.speech.dialects.peer import Peer, dialled, mounted, pieces, refusal, small_repository
from tests.speech.house import SpeechHouse, speech_house
from tests.speech.tones import MELODY, s16le, tones, words_of

PORTS = SpeechSettings(ports={"whisper-live": 0})
AUDIO = tones().astype("<f4").tobytes()
SILENCE = b"\0" * 64_000
WISH: dict[str, Any] = {
    "uid": "me",
    "language": "en",
    "task": "transcribe",
    "model": "small",
    "use_vad": True,
    "send_last_n_segments": 10,
}


def port_of(house: SpeechHouse) -> int:
    return house.ports.dialects["whisper-live"]


async def greeted(peer: Peer, **changes: Any) -> None:
    await peer.say({**WISH, **changes})
    ready = {"uid": "me", "message": "SERVER_READY", "backend": "faster_whisper"}
    assert await peer.hear() == ready


async def test_segments_come_again_until_completed_and_never_overlap() -> None:
    async with speech_house(speech=PORTS) as house, dialled(port_of(house)) as peer:
        await greeted(peer)
        await peer.say(*pieces(AUDIO + SILENCE + AUDIO, 16_384), b"END_OF_AUDIO")
        assert await peer.hear_all() == (1000, "")
    shown = [each["segments"] for each in peer.heard if "segments" in each]
    words = words_of((*MELODY, *MELODY))
    first, second = shown[-1]
    assert [first["text"], second["text"]] == [" ".join(words[:8]), " ".join(words[8:])]
    assert first["completed"]
    assert second["completed"]
    assert first["start"] == "0.120"
    assert float(first["end"]) == pytest.approx(2.88, abs=0.05)
    assert float(second["start"]) >= float(first["end"])
    partials = [segments[-1] for segments in shown if not segments[-1]["completed"]]
    assert len(partials) > 4
    assert all(each["uid"] == "me" for each in peer.heard)


async def test_only_the_last_segments_are_shown() -> None:
    async with speech_house(speech=PORTS) as house, dialled(port_of(house)) as peer:
        await greeted(peer, send_last_n_segments=1)
        await peer.say(AUDIO, SILENCE, AUDIO, b"END_OF_AUDIO")
        await peer.hear_all()
    assert [each["text"] for each in peer.heard[-1]["segments"]] == [
        " ".join(words_of((*MELODY, *MELODY))[8:])
    ]


async def test_translated_segments_come_beside() -> None:
    async with speech_house(speech=PORTS) as house, dialled(port_of(house)) as peer:
        await greeted(peer, enable_translation=True, target_language="de")
        await peer.say(AUDIO, SILENCE, AUDIO, b"END_OF_AUDIO")
        assert await peer.hear_all() == (1000, "")
    last = [each["translated_segments"] for each in peer.heard if "translated_segments" in each][-1]
    backwards = [word[::-1] for word in words_of((*MELODY, *MELODY))]
    assert [each["text"] for each in last] == [" ".join(backwards[:8]), " ".join(backwards[8:])]
    assert all(each["completed"] for each in last)


async def test_a_client_that_says_no_language_is_told_the_models() -> None:
    async with speech_house(speech=PORTS) as house, dialled(port_of(house)) as peer:
        await greeted(peer, language=None, audio_format="int16", task="translate")
        assert (await peer.hear())["status"] == "WARNING"
        assert await peer.hear() == {"uid": "me", "language": "en", "language_prob": 1.0}
        await peer.say(s16le(tones()), b"END_OF_AUDIO")
        await peer.hear_all()
    assert peer.heard[-1]["segments"][0]["text"] == " ".join(words_of())


async def test_without_a_slot_the_client_is_told_to_wait_and_never_ready(tmp_path: Path) -> None:
    async with (
        speech_house(small_repository(tmp_path, slots=1), speech=PORTS) as house,
        dialled(port_of(house)) as first,
        dialled(port_of(house)) as second,
    ):
        await greeted(first)
        await second.say(WISH)
        assert (await second.hear_all())[0] == 1000
        (wait,) = second.heard
        assert (wait["uid"], wait["status"]) == ("me", "WAIT")
        assert isinstance(wait["message"], float)


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("{", "JSON"),
        (b"\0" * 64, "audio came first"),
        ({**WISH, "model": "no-such-model"}, "no-such-model"),
        ({**WISH, "language": "xx"}, "xx"),
        ({**WISH, "audio_format": "mp3"}, "mp3"),
        ({**WISH, "send_last_n_segments": 0}, "send_last_n_segments"),
        ({**WISH, "enable_translation": True, "target_language": "ja"}, "ja"),
    ],
)
async def test_a_wish_that_cannot_be_served_is_an_error(message: Any, named: str) -> None:
    async with speech_house(speech=PORTS) as house, dialled(port_of(house)) as peer:
        await peer.say(message)
        await peer.hear_all()
    (error,) = peer.heard
    assert error["status"] == "ERROR"
    assert named in error["message"]


async def test_a_second_text_message_is_an_error() -> None:
    async with speech_house(speech=PORTS) as house, dialled(port_of(house)) as peer:
        await greeted(peer)
        await peer.say(WISH)
        assert (await peer.hear_all())[0] == 1008
    assert peer.heard[-1]["status"] == "ERROR"


async def test_a_client_that_says_nothing_is_not_waited_for() -> None:
    async with (
        speech_house() as house,
        mounted(WhisperLive(house.context, greeting_seconds=0.2)) as port,
        dialled(port) as peer,
    ):
        assert (await peer.hear_all())[0] == 1008


async def test_a_stream_without_audio_is_disconnected(tmp_path: Path) -> None:
    short = {"max_sequence_idle_microseconds: 30000000": "max_sequence_idle_microseconds: 300000"}
    repository = small_repository(tmp_path, changes=short)
    async with speech_house(repository, speech=PORTS) as house, dialled(port_of(house)) as peer:
        await greeted(peer)
        await peer.say(AUDIO)
        assert (await peer.hear_all())[0] == 1000
    assert peer.heard[-1] == {"uid": "me", "message": "DISCONNECT"}


async def test_a_client_without_the_key_is_refused() -> None:
    keyed = SpeechSettings(ports={"whisper-live": 0}, api_keys=["key"])
    async with speech_house(speech=keyed) as house:
        assert (await refusal(port_of(house)))[0] == 401
        async with dialled(port_of(house), "/?api_key=key") as peer:
            await greeted(peer)


async def test_half_a_sample_at_the_end_costs_no_text() -> None:
    async with speech_house(speech=PORTS) as house, dialled(port_of(house)) as peer:
        await greeted(peer)
        await peer.say(AUDIO[:-2], b"END_OF_AUDIO")
        assert (await peer.hear_all())[0] == 1000
    *_, last, warning = peer.heard
    assert last["segments"][0]["text"] == " ".join(words_of())
    assert warning["status"] == "WARNING"
    assert "f32le" in warning["message"]
