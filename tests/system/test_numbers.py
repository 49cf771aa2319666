"""The demo model `numbers`, served: what it writes, when, and that neighbours change nothing.

The recordings are in demos/audio/numbers, of voices that the model was not trained on.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.system.numbers_client import CHUNK, RATE, RECORDINGS, NumbersClient, Samples, recording
from tests.system.running_server import WAIT_SECONDS, RunningServer, running

DEMOS = Path(__file__).resolve().parents[2] / "demos"
MODELS = DEMOS / "models"
# The Free Spoken Digit Dataset is not part of the repository: beside it, or wherever it is said.
DIGITS = Path(
    os.environ.get("STREAMGATE_SPOKEN_DIGITS")
    or DEMOS.parents[1] / "shared" / "data" / "fsdd" / "recordings.zip"
)
SAID = {
    "phone_16k.wav": ["five five five zero one four two nine six eight"],
    "price_22k.wav": ["one hundred and twenty four dollars and ninety nine cents"],
    "pause_22k.wav": ["minus twelve point five", "seven hundred and six thousand"],
    "call_8k.wav": ["plus four four double oh seven triple nine"],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("models")
    for name in ("numbers", "numbers_graph", "numbers_text"):
        shutil.copytree(MODELS / name, directory / name)
    with running(directory) as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[NumbersClient]:
    with closing(NumbersClient(server.grpc, WAIT_SECONDS)) as client:
        yield client


@pytest.mark.parametrize("name", SAID)
def test_what_was_said_is_written(client: NumbersClient, name: str) -> None:
    (heard,) = client.hear([recording(name)])
    assert heard.utterances == SAID[name]
    assert heard.events[-1].tail == ""


@pytest.mark.parametrize("name", SAID)
def test_events_keep_the_contract(client: NumbersClient, name: str) -> None:
    samples = recording(name)
    (heard,) = client.hear([samples])
    text = ""
    for number, event in enumerate(heard.events, start=1):
        assert event.seconds == pytest.approx(number * CHUNK / RATE)
        assert event.words == event.stable.split()
        assert all(0 < confidence <= 1 for confidence in event.confidences)
        assert len(event.confidences) == len(event.words)
        text += event.stable
        # One blank before each word but an utterance's first, whoever brings it.
        assert text + event.tail == " ".join((text + event.tail).split())
        if event.final:
            assert event.tail == ""
            text = ""
    for (_, start, end), (_, next_start, _) in pairwise([*heard.words, ("", 1e9, 1e9)]):
        assert 0 <= start < end <= next_start
    assert heard.words[-1][2] <= len(samples) / RATE


def test_a_batch_of_streams_hears_what_each_hears_alone(
    server: RunningServer, client: NumbersClient
) -> None:
    streams = [recording(name) for name in SAID for _ in range(3)]
    alone = [client.hear([one])[0] for one in streams]
    together = client.hear(streams)
    for one, other in zip(alone, together, strict=True):
        assert [event.stable for event in one.events] == [event.stable for event in other.events]
        assert [event.tail for event in one.events] == [event.tail for event in other.events]
        assert one.words == other.words
    for model in ("numbers", "numbers_graph", "numbers_text"):
        server.assert_at_rest(model)


def test_what_came_before_in_a_stream_changes_no_word(client: NumbersClient) -> None:
    """Two recordings in one sequence, apart by a pause that ends the utterance."""
    pause = np.zeros(RATE, np.float32)
    one, other = recording("phone_16k.wav"), recording("price_22k.wav")
    (heard,) = client.hear([np.concatenate([one, pause, other])])
    assert heard.utterances == SAID["phone_16k.wav"] + SAID["price_22k.wav"]


def test_an_utterance_ends_by_itself_in_silence(client: NumbersClient) -> None:
    samples = np.concatenate([recording("price_22k.wav"), np.zeros(2 * RATE, np.float32)])
    (heard,) = client.hear([samples])
    (at,) = [number for number, event in enumerate(heard.events) if event.final]
    assert at < len(heard.events) - 1
    quiet_seconds = heard.events[at].seconds - heard.words[-1][2]
    assert 0.8 <= quiet_seconds <= 1.2
    assert all(not event.stable and not event.tail for event in heard.events[at + 1 :])


def test_end_brings_everything_that_was_heard(client: NumbersClient) -> None:
    """The recording stops right behind the last word, whose run may still be going on."""
    samples = recording("price_22k.wav")
    (whole,) = client.hear([samples])
    end = round((whole.words[-1][2] + 0.08) * RATE)
    (heard,) = client.hear([samples[:end]])
    assert heard.utterances == SAID["price_22k.wav"]
    assert heard.events[-1].final
    assert not any(event.final for event in heard.events[:-1])


def test_flush_ends_an_utterance_and_the_next_begins_afresh(client: NumbersClient) -> None:
    samples = recording("phone_16k.wav")
    (whole,) = client.hear([samples])
    # Behind "five five five", where a listener pauses.
    third_end, fourth_start = whole.words[2][2], whole.words[3][1]
    position = round((third_end + fourth_start) / 2 * RATE) // CHUNK + 1
    (heard,) = client.hear([samples], flush_after=position)
    assert len(heard.utterances) == 2
    assert " ".join(heard.utterances) == SAID["phone_16k.wav"][0]
    assert heard.events[position].final


def test_flush_in_silence_ends_nothing(client: NumbersClient) -> None:
    (heard,) = client.hear([np.zeros(5 * CHUNK, np.float32)], flush_after=2)
    assert not any(event.final or event.stable or event.tail for event in heard.events)


@pytest.mark.parametrize("amplitude", [0.0, 0.001, 0.1])
def test_noise_is_no_number(client: NumbersClient, amplitude: float) -> None:
    noise: Samples = np.random.default_rng(5).normal(0, amplitude, 4 * RATE).astype(np.float32)
    (heard,) = client.hear([noise])
    assert heard.utterances == []


@pytest.mark.parametrize("name", SAID)
def test_the_list_of_what_was_said_is_right(name: str) -> None:
    lines = (RECORDINGS / "said.txt").read_text(encoding="utf-8").splitlines()
    assert f"{name}: {' '.join(SAID[name])}" in lines
    assert len(lines) == len(SAID)


def evaluated(*arguments: str) -> str:
    """What demos/numbers/evaluate.py prints. It fails if one pass over the whole recording brings
    other words than the chunks, or if the word error rate is above the limit."""
    command = [sys.executable, str(DEMOS / "numbers" / "evaluate.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_streaming_is_the_same_as_one_pass_over_the_recordings() -> None:
    table = evaluated("--recordings", str(RECORDINGS), "--limit", "0")
    assert re.search(r"\| recordings \| 4 \| 37 \| 0.0 \|.*\| same \|", table)


def test_a_person_whom_the_model_has_never_heard() -> None:
    """300 strings of digits; the limit is the one that the model was made for."""
    if not DIGITS.exists():
        pytest.skip(f"the recordings of people are not at {DIGITS} (or $STREAMGATE_SPOKEN_DIGITS)")
    evaluated("--digits", str(DIGITS), "--person", "jackson", "--limit", "8")


def test_weights_are_small_enough_for_the_repository() -> None:
    assert (MODELS / "numbers_graph" / "1" / "model.onnx").stat().st_size <= 6_000_000
