"""Audio for the tone transcriber, and what it must hear in it."""

import hashlib
from pathlib import Path

import numpy as np

from streamgate.model.tensor import Array

REPOSITORY = Path(__file__).parent / "repositories"
RATE_HZ = 16_000
WORDS = (REPOSITORY / "tone_transcriber/1/words.txt").read_text().split()

MELODY = (400, 1200, 800, 2000, 600, 2400, 1000, 3000)


def tones(melody: tuple[int, ...] = MELODY, rate_hz: int = RATE_HZ) -> Array:
    """FP32 `[n]`: 240 ms of each tone, 120 ms of silence between them and at both ends."""
    gap = np.zeros(round(0.12 * rate_hz), np.float32)
    time = np.arange(round(0.24 * rate_hz)) / rate_hz
    edge = np.minimum(1, np.minimum(time, time[::-1]) / 0.005)
    parts = [gap]
    for tone in melody:
        parts += [(0.5 * edge * np.sin(2 * np.pi * tone * time)).astype(np.float32), gap]
    return np.concatenate(parts)


def words_of(melody: tuple[int, ...] = MELODY, digest: bytes = b"") -> list[str]:
    """What the transcriber says to them, which depends on all that it has heard before."""
    words = []
    for tone in melody:
        digest = hashlib.sha256(digest + str(tone).encode()).digest()
        words.append(WORDS[digest[0] % len(WORDS)])
    return words


def s16le(samples: Array) -> bytes:
    return np.round(samples * 32767).astype("<i2").tobytes()
