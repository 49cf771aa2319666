"""sherpa-onnx's server: conversations over a real socket."""

from pathlib import Path

import numpy as np
import pytest

from streamgate.server.settings import SpeechSettings
from tests.speech.dialects.peer import dialled, pieces, refusal, small_repository
from tests.speech.house import speech_house
from tests.speech.tones import MELODY, tones, words_of

PORTS = SpeechSettings(ports={"sherpa-onnx": 0})
AUDIO = tones().astype("<f4").tobytes()
SILENCE = np.zeros(16_000, "<f4").tobytes()


async def test_results_replace_each_other_within_a_segment_and_end_with_done() -> None:
    async with (
        speech_house(speech=PORTS) as house,
        dialled(house.ports.dialects["sherpa-onnx"]) as peer,
    ):
        await peer.say(*pieces(AUDIO + SILENCE + AUDIO, 32_001), "Done")
        assert await peer.hear_all() == (1000, "")
    assert peer.heard.pop() == "Done!"
    words = words_of((*MELODY, *MELODY))
    by_segment = {each["segment"]: each for each in peer.heard}
    assert [each["text"] for each in by_segment.values()] == [
        " ".join(words[:8]),
        " ".join(words[8:]),
    ]
    assert all(each["is_final"] for each in by_segment.values())
    assert [each["is_eof"] for each in peer.heard] == [False] * (len(peer.heard) - 1) + [True]
    partials = [each["text"] for each in peer.heard if not each["is_final"]]
    assert len(partials) > 2
    assert len(set(partials)) == len(partials)
    first = by_segment[0]
    assert first["tokens"] == words[:8]
    starts = [0.36 * place for place in range(len(MELODY))]
    assert first["timestamps"] == pytest.approx(starts, abs=0.03)
    assert first["start_time"] == pytest.approx(0.12, abs=0.03)


async def test_no_audio_gives_an_empty_result() -> None:
    async with (
        speech_house(speech=PORTS) as house,
        dialled(house.ports.dialects["sherpa-onnx"]) as peer,
    ):
        await peer.say("Done")
        assert await peer.hear_all() == (1000, "")
    result, done = peer.heard
    assert (result["text"], result["is_eof"], done) == ("", True, "Done!")


async def test_another_text_than_done_closes_with_the_reason() -> None:
    async with (
        speech_house(speech=PORTS) as house,
        dialled(house.ports.dialects["sherpa-onnx"]) as peer,
    ):
        await peer.say('{"eof": 1}')
        code, reason = await peer.hear_all()
    assert code == 1008
    assert "'Done'" in reason


async def test_without_a_slot_or_a_key_the_handshake_is_refused(tmp_path: Path) -> None:
    repository = small_repository(tmp_path)
    async with speech_house(repository, speech=PORTS) as house:
        port = house.ports.dialects["sherpa-onnx"]
        async with dialled(port), dialled(port):
            status, body = await refusal(port)
            assert status == 503
            assert b"slot" in body
    keyed = SpeechSettings(ports={"sherpa-onnx": 0}, api_keys=["key"])
    async with speech_house(repository, speech=keyed) as house:
        assert (await refusal(house.ports.dialects["sherpa-onnx"]))[0] == 401


async def test_half_a_sample_at_the_end_costs_no_text() -> None:
    async with (
        speech_house(speech=PORTS) as house,
        dialled(house.ports.dialects["sherpa-onnx"]) as peer,
    ):
        await peer.say(AUDIO[:-2], "Done")
        code, reason = await peer.hear_all()
    assert peer.heard.pop() == "Done!"
    assert peer.heard[-1]["text"] == " ".join(words_of())
    assert code == 1008
    assert "f32le" in reason
