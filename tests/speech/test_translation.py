"""`TranslationStream` on a real engine: text events in, those of another language out."""

import asyncio
from collections.abc import Iterable

import pytest

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.speech import TextEvent, TranslationStream, Utterance, translated
from streamgate.frontends.speech import translation as module
from streamgate.frontends.speech.ending import UNTOLD
from streamgate.model.request import SequenceKey
from streamgate.session.connection import SessionConnection
from tests.speech.house import SpeechHouse, speech_house
from tests.speech.tones import words_of

SENTENCE = " ".join(words_of())


class Listener:
    def __init__(self) -> None:
        self.events: list[TextEvent] = []
        self.rooms = 0
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[tuple[EndReason, Failure | None]] = loop.create_future()

    def on_text(self, event: TextEvent) -> None:
        self.events.append(event)

    def on_room(self) -> None:
        self.rooms += 1

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        self.ended.set_result((reason, failure))

    @property
    def texts(self) -> list[str]:
        utterance = Utterance()
        texts = []
        for event in self.events:
            utterance.take(event)
            if utterance.is_final:
                texts.append(utterance.text)
        return texts


async def opened(house: SpeechHouse, target: str = "de") -> tuple[TranslationStream, Listener]:
    listener = Listener()
    model = await house.context.models.choose_translation("", "en", target)
    stream = TranslationStream(house.gateway, model, target, listener)
    await stream.open()
    return stream, listener


def word_by_word(text: str) -> Iterable[TextEvent]:
    """Each word is a guess first, then sure."""
    words = text.split()
    for place, word in enumerate(words):
        spaced = f" {word}" if place else word
        yield TextEvent("", spaced[:-1], False, place + 0.5)
        yield TextEvent(spaced, "", False, place + 1.0)
    yield TextEvent("", "", True, float(len(words)))


def backwards(text: str) -> str:
    return " ".join(word[::-1] for word in text.split())


async def test_a_growing_text_is_translated_as_it_grows() -> None:
    async with speech_house() as house:
        stream, listener = await opened(house)
        for event in word_by_word(SENTENCE):
            stream.take(event)
            await asyncio.sleep(0.002)  # most events become steps of their own
        stream.finish()
        async with asyncio.timeout(20):
            assert await listener.ended == (EndReason.CLIENT_END, None)
    assert listener.texts == [backwards(SENTENCE)]
    assert any(event.tail for event in listener.events)
    covered = [event.audio_seconds for event in listener.events]
    assert covered == sorted(covered)
    assert covered[-1] == len(SENTENCE.split())


async def test_events_that_come_at_once_become_few_steps_and_the_same_text() -> None:
    async with speech_house() as house:
        stream, listener = await opened(house, "fr")
        for event in word_by_word(SENTENCE):
            stream.take(event)
        stream.take(TextEvent("again", "", True, 9.0))
        stream.finish()
        async with asyncio.timeout(20):
            await listener.ended
    assert listener.texts == [backwards(SENTENCE).upper(), "NIAGA"]
    assert sum(event.final for event in listener.events) == 2
    assert max(event.position for event in listener.events) <= 4


async def test_events_that_say_nothing_new_cost_no_step() -> None:
    async with speech_house() as house:
        stream, listener = await opened(house)
        for seconds in range(5):
            stream.take(TextEvent("", "", False, float(seconds)))
        stream.finish()
        async with asyncio.timeout(20):
            assert await listener.ended == (EndReason.CLIENT_END, None)
        assert listener.events == []
        statistics = await house.gateway.statistics(stream.model.name, "")
        assert statistics[0].inference_count == 0


async def test_an_utterance_that_is_open_at_the_end_is_finished() -> None:
    async with speech_house() as house:
        stream, listener = await opened(house)
        stream.take(TextEvent("nine", " four", False, 1.0))
        stream.finish()
        async with asyncio.timeout(20):
            await listener.ended
    assert listener.texts == ["enin"]


async def test_too_many_utterances_close_the_tap_and_then_open_it() -> None:
    async with speech_house() as house:
        stream, listener = await opened(house)
        for place in range(20):
            stream.take(TextEvent(f"w{place}", "", True, float(place)))
        assert not stream.has_room
        stream.finish()
        async with asyncio.timeout(20):
            await listener.ended
    assert listener.rooms == 1
    assert listener.texts == [f"w{place}"[::-1] for place in range(20)]


async def test_utterances_without_bound_fail_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UTTERANCES_WAITING_MAX", 10)
    async with speech_house() as house:
        stream, listener = await opened(house)
        for place in range(20):
            stream.take(TextEvent(f"w{place}", "", True, float(place)))
        async with asyncio.timeout(20):
            reason, failure = await listener.ended
    assert reason is EndReason.ERROR
    assert failure == Failure(
        Code.UNAVAILABLE, "10 utterances wait for model 'reversing_translator'"
    )


async def test_a_server_that_goes_away_tells_the_stream() -> None:
    async with speech_house(exit_timeout_seconds=0.2) as house:
        stream, listener = await opened(house)
        stream.take(TextEvent("nine", "", False, 1.0))
        async with asyncio.timeout(20):
            await house.server.stop()
            reason, failure = await listener.ended
    assert reason is EndReason.DRAINED
    assert failure is not None


async def test_a_whole_text_at_once() -> None:
    async with speech_house() as house:
        model = await house.context.models.choose_translation("", "en-US", "fr-CA")
        assert (
            await translated(house.gateway, model, "fr-CA", SENTENCE) == backwards(SENTENCE).upper()
        )
        assert await translated(house.gateway, model, "fr", "") == ""


async def test_a_language_that_nothing_translates_into_is_named() -> None:
    async with speech_house() as house:
        with pytest.raises(
            StreamGateError, match=r"no translation from 'en' to 'es'.*en-de, en-fr"
        ):
            await house.context.models.choose_translation("", "en", "es")


async def test_a_source_that_hears_silence_keeps_its_translation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[SequenceKey] = []
    monkeypatch.setattr(SessionConnection, "keep", lambda _self, *of: kept.append(of[-1]))
    async with speech_house() as house:
        stream, _ = await opened(house)
        for second in range(3):
            stream.take(TextEvent("", "", False, float(second)))
        assert kept == [stream.key] * 3
        stream.close()


async def test_a_dialect_that_fails_at_a_translation_leaves_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(_event: TextEvent) -> None:
        raise ValueError("NaN is no whole number")

    async with speech_house() as house:
        stream, listener = await opened(house)
        monkeypatch.setattr(listener, "on_text", fails)
        stream.take(TextEvent("nine", "", False, 1.0))
        async with asyncio.timeout(20):
            assert await listener.ended == (EndReason.ERROR, UNTOLD)
