"""What a client says about its audio, and the reader that makes a model's samples of its bytes."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import soxr

from streamgate.errors import Code, StreamGateError
from streamgate.model.tensor import Array

SAMPLE_RATE_HZ_MIN = 8_000
SAMPLE_RATE_HZ_MAX = 192_000


@dataclass(frozen=True, slots=True)
class Declared:
    """The client's declaration. `encoding` is `auto` (a container: WAV, FLAC, Ogg, MP3), or raw:
    `s16le`, `f32le`, `mulaw`, `alaw`. `channel` is the one to hear; None mixes all of them."""

    encoding: str = "auto"
    sample_rate_hz: int | None = None
    channels: int = 1
    channel: int | None = None


class AudioSource(Protocol):
    """Bytes in, samples out: FP32 `[n]`, mono, in [-1, 1], at the rate that was asked for."""

    def feed(self, data: bytes) -> Array:
        """Raises StreamGateError (INVALID_ARG) for what can't be decoded."""

    def finish(self) -> Array:
        """What was held back. Raises as `feed` for audio that is cut off."""


def audio_source(declared: Declared, target_rate_hz: int) -> AudioSource:
    """A reader of such audio. Raises StreamGateError (INVALID_ARG) for a declaration that can't be
    served."""
    rate_hz = declared.sample_rate_hz or target_rate_hz
    if not SAMPLE_RATE_HZ_MIN <= rate_hz <= SAMPLE_RATE_HZ_MAX:
        raise StreamGateError(
            Code.INVALID_ARG,
            f"sample rate {rate_hz} Hz, expected {SAMPLE_RATE_HZ_MIN} to {SAMPLE_RATE_HZ_MAX}",
        )
    return _Raw(declared, rate_hz, target_rate_hz)


class _Raw:
    """Stands in until `streamgate.speech.audio` is there: s16le and f32le, and 16-bit WAV."""

    def __init__(self, declared: Declared, rate_hz: int, target_rate_hz: int) -> None:
        self._encoding = declared.encoding
        self._channels = declared.channels
        self._channel = declared.channel
        self._rate_hz = rate_hz
        self._target_rate_hz = target_rate_hz
        self._rest = b""
        self._head_is_read = False
        self._resampler: soxr.ResampleStream | None = None

    def feed(self, data: bytes) -> Array:
        data = self._rest + data
        self._rest = b""
        if not self._head_is_read:
            if len(data) < 44:
                self._rest = data
                return np.zeros(0, np.float32)
            self._head_is_read = True
            if data[:4] == b"RIFF":
                self._encoding = "s16le"
                self._channels = int.from_bytes(data[22:24], "little")
                self._rate_hz = int.from_bytes(data[24:28], "little")
                data = data[data.index(b"data") + 8 :]
            elif self._encoding == "auto":
                raise StreamGateError(Code.INVALID_ARG, "the audio is in no known format")
        width = {"s16le": 2, "f32le": 4}[self._encoding] * self._channels
        cut = len(data) - len(data) % width
        self._rest = data[cut:]
        if self._encoding == "s16le":
            samples = np.frombuffer(data[:cut], "<i2").astype(np.float32) / 32768
        else:
            samples = np.frombuffer(data[:cut], "<f4")
        samples = samples.reshape(-1, self._channels)
        channel = self._channel
        samples = samples.mean(axis=1) if channel is None else samples[:, channel]
        return self._resampled(samples, last=False)

    def finish(self) -> Array:
        return self._resampled(np.zeros(0, np.float32), last=True)

    def _resampled(self, samples: Array, *, last: bool) -> Array:
        if self._rate_hz == self._target_rate_hz:
            return samples
        if self._resampler is None:
            self._resampler = soxr.ResampleStream(
                self._rate_hz, self._target_rate_hz, 1, dtype="float32"
            )
        resampled: Array = self._resampler.resample_chunk(samples.astype(np.float32), last=last)
        return resampled
