"""The reader: from bytes to a model's samples, in one go or across any number of restarts."""

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.errors import Code, StreamGateError
from streamgate.speech.audio import AudioError, AudioFormat, AudioReader, Encoding, Position
from streamgate.speech.audio.samples import Samples
from tests.speech.audio_files import ALL, LOSSY, Kind, fed, made, pieces, soundfile_reads

RESTORABLE = (*ALL, Kind("WAV", "PCM_16", 22_051))


def read(data: bytes) -> Samples:
    return fed(AudioReader(AudioFormat(), 16_000), data, [len(data)])


def read_in_lives(data: bytes, sizes: list[int]) -> tuple[Samples, int]:
    """Each piece by a reader restored from the one before; and the largest snapshot."""
    snapshot, parts, largest = AudioReader(AudioFormat(), 16_000).snapshot(), [], 0
    position = Position(0, 0)
    for piece in pieces(data, sizes):
        reader = AudioReader.restore(snapshot)
        assert reader.position == position
        parts.append(reader.feed(piece))
        position, snapshot = reader.position, reader.snapshot()
        assert position.samples_out == sum(map(len, parts))
        largest = max(largest, len(snapshot))
    assert position.bytes_in == len(data)
    parts.append(AudioReader.restore(snapshot).finish())
    return np.concatenate(parts), largest


@pytest.mark.parametrize("kind", ALL, ids=str)
def test_what_comes_out_is_soundfile_and_soxr(kind: Kind) -> None:
    data = made(kind, 2.5)
    theirs = soxr.resample(soundfile_reads(data), kind.rate_hz, 16_000)
    reader = AudioReader(AudioFormat(), 16_000)
    ours = fed(reader, data, [3000])
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-7)
    assert reader.source_rate_hz == kind.rate_hz
    assert reader.position == Position(len(data), len(ours))


@pytest.mark.parametrize("kind", RESTORABLE, ids=str)
@settings(max_examples=8, deadline=None)
@given(sizes=st.lists(st.integers(200, 4000), min_size=1, max_size=5))
def test_a_restored_reader_goes_on_with_the_same_samples(kind: Kind, sizes: list[int]) -> None:
    data = made(kind, 1.2 if kind in LOSSY else 0.6)
    np.testing.assert_array_equal(read_in_lives(data, sizes)[0], read(data))


@pytest.mark.parametrize("kind", [k for k in ALL if k not in LOSSY], ids=str)
def test_so_it_does_from_any_byte_of_the_header(kind: Kind) -> None:
    data = made(kind, 0.3)[:600]
    decoder = AudioReader(AudioFormat(), 16_000)
    whole, lives = decoder.feed(data), []
    snapshot = AudioReader(AudioFormat(), 16_000).snapshot()
    for piece in pieces(data, [1]):
        reader = AudioReader.restore(snapshot)
        lives.append(reader.feed(piece))
        snapshot = reader.snapshot()
    np.testing.assert_array_equal(np.concatenate(lives), whole)


@pytest.mark.parametrize("kind", LOSSY, ids=str)
def test_the_state_stays_small_however_long_the_stream(kind: Kind) -> None:
    data = made(kind, 25.0)
    samples, largest = read_in_lives(data, [4000])
    np.testing.assert_array_equal(samples, read(data))
    held_seconds = {"OPUS": 14.5, "VORBIS": 11.5}.get(kind.subtype, 3.5)  # with pages of a second
    assert largest < held_seconds * len(data) / 25 + 40_000


def test_the_state_of_bare_samples_is_a_window() -> None:
    reader = AudioReader(AudioFormat(Encoding.S16LE, 48_000), 16_000)
    for _ in range(50):
        reader.feed(bytes(999))
    assert len(reader.snapshot()) < 4 * 48_000 * 0.07 + 500


def test_nothing_is_known_before_the_header() -> None:
    reader = AudioReader(AudioFormat(), 16_000)
    assert (reader.source_rate_hz, reader.name, reader.latency_seconds) == (None, None, 0)
    reader.feed(made(Kind("WAV", "PCM_16", 8_000), 0.3))
    assert (reader.source_rate_hz, reader.name) == (8_000, "WAV (s16le)")
    assert reader.latency_seconds == pytest.approx(0.056)


def test_what_came_before_damage_is_not_lost() -> None:
    data = made(Kind("WAV", "PCM_16", 8_000), 0.3)
    reader = AudioReader(AudioFormat(), 16_000)
    parts = [reader.feed(data[:-1000])]
    with pytest.raises(AudioError, match="truncated") as caught:
        reader.finish()
    parts.append(caught.value.samples)
    whole = read(data)
    got = np.concatenate(parts)
    assert len(got) == len(whole) - 1000
    np.testing.assert_allclose(got[:-200], whole[: len(got) - 200], rtol=0, atol=5e-7)
    for call in (reader.finish, lambda: reader.feed(b"\0\0"), reader.snapshot):
        with pytest.raises(AudioError, match="truncated") as again:
            call()
        assert len(again.value.samples) == 0


@pytest.mark.parametrize("where", [0, 4, 5, 12, 40, -1])
def test_a_damaged_snapshot_is_refused(where: int) -> None:
    reader = AudioReader(AudioFormat(), 16_000)
    reader.feed(made(Kind("MP3", "MPEG_LAYER_III", 8_000), 1.2))
    snapshot = bytearray(reader.snapshot())
    snapshot[where] ^= 1
    with pytest.raises(StreamGateError, match="a snapshot of audio is damaged") as caught:
        AudioReader.restore(bytes(snapshot))
    assert caught.value.code is Code.INVALID_ARG


@pytest.mark.parametrize("length", [0, 3, 12, 100])
def test_so_is_half_a_snapshot(length: int) -> None:
    snapshot = AudioReader(AudioFormat(), 16_000).snapshot()
    with pytest.raises(StreamGateError, match="a snapshot of audio is damaged"):
        AudioReader.restore(snapshot[:length])
