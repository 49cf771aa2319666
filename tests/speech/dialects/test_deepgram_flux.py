"""Deepgram's Flux: conversations over a real socket."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from streamgate.model.request import SequenceKey
from streamgate.server.settings import SpeechSettings
from streamgate.session.connection import SessionConnection
from tests.speech.dialects.peer import Peer, dialled, pieces, refusal, small_repository
from tests.speech.house import SpeechHouse, speech_house
from tests.speech.tones import MELODY, s16le, tones, words_of

PATH = "/v2/listen?model=flux-general-en&encoding=linear16&sample_rate=16000"
AUDIO = s16le(tones())
SILENCE = b"\0" * 32_000


def port_of(house: SpeechHouse) -> int:
    assert house.ports.websocket is not None
    return house.ports.websocket


def turns(peer: Peer, event: str = "EndOfTurn") -> list[dict[str, Any]]:
    return [each for each in peer.heard if each.get("event") == event]


async def test_turns_start_grow_and_end_and_every_message_is_numbered() -> None:
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say(*pieces(AUDIO + SILENCE + AUDIO, 2560), {"type": "CloseStream"})
        assert await peer.hear_all() == (1000, "")
    assert [each["sequence_id"] for each in peer.heard] == list(range(len(peer.heard)))
    assert peer.heard[0]["type"] == "Connected"
    assert len({each["request_id"] for each in peer.heard}) == 1
    words = words_of((*MELODY, *MELODY))
    ends = turns(peer)
    assert [each["transcript"] for each in ends] == [" ".join(words[:8]), " ".join(words[8:])]
    assert [each["turn_index"] for each in ends] == [0, 1]
    assert [each["trigger"] for each in ends] == ["model", "model"]
    assert [word["word"] for word in ends[0]["words"]] == words[:8]
    events = [each["event"] for each in peer.heard if each.get("turn_index") == 0]
    assert events == ["StartOfTurn", *["Update"] * (len(events) - 2), "EndOfTurn"]
    assert len(events) > 6
    assert ends[1]["audio_window_start"] > ends[0]["audio_window_start"]


async def test_a_turn_is_ended_by_force() -> None:
    half = round(0.36 * 4 * 16_000) * 2
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say(AUDIO[:half], {"type": "ForceEndTurn"})
        end = await peer.hear_until(event="EndOfTurn")
        assert (end["transcript"], end["trigger"]) == (" ".join(words_of()[:4]), "manual")
        await peer.say(AUDIO[half:], {"type": "CloseStream"})
        await peer.hear_all()
    assert turns(peer)[-1]["transcript"] == " ".join(words_of()[4:])


async def test_thresholds_are_kept_and_terms_are_not() -> None:
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say(
            {"type": "Configure", "thresholds": {"eot_threshold": 0.8}},
            {"type": "Configure", "keyterms": ["oak"]},
            {"type": "Configure", "thresholds": {"eot_threshold": "high"}},
        )
        await peer.hear()
        kept, *failed = [await peer.hear() for _ in range(3)]
    assert kept["type"] == "ConfigureSuccess"
    assert kept["thresholds"]["eot_threshold"] == 0.8
    assert kept["thresholds"]["eot_timeout_ms"] == 5000
    assert [each["type"] for each in failed] == ["ConfigureFailure"] * 2
    assert "keyterms" in failed[0]["description"]


async def test_on_the_http_port_an_upgrade_comes_before_kserve() -> None:
    async with speech_house() as house:
        port = house.ports.http or 0
        async with dialled(port, PATH) as peer:
            assert (await peer.hear())["type"] == "Connected"
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/v2/health/ready") as answer:
                assert answer.status == 200
            async with session.get(f"http://127.0.0.1:{port}{PATH}") as answer:
                assert answer.status == 404


@pytest.mark.parametrize("message", ["{", {"type": "Finalize"}])
async def test_what_is_not_understood_is_an_error(message: Any) -> None:
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say(message)
        assert (await peer.hear_all())[0] == 1008
    assert peer.heard[-1]["code"] == "INVALID_INPUT"
    assert peer.heard[-1]["sequence_id"] == 1


async def test_refusals_are_those_of_v1(tmp_path: Path) -> None:
    async with speech_house(small_repository(tmp_path, slots=1)) as house:
        status, body = await refusal(port_of(house), f"{PATH}&eot_threshold=2")
        assert status == 400
        assert "eot_threshold" in body["err_msg"]
        async with dialled(port_of(house), PATH):
            assert (await refusal(port_of(house), PATH))[0] == 429
    async with speech_house(speech=SpeechSettings(api_keys=["key"])) as house:
        assert (await refusal(port_of(house), PATH))[0] == 401


async def test_a_client_that_sends_nothing_is_told(tmp_path: Path) -> None:
    short = {"max_sequence_idle_microseconds: 30000000": "max_sequence_idle_microseconds: 300000"}
    repository = small_repository(tmp_path, changes=short)
    async with speech_house(repository) as house, dialled(port_of(house), PATH) as peer:
        await peer.say(AUDIO)
        assert (await peer.hear_all())[0] == 1011
    assert peer.heard[-1]["code"] == "NET-0001"


async def test_a_keep_alive_keeps_the_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[SequenceKey] = []
    monkeypatch.setattr(SessionConnection, "keep", lambda _self, *of: kept.append(of[-1]))
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say({"type": "KeepAlive"}, {"type": "CloseStream"})
        assert await peer.hear_all() == (1000, "")
    assert len(kept) == 1


async def test_half_a_sample_at_the_end_costs_no_text() -> None:
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say(AUDIO[:-1], {"type": "CloseStream"})
        assert (await peer.hear_all())[0] == 1000
    assert turns(peer)[-1]["transcript"] == " ".join(words_of())
    assert peer.heard[-1]["code"] == "AUDIO_CUT_OFF"
