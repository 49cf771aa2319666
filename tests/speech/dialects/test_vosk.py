"""Vosk's server: conversations over a real socket."""

from pathlib import Path
from typing import Any

import pytest

from streamgate.frontends.dialects.vosk import Vosk
from streamgate.server.settings import SpeechSettings
from tests.speech.dialects.peer import Peer, dialled, mounted, pieces, refusal, small_repository
from tests.speech.house import speech_house
from tests.speech.tones import MELODY, s16le, tones, words_of

PORTS = SpeechSettings(ports={"vosk": 0})
AUDIO = s16le(tones())
SILENCE = b"\0" * 48_000
CONFIG = '{ "config" : { "sample_rate" : 16000.000000 } }'


async def lock_step(peer: Peer, frames: list[bytes]) -> list[dict[str, Any]]:
    """As test.py: a frame, its reply, the next frame."""
    replies = []
    for frame in frames:
        await peer.say(frame)
        replies.append(await peer.hear())
    return replies


async def goodbye(peer: Peer) -> dict[str, Any]:
    await peer.say('{"eof" : 1}')
    last: dict[str, Any] = await peer.hear()
    heard = len(peer.heard)
    assert await peer.hear_all() == (1000, "")
    assert len(peer.heard) == heard
    return last


def text_of(results: list[dict[str, Any]]) -> str:
    return " ".join(each["text"] for each in results if each.get("text"))


async def test_each_frame_has_exactly_one_reply_and_the_texts_join_to_the_whole() -> None:
    async with (
        speech_house(speech=PORTS) as house,
        dialled(house.ports.dialects["vosk"]) as peer,
    ):
        await peer.say(CONFIG)
        frames = pieces(AUDIO + SILENCE + AUDIO, 8000)
        replies = await lock_step(peer, frames)
        last = await goodbye(peer)
    assert len(replies) == len(frames)
    assert all(("partial" in each) != ("text" in each) for each in replies)
    assert text_of([*replies, last]) == " ".join(words_of((*MELODY, *MELODY)))
    words = [word for each in [*replies, last] for word in each.get("result", [])]
    starts = [0.12 + 0.36 * place for place in range(len(MELODY))]
    assert [word["start"] for word in words[:8]] == pytest.approx(starts, abs=0.03)
    assert [word["conf"] for word in words] == [0.9] * 16
    assert [word["word"] for word in words] == words_of((*MELODY, *MELODY))


async def test_a_frame_is_answered_while_the_engine_has_nothing_new(tmp_path: Path) -> None:
    """Frames shorter than the model's chunk, some empty: no result can come of them."""
    async with (
        speech_house(speech=PORTS) as house,
        dialled(house.ports.dialects["vosk"]) as peer,
    ):
        await peer.say(CONFIG)
        replies = await lock_step(peer, [AUDIO[:200], b"", AUDIO[200:201], AUDIO[201:400]])
        assert replies == [{"partial": ""}] * 4
        await lock_step(peer, pieces(AUDIO[400:], 4000))
        last = await goodbye(peer)
    assert text_of([each for each in peer.heard if "text" in each]) == " ".join(words_of())
    assert last["text"]


async def test_a_reset_is_answered_with_the_utterance_and_starts_over() -> None:
    half = round(0.36 * 4 * 16_000) * 2
    async with (
        speech_house(speech=PORTS) as house,
        dialled(house.ports.dialects["vosk"]) as peer,
    ):
        await peer.say('{"config": {"sample_rate": 16000, "words": false}}')
        await lock_step(peer, pieces(AUDIO[:half], 4000))
        await peer.say('{"reset" : 1}')
        assert await peer.hear() == {"text": " ".join(words_of()[:4])}
        replies = await lock_step(peer, pieces(AUDIO[half:], 4000))
        assert replies[0] == {"partial": ""}
        assert await goodbye(peer) == {"text": " ".join(words_of()[4:])}


async def test_alternatives_are_a_list_of_one() -> None:
    async with (
        speech_house(speech=PORTS) as house,
        dialled(house.ports.dialects["vosk"]) as peer,
    ):
        await peer.say('{"config": {"sample_rate": 16000, "max_alternatives": 3}}')
        await lock_step(peer, [AUDIO])
        last = await goodbye(peer)
    alternative = last["alternatives"][0]
    assert alternative["text"] == " ".join(words_of())
    assert alternative["confidence"] == pytest.approx(0.9, abs=0.001)
    assert [word["word"] for word in alternative["result"]] == words_of()


async def test_the_rate_that_was_declared_is_resampled() -> None:
    async with (
        speech_house(speech=PORTS) as house,
        dialled(house.ports.dialects["vosk"]) as peer,
    ):
        await peer.say('{"config": {"sample_rate": "44100"}}')
        await lock_step(peer, pieces(s16le(tones(rate_hz=44_100)), 8000))
        await goodbye(peer)
    assert text_of(peer.heard) == " ".join(words_of())


async def test_the_named_model_is_heard_and_no_other() -> None:
    async with speech_house(speech=PORTS) as house:
        async with dialled(house.ports.dialects["vosk"]) as peer:
            await peer.say('{"config": {"sample_rate": 16000, "model": "tone_transcriber"}}')
            await lock_step(peer, [AUDIO])
            assert (await goodbye(peer))["text"] == " ".join(words_of())
        async with dialled(house.ports.dialects["vosk"]) as peer:
            await peer.say('{"config": {"model": "vosk-model-fr"}}')
            code, reason = await peer.hear_all()
    assert code == 1008
    assert "vosk-model-fr" in reason


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("{", "JSON"),
        ('{"config": 3}', "config"),
        ('{"config": {"sample_rate": "fast"}}', "sample_rate"),
        ('{"config": {"sample_rate": 100}}', "100"),
        ('{"dance": 1}', "dance"),
    ],
)
async def test_what_is_not_understood_closes_with_the_reason(message: str, named: str) -> None:
    async with (
        speech_house(speech=PORTS) as house,
        dialled(house.ports.dialects["vosk"]) as peer,
    ):
        await peer.say(message)
        code, reason = await peer.hear_all()
    assert code == 1008
    assert named in reason
    assert peer.heard == []


async def test_another_rate_behind_audio_closes_with_the_reason() -> None:
    async with (
        speech_house(speech=PORTS) as house,
        dialled(house.ports.dialects["vosk"]) as peer,
    ):
        await peer.say(CONFIG)
        await lock_step(peer, [AUDIO[:20]])
        await peer.say('{"config": {"sample_rate": 8000}}')
        code, reason = await peer.hear_all()
    assert code == 1008
    assert "sample_rate" in reason


async def test_without_a_slot_the_handshake_is_refused(tmp_path: Path) -> None:
    async with speech_house(small_repository(tmp_path), speech=PORTS) as house:
        port = house.ports.dialects["vosk"]
        async with dialled(port) as first, dialled(port):
            assert (await refusal(port))[0] == 503
            await lock_step(first, [AUDIO])
            await goodbye(first)
            async with dialled(port):
                pass


async def test_a_client_without_the_key_is_refused() -> None:
    settings = SpeechSettings(ports={"vosk": 0}, api_keys=["key"])
    async with speech_house(speech=settings) as house:
        port = house.ports.dialects["vosk"]
        assert (await refusal(port))[0] == 401
        async with dialled(port, "/?api_key=key") as peer:
            assert await goodbye(peer) == {"text": ""}


async def test_a_client_that_sends_nothing_is_ended_with_its_sequence(tmp_path: Path) -> None:
    short = {"max_sequence_idle_microseconds: 30000000": "max_sequence_idle_microseconds: 300000"}
    async with (
        speech_house(small_repository(tmp_path, changes=short)) as house,
        mounted(Vosk(house.context)) as port,
        dialled(port) as peer,
    ):
        await lock_step(peer, [AUDIO])
        code, reason = await peer.hear_all()
    assert code == 1011
    assert reason == "no audio came for too long"


async def test_half_a_sample_at_the_end_costs_no_text() -> None:
    async with (
        speech_house(speech=PORTS) as house,
        dialled(house.ports.dialects["vosk"]) as peer,
    ):
        await peer.say(CONFIG)
        await lock_step(peer, [AUDIO[:-1]])
        await peer.say('{"eof" : 1}')
        code, reason = await peer.hear_all()
    assert text_of(peer.heard) == " ".join(words_of())
    assert code == 1008
    assert "s16le" in reason


async def test_what_came_before_nonsense_is_answered_first() -> None:
    async with (
        speech_house(speech=PORTS) as house,
        dialled(house.ports.dialects["vosk"]) as peer,
    ):
        await peer.say(CONFIG)
        await lock_step(peer, [AUDIO])
        await peer.say("nonsense")
        code, _ = await peer.hear_all()
    assert text_of(peer.heard) == " ".join(words_of())
    assert code == 1008
