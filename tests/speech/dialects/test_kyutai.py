"""Kyutai's server: conversations over a real socket, as its own script leads them."""

import asyncio
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import soundfile

from streamgate.model.tensor import Array
from streamgate.server.settings import SpeechSettings
from tests.speech.dialects.peer import Peer, dialled, pieces, refusal, small_repository
from tests.speech.house import SpeechHouse, speech_house
from tests.speech.tones import MELODY, tones, words_of

PATH = "/api/asr-streaming"
SAMPLES = tones(rate_hz=24_000)


def port_of(house: SpeechHouse) -> int:
    assert house.ports.websocket is not None
    return house.ports.websocket


def audio(samples: Array) -> bytes:
    packed: bytes = msgpack.packb(
        {"type": "Audio", "pcm": [float(sample) for sample in samples]}, use_single_float=True
    )
    return packed


def marker(number: object) -> bytes:
    packed: bytes = msgpack.packb({"type": "Marker", "id": number})
    return packed


async def hear(peer: Peer) -> dict[str, Any]:
    message: dict[str, Any] = msgpack.unpackb(await peer.hear())
    return message


async def hear_until(peer: Peer, kind: str) -> list[dict[str, Any]]:
    messages = [await hear(peer)]
    while messages[-1]["type"] != kind:
        messages.append(await hear(peer))
    return messages


async def test_words_are_appended_and_a_marker_comes_behind_those_before_it() -> None:
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        assert await hear(peer) == {"type": "Ready"}
        await peer.say(audio(np.zeros(24_000, np.float32)))
        for at in range(0, len(SAMPLES), 1920):
            await peer.say(audio(SAMPLES[at : at + 1920]))
        await peer.say(marker(7))
        messages = await hear_until(peer, "Marker")
    assert messages[-1] == {"type": "Marker", "id": 7}
    words = [each for each in messages if each["type"] == "Word"]
    assert [each["text"] for each in words] == words_of()
    starts = [1.12 + 0.36 * place for place in range(len(MELODY))]
    assert [each["start_time"] for each in words] == pytest.approx(starts, abs=0.03)
    stops = [each["stop_time"] for each in messages if each["type"] == "EndWord"]
    assert stops == pytest.approx([start + 0.24 for start in starts], abs=0.05)
    steps = [each for each in messages if each["type"] == "Step"]
    numbers = [each["step_idx"] for each in steps]
    assert numbers == sorted(numbers)
    assert all(len(each["prs"]) == 4 for each in steps)
    assert steps[0]["prs"][2] == 1.0
    assert min(each["prs"][2] for each in steps) == 0.0


async def test_an_ogg_stream_is_heard_too(tmp_path: Path) -> None:
    path = tmp_path / "tones.ogg"
    soundfile.write(path, np.append(SAMPLES, np.zeros(4800)), 24_000, "OPUS", format="OGG")
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        for piece in pieces(path.read_bytes(), 1000):
            await peer.say(msgpack.packb({"type": "OggOpus", "data": piece}))
        await peer.say(marker(1))
        messages = await hear_until(peer, "Marker")
        words = [each["text"] for each in messages if each["type"] == "Word"]
        assert words == words_of()
        await peer.say(audio(SAMPLES))
        messages = await hear_until(peer, "Error")
    assert "OggOpus" in messages[-1]["message"]


async def test_markers_without_new_audio_are_answered_too() -> None:
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say(marker(1), marker(2))
        assert [
            each["type"] for each in (await hear(peer), await hear(peer), await hear(peer))
        ] == [
            "Ready",
            "Marker",
            "Marker",
        ]


async def test_without_a_slot_the_client_sees_the_error_and_never_ready(tmp_path: Path) -> None:
    async with speech_house(small_repository(tmp_path)) as house:
        async with dialled(port_of(house), PATH) as first, dialled(port_of(house), PATH) as second:
            assert (await hear(first))["type"] == (await hear(second))["type"] == "Ready"
            async with dialled(port_of(house), PATH) as third:
                assert await hear(third) == {"type": "Error", "message": "no free channels"}
                await third.hear_all()
                assert len(third.heard) == 1
        async with asyncio.timeout(20):
            while True:
                async with dialled(port_of(house), PATH) as fourth:
                    if (await hear(fourth))["type"] == "Ready":
                        break


async def test_the_key_is_in_a_header_or_the_query() -> None:
    async with speech_house(speech=SpeechSettings(api_keys=["public_token"])) as house:
        assert (await refusal(port_of(house), PATH))[0] == 401
        async with dialled(port_of(house), f"{PATH}?auth_id=public_token") as peer:
            assert (await hear(peer))["type"] == "Ready"
        header = {"kyutai-api-key": "public_token"}
        async with dialled(port_of(house), PATH, additional_headers=header) as peer:
            assert (await hear(peer))["type"] == "Ready"


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (b"\xc1", "MessagePack"),
        (b"\x81", "MessagePack"),
        (msgpack.packb([1]), "list"),
        (msgpack.packb({"type": "Dance"}), "Dance"),
        (msgpack.packb({"type": "Audio", "pcm": "loud"}), "pcm"),
        (msgpack.packb({"type": "Audio", "pcm": [[0.0]]}), "pcm"),
        (msgpack.packb({"type": "Audio", "pcm": [float("nan")]}), "pcm"),
        (msgpack.packb({"type": "OggOpus", "data": "x"}), "data"),
        (marker("seven"), "marker"),
        (msgpack.packb({"type": "Audio", "pcm": [{}] * 2**21}), "expected at most 2097152"),
        ("hello", "text frame"),
    ],
)
async def test_what_is_not_understood_is_an_error(message: bytes | str, named: str) -> None:
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        assert (await hear(peer))["type"] == "Ready"
        await peer.say(message)
        error = await hear(peer)
        await peer.hear_all()
    assert error["type"] == "Error"
    assert named in error["message"]


async def test_a_model_that_waits_too_long_ends_the_stream_with_an_error(tmp_path: Path) -> None:
    short = {"max_sequence_idle_microseconds: 30000000": "max_sequence_idle_microseconds: 300000"}
    async with (
        speech_house(small_repository(tmp_path, changes=short)) as house,
        dialled(port_of(house), PATH) as peer,
    ):
        await peer.say(audio(SAMPLES))
        messages = await hear_until(peer, "Error")
    assert messages[-1]["message"] == "no audio came for too long"


async def test_what_came_before_nonsense_is_answered_first() -> None:
    async with speech_house() as house, dialled(port_of(house), PATH) as peer:
        await peer.say(audio(SAMPLES), b"\xc1", audio(SAMPLES))
        messages = await hear_until(peer, "Error")
    assert [each["text"] for each in messages if each["type"] == "Word"] == words_of()
