"""Wyoming: conversations over a real socket."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamgate.errors import StreamGateError
from streamgate.frontends.dialects.wyoming import WyomingServer
from streamgate.frontends.dialects.wyoming.events import Event, packed, read_event
from streamgate.frontends.dialects.wyoming.server import WyomingLimits
from streamgate.frontends.dialects.wyoming.voice import WyomingVoice
from streamgate.server.settings import SpeechSettings
from tests.speech.dialects.peer import pieces, small_repository
from tests.speech.house import SpeechHouse, speech_house
from tests.speech.tones import MELODY, s16le, tones, words_of

PORTS = SpeechSettings(ports={"wyoming": 0})
AUDIO = s16le(tones())
SILENCE = b"\0" * 32_000
FORMAT = {"rate": 16_000, "width": 2, "channels": 1}
STOP = Event("audio-stop", {"timestamp": None})


class Caller:
    """A client's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, *events: Event | bytes) -> None:
        for event in events:
            self.writer.write(event if isinstance(event, bytes) else packed(event))
        await self.writer.drain()

    async def hear(self) -> Event | None:
        async with asyncio.timeout(20):
            return await read_event(self.reader)

    async def hear_until(self, kind: str) -> list[Event]:
        events: list[Event] = []
        while True:
            event = await self.hear()
            assert event is not None, events
            events.append(event)
            if event.kind == kind:
                return events


@asynccontextmanager
async def called(port: int) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()


def port_of(house: SpeechHouse) -> int:
    return house.ports.dialects["wyoming"]


def chunks(audio: bytes, **changes: Any) -> list[Event]:
    return [Event("audio-chunk", {**FORMAT, **changes}, piece) for piece in pieces(audio, 2048)]


async def test_utterances_one_after_another_on_one_connection() -> None:
    async with speech_house(speech=PORTS) as house, called(port_of(house)) as caller:
        for _ in range(2):
            await caller.say(
                Event("transcribe", {"language": "en"}),
                Event("audio-start", FORMAT),
                *chunks(AUDIO + SILENCE + AUDIO),
                STOP,
            )
            events = await caller.hear_until("transcript-stop")
            kinds = [event.kind for event in events]
            assert kinds[0] == "transcript-start"
            assert kinds[-2] == "transcript"
            assert set(kinds[1:-2]) == {"transcript-chunk"}
            text = " ".join(words_of((*MELODY, *MELODY)))
            assert events[-2].data == {"text": text, "language": "en"}
            assert "".join(event.data["text"] for event in events[1:-2]) == text


async def test_the_next_utterance_may_be_sent_before_the_first_is_answered() -> None:
    twice = [Event("audio-start", FORMAT), *chunks(AUDIO), STOP] * 2
    async with speech_house(speech=PORTS) as house, called(port_of(house)) as caller:
        await caller.say(*twice)
        for _ in range(2):
            events = await caller.hear_until("transcript-stop")
            assert events[-2].data["text"] == " ".join(words_of())


async def test_chunks_say_themselves_what_they_are_and_stereo_is_mixed() -> None:
    stereo = np.repeat(tones(rate_hz=44_100), 2)
    async with speech_house(speech=PORTS) as house, called(port_of(house)) as caller:
        await caller.say(*chunks(s16le(stereo), rate=44_100, channels=2), STOP)
        events = await caller.hear_until("transcript")
    assert events[-1].data["text"] == " ".join(words_of())


async def test_no_audio_is_an_empty_transcript() -> None:
    async with speech_house(speech=PORTS) as house, called(port_of(house)) as caller:
        await caller.say(Event("audio-start", FORMAT), STOP)
        events = await caller.hear_until("transcript-stop")
    assert [event.kind for event in events] == ["transcript-start", "transcript", "transcript-stop"]
    assert events[1].data["text"] == ""


async def test_the_server_describes_itself_and_answers_pings() -> None:
    async with speech_house(speech=PORTS) as house, called(port_of(house)) as caller:
        await caller.say(Event("describe"), Event("ping", {"text": "x"}), Event("wake-up"))
        info, pong = await caller.hear(), await caller.hear()
    assert info is not None
    assert pong is not None
    (program,) = info.data["asr"]
    assert program["supports_transcript_streaming"] is True
    assert [model["name"] for model in program["models"]] == ["tone_transcriber"]
    assert program["models"][0]["languages"] == ["en"]
    assert (pong.kind, pong.data) == ("pong", {"text": "x"})


async def test_without_a_slot_the_client_is_told(tmp_path: Path) -> None:
    async with (
        speech_house(small_repository(tmp_path, slots=1), speech=PORTS) as house,
        called(port_of(house)) as first,
        called(port_of(house)) as second,
    ):
        await first.say(Event("audio-start", FORMAT), Event("ping"))
        await first.hear()
        await second.say(Event("audio-start", FORMAT))
        error = await second.hear()
        assert error is not None
        assert (error.kind, error.data["code"]) == ("error", "unavailable")
        assert await second.hear() is None


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        (b"hello\n", "JSON"),
        (b"[]\n", "list"),
        (b"{}\n", "type"),
        (b"{" + b" " * 70_000 + b"}\n", "longer"),
        (b'{"type": "describe", "data_length": 99999999}\n', "data_length"),
        (b'{"type": "audio-chunk", "payload_length": -1}\n', "payload_length"),
        (b'{"type": "transcribe", "data_length": 2}\n[]', "list"),
        (Event("audio-start", {**FORMAT, "width": 7}), "width"),
        (Event("audio-start", {**FORMAT, "rate": 100}), "100"),
        (Event("audio-start", {**FORMAT, "channels": 99}), "channels"),
        (Event("audio-start", {"width": 2}), "channels"),
        (Event("transcribe", {"language": 3}), "language"),
    ],
)
async def test_what_is_not_understood_is_an_error(sent: Event | bytes, named: str) -> None:
    async with speech_house(speech=PORTS) as house, called(port_of(house)) as caller:
        await caller.say(sent)
        error = await caller.hear()
        assert error is not None
        assert error.kind == "error"
        assert named in error.data["text"]
        assert await caller.hear() is None


@pytest.mark.parametrize(
    ("second", "named"),
    [
        (Event("audio-start", FORMAT), "audio-stop"),
        (Event("audio-chunk", {**FORMAT, "rate": 8000}, b"\0\0"), "8000"),
    ],
)
async def test_what_does_not_fit_an_utterance_is_an_error(second: Event, named: str) -> None:
    async with speech_house(speech=PORTS) as house, called(port_of(house)) as caller:
        await caller.say(Event("audio-start", FORMAT), second)
        (error,) = await caller.hear_until("error")
    assert named in error.data["text"]


async def test_a_model_that_there_is_not_is_named() -> None:
    async with speech_house(speech=PORTS) as house, called(port_of(house)) as caller:
        await caller.say(Event("transcribe", {"name": "nothing"}), Event("audio-start", FORMAT))
        (error,) = await caller.hear_until("error")
    assert "nothing" in error.data["text"]


async def test_a_client_that_stops_within_an_utterance_is_told(tmp_path: Path) -> None:
    short = {"max_sequence_idle_microseconds: 30000000": "max_sequence_idle_microseconds: 300000"}
    repository = small_repository(tmp_path, changes=short)
    async with speech_house(repository, speech=PORTS) as house, called(port_of(house)) as caller:
        await caller.say(Event("audio-start", FORMAT), *chunks(AUDIO))
        events = await caller.hear_until("error")
        assert events[-1].data["text"] == "no audio came for too long"
        assert await caller.hear() is None


async def test_a_silent_client_and_one_too_many_are_sent_away() -> None:
    limits = WyomingLimits(connections=1, idle_seconds=0.3)
    async with speech_house() as house:
        server = WyomingServer(house.context, lambda: True, limits)
        port = await server.start("127.0.0.1", 0)
        try:
            async with called(port) as first:
                await first.say(Event("ping"))
                await first.hear()
                async with called(port) as second:
                    assert await second.hear() is None
                assert await first.hear() is None
        finally:
            await server.stop(1)


async def test_a_server_that_goes_away_closes() -> None:
    async with (
        speech_house(speech=PORTS, exit_timeout_seconds=0.2) as house,
        called(port_of(house)) as caller,
    ):
        await caller.say(Event("audio-start", FORMAT), *chunks(AUDIO))
        await caller.hear()
        stopping = asyncio.create_task(house.server.stop())
        assert (await caller.hear_until("error"))[-1].data["code"]
        assert await caller.hear() is None
        await stopping


async def test_keys_and_this_protocol_exclude_each_other() -> None:
    keyed = SpeechSettings(ports={"wyoming": 0}, api_keys=["key"])
    with pytest.raises(StreamGateError, match="API key"):
        async with speech_house(speech=keyed):
            pass


async def test_half_a_sample_at_the_end_costs_no_text() -> None:
    async with speech_house(speech=PORTS) as house, called(port_of(house)) as caller:
        await caller.say(*chunks(AUDIO[:-1]), STOP)
        events = await caller.hear_until("error")
    assert [event.kind for event in events[-3:]] == ["transcript", "transcript-stop", "error"]
    assert events[-3].data["text"] == " ".join(words_of())


async def test_a_client_that_is_gone_while_nothing_is_read_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(WyomingVoice, "has_room", False)
    async with speech_house(speech=PORTS) as house:
        server = WyomingServer(house.context, lambda: True)
        port = await server.start("127.0.0.1", 0)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(20):
            while not server.connections:  # noqa: ASYNC110, has no event
                await asyncio.sleep(0.01)
            # As a machine that has crashed: a mere end of what it sends may be waiting for answers.
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            while server.connections:  # noqa: ASYNC110, has no event
                await asyncio.sleep(0.01)
        await server.stop(1)
