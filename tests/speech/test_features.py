from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.model.tensor import Array
from streamgate.speech.features import ICEFALL, KALDI, NEMO, PRESETS, Fbank, FbankState
from streamgate.speech.states import pack, unpack

knf = pytest.importorskip("kaldi_native_fbank", reason="features need kaldi-native-fbank")

SAMPLES = (np.random.default_rng(7).standard_normal(16_777) * 0.1).astype(np.float32)
FBANKS = {name: Fbank(options) for name, options in PRESETS.items()}
WHOLE = {name: fbank.offline(SAMPLES) for name, fbank in FBANKS.items()}


def streamed(fbank: Fbank, samples: Array, sizes: list[int]) -> Array:
    state, parts, at = fbank.start(), [], 0
    for size in [*sizes, len(samples)]:
        state, frames = fbank.feed(state, samples[at : at + size])
        state = unpack(FbankState, pack(state))
        parts.append(frames)
        at += size
    return np.concatenate((*parts, fbank.finish(state)[1]))


@pytest.mark.parametrize("name", PRESETS)
@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 4000), max_size=10))
def test_a_stream_has_the_frames_of_the_whole(name: str, sizes: list[int]) -> None:
    np.testing.assert_array_equal(streamed(FBANKS[name], SAMPLES, sizes), WHOLE[name])


@pytest.mark.parametrize("name", PRESETS)
def test_single_samples(name: str) -> None:
    short = SAMPLES[:1000]
    fbank = FBANKS[name]
    np.testing.assert_array_equal(streamed(fbank, short, [1] * 1000), fbank.offline(short))


@pytest.mark.parametrize("name", ["icefall", "nemo-sherpa", "kaldi"])
def test_kaldi_frames_are_those_of_the_online_object(name: str) -> None:
    options = PRESETS[name]
    wanted = knf.FbankOptions()
    wanted.frame_opts.dither = 0
    wanted.frame_opts.snip_edges = options.snip_edges
    wanted.frame_opts.window_type = options.window
    wanted.frame_opts.remove_dc_offset = options.remove_dc
    wanted.mel_opts.num_bins = 80
    wanted.mel_opts.low_freq = options.low_hz
    wanted.mel_opts.high_freq = options.high_hz
    wanted.mel_opts.is_librosa = options.slaney
    online = knf.OnlineFbank(wanted)
    online.accept_waveform(16000, SAMPLES * np.float32(options.scale))
    online.input_finished()
    frames = [online.get_frame(index) for index in range(online.num_frames_ready)]
    np.testing.assert_array_equal(WHOLE[name], np.array(frames))


def test_nemo_frames_are_centred_transforms() -> None:
    """Against NeMo's preprocessor, written out: pre-emphasis, a centred transform, the logarithm.

    The mel filters are kaldi-native-fbank's, so what is compared is the energy of white noise.
    """
    emphasised = np.concatenate((SAMPLES[:1], SAMPLES[1:] - 0.97 * SAMPLES[:-1]))
    padded = np.concatenate((np.zeros(256), emphasised, np.zeros(256)))
    window = np.pad(np.hanning(400), 56)
    frame = 50
    power = np.abs(np.fft.rfft(padded[frame * 160 : frame * 160 + 512] * window)) ** 2
    mel = knf.MelBanksOptions()
    mel.num_bins, mel.low_freq, mel.high_freq, mel.is_librosa = 80, 0, 8000, True
    banks = knf.MelBanks(mel, knf.FrameExtractionOptions(), 1.0)
    expected = np.log(np.array(banks.compute(power.astype(np.float32))) + 2.0**-24)
    np.testing.assert_allclose(WHOLE["nemo"][frame], expected, atol=2e-3)


def test_the_state_stays_small() -> None:
    for fbank in FBANKS.values():
        state = fbank.start()
        for _ in range(30):
            state, _ = fbank.feed(state, SAMPLES[:1600])
        assert len(state.samples) <= 6 * fbank.shift


def test_frames_of_silence_are_what_silence_gives() -> None:
    for options in (ICEFALL, KALDI, NEMO):
        fbank = Fbank(options)
        silence = fbank.offline(np.zeros(16000, np.float32))
        np.testing.assert_array_equal(fbank.frames_of_silence(2), silence[10:12])


def test_after_the_end_comes_a_new_stream() -> None:
    fbank = FBANKS["icefall"]
    state, _ = fbank.feed(fbank.start(), SAMPLES)
    state, _ = fbank.finish(state)
    _, frames = fbank.feed(state, SAMPLES)
    np.testing.assert_array_equal(frames, WHOLE["icefall"][: len(frames)])


def test_other_rates_and_sizes() -> None:
    fbank = Fbank(replace(KALDI, sample_rate=8000, bins=40))
    assert fbank.frame_seconds == 0.01
    assert fbank.offline(SAMPLES[:8000]).shape == (98, 40)


def test_what_is_no_audio_is_refused() -> None:
    fbank = FBANKS["icefall"]
    with pytest.raises(ValueError, match=r"expected samples of shape \[n\], found \[2, 3\]"):
        fbank.feed(fbank.start(), np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="expected a style of kaldi, nemo, found 'mfcc'"):
        replace(ICEFALL, style="mfcc")
