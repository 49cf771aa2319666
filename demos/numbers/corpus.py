"""Writes the speech to learn from and to be examined on.

    python demos/numbers/corpus.py --scratch DIR [--seed 1] [--scale 1.0]

Writes DIR/speech/PART.npz for every part below, each when it is done; parts that are there are
kept. A part holds `samples` INT16 [all samples], `ends` INT64 [utterances], `texts` and `voices`
(strings, [utterances]).
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

import foreign
import grammar
import vocabulary
import voices
from synthesis import Synthesiser, trimmed
from voices import Speaker


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    speakers: tuple[Speaker, ...]
    utterances: int  # in all, spread evenly over the speakers
    talk: bool = False  # nothing but numbers within talk, and talk without numbers
    single_words: bool = False  # every speaker says each word of the vocabulary equally often

    @property
    def held_out(self) -> bool:
        return self.speakers[0].held_out


def parts(scale: float) -> list[Part]:
    """Returns the parts in the order in which they are made: some of everything comes first."""
    random_voices = tuple(Speaker("espeak", f"r{i:03d}") for i in range(voices.RANDOM_VOICES))
    stock = tuple(Speaker("espeak", name) for name in voices.STOCK_TRAINING)
    flite = tuple(Speaker("flite", name) for name in voices.FLITE_TRAINING)
    festival = [(name, (Speaker("festival", name),)) for name in voices.FESTIVAL_TRAINING]
    foreigners = [(name, (Speaker("foreign", name),)) for name in foreign.VOICES]
    made = []
    for index in range(4):
        made += [
            Part(f"train_espeak_{index}", random_voices + stock, int(1500 * scale)),
            Part(f"train_flite_{index}", flite, int(600 * scale)),
        ]
        for name, speaker in festival:
            made.append(Part(f"train_festival_{name}_{index}", speaker, int(250 * scale)))
    made += [
        Part("train_espeak_talk", random_voices + stock, int(1200 * scale), talk=True),
        Part("train_flite_talk", flite, int(500 * scale), talk=True),
    ]
    for name, speaker in festival:
        made.append(Part(f"train_festival_{name}_talk", speaker, int(120 * scale), talk=True))
    for name, speaker in foreigners:
        made.append(Part(f"train_foreign_{name}", speaker, int(250 * scale)))
    every = len(vocabulary.WORDS)
    for index in range(3):
        some = (random_voices + stock)[index::3]
        made.append(Part(f"words_espeak_{index}", some, every * len(some), single_words=True))
    made.append(Part("words_flite", flite, every * len(flite) * 5, single_words=True))
    for name, speaker in festival:
        made.append(Part(f"words_festival_{name}", speaker, every, single_words=True))
    for name, speaker in foreigners:
        made.append(Part(f"words_foreign_{name}", speaker, every * 3, single_words=True))
    held_espeak = tuple(Speaker("espeak", name, True) for name in voices.STOCK_HELD_OUT)
    held_flite = tuple(Speaker("flite", name, True) for name in voices.FLITE_HELD_OUT)
    held_festival = tuple(Speaker("festival", name, True) for name in voices.FESTIVAL_HELD_OUT)
    made[3:3] = [
        Part("test_espeak", held_espeak, 300),
        Part("test_talk", held_espeak, 150, talk=True),
        Part("test_diphone_flite", held_flite, 200),
        Part("test_diphone_festival", held_festival, 100),
    ]
    return made


def make(part: Part, synthesiser: Synthesiser, seed: int, folder: Path) -> float:
    """Writes one part and returns the seconds of speech in it."""
    random = Random(f"{seed} {part.name}")
    count = part.utterances
    speakers = [part.speakers[index % len(part.speakers)] for index in range(count)]
    if part.single_words:
        said = [
            vocabulary.WORDS[i // len(part.speakers) % len(vocabulary.WORDS)] for i in range(count)
        ]
        sentences = [grammar.Sentence(word, (word,)) for word in said]
    elif part.talk:
        kinds = (
            grammar.carried,
            grammar.carried,
            lambda chance: grammar.Sentence(grammar.chatter(chance, 8), ()),
        )
        sentences = [random.choice(kinds)(random) for _ in range(count)]
    else:
        sentences = [grammar.sentence(random) for _ in range(count)]
        if part.speakers[0].engine == "foreign":
            sentences = [one if one.words else grammar.Sentence("", ("zero",)) for one in sentences]
        if not part.held_out:
            random.shuffle(speakers)
    if speakers[0].engine == "festival":
        recordings = list(synthesiser.festival(speakers[0], sentences))
    elif speakers[0].engine == "foreign":
        recordings = list(synthesiser.foreign(speakers[0], sentences, random))
    else:
        say = getattr(synthesiser, speakers[0].engine)
        recordings = [say(who, what, random) for who, what in zip(speakers, sentences, strict=True)]
    audio = [np.round(np.clip(trimmed(one), -1, 1) * 32767).astype(np.int16) for one in recordings]
    partial = folder / f".{part.name}.npz"
    np.savez(
        partial,
        samples=np.concatenate(audio),
        ends=np.cumsum([len(one) for one in audio]),
        texts=np.array([" ".join(sentence.words) for sentence in sentences]),
        voices=np.array([f"{who.engine}:{who.voice}" for who in speakers]),
    )
    partial.rename(folder / f"{part.name}.npz")
    return sum(map(len, audio)) / 16_000


def main() -> int:
    arguments = argparse.ArgumentParser(description="Speak the training and test sentences.")
    arguments.add_argument("--scratch", type=Path, required=True, metavar="DIR")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--scale", type=float, default=1.0, help="size of the training parts")
    given = arguments.parse_args()
    folder = given.scratch / "speech"
    folder.mkdir(parents=True, exist_ok=True)
    synthesiser = Synthesiser(given.scratch, given.seed)
    for part in parts(given.scale):
        if (folder / f"{part.name}.npz").exists():
            continue
        begun = time.monotonic()
        seconds = make(part, synthesiser, given.seed, folder)
        print(
            f"{part.name}: {seconds / 60:.1f} min in {time.monotonic() - begun:.0f} s", flush=True
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
