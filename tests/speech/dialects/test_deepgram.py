"""Deepgram v1: conversations over a real socket."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from streamgate.frontends.dialects.deepgram import DeepgramListen
from streamgate.server.settings import SpeechSettings
from tests.speech.dialects.peer import Peer, dialled, mounted, pieces, refusal, small_repository
from tests.speech.house import speech_house
from tests.speech.tones import MELODY, s16le, tones, words_of

PATH = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000"
AUDIO = s16le(tones())
SILENCE = b"\0" * 32_000


def finals(peer: Peer) -> list[dict[str, Any]]:
    return [each for each in peer.heard if each["type"] == "Results" and each["is_final"]]


def transcript(results: list[dict[str, Any]]) -> str:
    texts = (each["channel"]["alternatives"][0]["transcript"] for each in results)
    return " ".join(text for text in texts if text)


async def test_final_results_hold_the_text_and_the_words_times() -> None:
    async with speech_house() as house, dialled(house.ports.websocket or 0, PATH) as peer:
        await peer.say(*pieces(AUDIO, 3200), {"type": "CloseStream"})
        assert await peer.hear_all() == (1000, "")
    results = finals(peer)
    assert transcript(results) == " ".join(words_of())
    words = [word for each in results for word in each["channel"]["alternatives"][0]["words"]]
    assert [word["word"] for word in words] == words_of()
    starts = [0.12 + 0.36 * place for place in range(len(MELODY))]
    assert [word["start"] for word in words] == pytest.approx(starts, abs=0.03)
    assert all(each["type"] == "Results" for each in peer.heard[:-1])
    assert [each["is_final"] for each in peer.heard[:-1]] == [True]  # interim_results is off
    metadata = peer.heard[-1]
    assert metadata["type"] == "Metadata"
    assert metadata["sha256"] == hashlib.sha256(AUDIO).hexdigest()
    assert metadata["duration"] == pytest.approx(len(AUDIO) / 32_000, abs=0.001)
    assert metadata["channels"] == 1
    assert results[0]["metadata"]["request_id"] == metadata["request_id"]
    assert results[0]["metadata"]["model_info"]["name"] == "tone_transcriber"


async def test_interim_results_are_replaced_until_the_final_one_and_cover_the_audio() -> None:
    path = f"{PATH}&interim_results=true&vad_events=true&utterance_end_ms=1000"
    async with speech_house() as house, dialled(house.ports.http or 0, path) as peer:
        await peer.say(*pieces(AUDIO + SILENCE * 2 + AUDIO + SILENCE * 2, 3200))
        await peer.hear_until(type="UtteranceEnd")
        end = await peer.hear_until(type="UtteranceEnd")
        await peer.say({"type": "CloseStream"})
        assert await peer.hear_all() == (1000, "")
    both = [*MELODY, *MELODY]
    assert transcript(finals(peer)) == " ".join(words_of(tuple(both)))
    starts = [each for each in peer.heard if each["type"] == "SpeechStarted"]
    assert [each["timestamp"] for each in starts] == pytest.approx([0.12, 5.12], abs=0.05)
    last = len(AUDIO) / 32_000 * 2 + 2 - 0.12
    assert end["last_word_end"] == pytest.approx(last, abs=0.05)
    results = [each for each in peer.heard if each["type"] == "Results"]
    assert any(not each["is_final"] for each in results)
    assert [each["speech_final"] for each in finals(peer)] == [True, True]
    covered = 0.0
    for each in results:
        assert each["start"] == pytest.approx(covered, abs=0.002)
        assert each["duration"] >= 0
        if each["is_final"]:
            covered = each["start"] + each["duration"]
    words = results[0]["channel"]["alternatives"][0]["words"]
    assert words
    assert words[0]["word"] == words_of()[0]


async def test_finalize_is_answered_with_what_was_said_so_far() -> None:
    half = round(0.36 * 4 * 16_000) * 2
    async with speech_house() as house, dialled(house.ports.websocket or 0, PATH) as peer:
        await peer.say(*pieces(AUDIO[:half], 3200), {"type": "Finalize"})
        answer = await peer.hear_until(from_finalize=True)
        assert transcript([answer]) == " ".join(words_of()[:4])
        await peer.say({"type": "Finalize"})
        again = await peer.hear_until(from_finalize=True)
        assert transcript([again]) == ""
        await peer.say(*pieces(AUDIO[half:], 3200), {"type": "CloseStream"})
        await peer.hear_all()
    assert transcript(finals(peer)) == " ".join(words_of())


async def test_a_long_utterance_comes_in_several_final_pieces() -> None:
    melody = MELODY * 3
    async with speech_house() as house, dialled(house.ports.websocket or 0, PATH) as peer:
        await peer.say(*pieces(s16le(tones(melody)), 3200), {"type": "CloseStream"})
        await peer.hear_all()
    results = finals(peer)
    assert len(results) == 2
    assert [each["speech_final"] for each in results] == [False, True]
    assert transcript(results) == " ".join(words_of(melody))


async def test_endpointing_false_says_no_speech_final() -> None:
    path = f"{PATH}&endpointing=false"
    async with speech_house() as house, dialled(house.ports.websocket or 0, path) as peer:
        await peer.say(AUDIO + SILENCE, {"type": "CloseStream"})
        await peer.hear_all()
    assert [each["speech_final"] for each in finals(peer)] == [False]


async def test_each_channel_is_heard_for_itself() -> None:
    other = tuple(reversed(MELODY))
    both = np.stack([tones(), tones(other)], axis=1)
    path = f"{PATH}&channels=2&multichannel=true"
    async with speech_house() as house, dialled(house.ports.websocket or 0, path) as peer:
        await peer.say(*pieces(s16le(both), 6400), {"type": "CloseStream"})
        await peer.hear_all()
    for place, melody in enumerate((MELODY, other)):
        results = [each for each in finals(peer) if each["channel_index"] == [place, 2]]
        assert transcript(results) == " ".join(words_of(melody))
    assert [each["type"] for each in peer.heard].count("Metadata") == 1


async def test_an_empty_frame_ends_the_stream_as_of_old() -> None:
    async with speech_house() as house, dialled(house.ports.websocket or 0, PATH) as peer:
        await peer.say(AUDIO, b"")
        assert (await peer.hear_all())[0] == 1000
    assert transcript(finals(peer)) == " ".join(words_of())


async def test_without_audio_or_keep_alive_the_client_is_told_net_0001() -> None:
    async with (
        speech_house() as house,
        mounted(DeepgramListen(house.context, silence_seconds=0.4)) as port,
        dialled(port, PATH) as peer,
    ):
        for _ in range(4):
            await peer.say({"type": "KeepAlive"})
            await asyncio.sleep(0.15)
        assert peer.socket.close_code is None
        code, reason = await peer.hear_all()
    assert code == 1011
    assert reason.startswith("NET-0001")
    assert [each["variant"] for each in peer.heard] == ["NET-0001"]


async def test_what_is_no_audio_is_told_data_0000() -> None:
    path = "/v1/listen?model=nova-3"
    async with speech_house() as house, dialled(house.ports.websocket or 0, path) as peer:
        await peer.say(b"this is not audio " * 1000)
        code, reason = await peer.hear_all()
    assert code == 1008
    assert reason.startswith("DATA-0000")
    assert peer.heard[-1]["variant"] == "DATA-0000"


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
async def test_a_container_is_recognised_and_one_that_is_cut_off_is_heard_to_there(
    kind: str, tmp_path: Path
) -> None:
    file = tmp_path / "tones"
    samples = np.append(tones(rate_hz=48_000), np.zeros(9600))
    soundfile.write(file, samples, 48_000, "OPUS" if kind == "OGG" else "PCM_16", format=kind)
    path = "/v1/listen?model=nova-3&sample_rate=16000"
    async with speech_house() as house:
        async with dialled(house.ports.websocket or 0, path) as peer:
            await peer.say(*pieces(file.read_bytes(), 3000), {"type": "CloseStream"})
            assert (await peer.hear_all())[0] == 1000
        assert transcript(finals(peer)) == " ".join(words_of())
        async with dialled(house.ports.websocket or 0, path) as peer:
            await peer.say(file.read_bytes()[:-100], {"type": "CloseStream"})
            assert (await peer.hear_all())[0] == 1000
        words = transcript(finals(peer)).split()
        assert words == words_of()[: len(words)]
        assert len(words) >= 5  # an Ogg page, of which the last is lost, is about a second
        assert peer.heard[-1]["type"] == "Metadata"


async def test_text_that_is_not_understood_does_no_harm() -> None:
    async with speech_house() as house, dialled(house.ports.websocket or 0, PATH) as peer:
        await peer.say("{", "[]", {"type": "Dance"}, {"type": "Configure", "keyterms": ["a"]})
        errors = [await peer.hear() for _ in range(4)]
        await peer.say(AUDIO, {"type": "CloseStream"})
        await peer.hear_all()
    assert [each.get("variant") for each in errors] == ["SchemaError"] * 3 + [None]
    assert "'Dance'" in errors[2]["description"]
    assert errors[3]["type"] == "ConfigureFailure"
    assert transcript(finals(peer)) == " ".join(words_of())


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("encoding=linear16", "sample_rate"),
        ("encoding=linear16&sample_rate=fast", "'fast'"),
        ("encoding=linear16&sample_rate=100", "8000"),
        ("encoding=speex", "encoding"),
        ("interim_results=yes", "interim_results"),
        ("utterance_end_ms=1000", "interim_results=true"),
        ("interim_results=true&utterance_end_ms=10", "utterance_end_ms"),
        ("channels=99", "channels"),
        ("model=nothing-here", "nothing-here"),
        ("language=xx", "xx"),
    ],
)
async def test_a_query_that_cannot_be_served_is_refused_by_name(query: str, named: str) -> None:
    async with speech_house() as house:
        status, body = await refusal(house.ports.websocket or 0, f"/v1/listen?{query}")
    assert status == 400
    assert body["err_code"] == "INVALID_QUERY_PARAMETER"
    assert named in body["err_msg"]
    assert body["request_id"]


async def test_the_key_is_asked_for_in_each_of_its_places() -> None:
    keys = SpeechSettings(api_keys=["open sesame"])
    async with speech_house(speech=keys) as house:
        port = house.ports.websocket or 0
        status, body = await refusal(port, PATH)
        assert (status, body["err_code"]) == (401, "INVALID_AUTH")
        wrong = {"Authorization": "Token shut"}
        assert (await refusal(port, PATH, additional_headers=wrong))[0] == 401
        for scheme in ("Token", "Bearer"):
            right = {"Authorization": f"{scheme} open sesame"}
            async with dialled(port, PATH, additional_headers=right) as peer:
                await peer.say({"type": "CloseStream"})
                assert (await peer.hear_all())[0] == 1000
    async with speech_house(speech=SpeechSettings(api_keys=["key"])) as house:
        port = house.ports.websocket or 0
        async with dialled(port, PATH, subprotocols=["token", "key"]) as peer:
            assert peer.socket.subprotocol == "token"


async def test_without_a_slot_the_handshake_is_refused(tmp_path: Path) -> None:
    async with speech_house(small_repository(tmp_path)) as house:
        port = house.ports.websocket or 0
        stereo = f"{PATH}&channels=2&multichannel=true"
        async with dialled(port, PATH), dialled(port, PATH) as second:
            status, body = await refusal(port, PATH)
            assert (status, body["err_code"]) == (429, "TOO_MANY_REQUESTS")
            await second.say({"type": "CloseStream"})
            await second.hear_all()
            assert (await refusal(port, stereo))[0] == 429  # wants two, finds one
            async with dialled(port, PATH):  # and has given it back
                pass


async def test_a_server_that_goes_away_says_so() -> None:
    async with (
        speech_house(exit_timeout_seconds=0.2) as house,
        dialled(house.ports.websocket or 0, PATH) as peer,
    ):
        await peer.say(AUDIO[:20_000])
        stopping = asyncio.create_task(house.server.stop())
        code, _ = await peer.hear_all()
        await stopping
    assert code == 1001


async def test_half_a_sample_at_the_end_costs_no_text() -> None:
    async with speech_house() as house, dialled(house.ports.websocket or 0, PATH) as peer:
        await peer.say(AUDIO[:-1], {"type": "CloseStream"})
        assert (await peer.hear_all())[0] == 1000
    assert transcript(finals(peer)) == " ".join(words_of())
    assert peer.heard[0]["variant"] == "DATA-0000"
    assert peer.heard[-1]["type"] == "Metadata"


async def test_what_came_before_broken_audio_is_answered_first() -> None:
    path = "/v1/listen?encoding=linear32&sample_rate=16000&channels=2&multichannel=true"
    both = np.stack([tones(), tones()], axis=1).astype("<f4").tobytes()
    broken = np.full(2, np.nan, "<f4").tobytes()
    async with speech_house() as house, dialled(house.ports.websocket or 0, path) as peer:
        await peer.say(*pieces(both, 12_800), broken, {"type": "Finalize"})
        code, reason = await peer.hear_all()
    for place in range(2):
        results = [each for each in peer.heard[:-1] if each["channel_index"] == [place, 2]]
        assert transcript(results) == " ".join(words_of())
    assert peer.heard[-1]["variant"] == "DATA-0000"
    assert (code, reason[:9]) == (1008, "DATA-0000")
