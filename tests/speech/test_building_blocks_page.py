"""The model on docs/speech-building-blocks.md does what the page says."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamgate.model.tensor import Array
from streamgate.speech.states import pack, unpack
from streamgate.speech.tokens import Vocabulary

pytest.importorskip("kaldi_native_fbank", reason="features need kaldi-native-fbank")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "speech-building-blocks.md"


@pytest.fixture(name="page")
def fixture_page() -> dict[str, Any]:
    (code,) = re.findall(r"```python\n(from dataclasses.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, str(PAGE), "exec"), names)
    return names


def graph(windows: Array) -> Array:
    """Some scores for every fourth frame of the step."""
    scores: Array = np.sin(windows[:, 0:32:4, :4] * 9)
    return scores


def test_the_model_does_not_mind_cuts_and_can_be_moved(page: dict[str, Any]) -> None:
    vocabulary = Vocabulary.parse(["<blk> 0", "\u2581A 1", "\u2581B 2", "C 3"])
    model = page["Recogniser"](graph, vocabulary)
    rng = np.random.default_rng(5)
    samples = (rng.standard_normal(48000) * rng.random(48000)).astype(np.float32)
    answers = []
    for size in (48000, 1111):
        stream, found = model.start(), []
        for at in range(0, len(samples), size):
            stream, words = model.feed(stream, samples[at : at + size])
            stream = unpack(page["Stream"], pack(stream))
            found += words
        answers.append(found)
    assert answers[0] == answers[1]
    assert len(answers[0]) > 2
