"""Makes training data without end: shards of augmented features, a few ahead of the trainer.

    python demos/numbers/shards.py --scratch DIR --digits recordings.zip --held-out jackson
        [--prompts /usr/share/asterisk/sounds/en_US_f_Allison --transcripts core-sounds-en.txt]

Writes DIR/shards/NUMBER.npz: `features` FP16 [all frames, 40], `frames` INT32 [streams],
`words` INT16 [all words], `counts` INT32 [streams].
"""

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path
from random import Random

import numpy as np

import human
import vocabulary
from augment import Augmenter, Strength
from features import RATE, Array
from grammar import DIGITS

STREAMS = 400  # in one shard
AHEAD = 40  # shards on disk at most: the trainer removes those that it is done with
PERSON = Strength(speed=(0.72, 1.36), warp=(0.8, 1.24))
MACHINE = Strength()
# How often streams are of each kind. Digits joined from recordings of people count most, but the
# people are few: words of synthetic voices, joined in the same way, keep the model from learning
# their voices by heart.
SHARES = (
    ("espeak", 25), ("flite", 13), ("festival", 13), ("foreign", 10), ("joined", 15),
    ("person", 15), ("prompter", 7), ("other", 2),
)  # fmt: skip

Utterance = tuple[Array, list[str]]


class Sources:
    """Where utterances come from, and how often from each."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._random = Random(given.seed)
        self._folder = given.scratch / "speech"
        self._loaded: dict[str, list[Utterance]] = defaultdict(list)
        self._clips: dict[str, human.Clips] = defaultdict(lambda: defaultdict(list))
        self._seen: set[str] = set()
        speakers = human.spoken_digits(given.digits)
        self.people = [clips for name, clips in speakers.items() if name not in given.held_out]
        self.prompter = human.prompts(given.prompts) if given.prompts else {}
        self.others = (
            human.other_prompts(given.prompts, given.transcripts) if given.transcripts else []
        )
        self.reload()

    def reload(self) -> None:
        """Takes in the parts that have been spoken since the last look."""
        for path in sorted([*self._folder.glob("train_*.npz"), *self._folder.glob("words_*.npz")]):
            if path.name in self._seen:
                continue
            self._seen.add(path.name)
            kind, engine = path.stem.split("_")[:2]
            with np.load(path) as part:
                samples, ends = part["samples"], part["ends"]
                rows = zip([0, *ends[:-1]], ends, part["texts"], part["voices"], strict=True)
                for start, end, text, voice in rows:
                    if kind == "train":
                        self._loaded[engine].append((samples[start:end], str(text).split()))
                    else:
                        clip = human.tight(samples[start:end].astype(np.float32) / 32768)
                        self._clips[str(voice)][str(text)].append(clip)

    def machine(self, engine: str) -> Utterance:
        samples, words = self._random.choice(self._loaded[engine])
        return samples.astype(np.float32) / 32768, words

    def pick(self) -> tuple[list[Utterance], Strength]:
        """Returns the utterances of one stream: of one person, or of one synthesiser's voices."""
        random = self._random
        length = random.choice((1, 1, 1, 2, 2, 3))
        kinds, weights = zip(*SHARES, strict=True)
        kind = random.choices(kinds, weights)[0]
        if kind == "person":
            clips = random.choice(self.people)
            return [human.human_sentence(clips, random) for _ in range(length)], PERSON
        if kind == "joined" and self._clips:
            engine = random.choice(("espeak", "espeak", "flite", "foreign", "foreign", "festival"))
            voices = [name for name in self._clips if name.startswith(engine)] or list(self._clips)
            clips = self._clips[random.choice(voices)]
            if random.random() < 0.5:
                clips = {word: clips[word] for word in clips if word in DIGITS}
            return [human.human_sentence(clips, random) for _ in range(length)], PERSON
        if kind == "prompter" and self.prompter:
            made = [human.human_sentence(self.prompter, random) for _ in range(length)]
            if self.others and random.random() < 0.25:
                place = random.randrange(len(made) + 1)
                made.insert(place, (random.choice(self.others)[: 4 * RATE], []))
            return made, PERSON
        if kind == "other":
            return [(random.choice(self.others)[: 6 * RATE], [])] if self.others else [], PERSON
        engine = kind if self._loaded.get(kind) else "espeak"
        return [self.machine(engine) for _ in range(length)], MACHINE

    def any_speech(self) -> list[Array]:
        return [self.machine(self._random.choice(("espeak", "flite")))[0] for _ in range(200)]


def stream(
    sources: Sources, augmenter: Augmenter, random: np.random.Generator
) -> tuple[Array, list[str]]:
    """Returns the features and words of one stream: pauses, utterances, and what disturbs them."""
    utterances, strength = sources.pick()
    pieces, words = [_pause(random, 0.05, 1.2)], []
    for audio, said in utterances:
        pieces += [
            augmenter.speed(audio * random.uniform(0.7, 1.4), strength),
            _pause(random, 0.1, 1.0),
        ]
        words += said
    pieces.append(_pause(random, 0.4, 0.7))
    return augmenter.finish(
        np.concatenate(pieces)[: 12 * RATE] if not words else np.concatenate(pieces), strength
    ), words


def _pause(random: np.random.Generator, least: float, most: float) -> Array:
    return np.zeros(int(random.uniform(least, most) * RATE), np.float32)


def write_shard(path: Path, streams: list[tuple[Array, list[str]]]) -> None:
    partial = path.with_name(f".{path.name}")
    np.savez(
        partial,
        features=np.concatenate([one.astype(np.float16) for one, _ in streams]),
        frames=np.array([len(one) for one, _ in streams], np.int32),
        words=np.array(
            [token for _, words in streams for token in vocabulary.token_ids(words)], np.int16
        ),
        counts=np.array([len(words) for _, words in streams], np.int32),
    )
    partial.rename(path)


def main() -> int:
    parser = argparse.ArgumentParser(description="Make augmented training data without end.")
    parser.add_argument("--scratch", type=Path, required=True, metavar="DIR")
    parser.add_argument("--digits", type=Path, required=True, metavar="ZIP")
    parser.add_argument("--held-out", action="append", default=[], metavar="SPEAKER")
    parser.add_argument("--prompts", type=Path, metavar="DIR")
    parser.add_argument("--transcripts", type=Path, metavar="FILE")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--shards", default="shards", metavar="NAME", help="folder below the scratch folder"
    )
    parser.add_argument("--first", type=int, default=0, help="number of the first shard")
    parser.add_argument("--count", type=int, default=10**6, help="stop after so many shards")
    given = parser.parse_args()
    folder = given.scratch / given.shards
    folder.mkdir(parents=True, exist_ok=True)
    sources = Sources(given)
    random = np.random.default_rng(given.seed)
    augmenter = Augmenter(random, sources.any_speech())
    for number in range(given.first, given.first + given.count):
        while sum(1 for _ in folder.glob("[0-9]*.npz")) >= AHEAD:
            time.sleep(1)
        begun = time.monotonic()
        sources.reload()
        streams = [stream(sources, augmenter, random) for _ in range(STREAMS)]
        write_shard(folder / f"{number:05d}.npz", streams)
        seconds = sum(len(one) for one, _ in streams) / 100
        print(
            f"shard {number}: {seconds / 60:.0f} min in {time.monotonic() - begun:.0f} s",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
