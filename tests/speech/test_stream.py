"""`SpeechStream` on a real engine: audio in, text events out, whatever the pieces."""

import asyncio
import io

import numpy as np
import pytest
import soundfile

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.speech import Declared, SpeechStream, TextEvent, Utterance
from streamgate.frontends.speech.ending import UNTOLD
from streamgate.frontends.speech.stream import BACKLOG_SECONDS_MAX, MARKS_WAITING_MAX
from streamgate.model.request import SequenceKey
from streamgate.session.connection import SessionConnection
from tests.speech.house import SpeechHouse, speech_house
from tests.speech.tones import MELODY, s16le, tones, words_of


class Listener:
    """Keeps all it hears."""

    def __init__(self) -> None:
        self.events: list[TextEvent] = []
        self.markers: list[object] = []
        self.events_at_markers: list[int] = []
        self.ended: asyncio.Future[tuple[EndReason, Failure | None]] = (
            asyncio.get_running_loop().create_future()
        )
        self.heard = asyncio.Event()
        self.has_room = asyncio.Event()

    def on_text(self, event: TextEvent) -> None:
        self.events.append(event)
        self.heard.set()

    def on_flushed(self, marker: object) -> None:
        self.markers.append(marker)
        self.events_at_markers.append(len(self.events))
        self.heard.set()

    def on_room(self) -> None:
        self.heard.set()
        self.has_room.set()

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        self.ended.set_result((reason, failure))

    @property
    def texts(self) -> list[str]:
        """The utterances, and what is left."""
        utterance = Utterance()
        texts = []
        for event in self.events:
            utterance.take(event)
            if utterance.is_final:
                texts.append(utterance.text)
        return texts


async def opened(house: SpeechHouse, declared: Declared) -> tuple[SpeechStream, Listener]:
    listener = Listener()
    model = await house.context.models.choose()
    stream = SpeechStream(house.gateway, model, declared, listener)
    await stream.open()
    return stream, listener


PCM = Declared("s16le", 16_000)


@pytest.mark.parametrize("piece", [640, 777, 5120, 10**6])
async def test_audio_in_pieces_of_any_size_is_heard_the_same(piece: int) -> None:
    audio = s16le(tones())
    async with speech_house() as house:
        stream, listener = await opened(house, PCM)
        for at in range(0, len(audio), piece):
            stream.feed(audio[at : at + piece])
        stream.finish()
        async with asyncio.timeout(20):
            assert await listener.ended == (EndReason.CLIENT_END, None)
    assert listener.texts == [" ".join(words_of())]
    words = [word for event in listener.events for word in event.words]
    starts = [0.12 + 0.36 * place for place in range(len(MELODY))]
    assert [word.start_seconds for word in words] == pytest.approx(starts, abs=0.03)


async def test_a_flush_ends_the_utterance_and_the_times_stay_the_clients() -> None:
    audio = s16le(tones())
    half = round(0.36 * 4 * 16_000) * 2
    async with speech_house() as house:
        stream, listener = await opened(house, PCM)
        stream.feed(audio[:half])
        stream.flush("a")
        stream.flush("b")
        stream.feed(audio[half:])
        stream.finish()
        async with asyncio.timeout(20):
            await listener.ended
    words = words_of()
    assert listener.texts == [" ".join(words[:4]), " ".join(words[4:])]
    assert listener.markers == ["a", "b"]
    place = next(at for at, event in enumerate(listener.events) if event.final)
    assert listener.events_at_markers == [place + 1, place + 1]
    found = [word for event in listener.events for word in event.words]
    starts = [0.12 + 0.36 * place for place in range(len(MELODY))]
    assert [word.start_seconds for word in found] == pytest.approx(starts, abs=0.05)


async def test_a_stream_without_audio_ends_without_a_step() -> None:
    async with speech_house() as house:
        stream, listener = await opened(house, PCM)
        stream.finish()
        async with asyncio.timeout(20):
            assert await listener.ended == (EndReason.CLIENT_END, None)
        assert listener.events == []


async def test_another_rate_is_resampled() -> None:
    audio = tones(rate_hz=44_100).astype("<f4").tobytes()
    async with speech_house() as house:
        stream, listener = await opened(house, Declared("f32le", 44_100))
        for at in range(0, len(audio), 3000):
            stream.feed(audio[at : at + 3000])
        stream.finish()
        async with asyncio.timeout(20):
            await listener.ended
    assert listener.texts == [" ".join(words_of())]


async def test_audio_may_be_declared_anew_until_it_comes() -> None:
    async with speech_house() as house:
        stream, listener = await opened(house, PCM)
        with pytest.raises(StreamGateError, match="sample rate"):
            stream.declare(Declared("s16le", 5))
        stream.declare(Declared("f32le", 44_100))
        stream.feed(tones(rate_hz=44_100).astype("<f4").tobytes())
        stream.finish()
        async with asyncio.timeout(20):
            await listener.ended
    assert listener.texts == [" ".join(words_of())]


async def test_a_server_that_goes_away_tells_the_stream() -> None:
    async with speech_house(exit_timeout_seconds=0.2) as house:
        stream, listener = await opened(house, PCM)
        stream.feed(np.zeros(5120, "<i2").tobytes())
        async with asyncio.timeout(20):
            await listener.heard.wait()
            await house.server.stop()
            reason, failure = await listener.ended
    assert reason is EndReason.DRAINED
    assert failure is not None


async def test_who_says_that_it_is_there_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[SequenceKey] = []
    monkeypatch.setattr(SessionConnection, "keep", lambda _self, *of: kept.append(of[-1]))
    async with speech_house() as house:
        stream, _ = await opened(house, PCM)
        stream.keep()
        stream.close()
        stream.keep()
        assert kept == [stream.key]


async def test_a_large_piece_is_decoded_as_there_is_room() -> None:
    """A whole recording in one piece: a part is decoded at once, the rest as results come."""
    silence = np.zeros(16_000 * 90, np.float32)
    audio = s16le(np.concatenate([tones(), silence, tones()]))
    async with speech_house() as house:
        stream, listener = await opened(house, PCM)
        stream.feed(audio)
        assert not stream.has_room
        assert stream.heard_seconds < BACKLOG_SECONDS_MAX + 1
        stream.flush("behind all")
        stream.finish()
        async with asyncio.timeout(60):
            assert await listener.ended == (EndReason.CLIENT_END, None)
        assert stream.heard_seconds == pytest.approx(len(audio) / 32_000)
    words = [word.text for event in listener.events for word in event.words]
    assert words[: len(MELODY)] == words_of()
    assert len(words) == 2 * len(MELODY)
    assert listener.markers == ["behind all"]


async def test_what_is_found_damaged_later_ends_the_stream_with_it() -> None:
    file = io.BytesIO()
    noise = np.random.default_rng(1).normal(0, 1e-3, 16_000 * 60).astype(np.float32)
    soundfile.write(file, np.concatenate([tones(), noise]), 16_000, format="FLAC")
    audio = bytearray(file.getvalue())
    audio[-20_000:-10_000] = bytes(10_000)
    async with speech_house() as house:
        stream, listener = await opened(house, Declared())
        stream.feed(bytes(audio))
        stream.flush("behind it")
        async with asyncio.timeout(60):
            reason, failure = await listener.ended
    assert reason is EndReason.ERROR
    assert failure is not None
    assert failure.code is Code.INVALID_ARG
    assert "FLAC" in failure.message
    assert stream.heard_seconds > 40
    assert [word.text for event in listener.events for word in event.words][:8] == words_of()
    assert listener.markers == ["behind it"]


async def test_whoever_ends_utterances_faster_than_they_are_heard_is_held_up() -> None:
    async with speech_house() as house:
        stream, listener = await opened(house, PCM)
        count = 0
        while stream.has_room:
            stream.feed(b"\0\0")
            stream.flush(count)
            count += 1
        assert count == MARKS_WAITING_MAX
        async with asyncio.timeout(20):
            await listener.has_room.wait()
        stream.finish()
        async with asyncio.timeout(20):
            await listener.ended
    assert listener.markers == list(range(count))


@pytest.mark.parametrize("place", ["on_text", "on_flushed"])
async def test_a_dialect_that_fails_at_a_result_leaves_nobody_waiting(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with speech_house() as house:
        stream, listener = await opened(house, PCM)
        monkeypatch.setattr(listener, place, failing)
        stream.feed(s16le(tones()))
        stream.flush("here")
        async with asyncio.timeout(20):
            assert await listener.ended == (EndReason.ERROR, UNTOLD)


def failing(_heard: object) -> None:
    raise ValueError("NaN is no whole number")
