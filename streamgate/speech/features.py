"""Log-mel filter banks as Kaldi, icefall and NeMo compute them, chunk by chunk and restorable.

kaldi-native-fbank computes the frames. Its own online object can't be saved, so none is kept: each
call hands it the samples that its frames stand on, beginning some frames early, and drops those.
A frame depends on its own samples alone, so the values are those of the whole file, bit by bit,
however the audio is cut. (A new object costs 80 us, a frame 11 us.)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamgate.model.tensor import Array

STYLES = ("kaldi", "nemo")


@dataclass(frozen=True, slots=True)
class FbankOptions:
    """What a model's features are.

    `style`: "kaldi" (frames as in Kaldi; `snip_edges` false lets frame 0 begin before the audio, as
    icefall's models want) or "nemo" (as NeMo's preprocessor without normalisation: pre-emphasis
    over the whole signal, frames centred on every 10 ms, Slaney's mel scale, log(x + 2^-24);
    window, snip_edges, remove_dc and scale have no meaning then). `high_hz` of 0 or less counts
    from half the sample rate. `scale` is what samples in [-1, 1] are multiplied by: 32768 for
    models trained with Kaldi itself.
    """

    style: str = "kaldi"
    sample_rate: int = 16000
    bins: int = 80
    low_hz: float = 20.0
    high_hz: float = -400.0
    frame_ms: float = 25.0
    shift_ms: float = 10.0
    window: str = "povey"
    remove_dc: bool = True
    preemphasis: float = 0.97
    snip_edges: bool = False
    slaney: bool = False
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"expected a style of {', '.join(STYLES)}, found '{self.style}'")


ICEFALL = FbankOptions()
"""What k2's Zipformers are trained on (lhotse's Fbank; sherpa-onnx's defaults)."""

NEMO = FbankOptions(style="nemo", low_hz=0.0, high_hz=0.0)
"""What NeMo's streaming FastConformers are trained on (`normalize: "NA"`)."""

NEMO_SHERPA = FbankOptions(low_hz=0.0, high_hz=0.0, window="hann", remove_dc=False, slaney=True)
"""How sherpa-onnx approximates NeMo's features with Kaldi's frames."""

KALDI = FbankOptions(high_hz=0.0, snip_edges=True, scale=32768.0)
"""Kaldi's own defaults, with 80 bins and without dither."""

PRESETS = {"icefall": ICEFALL, "nemo": NEMO, "nemo-sherpa": NEMO_SHERPA, "kaldi": KALDI}


@dataclass(frozen=True, slots=True)
class FbankState:
    """Samples that later frames still need, float32 [n], and how far the stream has come.

    `start` is the position of the first of them in the stream, `frames` how many frames were given.
    """

    samples: Array
    start: int
    frames: int


class Fbank:
    """Features of a stream: samples in [-1, 1] to frames float32 [n, bins].

    Needs kaldi-native-fbank: raises ImportError without it.
    """

    def __init__(self, options: FbankOptions) -> None:
        self.options = options
        self.shift = round(options.sample_rate * options.shift_ms / 1000)
        self._length = round(options.sample_rate * options.frame_ms / 1000)
        self._compute = _nemo(options) if options.style == "nemo" else _kaldi(options)
        # Frames that see samples before their slice, or the pre-emphasis of its first one.
        self._warm_up = -(-self._length // self.shift)

    @property
    def frame_seconds(self) -> float:
        """From one frame to the next."""
        return self.shift / self.options.sample_rate

    def start(self) -> FbankState:
        """The state before the first sample."""
        return FbankState(np.zeros(0, np.float32), 0, 0)

    def feed(self, state: FbankState, samples: Array) -> tuple[FbankState, Array]:
        """Take samples [n] and give the frames that are complete, [frames, bins].

        Raises ValueError for samples that are no vector.
        """
        if samples.ndim != 1:
            raise ValueError(f"expected samples of shape [n], found {list(samples.shape)}")
        kept = np.concatenate((state.samples, samples.astype(np.float32, copy=False)))
        frames = self._frames(kept, state, finished=False)
        count = state.frames + len(frames)
        start = max(state.start, (count - self._warm_up) * self.shift)
        return FbankState(kept[start - state.start :].copy(), start, count), frames

    def finish(self, state: FbankState) -> tuple[FbankState, Array]:
        """Give the frames that reach beyond the last sample; the state is then fresh."""
        return self.start(), self._frames(state.samples, state, finished=True)

    def offline(self, samples: Array) -> Array:
        """All frames of a whole recording."""
        state, first = self.feed(self.start(), samples)
        return np.concatenate((first, self.finish(state)[1]))

    def frames_of_silence(self, count: int) -> Array:
        """Frames as digital silence has them, [count, bins]."""
        one = self._compute(np.zeros(self._length * 3, np.float32), False)[self._warm_up - 1]
        return np.tile(one, (count, 1))

    def _frames(self, samples: Array, state: FbankState, *, finished: bool) -> Array:
        due = state.frames - state.start // self.shift
        if not len(samples):
            return np.zeros((0, self.options.bins), np.float32)
        return self._compute(samples, finished)[due:]


_Compute = Callable[[Array, bool], Array]
"""All frames of these samples, [n, bins]; True: with those that reach beyond their end."""


def _kaldi(options: FbankOptions) -> _Compute:
    import kaldi_native_fbank as knf

    settings = knf.FbankOptions()
    frame, mel = settings.frame_opts, settings.mel_opts
    frame.samp_freq = options.sample_rate
    frame.dither = 0.0  # random numbers would make each run another
    frame.frame_length_ms = options.frame_ms
    frame.frame_shift_ms = options.shift_ms
    frame.window_type = options.window
    frame.remove_dc_offset = options.remove_dc
    frame.preemph_coeff = options.preemphasis
    frame.snip_edges = options.snip_edges
    mel.num_bins = options.bins
    mel.low_freq = options.low_hz
    mel.high_freq = options.high_hz
    mel.is_librosa = options.slaney

    def compute(samples: Array, finished: bool) -> Array:
        fbank: Any = knf.OnlineFbank(settings)
        fbank.accept_waveform(options.sample_rate, samples * np.float32(options.scale))
        if finished:
            fbank.input_finished()
        frames = [fbank.get_frame(index) for index in range(fbank.num_frames_ready)]
        return np.array(frames, np.float32).reshape(len(frames), options.bins)

    return compute


def _nemo(options: FbankOptions) -> _Compute:
    import kaldi_native_fbank as knf

    settings = knf.NemoFbankOptions(
        samp_freq=options.sample_rate,
        frame_shift_ms=options.shift_ms,
        frame_length_ms=options.frame_ms,
        num_mel_bins=options.bins,
        low_freq=options.low_hz,
        high_freq=options.high_hz,
        preemph_coeff=options.preemphasis,
    )
    shift = round(options.sample_rate * options.shift_ms / 1000)
    half = round(options.sample_rate * options.frame_ms / 1000) // 2

    def compute(samples: Array, finished: bool) -> Array:
        fbank: Any = knf.OnlineNemoFbank(settings)
        fbank.accept_waveform(options.sample_rate, samples)
        # Else the last frames would be computed without the samples beyond the last whole hop.
        fbank.input_finished()
        ready = fbank.num_frames_ready
        frames = np.zeros((0, options.bins), np.float32)
        if ready:
            found, _ = fbank.get_frames(0, ready, is_final=True)
            frames = np.asarray(found, np.float32).reshape(-1, options.bins)
        if not finished:
            # Frames whose second half is not there yet were given as if silence followed.
            frames = frames[: max(0, (len(samples) - half) // shift + 1)]
        return frames

    return compute
