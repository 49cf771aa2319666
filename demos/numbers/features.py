"""Log-mel features, as the exported graph computes them: causal, 100 a second.

Frame t is made of the samples [160 t - 240, 160 t + 160); before the first sample is silence.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

RATE = 16_000
HOP = 160
WINDOW = 400
FFT = 512
MELS = 40
LOWEST_HZ, HIGHEST_HZ = 60.0, 7600.0
FLOOR = 1e-5
SCALE = 0.4  # of the features on their way into the first layer
MEAN_START = -9.0  # what the running mean of every band begins with
MEAN_KEEP = 0.995  # of the running mean, each frame: about two seconds


def window() -> Array:
    return np.hanning(WINDOW + 1)[:-1].astype(np.float32)


def mel_filters(warp: float = 1.0) -> Array:
    """Returns [FFT / 2 + 1, MELS]; `warp` > 1 hears the voice of a shorter vocal tract."""

    def mel(hz: Array | float) -> Array:
        return 1127 * np.log1p(np.asarray(hz) / 700)

    edges = 700 * np.expm1(np.linspace(mel(LOWEST_HZ), mel(HIGHEST_HZ), MELS + 2) / 1127)
    knee = 6000 / max(warp, 1.0)  # above it the warp fades out such that the ends stay in place
    warped = np.where(
        edges <= knee,
        edges * warp,
        knee * warp + (edges - knee) * (HIGHEST_HZ - knee * warp) / (HIGHEST_HZ - knee),
    )
    bins = np.arange(FFT // 2 + 1)[:, None] * RATE / FFT
    rise = (bins - warped[None, :-2]) / (warped[1:-1] - warped[:-2])
    fall = (warped[None, 2:] - bins) / (warped[2:] - warped[1:-1])
    filters: Array = np.maximum(0, np.minimum(rise, fall)).astype(np.float32)
    return filters


def power_spectrum(audio: Array) -> Array:
    """Returns [frames, FFT / 2 + 1] of FP32 audio; samples that fill no whole hop are left out."""
    frames = len(audio) // HOP
    padded = np.concatenate([np.zeros(WINDOW - HOP, np.float32), audio[: frames * HOP]])
    cut = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:frames]
    spectrum = np.fft.rfft(cut * window(), FFT)
    return (spectrum.real**2 + spectrum.imag**2).astype(np.float32)


def log_mel(power: Array, filters: Array) -> Array:
    features: Array = np.log(power @ filters + FLOOR)
    return features
