"""Audio files as the voice-activity model wants them: 16 kHz, mono, in chunks of 512 samples."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

SAMPLE_RATE = 16_000
CHUNK_SAMPLES = 512
CHUNK_SECONDS = CHUNK_SAMPLES / SAMPLE_RATE

# Enough for the model to see that the last word is over.
_TAIL_SAMPLES = SAMPLE_RATE // 2


class RecordingError(Exception):
    """A file can't be read as audio, or holds none."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One file. `chunks` holds FP32 [1,512] each, with half a second of silence at the end."""

    name: str
    rate: int
    seconds: float
    chunks: tuple[np.ndarray, ...]


def load_all(paths: Sequence[Path]) -> list[Recording]:
    """Reads the files, each under a name of its own (its stem, numbered where that is taken)."""
    loaded: list[Recording] = []
    taken: Counter[str] = Counter()
    for path in paths:
        taken[path.stem] += 1
        again = taken[path.stem]
        loaded.append(_load(path, path.stem if again == 1 else f"{path.stem} ({again})"))
    return loaded


def _load(path: Path, name: str) -> Recording:
    """Reads any format that libsndfile reads, at any rate and with any number of channels."""
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise RecordingError(f"{path}: can't be read as audio: {error}") from error
    if len(samples) == 0:
        raise RecordingError(f"{path}: holds no audio")
    mono = samples.mean(axis=1)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    length = len(mono) + _TAIL_SAMPLES
    padded = np.zeros(-(-length // CHUNK_SAMPLES) * CHUNK_SAMPLES, np.float32)
    padded[: len(mono)] = mono
    chunks = tuple(padded.reshape(-1, 1, CHUNK_SAMPLES))
    return Recording(name, rate, len(samples) / rate, chunks)
