"""Models that move between any two steps of a stream say what they say without."""

import asyncio
import importlib.util
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from streamgate.core.ids import OwnerNumber
from streamgate.errors import Failure
from streamgate.model.datatypes import DataType
from streamgate.model.request import SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.model.tensor import Array, Tensor
from tests.server.model_house import ModelHouse, model_house
from tests.speech.brought_models import NO_ENDPOINTS, write_fastconformer, write_zipformer
from tests.speech.demo_models import (
    CHUNK,
    MODELS,
    Sequence,
    copied,
    demo_models,
    recording,
    voice_activity_graph_in,
)
from tests.speech.test_brought_models import speech
from tests.speech.tones import REPOSITORY

OWNER = OwnerNumber(77)
WAIT_SECONDS = 30.0
BYTES_MAX = 2**20

Inputs = Mapping[str, object]
_keys = map(str, count(1_000_000))

needs_fbank = pytest.mark.skipif(
    importlib.util.find_spec("kaldi_native_fbank") is None,
    reason="features need kaldi-native-fbank",
)
needs_silero = pytest.mark.skipif(
    importlib.util.find_spec("silero_vad") is None,
    reason="silero-vad, whose data file the graph is made from, is absent",
)


async def leave(house: ModelHouse, model: str, key: SequenceKey) -> Snapshot:
    answer: asyncio.Future[Snapshot | Failure] = asyncio.get_running_loop().create_future()
    house.table.route(model, "").hand_over(key, answer.set_result)
    async with asyncio.timeout(WAIT_SECONDS):
        snapshot = await answer
    assert isinstance(snapshot, Snapshot), snapshot
    return snapshot


async def come_back(house: ModelHouse, model: str, key: SequenceKey, snapshot: Snapshot) -> None:
    answer: asyncio.Future[Failure | None] = asyncio.get_running_loop().create_future()
    house.table.route(model, "").restore(key, OWNER, None, snapshot, answer.set_result)
    async with asyncio.timeout(WAIT_SECONDS):
        assert await answer is None


async def away_and_back(house: ModelHouse, sequence: Sequence, position: int) -> None:
    """It comes back under another ID, so that all it has comes from its snapshot."""
    snapshot = await leave(house, sequence.model, sequence.key)
    assert snapshot.position == position
    assert snapshot.size_bytes < BYTES_MAX
    sequence.key = next(_keys)
    await come_back(house, sequence.model, sequence.key, snapshot)


async def check(house: ModelHouse, model: str, steps: Many[Inputs]) -> None:
    """A sequence that moves before each step and one that moves now and then say the same as one
    that stays. They take turns, so that each step runs alone: rows of a batch are rounded
    otherwise."""
    rng = np.random.default_rng(5)
    stays, moves, moves_at_times = (Sequence(house, model, next(_keys)) for _ in range(3))
    has_said_something = False
    for place, inputs in enumerate(steps):
        if place:
            await away_and_back(house, moves, place - 1)
            if rng.random() < 0.3:
                await away_and_back(house, moves_at_times, place - 1)
        answers = []
        for sequence in (stays, moves, moves_at_times):
            events = await sequence.step(end=place == len(steps) - 1, **inputs)
            assert not [event.error for event in events if event.error]
            told = [{name: each.tolist() for name, each in one.outputs.items()} for one in events]
            answers.append(told)
        assert answers[1:] == answers[:1] * 2, place
        has_said_something = has_said_something or answers[0] != []
    assert has_said_something


def chunks(audio: Array, **more: object) -> list[Inputs]:
    padded = np.pad(audio, (0, -len(audio) % CHUNK)).reshape(-1, CHUNK)
    return [{"AUDIO": chunk, **more} for chunk in padded]


@needs_fbank
@pytest.mark.parametrize(
    ("model", "write"),
    [
        ("zipformer", write_zipformer),
        ("fastconformer", partial(write_fastconformer, kind="joint")),
        ("fastconformer", partial(write_fastconformer, kind="ctc")),
    ],
    ids=["zipformer", "fastconformer with a joint network", "fastconformer with CTC"],
)
async def test_ready_made_speech_models(
    tmp_path: Path, model: str, write: Callable[[Path, Mapping[str, str]], None]
) -> None:
    write(tmp_path, {**NO_ENDPOINTS, "endpoint_utterance_s": "1.5"})
    steps = chunks(speech(4, 3.0))
    steps[8] = {**steps[8], "FLUSH": True}
    async with model_house(tmp_path, wanted=[model]) as house:
        await check(house, model, steps)


@needs_fbank
async def test_a_beam_search_with_phrases(tmp_path: Path) -> None:
    more = {**NO_ENDPOINTS, "search": "beam", "phrases": "phrases.txt"}
    write_fastconformer(tmp_path, more, "ctc")
    text = (tmp_path / "fastconformer_text" / "1" / "tokens.txt").read_text("utf-8")
    tokens = [line.split()[0] for line in text.splitlines()]
    phrases = tmp_path / "fastconformer_text" / "1" / "phrases.txt"
    phrases.write_text(f"{tokens[3]} {tokens[5]}\t4\n", "utf-8")
    async with model_house(tmp_path, wanted=["fastconformer"]) as house:
        await check(house, "fastconformer", chunks(speech(6, 2.0)))


async def test_the_recogniser_of_numbers() -> None:
    async with demo_models("numbers") as house:
        await check(house, "numbers", chunks(recording("dialogue_16k.wav")[: 25 * CHUNK]))


@needs_silero
async def test_the_recogniser_of_numbers_with_voice_activity(tmp_path: Path) -> None:
    parts = ("numbers", "numbers_graph", "numbers_text", "voice_activity_160ms", "end_of_speech")
    directory = copied(tmp_path, "numbers_vad", *parts)
    voice_activity_graph_in(directory)
    async with demo_models("numbers_vad", directory=directory) as house:
        await check(house, "numbers_vad", chunks(recording("dialogue_16k.wav")[: 25 * CHUNK]))


async def test_the_translator_of_numbers() -> None:
    texts = ["forty ", "two thou", "sand and three, ", "xylophone ", "nineteen ninety ", "nine"]
    steps: list[Inputs] = [{"TEXT": text, "TARGET_LANGUAGE": "es"} for text in texts]
    steps[3] = {**steps[3], "FLUSH": True, "TARGET_LANGUAGE": "fr"}
    async with demo_models("translate_numbers") as house:
        await check(house, "translate_numbers", steps)


async def test_the_models_of_the_tests_of_dialects() -> None:
    rng = np.random.default_rng(1)
    tones = [400 + 200 * int(rng.integers(0, 14)) for _ in range(10)]
    at = np.arange(4800) / 16000
    sounds = [0.3 * np.sin(2 * np.pi * tone * at) * (at < 0.22) for tone in tones]
    audio = np.concatenate([*sounds[:5], np.zeros(20_000), *sounds[5:]])
    words = [{"TEXT": text} for text in ("one two th", "ree ", "", "four five", " six")]
    async with model_house(REPOSITORY) as house:
        await check(house, "tone_transcriber", chunks(audio.astype(np.float32)))
        await check(house, "reversing_translator", words)


async def test_a_running_sum_kept_by_slot() -> None:
    model = "running_sum_python"
    async with model_house(MODELS, wanted=[model]) as house:
        key, sums = next(_keys), []
        for place in range(6):
            if place:
                snapshot = await leave(house, model, key)
                # Somebody else takes the slot.
                other = next(_keys)
                house.ask_with(model, number(1000), key=other, start=True)
                key = next(_keys)
                await come_back(house, model, key, snapshot)
                if place == 3:  # away again, before any step
                    snapshot = await leave(house, model, key)
                    key = next(_keys)
                    await come_back(house, model, key, snapshot)
            asked = house.ask_with(model, number(place), key=key, start=place == 0)
            sums.append(await asked.value())
        assert sums == [0, 1, 3, 6, 10, 15]


def number(value: int) -> Tensor:
    return Tensor.of("INPUT", np.array([[value]], np.int32), DataType.INT32)
