"""`/v1/speech` over real sockets, on the WebSocket port and on the HTTP port."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
import pytest

from streamgate.server.settings import SpeechSettings
from tests.speech.house import SpeechHouse, speech_house
from tests.speech.tones import s16le, tones, words_of

PCM = "encoding=s16le&sample_rate=16000"


@asynccontextmanager
async def connected(
    house: SpeechHouse, query: str = PCM, port: str = "websocket"
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url = f"http://127.0.0.1:{getattr(house.ports, port)}/v1/speech?{query}"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        yield socket


async def refusal(house: SpeechHouse, query: str, **headers: str) -> tuple[int, dict[str, Any]]:
    url = f"http://127.0.0.1:{house.ports.websocket}/v1/speech?{query}"
    async with aiohttp.ClientSession() as session:
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "MDEyMzQ1Njc4OTAxMjM0NQ==",
            **headers,
        }
        async with session.get(url, headers=upgrade) as answer:
            return answer.status, json.loads(await answer.text())


async def heard(socket: aiohttp.ClientWebSocketResponse) -> list[dict[str, Any]]:
    """All messages to the end, of a socket of which nothing was read. Each has its number."""
    async with asyncio.timeout(20):
        messages = [json.loads(message.data) async for message in socket]
    numbers = [message.pop("event") for message in messages]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return messages


@pytest.mark.parametrize("port", ["websocket", "http"])
async def test_a_stream_from_ready_to_ended(port: str) -> None:
    audio = s16le(tones())
    async with speech_house() as house, connected(house, port=port) as socket:
        ready = await socket.receive_json(timeout=20)
        assert ready["type"] == "ready"
        assert ready["model"] == "tone_transcriber"
        for at in range(0, len(audio), 3200):
            await socket.send_bytes(audio[at : at + 3200])
        await socket.send_json({"type": "flush", "id": "x"})
        await socket.send_json({"type": "end"})
        messages = await heard(socket)
        assert socket.close_code == 1000
    texts = [each for each in messages if each["type"] == "text"]
    assert "".join(each["stable"] for each in texts) == " ".join(words_of())
    assert any(each["tail"] for each in texts)
    assert [each["final"] for each in texts].count(True) == 1
    words = [word["text"] for each in texts for word in each.get("words", ())]
    assert words == words_of()
    assert [each["speech"]["began"] for each in texts if "speech" in each] == [True]
    assert messages[-1] == {"type": "ended", "reason": "client_end"}
    assert {"type": "flushed", "id": "x"} in messages


async def test_what_can_not_be_served_is_refused_at_the_handshake() -> None:
    keys = SpeechSettings(api_keys=("sesame",))
    async with speech_house(speech=keys) as house:
        assert await refusal(house, PCM) == (
            401,
            {"type": "error", "code": "UNAUTHENTICATED", "message": "wrong API key, or none"},
        )
        bearer = {"Authorization": "Bearer sesame"}
        status, body = await refusal(house, "modle=x&key=sesame")
        assert status == 400
        assert "unknown parameter 'modle', expected one of model, language" in body["message"]
        assert (await refusal(house, "sample_rate=fast", **bearer))[0] == 400
        status, body = await refusal(house, "model=none", **bearer)
        assert (status, body["code"]) == (404, "NOT_FOUND")
        status, body = await refusal(house, "language=fr", **bearer)
        assert "no speech model for language 'fr', expected one of en" in body["message"]
        status, body = await refusal(house, "encoding=s16le&sample_rate=4000", **bearer)
        assert status == 400
        assert "4000" in body["message"]


async def test_full_slots_refuse_before_anything_is_promised() -> None:
    async with speech_house() as house:
        model = await house.context.models.choose()
        connection = house.gateway.connect()
        for number in range(32):
            await connection.reserve(model.name, model.version, f"taken-{number}")
        status, body = await refusal(house, PCM)
        assert (status, body["code"]) == (503, "UNAVAILABLE")
        connection.close(abort=True)
        async with connected(house) as socket:
            assert (await socket.receive_json(timeout=20))["type"] == "ready"


async def test_wrong_messages_are_told_and_change_nothing() -> None:
    audio = s16le(tones())
    async with speech_house() as house, connected(house) as socket:
        await socket.receive_json(timeout=20)
        for wrong in ("{", '{"type":"stop"}', '{"type":"flush","id":7}'):
            await socket.send_str(wrong)
            answer = await socket.receive_json(timeout=20)
            assert (answer["type"], answer["code"]) == ("error", "INVALID_ARG")
        await socket.send_bytes(audio)
        await socket.send_json({"type": "end"})
        messages = await heard(socket)
    said = "".join(each["stable"] for each in messages if each["type"] == "text")
    assert said == " ".join(words_of())


async def test_what_is_no_audio_ends_the_stream_with_an_error() -> None:
    async with speech_house() as house, connected(house, "encoding=auto") as socket:
        await socket.receive_json(timeout=20)
        await socket.send_bytes(np.random.default_rng(1).bytes(4000))
        messages = await heard(socket)
    assert messages[0]["type"] == "error"
    assert messages[-1] == {"type": "ended", "reason": "client_end"}


async def test_the_list_of_models_and_the_page() -> None:
    async with speech_house() as house, aiohttp.ClientSession() as session:
        base = f"http://127.0.0.1:{house.ports.http}"
        async with session.get(f"{base}/v1/speech/models") as answer:
            body = await answer.json()
        (model,) = (each for each in body["models"] if each["name"] == "tone_transcriber")
        assert model == {
            "name": "tone_transcriber",
            "version": "1",
            "languages": ["en"],
            "sample_rate": 16_000,
            "chunk_seconds": 0.16,
        }
        async with session.get(f"{base}/") as answer:
            page = await answer.text()
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        for path in ("/web/app.js", "/web/style.css", "/web/icon.svg"):
            assert path in page
            async with session.get(base + path) as answer:
                assert answer.status == 200
        async with session.get(f"{base}/web/../cli.py") as answer:
            assert answer.status == 404


async def test_translations_come_beside_the_text() -> None:
    audio = s16le(tones())
    async with speech_house() as house, connected(house, f"{PCM}&translate=de,fr") as socket:
        ready = await socket.receive_json(timeout=20)
        translator = "reversing_translator"
        assert ready["translations"] == {"de": translator, "fr": translator}
        await socket.send_bytes(audio)
        await socket.send_json({"type": "end"})
        messages = await heard(socket)
    said: dict[str, str] = {"de": "", "fr": ""}
    for each in messages:
        if each["type"] == "translation":
            said[each["language"]] += each["stable"]
    for target, text in said.items():
        backwards = [word[::-1] for word in words_of()]
        assert text.split() == (
            [each.upper() for each in backwards] if target == "fr" else backwards
        )
    assert messages[-1] == {"type": "ended", "reason": "client_end"}


async def test_an_unknown_translation_is_refused() -> None:
    async with speech_house() as house:
        status, body = await refusal(house, f"{PCM}&translate=tlh")
        assert status == 404
        assert "'tlh'" in body["message"]
