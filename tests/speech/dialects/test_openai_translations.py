"""OpenAI Realtime translation sessions over real sockets."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from streamgate.server.settings import SpeechSettings
from tests.speech.dialects.talk import Talk, refused, repository_with, talk
from tests.speech.house import speech_house
from tests.speech.tones import s16le, tones, words_of

PATH = "/v1/realtime/translations"
APPEND = "session.input_audio_buffer.append"
RATE = 24_000
GERMAN = " ".join(word[::-1] for word in words_of())


async def send(client: Talk, audio: bytes, piece: int = 9600) -> None:
    """Frames of 200 ms, as the engine of the service has them."""
    for at in range(0, len(audio), piece):
        await client.append(audio[at : at + piece], APPEND)


def text(client: Talk, side: str) -> str:
    return "".join(m["delta"] for m in client.all(f"session.{side}_transcript.delta"))


@pytest.mark.parametrize("model", ["gpt-realtime-translate", "reversing_translator", ""])
async def test_speech_is_translated_as_it_is_heard(model: str) -> None:
    audio = s16le(tones(rate_hz=RATE))
    async with speech_house() as house, talk(house.ports.http, f"{PATH}?model={model}") as client:
        created = (await client.hear())["session"]
        assert (created["type"], created["model"]) == ("translation", "reversing_translator")
        assert created["audio"]["output"]["language"] == "de"
        await client.say(
            "session.update",
            session={"audio": {"input": {"transcription": {"model": "gpt-realtime-whisper"}}}},
        )
        updated = await client.hear("session.updated")
        shown = updated["session"]["audio"]["input"]["transcription"]
        assert shown == {"model": "tone_transcriber"}
        await send(client, audio)
        await client.say("session.close")
        code, _ = await client.hear_end()
    assert code == 1000
    assert client.kinds()[-1] == "session.closed"
    assert text(client, "input") == " ".join(words_of())
    assert text(client, "output") == GERMAN
    outputs = client.all("session.output_transcript.delta")
    elapsed = [message["elapsed_ms"] for message in outputs]
    assert len(outputs) > 2
    assert elapsed == sorted(elapsed)
    assert elapsed[0] < 2000 < elapsed[-1]


async def test_the_source_is_only_told_to_who_asks() -> None:
    async with speech_house() as house, talk(house.ports.websocket, PATH) as client:
        await send(client, s16le(tones(rate_hz=RATE)))
        await client.say("session.close")
        await client.hear_end()
    assert text(client, "input") == ""
    assert text(client, "output") == GERMAN


async def test_another_language() -> None:
    async with speech_house() as house, talk(house.ports.websocket, PATH) as client:
        await client.say("session.update", session={"audio": {"output": {"language": "fr-CA"}}})
        updated = await client.hear("session.updated")
        assert updated["session"]["audio"]["output"]["language"] == "fr"
        await send(client, s16le(tones(rate_hz=RATE)))
        await client.say("session.close")
        await client.hear_end()
    assert text(client, "output") == GERMAN.upper()


async def test_another_model_for_another_language(tmp_path: Path) -> None:
    repository = repository_with(tmp_path, "reversing_translator", max_candidate_sequences="1")
    shutil.copytree(repository / "reversing_translator", repository / "spanish_translator")
    config = repository / "spanish_translator/config.pbtxt"
    config.write_text(config.read_text().replace('"de,fr"', '"es"'))
    spanish = {"audio": {"output": {"language": "es"}}}
    async with speech_house(repository) as house:
        port = house.ports.websocket
        async with talk(port, PATH) as client:
            await client.say("session.update", session=spanish)
            assert (await client.hear("session.updated"))["session"][
                "model"
            ] == "spanish_translator"
            async with talk(port, PATH) as second:  # the German one's slot was given back
                await second.hear("session.created")
                await second.say("session.update", session=spanish, event_id="e1")
                error = (await second.hear("error"))["error"]
                assert (error["code"], error["event_id"]) == ("rate_limit_exceeded", "e1")
                await second.append(bytes(4800), APPEND)
                await second.say("session.update", session=spanish)
                error = (await second.hear("error"))["error"]
                assert error["code"] == "session_update_not_allowed"
                await send(second, s16le(tones(rate_hz=RATE)))
                await second.say("session.close")
                await second.hear_end()
    assert text(second, "output") == GERMAN


@pytest.mark.parametrize(
    ("kind", "fields", "param"),
    [
        ("session.update", {}, "session"),
        (
            "session.update",
            {"session": {"audio": {"output": {"language": "fi"}}}},
            "session.audio.output.language",
        ),
        (
            "session.update",
            {"session": {"audio": {"output": {"voice": "x"}}}},
            "session.audio.output.voice",
        ),
        ("session.update", {"session": {"type": "realtime"}}, "session.type"),
        (APPEND, {"audio": "&&"}, "audio"),
        ("input_audio_buffer.append", {"audio": ""}, "type"),
    ],
)
async def test_a_wrong_message_leaves_the_session_open(
    kind: str, fields: dict[str, Any], param: str
) -> None:
    async with speech_house() as house, talk(house.ports.websocket, PATH) as client:
        await client.say(kind, **fields)
        assert (await client.hear("error"))["error"]["param"] == param
        await client.say("session.close")
        await client.hear_end()
    assert client.kinds() == ["session.created", "error", "session.closed"]


@pytest.mark.parametrize("full", ["tone_transcriber", "reversing_translator"])
async def test_who_finds_no_slot_is_refused_and_takes_none(full: str, tmp_path: Path) -> None:
    repository = repository_with(tmp_path, full, max_candidate_sequences="1")
    async with speech_house(repository) as house:
        port = house.ports.websocket
        async with talk(port, PATH) as client:
            await client.hear("session.created")
            for _ in range(40):
                status, body, headers = await refused(port, PATH)
                assert (status, headers["retry-after"]) == (429, "1")
                assert body["error"]["code"] == "rate_limit_exceeded"
            if full == "reversing_translator":
                # 32 slots, all but one of them free again.
                async with talk(port, "/v1/realtime?intent=transcription") as other:
                    await other.hear("session.created")


async def test_a_wrong_key_a_wrong_model_and_no_translator(tmp_path: Path) -> None:
    async with speech_house(speech=SpeechSettings(api_keys=["right"])) as house:
        assert (await refused(house.ports.websocket, PATH))[0] == 401
        right = {"Authorization": "Bearer right"}
        status, body, _ = await refused(house.ports.websocket, PATH + "?model=nobody", right)
        assert (status, body["error"]["code"]) == (404, "model_not_found")
    repository = repository_with(tmp_path)
    shutil.rmtree(repository / "reversing_translator")
    async with speech_house(repository) as house:
        status, body, _ = await refused(house.ports.websocket, PATH)
        assert status == 404
        assert "no translation model" in body["error"]["message"]


async def test_a_silent_client_is_told_why_it_is_left(tmp_path: Path) -> None:
    repository = repository_with(tmp_path, max_sequence_idle_microseconds="300000")
    async with speech_house(repository) as house, talk(house.ports.websocket, PATH) as client:
        await client.append(bytes(24_000), APPEND)
        code, reason = await client.hear_end()
    assert (code, reason) == (1000, "session_idle")
    assert client.all("error")[0]["error"]["code"] == "session_idle"


async def test_a_server_that_goes_away_says_so() -> None:
    async with (
        speech_house(exit_timeout_seconds=0.2) as house,
        talk(house.ports.websocket, PATH) as client,
    ):
        await client.hear("session.created")
        await client.append(bytes(24_000), APPEND)
        stopping = asyncio.create_task(house.server.stop())
        code, _ = await client.hear_end()
        await stopping
    assert code == 1001
