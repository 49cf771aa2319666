"""AssemblyAI v3: conversations over a real socket."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from streamgate.frontends.dialects import assemblyai as module
from streamgate.server.settings import SpeechSettings
from tests.speech.dialects.peer import Peer, dialled, pieces, refusal, small_repository
from tests.speech.house import SpeechHouse, speech_house
from tests.speech.tones import MELODY, s16le, tones, words_of

PATH = "/v3/ws?sample_rate=16000&encoding=pcm_s16le&format_turns=True"
AUDIO = s16le(tones())
SILENCE = b"\0" * 32_000


def port_of(house: SpeechHouse) -> int:
    assert house.ports.websocket is not None
    return house.ports.websocket


def turns(peer: Peer) -> list[dict[str, Any]]:
    return [each for each in peer.heard if each["type"] == "Turn"]


async def test_a_turn_grows_until_its_end_and_its_transcript_is_stable() -> None:
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say(*pieces(AUDIO + SILENCE + AUDIO, 3200), {"type": "Terminate"})
        assert await peer.hear_all() == (1000, "")
    assert peer.heard[0]["type"] == "Begin"
    assert isinstance(peer.heard[0]["expires_at"], int)
    words = words_of((*MELODY, *MELODY))
    ends = [each for each in turns(peer) if each["end_of_turn"]]
    assert [each["transcript"] for each in ends] == [" ".join(words[:8]), " ".join(words[8:])]
    assert [each["turn_order"] for each in ends] == [0, 1]
    assert all(each["turn_is_formatted"] for each in ends)
    starts = [120 + 360 * place for place in range(len(MELODY))]
    assert [word["start"] for word in ends[0]["words"]] == pytest.approx(starts, abs=30)
    assert all(word["word_is_final"] for word in ends[0]["words"])
    growing = [each for each in turns(peer) if each["turn_order"] == 0]
    for one, other in pairwise(growing):
        assert other["transcript"].startswith(one["transcript"])
    assert any(not word["word_is_final"] for each in growing for word in each["words"])
    for each in growing:
        final = [word["text"] for word in each["words"] if word["word_is_final"]]
        assert " ".join(final) == each["transcript"]
    started = [each["timestamp"] for each in peer.heard if each["type"] == "SpeechStarted"]
    assert started == pytest.approx([120, 4120], abs=30)
    assert peer.heard[-1]["type"] == "Termination"
    assert peer.heard[-1]["audio_duration_seconds"] == 7


async def test_a_forced_end_ends_the_turn() -> None:
    half = round(0.36 * 4 * 16_000) * 2
    path = f"{PATH}&include_partial_turns=false"
    async with speech_house() as house, dialled(port_of(house), path) as peer:
        update = {"type": "UpdateConfiguration", "format_turns": False}
        await peer.say({"type": "KeepAlive"}, update, AUDIO[:half], {"type": "ForceEndpoint"})
        turn = await peer.hear_until(type="Turn")
        assert turn["transcript"] == " ".join(words_of()[:4])
        assert (turn["end_of_turn"], turn["turn_is_formatted"]) == (True, False)
        await peer.say(AUDIO[half:], {"type": "Terminate"})
        await peer.hear_all()
    assert [each["transcript"] for each in turns(peer)][1:] == [" ".join(words_of()[4:])]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("", "sample_rate"),
        ("sample_rate=-1", "sample_rate"),
        ("sample_rate=16000&encoding=aac", "encoding"),
        ("sample_rate=16000&format_turns=maybe", "format_turns"),
        ("sample_rate=16000&speech_model=nothing", "nothing"),
        ("sample_rate=16000&inactivity_timeout=1", "inactivity_timeout"),
    ],
)
async def test_a_query_that_cannot_be_served_is_refused_by_name(query: str, named: str) -> None:
    async with speech_house() as house:
        status, body = await refusal(port_of(house), f"/v3/ws?{query}")
    assert status == 400
    assert named in body["error"]


async def test_the_bare_key_or_a_token_opens() -> None:
    async with speech_house(speech=SpeechSettings(api_keys=["key"])) as house:
        assert (await refusal(port_of(house), PATH))[0] == 401
        async with dialled(port_of(house), PATH, additional_headers={"Authorization": "key"}) as p:
            assert (await p.hear())["type"] == "Begin"
        async with dialled(port_of(house), f"{PATH}&token=key") as peer:
            assert (await peer.hear())["type"] == "Begin"


async def test_without_a_slot_the_handshake_is_refused(tmp_path: Path) -> None:
    async with (
        speech_house(small_repository(tmp_path, slots=1)) as house,
        dialled(port_of(house), PATH),
    ):
        status, body = await refusal(port_of(house), PATH)
    assert status == 429
    assert body["error"]


@pytest.mark.parametrize(
    ("message", "named"), [("{", "JSON"), ("3", "object"), ({"type": "Dance"}, "Dance")]
)
async def test_what_is_not_understood_is_an_error(message: Any, named: str) -> None:
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say(message)
        code, _ = await peer.hear_all()
    assert code == 3006
    error = peer.heard[-1]
    assert (error["type"], error["error_code"]) == ("Error", 3006)
    assert named in error["error"]


async def test_audio_in_no_known_container_is_an_error() -> None:
    path = "/v3/ws?encoding=ogg_opus"
    async with speech_house() as house, dialled(port_of(house), path) as peer:
        await peer.say(b"this is not audio " * 1000)
        code, _ = await peer.hear_all()
    assert code == 3006


async def test_a_client_that_says_nothing_is_told_its_own_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "INACTIVITY_SECONDS_MIN", 1)
    path = f"{PATH}&inactivity_timeout=1"
    async with speech_house() as house, dialled(port_of(house), path) as peer:
        await peer.say({"type": "KeepAlive"})
        code, _ = await peer.hear_all()
    assert code == 3008
    assert peer.heard[-1]["error_code"] == 3008


async def test_half_a_sample_at_the_end_costs_no_text() -> None:
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say(AUDIO[:-1], {"type": "Terminate"})
        assert (await peer.hear_all())[0] == 1000
    assert turns(peer)[-1]["transcript"] == " ".join(words_of())
    warning, end = peer.heard[-2:]
    assert (warning["type"], end["type"]) == ("Warning", "Termination")
    assert "s16le" in warning["warning"]
