"""Spoken numbers with voice activity beside them: utterances end where speech does, with times."""

import importlib.util
from collections.abc import Sequence as Many
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from streamgate.frontends.speech.models import SpeechModels
from streamgate.model.tensor import Array
from tests.server.model_house import ModelHouse
from tests.speech.demo_models import (
    CHUNK,
    DEMOS,
    RATE,
    Event,
    Sequence,
    copied,
    demo_models,
    voice_activity_graph_in,
)

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("silero_vad") is None,
    reason="silero-vad, whose data file the graph is made from, is absent",
)

MODEL = "numbers_vad"
PARTS = ("numbers", "numbers_graph", "numbers_text", "voice_activity_160ms", "end_of_speech")
END_SILENCE_S = 0.6
CHUNK_S = CHUNK / RATE


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = copied(tmp_path_factory.mktemp("models"), MODEL, *PARTS)
    voice_activity_graph_in(directory)
    return directory


@pytest.fixture(scope="module")
def pause() -> Array:
    """Two numbers with a pause of two seconds between them, and a second of silence behind."""
    samples, rate = soundfile.read(DEMOS / "audio" / "numbers" / "pause_22k.wav", dtype="float32")
    audio = soxr.resample(samples, rate, RATE)
    return np.asarray(np.pad(audio, (0, RATE)), np.float32)


def value(event: Event, name: str) -> float:
    return float(event.outputs[name].item())


def told(events: Many[Event]) -> list[tuple[int, float]]:
    """Where speech began (1) and ended (2)."""
    return [
        (int(value(event, "SPEECH_EVENT")), value(event, "EVENT_TIME"))
        for event in events
        if value(event, "SPEECH_EVENT")
    ]


def word_times(event: Event) -> Array:
    return event.outputs["WORD_TIMES"].reshape(-1, 2)


async def heard(house: ModelHouse, model: str, audio: Array) -> Sequence:
    sequence = Sequence(house, model)
    await sequence.hear(audio)
    return sequence


async def test_silence_ends_an_utterance_soon_after_its_last_word(
    repository: Path, pause: Array
) -> None:
    async with demo_models(MODEL, "numbers", directory=repository) as house:
        sequence = await heard(house, MODEL, pause)
        plain = await heard(house, "numbers", pause)
    events = sequence.events
    assert len(events) == -(-len(pause) // CHUNK), "one event for each chunk"
    assert sequence.stable == plain.stable
    assert len(sequence.stable) == 3
    assert sequence.stable[-1] == ""
    kinds, times = zip(*told(events), strict=True)
    assert kinds == (1, 2, 1, 2)
    finals = [event for event in events if event.final]
    assert [int(value(event, "SPEECH_EVENT")) for event in finals] == [2, 2]
    for event, ended in zip(finals, times[1::2], strict=True):
        late = value(event, "AUDIO_PROCESSED") - ended
        assert END_SILENCE_S <= late <= END_SILENCE_S + CHUNK_S
    spoken = [word_times(event) for event in events if word_times(event).size]
    words = np.concatenate(spoken)
    assert np.all(np.diff(words.ravel()) >= 0)
    first = words[words[:, 1] < times[2]]
    assert times[0] - 0.3 <= first[0, 0] <= first[-1, 1] <= times[1] + 0.3
    assert times[2] - 0.3 <= words[len(first), 0] <= words[-1, 1] <= times[3] + 0.3
    plain_finals = [event for event in plain.events if event.final]
    for mine, other in zip(finals, plain_finals, strict=True):
        assert value(mine, "AUDIO_PROCESSED") <= value(other, "AUDIO_PROCESSED")
    probabilities = [value(event, "SPEECH_PROBABILITY") for event in events]
    assert max(probabilities) > 0.9
    assert min(probabilities) < 0.1


async def test_a_client_may_still_end_an_utterance_itself(repository: Path, pause: Array) -> None:
    async with demo_models(MODEL, directory=repository) as house:
        sequence = Sequence(house, MODEL)
        await sequence.hear(pause[: 9 * CHUNK], end=False)  # in the middle of the first number
        assert not any(event.final for event in sequence.events)
        (event,) = await sequence.step(AUDIO=pause[9 * CHUNK : 10 * CHUNK], FLUSH=True)
        assert event.final
        assert event.text("TAIL") == ""


async def test_it_is_a_speech_model_to_every_dialect(repository: Path) -> None:
    async with demo_models(MODEL, "numbers", directory=repository) as house:
        models = {model.name: model for model in await SpeechModels(house.gateway).all()}
        assert set(models) == {"numbers", MODEL}
        assert models[MODEL].chunk_samples == CHUNK
        assert models[MODEL].takes_flush
        assert models[MODEL].languages == ("en",)


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("de", ["minus zwölf Komma fünf", "siebenhundertsechstausend"]),
        ("fr", ["moins douze virgule cinq", "sept cent six mille"]),
        ("es", ["menos doce coma cinco", "setecientos seis mil"]),
    ],
)
async def test_what_is_said_is_translated_as_it_is_said(
    repository: Path, pause: Array, language: str, expected: list[str]
) -> None:
    async with (
        demo_models(MODEL, directory=repository) as house,
        demo_models("translate_numbers") as translators,
    ):
        said = await heard(house, MODEL, pause)
        translation = Sequence(translators, "translate_numbers")
        for event in said.events:
            await translation.step(
                TEXT=event.text("STABLE"),
                TEXT_TAIL=event.text("TAIL"),
                FLUSH=event.final,
                TARGET_LANGUAGE=language,
            )
    assert translation.stable == [*expected, ""]
    assert len(translation.events) > 2 * len(expected), "it shows what it has so far"
