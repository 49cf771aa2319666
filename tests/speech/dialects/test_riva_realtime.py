"""NVIDIA's realtime API over real sockets: the session's POST, then the WebSocket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from streamgate.frontends.dialects.riva_realtime import secret as module
from streamgate.server.settings import SpeechSettings
from tests.speech.dialects.talk import Talk, refused, repository_with, talk
from tests.speech.dialects.test_openai_audio import FILE
from tests.speech.house import SpeechHouse, speech_house
from tests.speech.tones import MELODY, s16le, tones, words_of

PATH = "/v1/realtime?intent=transcription"
ASR = "conversation.item.input_audio_transcription"


async def session_for(house: SpeechHouse, key: str = "") -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = f"http://127.0.0.1:{house.ports.http}/v1/realtime/transcription_sessions"
    async with (
        asyncio.timeout(20),
        aiohttp.ClientSession() as client,
        client.post(url, json={}, headers=headers) as response,
    ):
        return response.status, await response.json()


def protocols(session: dict[str, Any]) -> list[str]:
    return ["realtime", f"realtime-token.{session['client_secret']['value']}"]


@asynccontextmanager
async def connected(house: SpeechHouse, **changes: Any) -> AsyncIterator[Talk]:
    """As NVIDIA's client does: it sends all back that it was given, with changes."""
    status, session = await session_for(house)
    assert status == 200
    async with talk(house.ports.http, PATH, subprotocols=protocols(session)) as client:
        assert client.socket.subprotocol == "realtime"
        assert (await client.hear())["type"] == "conversation.created"
        await client.say("transcription_session.update", session=session | changes)
        yield client


async def send(client: Talk, audio: bytes, piece: int = 3200) -> None:
    for at in range(0, len(audio), piece):
        await client.append(audio[at : at + piece])
        await client.say("input_audio_buffer.commit")


@pytest.mark.parametrize(
    ("kind", "audio"), [("pcm16", s16le(tones())), ("none", FILE)], ids=["pcm16", "file"]
)
async def test_a_stream(kind: str, audio: bytes) -> None:
    async with speech_house() as house, connected(house, input_audio_format=kind) as client:
        updated = await client.hear()
        assert updated["type"] == "transcription_session.updated"
        assert updated["session"]["input_audio_format"] == kind
        assert updated["session"]["input_audio_transcription"]["model"] == "tone_transcriber"
        await send(client, audio)
        await client.say("input_audio_buffer.done")
        code, _ = await client.hear_end()
    assert code == 1000
    completed = client.all(f"{ASR}.completed")
    text = " ".join(words_of())
    assert [message["is_last_result"] for message in completed] == [False, True]
    assert [message["transcript"] for message in completed] == [text, text]
    deltas = [message["delta"] for message in client.all(f"{ASR}.delta")]
    assert deltas[-1].split()[:-1] == words_of()[: len(deltas[-1].split()) - 1]


async def test_utterances_with_words() -> None:
    pause = np.zeros(19_200, np.float32)
    audio = s16le(np.concatenate([tones(MELODY[:4]), pause, tones(MELODY[4:])]))
    config = {"enable_word_time_offsets": True}
    async with speech_house() as house, connected(house, recognition_config=config) as client:
        await send(client, audio)
        await client.say("input_audio_buffer.done")
        await client.hear_end()
    words = words_of()
    completed = client.all(f"{ASR}.completed")
    assert [message["transcript"] for message in completed] == [
        " ".join(words[:4]),
        " ".join(words[4:]),
        " ".join(words),
    ]
    shown = completed[1]["words_info"]["words"]
    assert [word["word"] for word in shown] == words[4:]
    assert shown[0]["start_time"] == pytest.approx(2880, abs=50)
    assert shown[0]["confidence"] == pytest.approx(0.9)


async def test_the_client_ends_an_utterance() -> None:
    audio = s16le(tones())
    half = round(0.36 * 4 * 16_000) * 2
    async with speech_house() as house, connected(house) as client:
        await send(client, audio[: half - 3200])
        await client.append(audio[half - 3200 : half], runtime_config={"force_eou": "true"})
        first = await client.hear(f"{ASR}.completed")
        await send(client, audio[half:])
        await client.say("input_audio_buffer.done")
        await client.hear_end()
    words = words_of()
    assert first["transcript"] == " ".join(words[:4])
    assert client.all(f"{ASR}.completed")[1]["transcript"] == " ".join(words[4:])


async def test_a_wrong_secret_and_a_wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async with speech_house(speech=SpeechSettings(api_keys=["right"])) as house:
        assert (await session_for(house, "wrong"))[0] == 401
        status, session = await session_for(house, "right")
        assert status == 200
        good = protocols(session)
        async with talk(house.ports.websocket, PATH, subprotocols=good) as client:
            await client.hear("conversation.created")
        for bad in (good[1][:-1] + "x", "realtime-token.", "realtime-token.1.2.3"):
            status, _, _ = await refused(
                house.ports.websocket, PATH, subprotocols=["realtime", bad]
            )
            assert status == 401
        monkeypatch.setattr(module, "SECRET_SECONDS", -1)
        _, late = await session_for(house, "right")
        status, body, _ = await refused(house.ports.websocket, PATH, subprotocols=protocols(late))
        assert (status, list(body)) == (401, ["detail"])


async def test_full_slots(tmp_path: Path) -> None:
    repository = repository_with(tmp_path, max_candidate_sequences="1")
    async with speech_house(repository) as house, connected(house):
        _, session = await session_for(house)
        status, body, headers = await refused(
            house.ports.http, PATH, subprotocols=protocols(session)
        )
        assert (status, headers["retry-after"]) == (429, "1")
        assert "slots" in body["detail"]


@pytest.mark.parametrize(
    ("kind", "fields", "param"),
    [
        (
            "transcription_session.update",
            {"session": {"input_audio_format": "opus"}},
            "session.input_audio_format",
        ),
        (
            "transcription_session.update",
            {"session": {"input_audio_transcription": {"model": "no_such_model"}}},
            "session.input_audio_transcription.model",
        ),
        (
            "transcription_session.update",
            {"session": {"input_audio_params": {"sample_rate_hz": 5}}},
            "session.input_audio_params.sample_rate_hz",
        ),
        ("input_audio_buffer.append", {"audio": "&&"}, "audio"),
        ("session.update", {}, "type"),
    ],
)
async def test_what_can_not_be_served(kind: str, fields: dict[str, Any], param: str) -> None:
    async with speech_house() as house, connected(house) as client:
        await client.hear("transcription_session.updated")
        await client.say(kind, event_id="e1", **fields)
        error = (await client.hear("error"))["error"]
        assert (error["param"], error["event_id"]) == (param, "e1")


async def test_what_is_no_audio_is_told() -> None:
    async with speech_house() as house, connected(house, input_audio_format="none") as client:
        await send(client, b"MThd" + bytes(6000))
        assert (await client.hear("error"))["error"]["param"] == "audio"


@pytest.mark.parametrize(
    ("default", "headers", "subprotocols", "first"),
    [
        ("openai", {}, None, "session.created"),
        ("riva", {}, None, "conversation.created"),
        ("riva", {"User-Agent": "OpenAI/Python 3.5"}, None, "session.created"),
        ("riva", {}, ["realtime", "openai-insecure-api-key.x"], "session.created"),
    ],
)
async def test_who_is_who(
    default: str, headers: dict[str, str], subprotocols: list[str] | None, first: str
) -> None:
    async with (
        speech_house(speech=SpeechSettings(realtime_dialect=default)) as house,
        talk(house.ports.http, PATH, headers, subprotocols) as client,
    ):
        assert (await client.hear())["type"] == first


async def test_a_silent_client_is_told_why_it_is_left(tmp_path: Path) -> None:
    repository = repository_with(tmp_path, max_sequence_idle_microseconds="300000")
    async with speech_house(repository) as house, connected(house) as client:
        await client.append(bytes(16_000))
        code, reason = await client.hear_end()
    assert (code, reason) == (1000, "session_idle")
    assert client.all("error")[0]["error"]["code"] == "session_idle"
