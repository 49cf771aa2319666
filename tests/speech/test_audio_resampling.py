"""Resampling is the same for any split, and soxr's but for rounding."""

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.speech.audio import AudioError, StreamingResampler
from streamgate.speech.audio.samples import Samples
from streamgate.speech.audio.snapshot import pack, unpack

RATES = (8_000, 11_025, 12_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000)
ROUNDING = 1e-6  # eight units in the last place of samples up to 1


def noise(count: int) -> Samples:
    return np.random.default_rng(count).uniform(-0.9, 0.9, count).astype(np.float32)


def resampled(samples: Samples, source: int, target: int, sizes: list[int]) -> Samples:
    resampler = StreamingResampler(source, target)
    parts, at, turn, out = [], 0, 0, 0
    while at < len(samples):
        part = samples[at : at + sizes[turn % len(sizes)]]
        parts.append(resampler.feed(part))
        at += len(part)
        turn += 1
        behind = at / source - resampler.samples_out / target
        assert behind <= resampler.latency_seconds + 1 / target
        out += len(parts[-1])
        assert resampler.samples_out == out
    return np.concatenate([*parts, resampler.finish()])


@pytest.mark.parametrize("source", RATES)
@pytest.mark.parametrize("target", [8_000, 16_000, 24_000])
def test_it_is_soxr_but_for_rounding(source: int, target: int) -> None:
    for count in (source * 5 // 7, source // 90):
        samples = noise(count)
        ours = resampled(samples, source, target, [source])
        theirs = soxr.resample(samples, source, target)
        assert len(ours) == len(theirs)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("source", RATES)
@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(50, 5000), min_size=1, max_size=6), tail=st.integers(0, 500))
def test_any_split_gives_the_same_samples(source: int, sizes: list[int], tail: int) -> None:
    samples = noise(source // 3 + tail)
    whole = resampled(samples, source, 16_000, [len(samples)])
    np.testing.assert_array_equal(resampled(samples, source, 16_000, sizes), whole)


def test_so_does_one_sample_at_a_time() -> None:
    samples = noise(3000)
    whole = resampled(samples, 8_000, 16_000, [3000])
    np.testing.assert_array_equal(resampled(samples, 8_000, 16_000, [1]), whole)


@pytest.mark.parametrize("source", [8_001, 22_051, 191_999])
def test_rates_that_share_no_divisor_take_windows_of_a_second(source: int) -> None:
    samples = noise(source * 5 // 2)
    ours = resampled(samples, source, 16_000, [source, 77])
    theirs = soxr.resample(samples, source, 16_000)
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)  # soxr's phase is not exact there
    assert 1 < StreamingResampler(source, 16_000).latency_seconds < 1.02


@pytest.mark.parametrize("source", RATES)
def test_output_is_soon(source: int) -> None:
    assert StreamingResampler(source, 16_000).latency_seconds <= 0.056


def test_equal_rates_pass_through() -> None:
    resampler, samples = StreamingResampler(16_000, 16_000), noise(100)
    assert resampler.feed(samples) is samples
    assert (len(resampler.finish()), resampler.latency_seconds) == (0, 0)


@pytest.mark.parametrize("source", [*RATES, 22_051])
def test_a_state_goes_on_with_the_same_samples(source: int) -> None:
    samples = noise(source * 2 + 17)
    whole = resampled(samples, source, 16_000, [len(samples)])
    resampler, parts, at = StreamingResampler(source, 16_000), [], 0
    for size in (1, 300, source // 20, source // 3, source, len(samples)):
        parts.append(resampler.feed(samples[at : at + size]))
        at += size
        state = pack(resampler.state())
        assert len(state) < 4 * source * (0.1 if source != 22_051 else 2.1) + 300
        resampler = StreamingResampler.restored(unpack(state))
    parts.append(resampler.finish())
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize(("source", "target"), [(7_999, 16_000), (16_000, 192_001)])
def test_rates_out_of_range(source: int, target: int) -> None:
    with pytest.raises(AudioError, match="expected 8000 to 192000 Hz"):
        StreamingResampler(source, target)
