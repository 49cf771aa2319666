"""Measures the exported graph on speech that it was not trained on.

    python demos/numbers/evaluate.py [--scratch DIR] [--digits recordings.zip --person jackson]
        [--recordings demos/audio/numbers] [--graph FILE] [--noise DB] [--limit PERCENT]

Prints, for every group of held-out voices, the word error rate of the streaming result (greedy,
as served), the sentences that are wholly right, and whether the same weights in one pass over the
whole recording say the same. Needs numpy, onnx, onnxruntime, soxr; no PyTorch.
"""

import argparse
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import features
import graph
import testset
import vocabulary
from features import Array
from served import GRAPH, Reader, Reading
from testset import Example
from wer import Edits, edits

STATES = ("pcm_tail", "ema", "conv1", "conv2", "gru")


class Runner:
    """Runs a graph of any chunk length over many recordings at once."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        self._shapes = {one.name: one.shape for one in self._session.get_inputs()}
        self._outputs = [one.name for one in self._session.get_outputs()]
        self.chunk = int(self._shapes["AUDIO"][1])
        self.seconds = 0.0  # spent in the graph

    def tokens(self, audio: Array) -> Array:
        """FP32 [B, samples], a multiple of the chunk -> INT32 [B, samples / 640]."""
        states = {
            name: np.full(
                [len(audio), *self._shapes[name][1:]],
                features.MEAN_START if name == "ema" else 0.0,
                np.float32,
            )
            for name in STATES
        }
        found = []
        begun = time.process_time()
        for at in range(0, audio.shape[1], self.chunk):
            given = {"AUDIO": audio[:, at : at + self.chunk], **states}
            answer = dict(zip(self._outputs, self._session.run(None, given), strict=True))
            found.append(answer["TOKENS"])
            states = {name: answer[f"{name}_out"] for name in STATES}
        self.seconds += time.process_time() - begun
        return np.concatenate(found, axis=1)


def heard(tokens: Array) -> list[str]:
    """The words as the served model reads them."""
    state = Reading()
    reader = Reader(("", *vocabulary.WORDS))
    words = [word for token in tokens.tolist() for word in reader.read(state, token, 1.0)]
    return [word.text for word in (*words, *reader.finish(state))]


def padded(examples: list[Example], chunk: int) -> Array:
    """Returns the recordings as one array: silence fills them up to a multiple of `chunk`."""
    longest = max(len(one.audio) for one in examples)
    array = np.zeros((len(examples), -(-longest // chunk) * chunk), np.float32)
    for row, one in zip(array, examples, strict=True):
        row[: len(one.audio)] = one.audio
    return array


def with_noise(examples: list[Example], decibels: float, seed: int = 3) -> list[Example]:
    """Returns the examples under white noise, `decibels` below the speech."""
    random = np.random.default_rng(seed)
    level = 0.06 * 10 ** (-decibels / 20)
    return [
        Example(
            one.group,
            one.voice,
            one.audio + (random.standard_normal(len(one.audio)) * level).astype(np.float32),
            one.words,
        )
        for one in examples
    ]


def examined(model: onnx.ModelProto, examples: list[Example], limit: float) -> bool:
    """Prints the table; returns whether every group is within the limit, and one pass the same."""
    streaming = Runner(model)
    by_group: dict[str, list[Example]] = defaultdict(list)
    for one in examples:
        by_group[one.group].append(one)
    good = True
    print(
        "| voices | recordings | words | WER % | deleted | added | replaced | right % | one pass |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for group, members in by_group.items():
        members.sort(key=lambda one: len(one.audio))
        total, right, differing = Edits(), 0, 0
        swaps: Counter[tuple[str, str]] = Counter()
        for at in range(0, len(members), 32):
            batch = members[at : at + 32]
            audio = padded(batch, streaming.chunk)
            answers = streaming.tokens(audio)
            whole = Runner(graph.build(graph.learned_in(model), audio.shape[1])).tokens(audio)
            differing += int(np.sum(answers != whole))
            for one, row in zip(batch, answers, strict=True):
                words = heard(row)
                found = edits(words, list(one.words))
                total += found
                swaps.update(found.swaps)
                right += words == list(one.words)
        count = len(members)
        good &= not differing and total.rate <= limit
        print(
            f"| {group} | {count} | {total.said} | {total.rate:.1f} | {total.deleted} | "
            f"{total.added} | {total.replaced} | {100 * right / count:.0f} | "
            f"{f'{differing} tokens differ' if differing else 'same'} |"
        )
        often = ", ".join(f"{said} -> {got} {n}" for (said, got), n in swaps.most_common(8))
        print(f"<!-- {group}: {often} -->")
    seconds = sum(len(one.audio) for one in examples) / features.RATE
    print(f"\n{seconds / 60:.0f} min of speech, {seconds / streaming.seconds:.0f} times real time")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the recogniser of spoken numbers.")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where corpus.py wrote to")
    parser.add_argument("--recordings", type=Path, metavar="DIR", help="WAVs and said.txt")
    parser.add_argument("--digits", type=Path, metavar="ZIP")
    parser.add_argument("--person", action="append", default=[], metavar="SPEAKER")
    parser.add_argument("--graph", type=Path, default=GRAPH, metavar="FILE")
    parser.add_argument("--noise", type=float, metavar="DB", help="speech over white noise")
    parser.add_argument(
        "--limit",
        type=float,
        default=100.0,
        metavar="PERCENT",
        help="word error rate above which the exit status is 1, as it is if one pass differs",
    )
    given = parser.parse_args()
    examples = testset.recordings(given.recordings) if given.recordings else []
    if given.scratch:
        examples += testset.synthetic(given.scratch / "speech")
    if given.digits:
        examples += testset.people(given.digits, given.person)
    if given.noise is not None:
        examples = with_noise(examples, given.noise)
    return 0 if examined(onnx.load(given.graph), examples, given.limit) else 1


if __name__ == "__main__":
    sys.exit(main())
