"""What a stream is, from its first bytes, in any split; and what is said of what it is not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgate.errors import Code
from streamgate.speech.audio import AudioError, AudioFormat, Encoding, StreamingDecoder
from streamgate.speech.audio.sniffing import LOOK_AHEAD_MAX, Kind, sniff
from tests.speech import audio_files as files

FIRST_BYTES = {
    Kind.WAV: files.riff(files.fmt()),
    Kind.FLAC: files.made(files.Kind("FLAC", "PCM_16", 16_000), 0.3),
    Kind.OGG: files.made(files.Kind("OGG", "OPUS", 16_000), 0.3),
    Kind.MP3: files.made(files.Kind("MP3", "MPEG_LAYER_III", 44_100), 0.3),
}
UNREAD = {
    b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81": "WebM or Matroska",
    b"\x00\x00\x00\x20ftypM4A ": "MP4",
    b"\x00\x00\x00\x20ftypisom": "MP4",
    b"FORM\x00\x00\x10\x00AIFF": "AIFF",
    b"\xff\xf1\x50\x80\x03\x1f\xfc\x21\x00\x49\x90\x02": "AAC",
    b"\xff\xfd\x80\x04" + bytes(20): "layer II",
    b"#!AMR-WB\n\x00\x00\x00": "AMR",
    b"RIFX\x00\x00\x00\x24WAVE": "big-endian WAV",
    b"%PDF-1.7\n\x00\x00\x00": "a PDF",
}


@pytest.mark.parametrize("kind", FIRST_BYTES, ids=lambda kind: kind.value)
def test_known_streams_are_known_within_the_look_ahead(kind: Kind) -> None:
    data = FIRST_BYTES[kind]
    answers = [sniff(data[:count], is_all=False) for count in range(LOOK_AHEAD_MAX + 1)]
    assert answers[0] is None
    assert answers[-1] is kind
    assert set(answers) == {None, kind}


@pytest.mark.parametrize("head", UNREAD, ids=UNREAD.values())
@pytest.mark.parametrize("size", [1, 5, 100])
def test_what_is_not_read_is_named(head: bytes, size: int) -> None:
    error = files.failure(head + bytes(100), size=size)
    assert UNREAD[head] in error.message
    assert "expected WAV, FLAC, Ogg (Opus, Vorbis, FLAC) or MP3" in error.message
    assert error.code is Code.UNSUPPORTED


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "ended without a byte"),
        (b"\x00", "found no known audio but 00"),
        (bytes(100), "found no known audio but 00 00 00"),
        (b'{"audio": "AAAA"}', "text?"),
        (b"\xff\xfb\x90\xc4" + bytes(2000), "found no known audio but ff fb 90 c4"),
        (b"\xff\xff\xff\xff" * 10, "layer I,"),
        (b"RIFF\x10\x00\x00\x00AVI LIST", "found no known audio but 52 49 46 46"),
    ],
)
def test_what_is_no_audio(data: bytes, says: str) -> None:
    assert says in files.failure(data, size=7).message


@given(st.binary(min_size=12, max_size=100))
def test_any_bytes_are_audio_or_an_error_of_ours(data: bytes) -> None:
    decoder = StreamingDecoder(AudioFormat())
    try:
        decoder.feed(data)
        decoder.finish()
    except AudioError as error:
        assert error.code in (Code.INVALID_ARG, Code.UNSUPPORTED)  # noqa: PT017  # any of two


@pytest.mark.parametrize("size", [1, 3, 3200])
def test_a_wav_header_wins_over_declared_samples(size: int) -> None:
    """Riva's client sends the file from its first byte, whatever it declares."""
    data = files.made(files.Kind("WAV", "PCM_24", 44_100, 2), 0.3)
    decoder = StreamingDecoder(AudioFormat(Encoding.S16LE, 16_000))
    np.testing.assert_array_equal(files.fed(decoder, data, [size]), files.decoded(data))
    assert (decoder.source_rate_hz, decoder.name) == (44_100, "WAV (s24le)")


@pytest.mark.parametrize(
    "data", [b"RIFF", b"RIFF\0\0\0\0WAV", b"RIFF\0\0\0\0ABCD", b"RIRI", b"R\0", b"RIFF\0\0W\0WATT"]
)
@pytest.mark.parametrize("size", [1, 100])
def test_samples_that_begin_like_one_are_samples(data: bytes, size: int) -> None:
    declared = AudioFormat(Encoding.U8, 16_000)
    expected = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    np.testing.assert_array_equal(files.decoded(data, size, declared), expected)


def test_no_bare_samples_are_no_error() -> None:
    assert len(files.decoded(b"", declared=AudioFormat(Encoding.S16LE, 16_000))) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"encoding": Encoding.S16LE}, "s16le audio comes without a sample rate"),
        ({"sample_rate_hz": 7_999}, "7999 Hz; expected 8000 to 192000 Hz"),
        ({"sample_rate_hz": 200_000}, "200000 Hz"),
        ({"channels": 0}, "0 channels; expected 1 to 32"),
        ({"channels": 33}, "33 channels"),
        ({"channel": -1}, "channel -1 was chosen"),
        (
            {"encoding": Encoding.S16LE, "sample_rate_hz": 8_000, "channels": 2, "channel": 2},
            "channel 2 was chosen and audio has 2; expected 0 to 1",
        ),
    ],
)
def test_declarations_that_can_not_be(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(AudioError) as caught:
        AudioFormat(**arguments)  # type: ignore[arg-type]  # of several types
    assert says in caught.value.message
