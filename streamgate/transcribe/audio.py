"""Where the audio comes from: a file, at full speed or as fast as it was spoken."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from streamgate.errors import Code, StreamGateError
from streamgate.speech.audio import AudioError, AudioFormat, AudioReader

RATE_HZ: Final = 16_000
PIECE_SECONDS: Final = 0.1
_READ_BYTES: Final = 64 * 1024

Samples = NDArray[np.float32]


class Audio(Protocol):
    """Pieces of float32 [n] at RATE_HZ. `seconds` is the whole length, None where it has none."""

    seconds: float | None

    def pieces(self) -> AsyncIterator[Samples]: ...


def read_file(path: Path) -> Samples:
    """float32 [n] at RATE_HZ: the whole file.

    Raises StreamGateError that names the file, if it can't be read or is no audio.
    """
    reader, parts = AudioReader(AudioFormat(), RATE_HZ), []
    try:
        with path.open("rb") as file:
            while data := file.read(_READ_BYTES):
                parts.append(reader.feed(data))
        parts.append(reader.finish())
    except AudioError as error:
        raise StreamGateError(error.code, f"{path}: {error.message}") from None
    except OSError as error:
        reason = error.strerror or error
        raise StreamGateError(Code.NOT_FOUND, f"{path}: {reason}") from None
    return np.concatenate(parts)


class FileAudio:
    """Samples in memory, sent at once or at the pace of speech."""

    def __init__(self, path: Path, samples: Samples, *, realtime: bool) -> None:
        self.path = path
        self.seconds: float | None = len(samples) / RATE_HZ
        self._samples = samples
        self._realtime = realtime

    async def pieces(self) -> AsyncIterator[Samples]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        size = round(PIECE_SECONDS * RATE_HZ)
        for at in range(0, len(self._samples), size):
            piece = self._samples[at : at + size]
            if self._realtime:
                # A microphone hands a piece over when its last sample was spoken.
                await asyncio.sleep(began + (at + len(piece)) / RATE_HZ - loop.time())
            yield piece


def s16le(samples: Samples) -> bytes:
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes()


def f32le(samples: Samples) -> bytes:
    return samples.astype("<f4").tobytes()
