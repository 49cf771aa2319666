"""Makes clean speech sound as it does in rooms, cars and telephones."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve, lfilter

import features
from features import FFT, RATE, Array

_BINS_HZ = np.arange(FFT // 2 + 1) * RATE / FFT
_WARPS = np.linspace(0.82, 1.22, 33)


@dataclass(frozen=True, slots=True)
class Strength:
    """How strongly a voice is changed: people less varied than synthesisers need more."""

    speed: tuple[float, float] = (0.8, 1.26)
    warp: tuple[float, float] = (0.84, 1.2)


class Augmenter:
    """Turns utterances into features; `speech` (any recordings) is what babble is made of."""

    def __init__(self, random: np.random.Generator, speech: list[Array]) -> None:
        self._random = random
        self._noises = _noise_pool(random, speech)
        self._filters = [features.mel_filters(float(warp)) for warp in _WARPS]

    def speed(self, audio: Array, strength: Strength) -> Array:
        """Plays `audio` faster or slower, with a slow drift: pitch and formants move along."""
        random = self._random
        factor = random.uniform(*strength.speed)
        length = int(len(audio) / factor)
        if length < 2:
            return audio
        at = np.linspace(0, len(audio) - 1, length)
        drift = (
            random.uniform(0, 0.04) * len(audio) * np.sin(np.pi * np.linspace(0, 1, length)) ** 2
        )
        at = np.clip(at + drift * random.choice((-0.5, 0.5)), 0, len(audio) - 1)
        played: Array = np.interp(at, np.arange(len(audio)), audio).astype(np.float32)
        return played

    def room(self, audio: Array) -> Array:
        random = self._random
        decay = random.uniform(0.04, 0.6)
        length = int(decay * RATE)
        tail = random.standard_normal(length) * np.exp(-6.0 * np.arange(length) / length)
        tail *= (
            random.uniform(0.02, 0.25) / (np.sqrt(np.mean(tail**2)) * np.sqrt(length) + 1e-9) * 2
        )
        tail[0] = 1.0
        echoed: Array = fftconvolve(audio, tail.astype(np.float32))[: len(audio)]
        return echoed.astype(np.float32)

    def finish(self, audio: Array, strength: Strength) -> Array:
        """Returns the features FP32 [frames, 40] of a whole stream of clean speech and pauses."""
        random = self._random
        if random.random() < 0.45:
            audio = self.room(audio)
        loudness = (
            float(np.sqrt(np.mean(audio[np.abs(audio) > 1e-3] ** 2)))
            if np.any(np.abs(audio) > 1e-3)
            else 0.05
        )
        if random.random() < 0.75:
            noise = self._noises[random.integers(len(self._noises))]
            begin = random.integers(max(1, len(noise) - len(audio)))
            noise = np.resize(noise[begin : begin + len(audio)], len(audio))
            audio = audio + noise * (loudness * 10 ** (-random.uniform(4, 40) / 20))
        gain = 10 ** (random.uniform(-48, -13) / 20) / loudness
        audio = audio * gain
        if random.random() < 0.06:
            top = float(np.abs(audio).max()) * random.uniform(0.2, 0.7) + 1e-6
            audio = np.clip(audio, -top, top)
        audio = np.clip(audio, -1, 1)
        telephone = random.random() < 0.4
        if telephone and random.random() < 0.5:
            audio = _mu_law(audio)
        power = features.power_spectrum(audio.astype(np.float32))
        if random.random() < 0.75:
            power = power * self._equaliser()
        if telephone:
            power = power * self._telephone_band()
        wanted = random.uniform(*strength.warp) if random.random() < 0.7 else 1.0
        filters = self._filters[int(np.argmin(np.abs(_WARPS - wanted)))]
        return minus_running_mean(features.log_mel(power, filters))

    def _equaliser(self) -> Array:
        """A random power response: bumps, a slope, and sometimes a dull microphone."""
        random = self._random
        octaves = np.log2((_BINS_HZ + 60) / 60)
        points = random.normal(0, random.uniform(1, 6), 8)
        decibels = np.interp(octaves, np.linspace(0, octaves[-1], 8), points)
        decibels += random.uniform(-2, 2) * (octaves - octaves.mean())
        if random.random() < 0.3:
            begin = random.uniform(1200, 4000)
            fall = np.clip(np.log2(np.maximum(_BINS_HZ, begin) / begin), 0, 1)
            decibels -= random.uniform(5, 25) * fall
        return (10 ** (decibels / 10)).astype(np.float32)

    def _telephone_band(self) -> Array:
        random = self._random
        low = random.choice((0.0, 0.0, 200.0, 300.0))
        high = random.choice((3400.0, 3800.0, 4000.0, 4000.0))
        fall = np.where(low > _BINS_HZ, (low - _BINS_HZ) / 4, np.maximum(0, _BINS_HZ - high) / 5)
        response: Array = 10 ** (-np.minimum(fall, 70) / 10)
        return response.astype(np.float32)


def minus_running_mean(mels: Array) -> Array:
    """Subtracts from each frame the running mean, this frame included (see features.MEAN_KEEP)."""
    start = np.full((1, mels.shape[1]), features.MEAN_START * features.MEAN_KEEP)
    mean, _ = lfilter([1 - features.MEAN_KEEP], [1, -features.MEAN_KEEP], mels, axis=0, zi=start)
    left: Array = (mels - mean).astype(np.float32)
    return left


def _mu_law(audio: Array) -> Array:
    squeezed = np.sign(audio) * np.log1p(255 * np.abs(audio)) / np.log(256)
    steps = np.round(squeezed * 127) / 127
    opened: Array = np.sign(steps) * np.expm1(np.abs(steps) * np.log(256)) / 255
    return opened


def _noise_pool(random: np.random.Generator, speech: list[Array]) -> list[Array]:
    """Returns half a minute each of coloured, humming and babbling noise, at level 1."""
    length = 30 * RATE
    pool = []
    for tilt in (0.0, 0.0, 0.5, 0.5, 1.0, 1.0, 1.5):
        spectrum = np.fft.rfft(random.standard_normal(length))
        spectrum *= (np.arange(len(spectrum)) + 20.0) ** -tilt
        pool.append(np.fft.irfft(spectrum, length))
    for base in (50.0, 60.0, 120.0):
        time = np.arange(length) / RATE
        hum = sum(
            random.uniform(0.1, 1) / k * np.sin(2 * np.pi * base * k * time) for k in range(1, 9)
        )
        pool.append(hum + 0.05 * random.standard_normal(length))
    for voices in (4, 7, 12):
        babble = np.zeros(length)
        for _ in range(voices):
            picked = [speech[i] for i in random.integers(len(speech), size=40)]
            babble += np.resize(np.concatenate(picked), length)
        pool.append(babble)
    return [(noise / np.sqrt(np.mean(noise**2))).astype(np.float32) for noise in pool]
