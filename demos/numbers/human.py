"""Recordings of people: single digits and numbers, joined into strings as one would say them."""

import zipfile
from collections import defaultdict
from pathlib import Path
from random import Random

import numpy as np

from features import RATE, Array
from grammar import DIGITS, TEENS, TENS, number_words
from synthesis import read_wave, trimmed

Clips = dict[str, list[Array]]  # word -> recordings of it, FP32 at 16 kHz

# Words of the Debian packages asterisk-core-sounds-en-wav, in their folder `digits`.
_PROMPTS = {
    **{str(value): word for value, word in enumerate((*DIGITS, *TEENS))},
    **{str(20 + 10 * index): word for index, word in enumerate(TENS)},
    **{
        word: word
        for word in ("hundred", "thousand", "million", "billion", "minus", "oh", "dollars")
    },
}


def spoken_digits(archive: Path) -> dict[str, Clips]:
    """Returns the recordings of the Free Spoken Digit Dataset by speaker.

    `archive` is a zip of files named DIGIT_SPEAKER_INDEX.wav. Only the file names decide.
    """
    speakers: dict[str, Clips] = defaultdict(lambda: defaultdict(list))
    with zipfile.ZipFile(archive) as files:
        for name in sorted(files.namelist()):
            stem = Path(name).stem.split("_")
            if name.endswith(".wav") and len(stem) == 3:
                audio = trimmed(read_wave(files.read(name)), RATE // 100)
                speakers[stem[1]][DIGITS[int(stem[0])]].append(audio)
    return {speaker: dict(clips) for speaker, clips in speakers.items()}


def prompts(folder: Path) -> Clips:
    """Returns the number words among the telephone prompts in `folder`, one recording each."""
    found = {word: folder / "digits" / f"{stem}.wav" for stem, word in _PROMPTS.items()}
    clips = {
        word: [trimmed(read_wave(path), RATE // 100)]
        for word, path in found.items()
        if path.exists()
    }
    for name, word in (("vm-and", "and"), ("letters/plus", "plus")):
        path = folder / f"{name}.wav"
        if word and path.exists():
            clips[word] = [trimmed(read_wave(path), RATE // 100)]
    return clips


def other_prompts(folder: Path, transcripts: Path) -> list[Array]:
    """Returns prompts without any number in them: speech after which nothing is to be written."""
    numbers = {
        *_PROMPTS.values(),
        "and",
        "point",
        "percent",
        "cents",
        "plus",
        "double",
        "first",
        "second",
        "to",
        "too",
        "for",
        "o",
        "won",
        "a",
        "star",
        "pound",
    }
    said = {}
    for line in transcripts.read_text(errors="replace").splitlines():
        name, colon, text = line.partition(":")
        if colon and not name.startswith(("digits/", "letters/", "phonetic/", ";")):
            said[name.strip()] = set(
                "".join(c if c.isalpha() else " " for c in text.lower()).split()
            )
    return [
        trimmed(read_wave(folder / f"{name}.wav"))
        for name, words in sorted(said.items())
        if words and not words & numbers and (folder / f"{name}.wav").exists()
    ]


def tight(clip: Array) -> Array:
    """Cuts what is left of the silence around a synthesiser's word."""
    return trimmed(clip, RATE // 100)


def joined(words: list[str], clips: Clips, random: Random) -> Array:
    """Returns one recording of each word after the other: gaps of 0 to 300 ms, or overlaps.

    Neighbours are faded into each other; in fast strings they overlap, as nobody who reads out a
    telephone number finishes every word.
    """
    fast = random.random() < 0.4
    loudness = random.uniform(0.05, 0.3)
    hiss = 10 ** (-random.uniform(12, 40) / 20) if random.random() < 0.4 else 0.0
    noise = np.random.default_rng(random.getrandbits(32))
    total = np.zeros(0, np.float32)
    at = 0
    for word in words:
        clip = random.choice(clips[word])
        level = float(np.sqrt(np.mean(clip**2))) + 1e-6
        if hiss:  # as where each recording brings its own noise, and there is none between them
            clip = clip + noise.standard_normal(len(clip), np.float32) * (hiss * level)
        clip = faded(clip * (loudness * random.uniform(0.8, 1.25) / level), RATE // 100)
        end = at + len(clip)
        total = np.pad(total, (0, max(0, end - len(total))))
        total[at:end] += clip
        gap_seconds = random.uniform(-0.04, 0.06) if fast else random.uniform(0, 0.3)
        at = max(0, end + int(gap_seconds * RATE))
    return total


def faded(clip: Array, samples: int) -> Array:
    """Returns a copy that begins and ends softly."""
    samples = min(samples, len(clip) // 4)
    ramp = np.ones(len(clip), np.float32)
    ramp[:samples] = np.linspace(0, 1, samples)
    ramp[len(clip) - samples :] = ramp[:samples][::-1]
    return clip * ramp


def human_sentence(clips: Clips, random: Random) -> tuple[Array, list[str]]:
    """Returns a random joined string of the words that `clips` has, and its words."""
    if len(clips) > len(DIGITS):
        words = number_words(random)
        if all(word in clips for word in words):
            return joined(words, clips, random), words
        words = random.choices(sorted(clips), k=random.randrange(1, 8))
        return joined(words, clips, random), words
    words = [random.choice(DIGITS) for _ in range(random.choice((1, 2, 3, 4, 4, 5, 6, 7, 8, 10)))]
    return joined(words, clips, random), words


def test_strings(clips: Clips, count: int, seed: int) -> list[tuple[Array, list[str]]]:
    """Returns `count` strings of 3 to 10 digits with gaps of 0 to 300 ms, as in the requirement."""
    random = Random(seed)
    made = []
    for _ in range(count):
        words = [random.choice(DIGITS) for _ in range(random.randrange(3, 11))]
        parts = [random.choice(clips[word]) for word in words]
        made.append((_with_gaps(parts, random), words))
    return made


def _with_gaps(parts: list[Array], random: Random) -> Array:
    pieces = []
    for clip in parts:
        gap = np.zeros(int(random.uniform(0, 0.3) * RATE), np.float32)
        pieces += [faded(clip, RATE // 200), gap]
    return np.concatenate(pieces)
