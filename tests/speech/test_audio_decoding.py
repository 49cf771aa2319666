"""A stream in any split gives the samples of the whole file: those that soundfile reads."""

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.speech.audio import AudioError, AudioFormat, Encoding, StreamingDecoder
from streamgate.speech.audio.samples import alaw_table, mono, mulaw_table
from tests.speech.audio_files import (
    ALL,
    LOSSY,
    RECORDINGS,
    Kind,
    decoded,
    encoded,
    fed,
    made,
    soundfile_reads,
    speech,
)

RAW = {
    Encoding.U8: "PCM_U8",
    Encoding.S16LE: "PCM_16",
    Encoding.S24LE: "PCM_24",
    Encoding.S32LE: "PCM_32",
    Encoding.F32LE: "FLOAT",
    Encoding.F64LE: "DOUBLE",
    Encoding.MULAW: "ULAW",
    Encoding.ALAW: "ALAW",
}


@pytest.mark.parametrize("kind", ALL, ids=str)
@pytest.mark.parametrize("seconds", [0.005, 0.3, 2.5])
def test_a_whole_file_is_what_soundfile_reads(kind: Kind, seconds: float) -> None:
    data = made(kind, seconds)
    ours, theirs = decoded(data), soundfile_reads(data)
    assert len(ours) == len(theirs)
    if kind.is_exact:
        np.testing.assert_array_equal(ours, theirs)
    else:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-7)


@pytest.mark.parametrize("kind", LOSSY, ids=str)
def test_so_is_a_long_one_although_the_decoder_is_restarted(kind: Kind) -> None:
    data = made(kind, 25.0)
    np.testing.assert_allclose(
        decoded(data, 4000), soundfile_reads(data), rtol=0, atol=0 if kind.is_exact else 2e-7
    )


@pytest.mark.parametrize("name", ["call_8k", "dialogue_16k", "station_16k", "weather_22k"])
def test_opus_of_any_speech_has_converged_when_its_samples_are_used(name: str) -> None:
    """At 16 kHz and 20 kbit/s, where it took longest of all that was tried."""
    samples, rate_hz = soundfile.read(RECORDINGS / f"{name}.wav", dtype="float32")
    samples = np.tile(samples, 1 + 60 * rate_hz // len(samples))[: 60 * rate_hz]
    samples = soxr.resample(samples, rate_hz, 16_000)
    data = encoded(samples[:, np.newaxis], Kind("OGG", "OPUS", 16_000))
    np.testing.assert_array_equal(decoded(data, 4000), soundfile_reads(data))


@pytest.mark.parametrize("kind", ALL, ids=str)
@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(20, 5000), min_size=1, max_size=8))
def test_any_split_gives_the_same_samples(kind: Kind, sizes: list[int]) -> None:
    data = made(kind, 2.5 if kind in LOSSY else 0.6)
    decoder = StreamingDecoder(AudioFormat())
    np.testing.assert_array_equal(fed(decoder, data, sizes), decoded(data))
    assert decoder.source_rate_hz == kind.rate_hz
    assert decoder.bytes_in == len(data)


@pytest.mark.parametrize("kind", ALL, ids=str)
def test_so_does_one_byte_at_a_time(kind: Kind) -> None:
    data = made(kind, 0.3)
    np.testing.assert_array_equal(decoded(data, 1), decoded(data))


@pytest.mark.parametrize("kind", LOSSY, ids=str)
def test_samples_come_while_the_stream_goes_on(kind: Kind) -> None:
    data = made(kind, 25.0)
    decoder = StreamingDecoder(AudioFormat())
    half = decoder.feed(data[: len(data) // 2])
    assert len(half) > 10 * kind.rate_hz


def test_a_flac_frame_comes_with_the_next() -> None:
    kind = Kind("FLAC", "PCM_16", 16_000)
    data = made(kind, 2.5)
    samples = StreamingDecoder(AudioFormat()).feed(data)
    assert 2.5 * 16_000 - len(samples) <= 4096


@pytest.mark.parametrize("encoding", RAW, ids=lambda encoding: encoding.value)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_bare_samples(encoding: Encoding, channels: int, size: int) -> None:
    kind = Kind("RAW", RAW[encoding], 8_000, channels)
    data = encoded(speech(0.3, 8_000, channels), kind)
    wav = encoded(speech(0.3, 8_000, channels), Kind("WAV", RAW[encoding], 8_000, channels))
    samples = decoded(data, size, AudioFormat(encoding, 8_000, channels))
    np.testing.assert_array_equal(samples, soundfile_reads(wav))


def test_big_endian_samples() -> None:
    values = np.array([-32768, -2, 0, 1, 32767], ">i2")
    samples = decoded(values.tobytes(), 3, AudioFormat(Encoding.S16BE, 16_000))
    np.testing.assert_array_equal(samples, values.astype(np.float32) / 32768)


def test_the_tables_of_g711() -> None:
    mulaw, alaw = mulaw_table() * 32768, alaw_table() * 32768
    assert (mulaw[0x00], mulaw[0x80], mulaw[0x7F], mulaw[0xFF]) == (-32124, 32124, 0, 0)
    assert (alaw[0x2A], alaw[0xAA], alaw[0x55], alaw[0xD5]) == (-32256, 32256, -8, 8)
    assert len(set(alaw)) == 256


@pytest.mark.parametrize("kind", [Kind("WAV", "PCM_16", 16_000, 3), Kind("OGG", "OPUS", 48_000, 2)])
def test_one_channel_may_be_chosen(kind: Kind) -> None:
    data = made(kind, 0.3)
    every = [decoded(data, 500, AudioFormat(channel=channel)) for channel in range(kind.channels)]
    assert not np.array_equal(every[0], every[1])
    np.testing.assert_array_equal(mono(np.stack(every, axis=1), None), decoded(data))


def test_a_channel_that_is_not_there() -> None:
    with pytest.raises(AudioError, match="channel 2 was chosen and WAV has 2; expected 0 to 1"):
        decoded(made(Kind("WAV", "PCM_16", 16_000, 2), 0.3), declared=AudioFormat(channel=2))


def test_any_buffer_is_taken() -> None:
    data = made(Kind("WAV", "PCM_16", 16_000), 0.3)
    decoder = StreamingDecoder(AudioFormat())
    parts = [decoder.feed(bytearray(data[:1001])), decoder.feed(memoryview(data)[1001:])]
    np.testing.assert_array_equal(np.concatenate(parts), soundfile_reads(data))
