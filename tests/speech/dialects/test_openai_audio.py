"""Files by `POST /v1/audio/transcriptions` and `/v1/audio/translations`, in all formats."""

import asyncio
import io
import json
import shutil
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import soundfile

from streamgate.frontends.dialects.openai_audio import AudioService
from streamgate.frontends.kserve_http import HttpFrontEnd
from streamgate.frontends.speech import SpeechStream
from streamgate.frontends.speech.stream import BACKLOG_SECONDS_MAX
from streamgate.server.settings import SpeechSettings
from tests.speech.dialects.talk import failing_repository, repository_with, talk
from tests.speech.house import SpeechHouse, speech_house
from tests.speech.tones import MELODY, REPOSITORY, s16le, tones, words_of

TRANSCRIPTIONS = "/v1/audio/transcriptions"
TRANSLATIONS = "/v1/audio/translations"
TEXT = " ".join(words_of())
STARTS = [0.12 + 0.36 * place for place in range(len(MELODY))]


def wav(samples: bytes, rate_hz: int = 16_000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate_hz)
        writer.writeframes(samples)
    return file.getvalue()


FILE = wav(s16le(tones()))
TWO_UTTERANCES = wav(
    s16le(np.concatenate([tones(MELODY[:4]), np.zeros(19_200, np.float32), tones(MELODY[4:])]))
)


def form(file: Any = FILE, *, file_first: bool = False, **fields: Any) -> aiohttp.FormData:
    data = aiohttp.FormData(default_to_multipart=True)
    if file_first and file is not None:
        data.add_field("file", file, filename="a.wav")
    for name, value in fields.items():
        for each in value if isinstance(value, list) else [value]:
            data.add_field(name if isinstance(value, str) else f"{name}[]", each)
    if not file_first and file is not None:
        data.add_field("file", file, filename="a.wav")
    return data


async def post(
    house: SpeechHouse, data: Any, path: str = TRANSCRIPTIONS, **headers: str
) -> tuple[int, str, aiohttp.ClientResponse]:
    async with (
        asyncio.timeout(30),
        aiohttp.ClientSession(f"http://127.0.0.1:{house.ports.http}") as session,
        session.post(path, data=data, headers=headers) as response,
    ):
        return response.status, await response.text(), response


@pytest.mark.parametrize("file_first", [False, True])
async def test_json(file_first: bool) -> None:
    async with speech_house() as house:
        status, text, _ = await post(house, form(file_first=file_first, model="whisper-1"))
    seconds = round((len(FILE) - 44) / 32_000, 3)
    assert status == 200
    assert json.loads(text) == {"text": TEXT, "usage": {"type": "duration", "seconds": seconds}}


@pytest.mark.parametrize("container", ["FLAC", "OGG", "MP3"])
async def test_containers(container: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, tones(rate_hz=44_100), 44_100, format=container)
    async with speech_house() as house:
        _, text, _ = await post(house, form(file.getvalue(), model="gpt-1"))
    assert json.loads(text)["text"] == TEXT


async def test_text() -> None:
    async with speech_house() as house:
        _, text, response = await post(
            house, form(model="tone_transcriber", response_format="text")
        )
    assert text == TEXT + "\n"
    assert response.content_type == "text/plain"


async def test_verbose_json_with_words_and_segments() -> None:
    async with speech_house() as house:
        _, text, _ = await post(
            house,
            form(
                TWO_UTTERANCES,
                model="whisper-1",
                response_format="verbose_json",
                timestamp_granularities=["word", "segment"],
            ),
        )
        _, segments_only, _ = await post(
            house, form(model="whisper-1", response_format="verbose_json")
        )
    body = json.loads(text)
    assert body["text"] == TEXT
    assert (body["task"], body["language"]) == ("transcribe", "en")
    assert body["duration"] == pytest.approx(len(TWO_UTTERANCES) / 32_000, abs=0.01)
    words = words_of()
    assert [word["word"] for word in body["words"]] == words
    assert [word["start"] for word in body["words"][:4]] == pytest.approx(STARTS[:4], abs=0.03)
    assert [segment["text"] for segment in body["segments"]] == [
        " ".join(words[:4]),
        " ".join(words[4:]),
    ]
    assert [segment["id"] for segment in body["segments"]] == [0, 1]
    assert body["segments"][1]["start"] == pytest.approx(2.88, abs=0.05)
    assert "words" not in json.loads(segments_only)


async def test_subtitles() -> None:
    async with speech_house() as house:
        _, srt, _ = await post(house, form(TWO_UTTERANCES, model="m-1", response_format="srt"))
        assert json.loads(srt)["error"]["code"] == "model_not_found"
        _, srt, _ = await post(house, form(TWO_UTTERANCES, model="gpt-1", response_format="srt"))
        _, vtt, response = await post(
            house, form(TWO_UTTERANCES, model="gpt-1", response_format="vtt")
        )
    words = words_of()
    first, second = srt.strip().split("\n\n")
    assert first.startswith("1\n00:00:00,")
    assert first.endswith(" ".join(words[:4]))
    assert second.startswith("2\n00:00:02,")
    assert second.endswith(" ".join(words[4:]))
    assert vtt.startswith("WEBVTT\n\n00:00:00.")
    assert response.content_type == "text/vtt"


async def test_events() -> None:
    async with speech_house() as house:
        _, text, response = await post(house, form(TWO_UTTERANCES, model="gpt-1", stream="true"))
    assert response.content_type == "text/event-stream"
    events = [json.loads(block.removeprefix("data: ")) for block in text.strip().split("\n\n")]
    assert {event["type"] for event in events[:-1]} == {"transcript.text.delta"}
    assert events[-1] == {"type": "transcript.text.done", "text": TEXT}
    assert "".join(event["delta"] for event in events[:-1]) == TEXT


async def test_a_long_file_is_heard_while_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four minutes: what waits is never more than the stream's limit, and the upload waits."""
    minute = s16le(np.zeros(16_000 * 60, np.float32))
    long_file = wav(minute * 2 + s16le(tones()) + minute * 2)
    backlogs = []
    feed = SpeechStream.feed

    def watched(stream: SpeechStream, data: bytes) -> None:
        feed(stream, data)
        backlogs.append(stream.backlog_seconds)

    monkeypatch.setattr(SpeechStream, "feed", watched)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(long_file), 65_536):
            yield long_file[at : at + 65_536]

    async with speech_house() as house:
        data = aiohttp.FormData()
        data.add_field("model", "gpt-1")
        data.add_field("response_format", "text")
        data.add_field("file", pieces(), filename="a.wav")
        status, text, _ = await post(house, data)
    assert max(backlogs) < BACKLOG_SECONDS_MAX + 2
    assert (status, text) == (200, TEXT + "\n")


@pytest.mark.parametrize(
    ("data", "status", "code", "param"),
    [
        (form(b"MThd" + bytes(1000), model="gpt-1"), 400, "invalid_audio", "file"),
        (form(b"", model="gpt-1"), 400, "invalid_audio", "file"),
        (form(None, model="gpt-1"), 400, "missing_required_parameter", "file"),
        (form(model="no_such_model"), 404, "model_not_found", "model"),
        (form(model="gpt-1", language="fi"), 404, "model_not_found", "model"),
        (form(model="gpt-1", response_format="docx"), 400, "invalid_value", "response_format"),
        (
            form(model="gpt-1", timestamp_granularities=["word"]),
            400,
            "invalid_value",
            "timestamp_granularities",
        ),
        (
            form(model="gpt-1", timestamp_granularities=["day"], response_format="verbose_json"),
            400,
            "invalid_value",
            "timestamp_granularities",
        ),
        (form(model="gpt-1", include=["speakers"]), 400, "invalid_value", "include"),
        (form(model="gpt-1", stream="perhaps"), 400, "invalid_value", "stream"),
        (b"{}", 400, "invalid_value", None),
    ],
    ids=str,
)
async def test_what_can_not_be_served(data: Any, status: int, code: str, param: str | None) -> None:
    async with speech_house() as house:
        found, text, _ = await post(house, data)
    error = json.loads(text)["error"]
    assert (found, error["code"], error["param"]) == (status, code, param)
    assert error["type"] == "invalid_request_error"


async def test_a_language_behind_the_file_is_too_late() -> None:
    data = aiohttp.FormData()
    data.add_field("model", "gpt-1")
    data.add_field("file", FILE, filename="a.wav")
    data.add_field("language", "en")
    async with speech_house() as house:
        status, text, _ = await post(house, data)
    assert (status, json.loads(text)["error"]["param"]) == (400, "language")


async def test_a_broken_form_is_told() -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    async with speech_house() as house:
        status, text, _ = await post(house, b"--y\r\nnothing", **headers)
    assert status == 400
    assert json.loads(text)["error"]["type"] == "invalid_request_error"


async def test_a_file_beyond_the_limit() -> None:
    async with speech_house() as house:
        service = AudioService(house.context, file_bytes_max=100_000)
        front_end = HttpFrontEnd(house.gateway, services=[service])
        port = await front_end.start("127.0.0.1", 0)
        minute = wav(s16le(np.zeros(16_000 * 60, np.float32)))

        async def unannounced() -> AsyncIterator[bytes]:
            yield minute

        data = aiohttp.FormData()
        data.add_field("model", "gpt-1")
        data.add_field("file", unannounced(), filename="a.wav")
        for body in (form(io.BytesIO(minute), model="gpt-1"), data):
            async with (
                asyncio.timeout(20),
                aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
                session.post(TRANSCRIPTIONS, data=body) as response,
            ):
                assert response.status == 413
                assert (await response.json())["error"]["code"] == "file_too_large"
        await front_end.stop(1)


async def test_a_model_that_fails_is_told(tmp_path: Path) -> None:
    """Within a stream of events, too, and a stream has no status any more."""
    repository = failing_repository(tmp_path)
    file = wav(s16le(tones()) + s16le(np.full(16_000, 0.99, np.float32)))
    async with speech_house(repository) as house:
        status, text, _ = await post(house, form(file, model="gpt-1"))
        assert status == 500
        assert "too loud" in json.loads(text)["error"]["message"]
        status, text, _ = await post(house, form(file, model="gpt-1", stream="true"))
    *_, last = (json.loads(block.removeprefix("data: ")) for block in text.strip().split("\n\n"))
    assert (status, last["type"]) == (200, "error")
    assert "too loud" in last["error"]["message"]


async def test_keys() -> None:
    async with speech_house(speech=SpeechSettings(api_keys=["right"])) as house:
        status, text, _ = await post(house, form(model="gpt-1"), Authorization="Bearer wrong")
        assert (status, json.loads(text)["error"]["code"]) == (401, "invalid_api_key")
        status, _, _ = await post(house, form(model="gpt-1"), Authorization="Bearer right")
        assert status == 200


async def test_full_slots(tmp_path: Path) -> None:
    repository = repository_with(tmp_path, max_candidate_sequences="1")
    async with speech_house(repository) as house:
        async with talk(house.ports.http, "/v1/realtime?intent=transcription") as client:
            await client.hear("session.created")
            status, text, response = await post(house, form(model="gpt-1"))
            assert (status, response.headers["Retry-After"]) == (429, "1")
            assert json.loads(text)["error"]["code"] == "rate_limit_exceeded"
        assert await settled(house) == 200


async def settled(house: SpeechHouse) -> int:
    """The status once slots are given back, in a moment."""
    async with asyncio.timeout(20):
        while True:
            status, _, _ = await post(house, form(model="gpt-1"))
            if status != 429:
                return status


async def test_a_server_that_goes_away_takes_no_more_files() -> None:
    async with (
        speech_house(exit_timeout_seconds=5) as house,
        talk(house.ports.http, "/v1/realtime?intent=transcription") as client,
    ):
        await client.append(bytes(48_000))
        await client.hear("session.created")
        stopping = asyncio.create_task(house.server.stop())
        await asyncio.sleep(0)
        status, text, _ = await post(house, form(model="gpt-1"))
        assert (status, json.loads(text)["error"]["code"]) == (503, "server_going_away")
        await client.socket.close()
        await stopping


@pytest.mark.parametrize("is_patient", [True, False])
async def test_an_upload_that_stops_gives_its_slot_back(is_patient: bool, tmp_path: Path) -> None:
    """It is told, if it is still there, and is over as soon as its client is gone, if not."""
    idle = "200000" if is_patient else "30000000"
    changes = {"max_candidate_sequences": "1", "max_sequence_idle_microseconds": idle}
    repository = repository_with(tmp_path, **changes)
    has_stopped = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, 50_000, 5000):
            yield FILE[at : at + 5000]
            await asyncio.sleep(0.02)  # the reader of forms keeps the last piece it got
        has_stopped.set()
        await asyncio.sleep(20 if not is_patient else 1)
        yield FILE[50_000:]

    data = aiohttp.FormData()
    data.add_field("model", "gpt-1")
    data.add_field("file", pieces(), filename="a.wav")
    async with speech_house(repository) as house:
        upload = asyncio.create_task(post(house, data))
        await has_stopped.wait()
        if is_patient:
            status, text, _ = await upload
            assert (status, json.loads(text)["error"]["code"]) == (408, "upload_idle")
        else:
            upload.cancel()
        assert await settled(house) == 200


async def test_models_are_listed() -> None:
    async with (
        speech_house() as house,
        aiohttp.ClientSession(f"http://127.0.0.1:{house.ports.http}") as session,
    ):
        async with session.get("/v1/models") as response:
            listed = await response.json()
        assert [model["id"] for model in listed["data"]] == ["tone_transcriber"]
        async with session.get("/v1/models/tone_transcriber") as response:
            assert await response.json() == listed["data"][0]
        async with session.get("/v1/models/no_such_model") as response:
            assert response.status == 404
            assert (await response.json())["error"]["code"] == "model_not_found"
        async with session.get(TRANSCRIPTIONS) as response:
            assert response.status == 405
            assert (await response.json())["error"]["code"] == "method_not_allowed"


async def test_a_translation_that_there_is_not_names_those_that_are() -> None:
    async with speech_house() as house:
        status, text, _ = await post(house, form(model="whisper-1"), TRANSLATIONS)
    error = json.loads(text)["error"]
    assert status == 400
    assert "en-de" in error["message"]
    assert "en-fr" in error["message"]


async def test_a_translation_into_english(tmp_path: Path) -> None:
    """The speech is German, for once, and the translator reads it."""
    repository = tmp_path / "models"
    shutil.copytree(REPOSITORY, repository)
    for name, old, new in (
        ("tone_transcriber", 'string_value: "en"', 'string_value: "de"'),
        ("reversing_translator", 'string_value: "en"', 'string_value: "de"'),
        ("reversing_translator", 'string_value: "de,fr"', 'string_value: "en"'),
    ):
        config = repository / name / "config.pbtxt"
        text = config.read_text()
        assert old in text
        config.write_text(text.replace(old, new))
    async with speech_house(repository) as house:
        data = form(TWO_UTTERANCES, model="whisper-1", response_format="verbose_json")
        status, text, _ = await post(house, data, TRANSLATIONS)
    body = json.loads(text)
    assert status == 200
    words = [word[::-1] for word in words_of()]
    assert body["text"] == " ".join(words)
    assert body["language"] == "en"
    assert [segment["text"] for segment in body["segments"]] == [
        " ".join(words[:4]),
        " ".join(words[4:]),
    ]
