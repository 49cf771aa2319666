"""Exports of others, served by configuration alone: many streams at once, each as if alone."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from streamgate.errors import EndReason, Failure
from streamgate.frontends.speech import Declared, SpeechStream, TextEvent
from streamgate.model.tensor import Array
from tests.speech.brought_models import (
    NO_ENDPOINTS,
    configurations,
    plain_fastconformer,
    plain_zipformer,
    words_of,
    write_fastconformer,
    write_first_zipformer,
    write_model,
    write_zipformer,
)
from tests.speech.exports import save_tokens
from tests.speech.house import SpeechHouse, speech_house

pytest.importorskip("kaldi_native_fbank", reason="features need kaldi-native-fbank")

RATE = 16000


def speech(seed: int, seconds: float) -> Array:
    """Noise whose colour and loudness change, so that what is found changes as well."""
    rng = np.random.default_rng(seed)
    parts = []
    left = int(seconds * RATE)
    while left > 0:
        size = min(left, int(rng.integers(800, 6000)))
        tone = np.sin(np.arange(size) * rng.uniform(0.05, 2.0)) * rng.uniform(0, 0.5)
        parts.append(tone + rng.standard_normal(size) * float(10 ** rng.uniform(-4, -1)))
        left -= size
    samples: Array = np.clip(np.concatenate(parts), -1, 1).astype(np.float32)
    return samples


class Listener:
    def __init__(self) -> None:
        self.events: list[TextEvent] = []
        self.flushed: list[object] = []
        self.over: asyncio.Future[tuple[EndReason, Failure | None]] = (
            asyncio.get_running_loop().create_future()
        )

    def on_text(self, event: TextEvent) -> None:
        self.events.append(event)

    def on_flushed(self, marker: object) -> None:
        self.flushed.append(marker)

    def on_room(self) -> None:
        """No stream here is far ahead."""

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        self.over.set_result((reason, failure))

    @property
    def words(self) -> list[str]:
        return [word.text for event in self.events for word in event.words]

    @property
    def utterances(self) -> list[str]:
        texts, text = [], ""
        for event in self.events:
            text += event.stable
            if event.final:
                texts.append(text)
                text = ""
        assert text == ""
        return texts


async def opened(house: SpeechHouse, name: str) -> tuple[SpeechStream, Listener]:
    listener = Listener()
    model = await house.context.models.choose(name)
    stream = SpeechStream(house.gateway, model, Declared("f32le", RATE), listener)
    await stream.open()
    return stream, listener


async def ended(listener: Listener) -> None:
    async with asyncio.timeout(30):
        assert await listener.over == (EndReason.CLIENT_END, None)


async def heard_together(house: SpeechHouse, name: str, audio: list[Array]) -> list[Listener]:
    """Streams side by side, in pieces of different sizes, each beginning a little later."""
    streams = [await opened(house, name) for _ in audio]
    at = [0] * len(audio)
    turn = 0
    while any(at[place] < len(samples) for place, samples in enumerate(audio)):
        for place, samples in enumerate(audio):
            if turn >= place and at[place] < len(samples):
                size = 3000 + 1111 * place
                streams[place][0].feed(samples[at[place] : at[place] + size].tobytes())
                at[place] += size
                if at[place] >= len(samples):
                    streams[place][0].finish()
        turn += 1
        await asyncio.sleep(0)
    for _, listener in streams:
        await ended(listener)
    return [listener for _, listener in streams]


FAMILIES: dict[str, tuple[str, Callable[..., None], Callable[[Path, Array], list[str]]]] = {
    "zipformer": ("zipformer", write_zipformer, plain_zipformer),
    "first zipformer": (
        "zipformer",
        write_first_zipformer,
        partial(plain_zipformer, right=7, count=35),
    ),
    **{
        f"fastconformer, {kind}": (
            "fastconformer",
            partial(write_fastconformer, kind=kind),
            partial(plain_fastconformer, kind=kind),
        )
        for kind in ("joint", "split", "ctc")
    },
}


@pytest.mark.parametrize("family", FAMILIES)
async def test_streams_together_find_what_a_plain_loop_finds_for_each(
    tmp_path: Path, family: str
) -> None:
    name, write, plain = FAMILIES[family]
    write(tmp_path, NO_ENDPOINTS)
    audio = [speech(seed, 2.5 + seed * 0.37) for seed in range(6)]
    async with speech_house(tmp_path) as house:
        listeners = await heard_together(house, name, audio)
        steps, executions = await batches_of(house, f"{name}_encoder")
    assert executions < steps, "no step was shared"
    for listener, samples in zip(listeners, audio, strict=True):
        expected = words_of(plain(tmp_path, samples))
        assert len(expected) > 5
        assert listener.words == expected
        assert listener.utterances == [" ".join(expected)]


async def batches_of(house: SpeechHouse, name: str) -> tuple[int, int]:
    """Steps of the model, and how many times it ran for them."""
    (statistics,) = await house.gateway.statistics(name, "")
    return statistics.inference_count, statistics.execution_count


async def test_a_flush_ends_an_utterance_at_once_and_the_stream_goes_on(tmp_path: Path) -> None:
    write_zipformer(tmp_path, NO_ENDPOINTS)
    first, second = speech(1, 1.7), speech(2, 2.1)
    async with speech_house(tmp_path) as house:
        stream, listener = await opened(house, "zipformer")
        stream.feed(first.tobytes())
        stream.flush("here")
        stream.feed(second.tobytes())
        stream.finish()
        await ended(listener)
    assert listener.flushed == ["here"]
    assert len(listener.utterances) == 2
    # All that was said before the flush, its last words included, is in the first.
    assert listener.utterances[0] == " ".join(words_of(plain_zipformer(tmp_path, first)))
    place = next(at for at, event in enumerate(listener.events) if event.final)
    assert listener.events[place].audio_seconds == pytest.approx(1.7)
    before = [word for event in listener.events[: place + 1] for word in event.words]
    after = [word for event in listener.events[place + 1 :] for word in event.words]
    assert max(word.end_seconds for word in before) <= 1.7 + 1e-5
    assert min(word.start_seconds for word in after) >= 1.7 - 1e-5
    assert listener.events[-1].audio_seconds == pytest.approx(3.8)


async def test_utterances_end_by_rule(tmp_path: Path) -> None:
    write_zipformer(tmp_path, {**NO_ENDPOINTS, "endpoint_utterance_s": "1"})
    async with speech_house(tmp_path) as house:
        (listener,) = await heard_together(house, "zipformer", [speech(3, 4.0)])
    ends = [event.audio_seconds for event in listener.events if event.final]
    # Chunks have 0.32 s: the fourth is the first to end behind 1 s.
    assert ends == pytest.approx([1.28, 2.56, 3.84, 4.0])
    assert all(event.tail == "" for event in listener.events if event.final)
    assert [event.stable[:1] for event in listener.events if event.stable].count(" ") > 3


async def test_a_stream_without_a_sound_and_one_of_a_few_samples(tmp_path: Path) -> None:
    write_zipformer(tmp_path, NO_ENDPOINTS)
    audio = [np.zeros(0, np.float32), speech(5, 0.004)]
    async with speech_house(tmp_path) as house:
        for samples in audio:
            stream, listener = await opened(house, "zipformer")
            if samples.size:
                stream.feed(samples.tobytes())
            stream.finish()
            await ended(listener)
            expected = words_of(plain_zipformer(tmp_path, samples)) if samples.size else []
            assert listener.words == expected


async def broken(folder: Path) -> str:
    """Why the repository can't be served."""
    async with speech_house(folder, exit_on_error=False) as house:
        entries = await house.gateway.repository_index(ready_only=False)
        return "\n".join(entry.reason for entry in entries)


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"blank_penaltie": "1"}, "there is no parameter 'blank_penaltie'"),
        ({"symbols_max": "none"}, "parameter 'symbols_max' is 'none', expected a whole number"),
        ({"decoder": "elsewhere.onnx"}, "parameter 'decoder' is 'elsewhere.onnx', expected a file"),
        ({"joiner": "tokens.txt"}, "tokens.txt"),
        ({"token_kind": "phones"}, "expected one of pieces, characters, words"),
    ],
)
async def test_settings_that_do_not_fit_are_named(
    tmp_path: Path, parameters: Mapping[str, str], complaint: str
) -> None:
    write_zipformer(tmp_path, parameters)
    assert complaint in await broken(tmp_path)


async def test_a_vocabulary_of_another_model_is_noticed(tmp_path: Path) -> None:
    write_zipformer(tmp_path, {})
    save_tokens(tmp_path / "zipformer_text" / "1" / "tokens.txt", ["<blk>", "a"])
    assert "gives 30 logits, but the vocabulary has 2 tokens" in await broken(tmp_path)


async def test_frames_of_another_length_are_noticed(tmp_path: Path) -> None:
    config = configurations()["zipformer_text"].replace('"40"', '"20"')
    write_zipformer(tmp_path, {})
    write_model(tmp_path, "zipformer_text", config)
    async with speech_house(tmp_path) as house:
        stream, listener = await opened(house, "zipformer")
        stream.feed(speech(1, 1.0).tobytes())
        async with asyncio.timeout(30):
            reason, failure = await listener.over
    assert reason is EndReason.ERROR
    assert failure is not None
    assert "expected 40 for frame_ms" in failure.message


@pytest.mark.slow
async def test_the_ends_may_run_in_processes_of_their_own(tmp_path: Path) -> None:
    """Two instances each, which have a process each: streams are spread over them."""
    write_zipformer(tmp_path, NO_ENDPOINTS)
    pages = configurations()
    two = "instance_group { count: 2 kind: KIND_CPU }\n"
    write_model(tmp_path, "zipformer_features", pages["zipformer_features"] + two)
    write_model(tmp_path, "zipformer_text", pages["zipformer_text"] + two, NO_ENDPOINTS)
    audio = [speech(seed, 1.5) for seed in range(4)]
    async with speech_house(tmp_path) as house:
        listeners = await heard_together(house, "zipformer", audio)
    for listener, samples in zip(listeners, audio, strict=True):
        assert listener.words == words_of(plain_zipformer(tmp_path, samples))
