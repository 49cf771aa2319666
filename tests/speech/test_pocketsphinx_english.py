"""Open-vocabulary English in its process: words and times, ends of utterances, decoders that are
used again, and what it can't do."""

import asyncio
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from streamgate.engine.runtime import ModelRuntime
from streamgate.errors import Code, StreamGateError
from streamgate.frontends.speech.models import SpeechModels
from streamgate.model.tensor import Array
from tests.speech.demo_models import (
    CHUNK,
    Event,
    Sequence,
    copied,
    demo_models,
    recording,
    voice_activity_graph_in,
)

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pocketsphinx") is None, reason="pocketsphinx is not installed"
)

MODEL = "pocketsphinx_english"
WITH_VAD = "pocketsphinx_english_vad"
# What the recording says but for the last word, which is heard as "for".
STATION = "attention please the train to the harbour leaves from platform"


@pytest.fixture(scope="module")
def station() -> Array:
    return recording("station_16k.wav", silence_s=1.0)


def changes(events: list[Event]) -> list[tuple[int, float]]:
    """Where speech began (1) and ended (2), in seconds."""
    return [
        (int(event.outputs["SPEECH_EVENT"].item()), float(event.outputs["EVENT_TIME"].item()))
        for event in events
        if event.outputs["SPEECH_EVENT"].item()
    ]


async def test_words_with_times_and_two_utterances(station: Array) -> None:
    async with demo_models(MODEL) as house:
        sequence = Sequence(house, MODEL)
        events = await sequence.hear(station)
    first, second, rest = sequence.stable
    assert rest == ""
    assert first == "attention please"
    assert f"{first} {second}".startswith(STATION)
    finals = [event for event in events if event.final]
    assert [event.text("TAIL") for event in finals] == ["", ""]
    assert [kind for kind, _ in changes(events)] == [1, 2, 1, 2]
    edges = [at for _, at in changes(events)]
    assert edges == sorted(edges)
    for event, (began, ended) in zip(finals, (edges[:2], edges[2:]), strict=True):
        words = [word.decode() for word in event.outputs["WORDS"]]
        assert " ".join(words) == event.text("STABLE")
        times = event.outputs["WORD_TIMES"]
        assert times.shape == (len(words), 2)
        assert np.all(np.diff(times.ravel()) >= -0.011)  # a frame of 10 ms belongs to two words
        assert began - 0.3 <= times[0, 0]
        assert times[-1, 1] <= ended + 0.3
        confidences = event.outputs["WORD_CONFIDENCES"]
        assert confidences.shape == (len(words),)
        assert np.all((confidences >= 0) & (confidences <= 1))
        assert event.outputs["AUDIO_PROCESSED"].item() >= ended + 0.5
    tails = [event.text("TAIL") for event in events if not event.final]
    assert len(set(tails)) > 5, "it shows its guesses while somebody speaks"


async def test_a_flush_ends_an_utterance_in_the_middle(station: Array) -> None:
    async with demo_models(MODEL) as house:
        sequence = Sequence(house, MODEL)
        middle = 21 * CHUNK  # behind "the train to"
        await sequence.hear(station[:middle], end=False)
        await sequence.step(AUDIO=station[:0], FLUSH=True)
        assert sequence.events[-1].final
        assert sequence.stable[1].startswith("the train")
        await sequence.hear(station[middle:])
        assert sequence.stable[2].endswith("leaves from platform for")
        assert await Sequence(house, MODEL).step(AUDIO=station[:0], end=True) == []


@pytest.mark.slow
async def test_decoders_are_used_again_and_tell_nothing_of_before(station: Array) -> None:
    async with demo_models(MODEL) as house:
        alone = Sequence(house, MODEL)
        await alone.hear(station)
        again = [Sequence(house, MODEL) for _ in range(2)]
        await asyncio.gather(*(sequence.hear(station) for sequence in again))
        given_up = Sequence(house, MODEL)
        await given_up.hear(station[: 10 * CHUNK], end=False)  # an utterance is open: superseded
        given_up._begun = False
        given_up.events.clear()
        await given_up.hear(station)
    assert [sequence.stable for sequence in (*again, given_up)] == [alone.stable] * 3


async def test_sequences_stay_where_they_are(station: Array) -> None:
    async with demo_models(MODEL) as house:
        runtime = house.runtime(MODEL)
        assert isinstance(runtime, ModelRuntime)
        sequence = Sequence(house, MODEL)
        await sequence.step(AUDIO=station[:CHUNK])
        with pytest.raises(StreamGateError, match="has no get_state and set_state") as raised:
            await runtime.places.snapshot(sequence.key, position=0)
        assert raised.value.code is Code.UNSUPPORTED


async def test_probabilities_from_elsewhere_must_fit_the_audio(station: Array) -> None:
    async with demo_models(MODEL) as house:
        sequence = Sequence(house, MODEL)
        (event,) = await sequence.step(AUDIO=station[:CHUNK], SPEECH_PROBABILITIES=[0.1] * 7)
        assert event.error == (
            "AUDIO has 2560 samples and SPEECH_PROBABILITIES 7 values, expected a probability for "
            "each of equal parts"
        )
        (event,) = await sequence.step(AUDIO=station[:CHUNK], SPEECH_PROBABILITIES=[0.9] * 5)
        assert event.outputs["SPEECH_EVENT"].item() == 1
        assert event.outputs["SPEECH_PROBABILITY"].item() == np.float32(0.9)


@pytest.mark.slow
async def test_voice_activity_of_another_model_ends_its_utterances(
    tmp_path: Path, station: Array
) -> None:
    repository = copied(tmp_path, WITH_VAD, MODEL, "voice_activity_160ms")
    voice_activity_graph_in(repository)
    async with demo_models(WITH_VAD, directory=repository) as house:
        assert [each.name for each in await SpeechModels(house.gateway).all()] == [MODEL, WITH_VAD]
        sequence = Sequence(house, WITH_VAD)
        events = await sequence.hear(station)
    assert " ".join(sequence.stable).startswith(STATION)
    kinds, times = zip(*changes(events), strict=True)
    assert kinds == (1, 2, 1, 2)
    assert times == pytest.approx([0.5, 1.8, 2.6, 5.3], abs=0.3)
