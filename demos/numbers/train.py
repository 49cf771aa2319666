"""Learns from the shards while they are being made.

    python demos/numbers/train.py --scratch DIR --steps 5000 [--threads 1]

Writes DIR/NAME.pt every few minutes: the averaged weights, fit for export at any time. A word
error rate on the held-out streams in DIR/validation.npz (if there) goes to the log.
"""

import argparse
import copy
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import vocabulary
from features import Array
from model import FRAMES_PER_TOKEN, Recogniser

BATCH_FRAMES = 16_000  # about 160 s of sound in each step
AVERAGE_KEEP = 0.998


class Shards:
    """Batches of streams of similar length; a shard used up is removed, and room for a new one."""

    def __init__(self, folder: Path, random: np.random.Generator, uses: int) -> None:
        self._folder = folder
        self._random = random
        self._uses = uses
        self._used: dict[str, int] = {}

    def __iter__(self) -> Iterator[tuple[Tensor, list[int], list[list[int]]]]:
        while True:
            path = self._next()
            with np.load(path) as shard:
                streams = split(shard)
            if self._used[path.name] >= self._uses:
                path.unlink()
            order = sorted(
                range(len(streams)), key=lambda i: len(streams[i][0]) + self._random.normal(0, 60)
            )
            batches, batch = [], []
            for index in order:
                batch.append(streams[index])
                if max(len(one) for one, _ in batch) * len(batch) >= BATCH_FRAMES:
                    batches.append(batch)
                    batch = []
            for index in self._random.permutation(len(batches)):
                yield self._batch(batches[index])

    def _next(self) -> Path:
        while True:
            paths = sorted(self._folder.glob("[0-9]*.npz"))
            least = min((self._used.get(path.name, 0) for path in paths), default=self._uses)
            if least < self._uses:
                fresh = [path for path in paths if self._used.get(path.name, 0) == least]
                path = fresh[self._random.integers(len(fresh))]
                self._used[path.name] = least + 1
                return path
            time.sleep(1)

    def _batch(
        self, streams: list[tuple[Array, list[int]]]
    ) -> tuple[Tensor, list[int], list[list[int]]]:
        lengths = [len(one) // FRAMES_PER_TOKEN for one, _ in streams]
        batch = np.zeros(
            (len(streams), max(lengths) * FRAMES_PER_TOKEN, streams[0][0].shape[1]), np.float32
        )
        for row, (one, _) in zip(batch, streams, strict=True):
            usable = len(one) // FRAMES_PER_TOKEN * FRAMES_PER_TOKEN
            row[:usable] = one[:usable]
            self._mask(row[:usable])
        return torch.from_numpy(batch), lengths, [words for _, words in streams]

    def _mask(self, frames: Array) -> None:
        """Blanks out a few bands and short times: no single cue may be relied on."""
        random = self._random
        for _ in range(random.integers(0, 3)):
            begin = random.integers(frames.shape[1])
            frames[:, begin : begin + random.integers(1, 6)] = 0
        for _ in range(random.integers(0, 1 + len(frames) // 200)):
            begin = random.integers(len(frames))
            frames[begin : begin + random.integers(2, 9)] = 0


def split(shard: np.lib.npyio.NpzFile) -> list[tuple[Array, list[int]]]:
    """Returns (features, tokens) of every stream of a shard."""
    features, words = shard["features"], shard["words"]
    ends, word_ends = np.cumsum(shard["frames"]), np.cumsum(shard["counts"])
    return [
        (features[end - length : end], words[word_end - count : word_end].tolist())
        for end, length, word_end, count in zip(
            ends, shard["frames"], word_ends, shard["counts"], strict=True
        )
    ]


def losses(
    model: Recogniser, batch: tuple[Tensor, list[int], list[list[int]]]
) -> tuple[Tensor, Tensor]:
    mels, lengths, words = batch
    tokens, phones = model(mels)
    sizes = torch.tensor(lengths)
    made = []
    for output, targets in (
        (tokens, words),
        (
            phones,
            [vocabulary.phone_ids([vocabulary.WORDS[token - 1] for token in one]) for one in words],
        ),
    ):
        made.append(
            nn.functional.ctc_loss(
                output.transpose(0, 1),
                torch.tensor([token for one in targets for token in one]),
                sizes,
                torch.tensor([len(one) for one in targets]),
                reduction="sum",
                zero_infinity=True,
            )
            / sum(lengths)
        )
    return made[0], made[1]


def errors(heard: list[int], said: list[int]) -> int:
    """The least number of words to insert, delete and replace."""
    row = list(range(len(said) + 1))
    for i, word in enumerate(heard, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(said, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]  # torch may be absent
def validate(model: Recogniser, path: Path, bias: float = -1.0) -> str:
    """Returns the word error rates of the parts of a validation file, in percent."""
    with np.load(path) as shard:
        streams, names = split(shard), shard["names"].tolist()
    wrong: dict[str, list[int]] = {}
    for (one, said), name in zip(streams, names, strict=True):
        usable = len(one) // FRAMES_PER_TOKEN * FRAMES_PER_TOKEN
        scores, _ = model(torch.from_numpy(one[None, :usable].astype(np.float32)))
        scores[..., 0] += bias
        best = scores[0].argmax(-1).tolist()
        heard = [
            token for token, last in zip(best, [0, *best], strict=False) if token not in (0, last)
        ]
        total = wrong.setdefault(name, [0, 0])
        total[0] += errors(heard, said)
        total[1] += len(said)
    return ", ".join(
        f"{name} {100 * bad / max(1, all_):.1f}" for name, (bad, all_) in wrong.items()
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the recogniser of spoken numbers.")
    parser.add_argument("--scratch", type=Path, required=True, metavar="DIR")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--uses", type=int, default=2, help="how often each shard is learned from")
    parser.add_argument("--name", default="model")
    parser.add_argument("--shards", default="shards", metavar="NAME")
    parser.add_argument("--begin-with", type=Path, metavar="FILE")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> int:
    given = _arguments()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    model = Recogniser()
    if given.begin_with:
        model.load_state_dict(torch.load(given.begin_with))
    average = copy.deepcopy(model).eval()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=given.rate, weight_decay=0.01, betas=(0.9, 0.98)
    )
    warm = 200
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min(
            (step + 1) / warm,
            0.02 + 0.98 * (1 + math.cos(math.pi * min(1.0, step / given.steps))) / 2,
        ),
    )
    batches = iter(
        Shards(given.scratch / given.shards, np.random.default_rng(given.seed), given.uses)
    )
    begun, cpu = time.monotonic(), time.process_time()
    seen = 0
    shown = [0.0, 0.0]
    for step in range(1, given.steps + 1):
        batch = next(batches)
        words, phones = losses(model, batch)
        optimiser.zero_grad()
        (words + 0.3 * phones).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimiser.step()
        schedule.step()
        seen += sum(batch[1])
        keep = min(AVERAGE_KEEP, step / (step + 20))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(value, 1 - keep)
        shown = [0.95 * shown[0] + 0.05 * words.item(), 0.95 * shown[1] + 0.05 * phones.item()]
        if step % 25 == 0:
            print(
                f"step {step} loss {shown[0]:.4f} {shown[1]:.4f} heard {seen / 90000:.1f} h "
                f"wall {time.monotonic() - begun:.0f} s cpu {time.process_time() - cpu:.0f} s",
                flush=True,
            )
        if step % 250 == 0 or step == given.steps:
            partial = given.scratch / f"{given.name}.partial"
            torch.save(average.state_dict(), partial)
            partial.rename(given.scratch / f"{given.name}.pt")
            validation = given.scratch / "validation.npz"
            if validation.exists():
                print(f"step {step} WER % {validate(average, validation)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
