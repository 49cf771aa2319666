"""The speech that the recogniser is examined on: voices and a person never heard in training."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import human
from features import RATE, Array
from synthesis import read_wave

PERSON_STRINGS = 300
_SEED = 20_26


@dataclass(frozen=True, slots=True)
class Example:
    group: str  # what its error rate is reported under
    voice: str
    audio: Array  # FP32 at 16 kHz, with half a second of silence after the last word
    words: tuple[str, ...]


def synthetic(speech: Path) -> list[Example]:
    """Returns the held-out parts that corpus.py wrote to the folder `speech`."""
    found = []
    for path in sorted(speech.glob("test_*.npz")):
        group = path.stem.removeprefix("test_").split("_")[0]
        with np.load(path) as part:
            starts = np.concatenate([[0], part["ends"][:-1]])
            samples = part["samples"]
            rows = zip(starts, part["ends"], part["texts"], part["voices"], strict=True)
            for start, end, text, voice in rows:
                audio = samples[start:end].astype(np.float32) / 32768
                found.append(Example(group, str(voice), framed(audio), tuple(str(text).split())))
    return found


def recordings(folder: Path) -> list[Example]:
    """Returns the WAVs in `folder` that its file said.txt names, each with the words in it."""
    found = []
    for line in (folder / "said.txt").read_text(encoding="utf-8").splitlines():
        name, _, words = line.partition(":")
        audio = read_wave(folder / name)
        found.append(Example("recordings", name, audio, tuple(words.split())))
    return found


def people(archive: Path, speakers: list[str]) -> list[Example]:
    """Returns strings of 3 to 10 digits, joined from the recordings of each of `speakers`."""
    clips = human.spoken_digits(archive)
    return [
        Example(f"person {name}", name, framed(audio), tuple(words))
        for name in speakers
        for audio, words in human.test_strings(clips[name], PERSON_STRINGS, _SEED)
    ]


def framed(audio: Array) -> Array:
    """Adds the pauses before and after, and brings the loudness to that of a usual recording."""
    level = float(np.sqrt(np.mean(audio**2))) + 1e-6
    before, after = np.zeros(RATE // 4, np.float32), np.zeros(RATE // 2, np.float32)
    return np.concatenate([before, audio * (0.06 / level), after]).astype(np.float32)
