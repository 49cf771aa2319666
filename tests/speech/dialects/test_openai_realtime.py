"""OpenAI Realtime transcription sessions over real sockets."""

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from streamgate.server.settings import SpeechSettings
from tests.speech.dialects.talk import Talk, failing_repository, refused, repository_with, talk
from tests.speech.house import speech_house
from tests.speech.tones import MELODY, s16le, tones, words_of

PATH = "/v1/realtime?intent=transcription"
ASR = "conversation.item.input_audio_transcription"
RATE = 24_000
HALF = round(0.36 * 4 * RATE) * 2


def settings(**given: Any) -> dict[str, Any]:
    return {"type": "transcription", "audio": {"input": given}}


def silence(seconds: float) -> bytes:
    return np.zeros(round(seconds * RATE), "<i2").tobytes()


async def update(client: Talk, **given: Any) -> dict[str, Any]:
    await client.say("session.update", session=settings(**given))
    return await client.hear("session.updated", "error")


def texts(client: Talk) -> list[str]:
    """The transcripts; each is what its deltas were, joined."""
    completed = client.all(f"{ASR}.completed")
    for message in completed:
        deltas = [
            m["delta"] for m in client.all(f"{ASR}.delta") if m["item_id"] == message["item_id"]
        ]
        assert "".join(deltas) == message["transcript"]
    return [message["transcript"] for message in completed]


@pytest.mark.parametrize("piece", [777, 4800, 10**6])
async def test_what_is_committed_is_transcribed(piece: int) -> None:
    audio = s16le(tones(rate_hz=RATE))
    async with speech_house() as house, talk(house.ports.websocket, PATH) as client:
        created = await client.hear()
        assert created["type"] == "session.created"
        assert created["session"]["type"] == "transcription"
        assert created["session"]["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": RATE}
        assert created["session"]["audio"]["input"]["transcription"]["model"] == "tone_transcriber"
        updated = await update(client, turn_detection=None)
        assert updated["session"]["audio"]["input"]["turn_detection"] is None
        for at in range(0, len(audio), piece):
            await client.append(audio[at : at + piece])
        await client.say("input_audio_buffer.commit")
        done = await client.hear(f"{ASR}.completed")
    assert texts(client) == [" ".join(words_of())]
    assert len(client.all(f"{ASR}.delta")) > 1
    assert done["usage"] == {"type": "duration", "seconds": len(audio) / 2 / RATE}
    committed = client.all("input_audio_buffer.committed")
    assert committed[0]["previous_item_id"] is None
    assert committed[0]["item_id"] == done["item_id"]
    assert client.all("conversation.item.added")[0]["item"]["id"] == done["item_id"]
    assert client.all("conversation.item.done")[0]["item"]["content"][0]["type"] == "input_audio"
    assert client.all("input_audio_buffer.speech_started") == []
    ids = [message["event_id"] for message in client.heard]
    assert len(set(ids)) == len(ids)


async def test_each_commit_is_an_item_that_knows_its_forerunner() -> None:
    audio = s16le(tones(rate_hz=RATE))
    async with speech_house() as house, talk(house.ports.http, PATH) as client:
        await update(client, turn_detection=None)
        await client.append(audio[:HALF])
        await client.say("input_audio_buffer.commit")
        await client.append(audio[HALF:])
        await client.say("input_audio_buffer.commit")
        await client.hear(f"{ASR}.completed")
        await client.hear(f"{ASR}.completed")
    words = words_of()
    assert texts(client) == [" ".join(words[:4]), " ".join(words[4:])]
    first, second = client.all("input_audio_buffer.committed")
    assert second["previous_item_id"] == first["item_id"]


async def test_one_item_holds_all_utterances_of_its_audio() -> None:
    audio = s16le(tones(MELODY[:4], rate_hz=RATE)) + silence(1.2) + s16le(tones(MELODY[4:], RATE))
    async with speech_house() as house, talk(house.ports.websocket, PATH) as client:
        segments = ["item.input_audio_transcription.segments"]
        await client.say(
            "session.update", session={**settings(turn_detection=None), "include": segments}
        )
        await client.append(audio)
        await client.say("input_audio_buffer.commit")
        await client.hear(f"{ASR}.completed")
    words = words_of()
    assert texts(client) == [" ".join(words)]
    found = client.all(f"{ASR}.segment")
    assert [segment["text"] for segment in found] == [" ".join(words[:4]), " ".join(words[4:])]
    assert [segment["start"] for segment in found] == pytest.approx([0.12, 2.88], abs=0.05)


async def test_the_server_ends_turns() -> None:
    audio = s16le(tones(MELODY[:4], rate_hz=RATE)) + silence(1.2) + s16le(tones(MELODY[4:], RATE))
    async with speech_house() as house, talk(house.ports.websocket, PATH) as client:
        for at in range(0, len(audio), 4800):
            await client.append(audio[at : at + 4800])
        await client.append(silence(1.5))
        await client.hear(f"{ASR}.completed")
        await client.hear(f"{ASR}.completed")
    words = words_of()
    assert texts(client) == [" ".join(words[:4]), " ".join(words[4:])]
    started = client.all("input_audio_buffer.speech_started")
    stopped = client.all("input_audio_buffer.speech_stopped")
    committed = client.all("input_audio_buffer.committed")
    ids = [message["item_id"] for message in committed]
    assert [message["item_id"] for message in started] == ids
    assert [message["item_id"] for message in stopped] == ids
    # 300 ms of padding before the first tone are more than there are.
    assert [message["audio_start_ms"] for message in started] == pytest.approx([0, 2580], abs=60)
    assert [message["audio_end_ms"] for message in stopped] == pytest.approx([1460, 4220], abs=60)
    kinds = client.kinds()
    order = [
        "input_audio_buffer.speech_started",
        f"{ASR}.delta",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        f"{ASR}.completed",
    ]
    assert sorted(order, key=kinds.index) == order


async def test_a_client_may_commit_within_a_turn() -> None:
    audio = s16le(tones(rate_hz=RATE))
    async with speech_house() as house, talk(house.ports.websocket, PATH) as client:
        await client.append(audio[:HALF])
        await client.say("input_audio_buffer.commit")
        await client.append(audio[HALF:] + silence(1.5))
        await client.hear(f"{ASR}.completed")
        await client.hear(f"{ASR}.completed")
    words = words_of()
    assert texts(client) == [" ".join(words[:4]), " ".join(words[4:])]


async def test_cleared_audio_is_in_no_transcript() -> None:
    audio = s16le(tones(rate_hz=RATE))
    async with speech_house() as house, talk(house.ports.websocket, PATH) as client:
        await update(client, turn_detection=None)
        await client.append(audio[:HALF])
        await client.say("input_audio_buffer.clear")
        await client.append(audio[HALF:])
        await client.say("input_audio_buffer.commit")
        await client.hear(f"{ASR}.completed")
        await client.say("input_audio_buffer.clear")
        await client.hear("input_audio_buffer.cleared")
    assert texts(client) == [" ".join(words_of()[4:])]
    assert len(client.all("input_audio_buffer.cleared")) == 2


async def test_an_empty_commit_is_an_error() -> None:
    async with speech_house() as house, talk(house.ports.websocket, PATH) as client:
        await client.say("input_audio_buffer.commit", event_id="mine")
        error = (await client.hear("error"))["error"]
        assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "mine")
        await client.append(silence(0.1))
        await client.say("input_audio_buffer.commit")
        await client.say("input_audio_buffer.commit")
        assert (await client.hear("error"))["error"]["code"] == "input_audio_buffer_commit_empty"


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
async def test_telephone_audio(kind: str) -> None:
    subtype = "ULAW" if kind == "audio/pcmu" else "ALAW"
    audio = io.BytesIO()
    soundfile.write(audio, tones(rate_hz=8000), 8000, subtype, format="RAW")
    async with speech_house() as house, talk(house.ports.websocket, PATH) as client:
        updated = await update(client, format={"type": kind}, turn_detection=None)
        assert updated["session"]["audio"]["input"]["format"] == {"type": kind}
        await client.append(audio.getvalue())
        await client.say("input_audio_buffer.commit")
        done = await client.hear(f"{ASR}.completed")
    assert texts(client) == [" ".join(words_of())]
    assert done["usage"]["seconds"] == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"format": {"type": "audio/opus"}}, "session.audio.input.format.type"),
        ({"format": {"type": "audio/pcm", "rate": 16_000}}, "session.audio.input.format.rate"),
        ({"turn_detection": {"type": "semantic_vad"}}, "session.audio.input.turn_detection.type"),
        (
            {"turn_detection": {"type": "server_vad", "threshold": 2}},
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"transcription": {"model": "no_such_model"}},
            "session.audio.input.transcription.model",
        ),
        ({"transcription": {"model": 5}}, "session.audio.input.transcription.model"),
        ({"transcription": {"language": "fi"}}, "session.audio.input.transcription.model"),
        ({"volume": 11}, "session.audio.input.volume"),
    ],
)
async def test_settings_that_can_not_be(given: dict[str, Any], param: str) -> None:
    async with speech_house() as house, talk(house.ports.websocket, PATH) as client:
        await client.say("session.update", event_id="e7", session=settings(**given))
        error = (await client.hear("error"))["error"]
        assert error["type"] == "invalid_request_error"
        assert (error["param"], error["event_id"]) == (param, "e7")
        updated = await update(client)
        assert updated["type"] == "session.updated"
        assert updated["session"]["audio"]["input"]["format"]["type"] == "audio/pcm"


async def test_another_kind_of_session_is_refused() -> None:
    async with speech_house() as house, talk(house.ports.websocket, PATH) as client:
        await client.say("session.update", session={"type": "realtime"})
        assert (await client.hear("error"))["error"]["param"] == "session.type"


async def test_settings_of_the_audio_hold_from_its_first_byte_on() -> None:
    async with speech_house() as house, talk(house.ports.websocket, PATH) as client:
        await client.append(silence(0.1))
        assert (await update(client, turn_detection=None))["type"] == "session.updated"
        refused_update = await update(client, format={"type": "audio/pcmu"})
        assert refused_update["error"]["code"] == "session_update_not_allowed"


@pytest.mark.parametrize(
    ("frame", "code", "param"),
    [
        ("{", "invalid_json", None),
        ("[1]", "invalid_json", None),
        ("{}", "missing_required_parameter", "type"),
        ('{"type": "response.create"}', "invalid_value", "type"),
        ('{"type": "session.update"}', "missing_required_parameter", "session"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": "&&"}', "invalid_value", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": [1]}', "invalid_value", "audio"),
        (
            json.dumps({"type": "input_audio_buffer.append", "audio": "A" * 21 * 2**20}),
            "string_above_max_length",
            "audio",
        ),
        (b"RIFF", "invalid_json", None),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
async def test_a_wrong_message_leaves_the_session_open(
    frame: str | bytes, code: str, param: str | None
) -> None:
    async with speech_house() as house, talk(house.ports.websocket, PATH) as client:
        await client.socket.send(frame)
        error = (await client.hear("error"))["error"]
        assert (error["code"], error["param"]) == (code, param)
        assert (await update(client))["type"] == "session.updated"


async def test_full_slots_are_told_at_the_handshake_and_freed_by_leaving(tmp_path: Path) -> None:
    repository = repository_with(tmp_path, max_candidate_sequences="2")
    async with speech_house(repository) as house:
        port = house.ports.websocket
        async with talk(port, PATH) as first, talk(port, PATH):
            await first.hear("session.created")
            status, body, headers = await refused(port, PATH)
            assert status == 429
            assert headers["retry-after"] == "1"
            assert body["error"]["code"] == "rate_limit_exceeded"
            # Who sits already keeps the place, whatever else changes.
            updated = await update(first, transcription={"model": "gpt-realtime-whisper"})
            assert updated["type"] == "session.updated"
        async with asyncio.timeout(20):
            while True:
                try:
                    async with talk(port, PATH) as next_one:
                        await next_one.hear("session.created")
                    break
                except Exception:  # noqa: BLE001, the places are given back in a moment
                    await asyncio.sleep(0.02)


async def test_another_model_is_another_place(tmp_path: Path) -> None:
    repository = repository_with(tmp_path, max_candidate_sequences="1")
    other = repository / "another_transcriber"
    (repository / "tone_transcriber").rename(tmp_path / "kept")
    for name in ("tone_transcriber", "another_transcriber"):
        target = repository / name
        target.mkdir()
        for path in (tmp_path / "kept").rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                place = target / path.relative_to(tmp_path / "kept")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(path.read_bytes())
    assert other.is_dir()
    async with speech_house(repository) as house:
        port = house.ports.websocket
        async with talk(port, PATH + "&model=tone_transcriber") as first:
            await first.hear("session.created")
            updated = await update(first, transcription={"model": "another_transcriber"})
            shown = updated["session"]["audio"]["input"]["transcription"]
            assert shown["model"] == "another_transcriber"
            status, _, _ = await refused(port, PATH + "&model=another_transcriber")
            assert status == 429
            async with talk(port, PATH + "&model=tone_transcriber") as second:
                await second.hear("session.created")
                full = await update(first, transcription={"model": "tone_transcriber"})
                assert full["error"]["code"] == "rate_limit_exceeded"
                await first.append(s16le(tones(rate_hz=RATE)))
                await first.say("input_audio_buffer.commit")
                await first.hear(f"{ASR}.completed")
    assert texts(first) == [" ".join(words_of())]


async def test_a_wrong_key_and_a_wrong_model_are_refused() -> None:
    async with speech_house(speech=SpeechSettings(api_keys=["right"])) as house:
        port = house.ports.websocket
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            status, body, _ = await refused(port, PATH, headers)
            assert status == 401
            assert body["error"]["code"] == "invalid_api_key"
        right = {"Authorization": "Bearer right"}
        status, body, _ = await refused(port, PATH + "&model=no_such_model", right)
        assert status == 404
        assert body["error"]["code"] == "model_not_found"
        status, body, _ = await refused(port, "/v1/realtime?intent=conversation", right)
        assert (status, body["error"]["param"]) == (400, "intent")
        async with talk(port, "/v1/realtime?model=gpt-4o-transcribe", right) as client:
            await client.hear("session.created")
        offered = ["realtime", "openai-insecure-api-key.right"]
        async with talk(port, PATH, subprotocols=offered) as client:
            assert client.socket.subprotocol == "realtime"
            await client.hear("session.created")


async def test_a_model_that_fails_is_told(tmp_path: Path) -> None:
    async with (
        speech_house(failing_repository(tmp_path)) as house,
        talk(house.ports.websocket, PATH) as client,
    ):
        await update(client, turn_detection=None)
        await client.append(s16le(tones(rate_hz=RATE)))
        await client.append(s16le(np.full(RATE, 0.99, np.float32)))
        await client.say("input_audio_buffer.commit")
        code, _ = await client.hear_end()
    assert code == 1011
    committed, failed = client.all("input_audio_buffer.committed"), client.all(f"{ASR}.failed")
    assert failed[0]["item_id"] == committed[0]["item_id"]
    assert "too loud" in failed[0]["error"]["message"]
    assert client.all("error")[0]["error"]["type"] == "server_error"
    assert client.kinds()[-1] == "error"


async def test_what_is_asked_for_and_not_to_be_had_is_shown_as_off() -> None:
    """As the service's own examples ask for it."""
    include = ["item.input_audio_transcription.logprobs"]
    async with speech_house() as house, talk(house.ports.websocket, PATH) as client:
        session = settings(noise_reduction={"type": "near_field"}) | {"include": include}
        await client.say("session.update", session=session)
        updated = (await client.hear("session.updated"))["session"]
        assert updated["include"] == []
        assert updated["audio"]["input"]["noise_reduction"] is None
        await client.say("session.update", session=settings() | {"include": ["everything"]})
        assert (await client.hear("error"))["error"]["param"] == "session.include"


async def test_a_silent_client_is_told_why_it_is_left(tmp_path: Path) -> None:
    repository = repository_with(tmp_path, max_sequence_idle_microseconds="200000")
    async with speech_house(repository) as house, talk(house.ports.websocket, PATH) as client:
        await client.append(silence(0.5))
        code, reason = await client.hear_end()
    assert (code, reason) == (1000, "session_idle")
    assert client.all("error")[0]["error"]["code"] == "session_idle"


async def test_a_server_that_goes_away_says_so() -> None:
    async with (
        speech_house(exit_timeout_seconds=0.2) as house,
        talk(house.ports.websocket, PATH) as client,
    ):
        await client.hear("session.created")
        await client.append(silence(0.5))
        stopping = asyncio.create_task(house.server.stop())
        code, _ = await client.hear_end()
        await stopping
    assert code == 1001
