"""The ready-made models on their own: windows of features, text from scores, and moving streams."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.model.tensor import Array
from streamgate.speech.chunking import Chunking
from streamgate.speech.features import ICEFALL, Fbank
from streamgate.speech.states import pack, unpack
from streamgate.speech.tokens import Vocabulary
from streamgate_python import triton_python_backend_utils as pb_utils

pytest.importorskip("kaldi_native_fbank", reason="features need kaldi-native-fbank")
pb_utils.install()

from streamgate.speech.models.ctc import CtcText, read_phrases  # noqa: E402 - they import pb_utils
from streamgate.speech.models.features import (  # noqa: E402
    FeatureStream,
    Heard,
    WindowedFeatures,
)

START, END = 1, 2
FBANK = Fbank(ICEFALL)
SAMPLES = (np.random.default_rng(3).standard_normal(20_000) * 0.1).astype(np.float32)


def windowed(*, left: int = 0, padding: int = 0) -> WindowedFeatures:
    return WindowedFeatures(FBANK, Chunking(32, 13, left, (80,)), padding)


def heard_of(model: WindowedFeatures, pieces: Sequence[tuple[Array, bool]]) -> list[Heard]:
    stream, answers = model.start(), []
    for samples, ends in pieces:
        stream, more = model.feed(stream, samples, ends=ends)
        stream = unpack(FeatureStream, pack(stream))
        assert not ends or more
        answers += more
    return answers


def cut(samples: Array, sizes: Sequence[int]) -> list[tuple[Array, bool]]:
    edges = np.cumsum([0, *sizes]).tolist()
    parts = [samples[a:b] for a, b in zip(edges, [*edges[1:], len(samples)], strict=True)]
    return [(part, place == len(parts) - 1) for place, part in enumerate(parts)]


def same(one: Sequence[Heard], other: Sequence[Heard]) -> bool:
    return len(one) == len(other) and all(
        (a.start, a.end, a.last) == (b.start, b.end, b.last) and np.array_equal(a.rows, b.rows)
        for a, b in zip(one, other, strict=True)
    )


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 6000), max_size=6), st.sampled_from([0, 9]), st.integers(0, 50))
def test_windows_do_not_depend_on_cuts(sizes: list[int], left: int, padding: int) -> None:
    model = windowed(left=left, padding=padding)
    whole = heard_of(model, [(SAMPLES, True)])
    assert same(heard_of(model, cut(SAMPLES, sizes)), whole)
    assert [each.last for each in whole] == [False] * (len(whole) - 1) + [True]
    # The spans go on from each other and end with the audio.
    assert [each.start for each in whole[1:]] == [each.end for each in whole[:-1]]
    assert (whole[0].start, whole[-1].end) == (0, len(SAMPLES))


def test_behind_a_flush_the_next_utterance_has_the_silence_on_its_left() -> None:
    model = windowed(left=9)
    first, second = SAMPLES[:7000], SAMPLES[7000:]
    answers = heard_of(model, [(first, True), (second, True)])
    place = next(at for at, each in enumerate(answers) if each.last)
    alone = heard_of(model, [(second, True)])
    assert [each.start for each in answers[place + 1 :]] == [7000 + each.start for each in alone]
    np.testing.assert_array_equal(answers[place + 1].rows[9:], alone[0].rows[9:])
    np.testing.assert_array_equal(answers[place + 1].rows[:9], answers[place].rows[32:41])


def test_an_end_without_audio_is_one_window_of_silence() -> None:
    (answer,) = heard_of(windowed(), [(np.zeros(0, np.float32), True)])
    assert (answer.start, answer.end, answer.last) == (0, 0, True)
    np.testing.assert_array_equal(answer.rows, FBANK.frames_of_silence(45))


@dataclass
class Asked:
    """A request as a model sees it."""

    arrays: dict[str, Array]
    key: int = 7
    flag: int = 0
    made: list[Any] = field(default_factory=list)

    def inputs(self) -> list[Any]:
        return [pb_utils.Tensor(name, array) for name, array in self.arrays.items()]

    def flags(self) -> int:
        return self.flag

    def correlation_id(self) -> int:
        return self.key


@pytest.fixture(name="folder")
def fixture_folder(tmp_path: Path) -> Path:
    (tmp_path / "1").mkdir()
    lines = ["<blk> 0", "\u2581A 1", "B 2", "\u2581C 3"]
    (tmp_path / "1" / "tokens.txt").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "1" / "phrases.txt").write_text("\u2581A B\t3\n", encoding="utf-8")
    return tmp_path


def ctc(folder: Path, **parameters: str) -> CtcText:
    config = {"parameters": {key: {"string_value": text} for key, text in parameters.items()}}
    model = CtcText()
    model.initialize(
        {
            "model_config": json.dumps(config),
            "model_repository": str(folder),
            "model_version": "1",
        }
    )
    return model


def scores(*tokens: int) -> Array:
    rows = np.zeros((len(tokens), 4), np.float32)
    rows[np.arange(len(tokens)), list(tokens)] = 5
    return rows


def asked(frames: Array, at: int, flag: int = 0, *, last: bool = False) -> Asked:
    """The chunk number `at`, of four frames of 40 ms."""
    step = 4 * 640
    span = np.array([[at * step, (at + 1) * step, step]], np.int64)
    return Asked({"SCORES": frames[None], "SPAN": span, "LAST": np.array([[last]])}, flag=flag)


def answer(model: CtcText, request: Asked) -> dict[str, Any]:
    (response,) = model.execute([request])
    assert not response.has_error(), response.error().message()
    values = {each.name(): each.as_numpy() for each in response.output_tensors()}
    texts = {name: values[name].ravel()[0].decode() for name in ("STABLE", "TAIL")}
    words = [word.decode() for word in values["WORDS"].ravel()]
    final = bool(values["FINAL"].ravel()[0])
    return texts | {"FINAL": final, "WORDS": words, "times": values["WORD_TIMES"][0].tolist()}


CHUNKS = [scores(0, 1, 1, 2), scores(2, 0, 3, 0), scores(0, 0, 0, 3), scores(3, 0, 0, 0)]


def test_words_are_stable_when_the_next_begins(folder: Path) -> None:
    model = ctc(folder)
    first = answer(model, asked(CHUNKS[0], 0, START))
    assert (first["STABLE"], first["TAIL"], first["FINAL"]) == ("", "AB", False)
    second = answer(model, asked(CHUNKS[1], 1))
    assert (second["STABLE"], second["TAIL"], second["WORDS"]) == ("AB", " C", ["AB"])
    assert second["times"] == [pytest.approx([0.04, 0.16])]
    third = answer(model, asked(CHUNKS[2], 2))
    assert (third["STABLE"], third["TAIL"]) == (" C", " C")
    last = answer(model, asked(CHUNKS[3], 3, END, last=True))
    assert (last["STABLE"], last["TAIL"], last["FINAL"]) == (" C", "", True)
    assert len(model._streams) == 0


def test_an_utterance_ends_by_silence_and_the_next_begins_without_a_blank(folder: Path) -> None:
    model = ctc(folder, endpoint_silence_after_speech_s="0.16")
    answer(model, asked(CHUNKS[0], 0, START))
    silent = answer(model, asked(scores(0, 0, 0, 0), 1))
    assert (silent["STABLE"], silent["FINAL"]) == ("AB", True)
    nothing = answer(model, asked(scores(0, 0, 0, 0), 2))
    assert (nothing["STABLE"], nothing["FINAL"]) == ("", False)
    again = answer(model, asked(scores(0, 3, 0, 1), 3))
    assert (again["STABLE"], again["TAIL"]) == ("C", " A")
    assert again["times"] == [pytest.approx([0.52, 0.56])]


@pytest.mark.parametrize("search", ["greedy", "beam"])
def test_a_stream_moves_between_two_models(folder: Path, search: str) -> None:
    whole, here, there = (ctc(folder, search=search) for _ in range(3))
    moved = []
    for at, chunk in enumerate(CHUNKS):
        last = at == len(CHUNKS) - 1
        flag = START if at == 0 else END if last else 0
        moved.append(answer(here, asked(chunk, at, flag, last=last)))
        assert moved[-1] == answer(whole, asked(chunk, at, flag, last=last))
        if not last:
            there.set_state(7, here.get_state(7))
            here.on_sequence_end(7, "preempted")
            here, there = there, here
    assert "".join(each["STABLE"] for each in moved) == "AB C C"


def test_a_beam_keeps_what_may_change_in_the_tail(folder: Path) -> None:
    plain = ctc(folder, search="beam")
    boosted = ctc(folder, search="beam", phrases="phrases.txt")
    unsure = scores(0, 1, 0, 0)
    unsure[3] = [0.0, -9.0, 1.0, 2.0]
    assert answer(plain, asked(unsure, 0, START))["TAIL"] in ("A C", "C")
    assert answer(boosted, asked(unsure, 0, START))["TAIL"] == "AB"
    end = asked(scores(0, 0, 0, 0), 1, END, last=True)
    assert answer(boosted, end)["STABLE"] == "AB"


def test_phrases_of_unknown_tokens_are_refused(folder: Path) -> None:
    path = folder / "1" / "phrases.txt"
    path.write_text("\n\u2581A \u2581Z\n", encoding="utf-8")
    vocabulary = Vocabulary.read(folder / "1" / "tokens.txt")
    with pytest.raises(ValueError, match="line 2: the vocabulary has no token '\u2581Z'"):
        read_phrases(path, vocabulary)


def test_a_bad_request_leaves_its_neighbours_alone(folder: Path) -> None:
    model = ctc(folder)
    wrong = asked(np.zeros((4, 9), np.float32), 0, START)
    unknown = asked(CHUNKS[0], 0)
    unknown.key = 9
    right = asked(CHUNKS[0], 0, START)
    responses = model.execute([wrong, unknown, right])
    texts = [each.error().message() if each.has_error() else "" for each in responses]
    assert texts[0] == "SCORES has 9 tokens a frame, but the vocabulary has 4"
    assert "sequence 9 has not begun" in texts[1]
    assert texts[2] == ""
