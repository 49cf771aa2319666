"""WAV headers as programs write them, and as they should not."""

import struct

import numpy as np
import pytest

from streamgate.errors import Code
from tests.speech.audio_files import Kind, chunk, decoded, failure, fmt, made, riff

VALUES = np.arange(-500, 500, dtype="<i2") * 13
BODY = VALUES.tobytes()
SAMPLES = VALUES.astype(np.float32) / 32768
GUID = bytes.fromhex("000000001000800000aa00389b71")


def extensible(tag: int, guid: bytes = GUID) -> bytes:
    return fmt(0xFFFE, extra=struct.pack("<HHIH", 22, 16, 4, tag) + guid)


def ds64(data_bytes: int) -> bytes:
    return chunk(b"ds64", struct.pack("<QQQI", 2**33, data_bytes, 0, 0))


GOOD = {
    "plain": riff(fmt(), chunk(b"data", BODY)),
    "longer fmt": riff(fmt(extra=b"\0\0"), chunk(b"data", BODY)),
    "extensible": riff(extensible(1), chunk(b"data", BODY)),
    "chunks before": riff(chunk(b"JUNK", bytes(5001)), fmt(), chunk(b"LIST", b"x" * 77_777))
    + chunk(b"data", BODY),
    "chunks after": riff(fmt(), chunk(b"data", BODY), chunk(b"LIST", b"INFO" * 100)),
    "size 0": riff(fmt(), chunk(b"data", BODY, 0), size=0),
    "size unknown": riff(fmt(), chunk(b"data", BODY, 0xFFFFFFFF), size=0xFFFFFFFF),
    "size of sox to a pipe": riff(fmt(), chunk(b"data", BODY, 0x7FFFFFFF - 36), size=0x7FFFFFFF),
    "RF64": riff(ds64(len(BODY)), fmt(), chunk(b"data", BODY, 0xFFFFFFFF), magic=b"RF64")
    + chunk(b"LIST", b"INFO" * 9),
    "RF64 to a pipe": riff(ds64(0), fmt(), chunk(b"data", BODY, 0xFFFFFFFF), magic=b"RF64"),
    "size with half a frame": riff(fmt(), chunk(b"data", BODY + b"\1")),
}
BAD = {
    "no header's end": (riff(fmt())[:20], "before its chunk 'data'"),
    "no data": (riff(fmt(), chunk(b"LIST", bytes(10))), "before its chunk 'data'"),
    "no fmt": (riff(chunk(b"data", BODY)), "and no chunk 'fmt ' before it"),
    "short fmt": (riff(chunk(b"fmt ", bytes(8)), bytes(20)), "'fmt ' of 8 bytes at byte 12"),
    "truncated": (GOOD["plain"][:-500], "truncated: it ends at byte 1544 (0.047 s), 500 bytes"),
    "low rate": (riff(fmt(rate_hz=6_000), bytes(8)), "rate of 6000 Hz; expected 8000 to 192000"),
    "no channels": (riff(fmt(channels=0), bytes(8)), "0 channels; expected 1 to 32"),
    "half a frame": (GOOD["size 0"] + b"\1", "1 bytes are left over; expected a multiple of 2"),
}
UNREAD = {
    "ADPCM": (riff(fmt(0x11), bytes(8)), "IMA ADPCM"),
    "MP3 within": (riff(fmt(0x55), bytes(8)), "MP3"),
    "unheard of": (riff(fmt(0x1234), bytes(8)), "format 0x1234"),
    "odd sizes": (riff(fmt(sample_bytes=5), bytes(8)), "samples of 5 bytes for 1 channels"),
    "subformat": (riff(extensible(1, bytes(14)), bytes(8)), "the subformat 0100"),
    "channels": (riff(fmt(channels=40), bytes(8)), "40 channels; expected 1 to 32"),
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("size", [1, 2, 13, 4096, 200_000])
def test_headers_that_are_read(name: str, size: int) -> None:
    np.testing.assert_array_equal(decoded(GOOD[name], size), SAMPLES)


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("size", [1, 5000])
def test_headers_that_are_wrong(name: str, size: int) -> None:
    data, says = BAD[name]
    error = failure(data, size=size)
    assert says in error.message
    assert error.code is Code.INVALID_ARG


@pytest.mark.parametrize("name", UNREAD)
def test_headers_of_what_is_not_read(name: str) -> None:
    data, says = UNREAD[name]
    error = failure(data)
    assert says in error.message
    assert error.code is Code.UNSUPPORTED


def test_what_came_before_the_cut_is_there() -> None:
    np.testing.assert_array_equal(failure(BAD["truncated"][0], size=100).samples, SAMPLES[:750])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_samples_that_are_no_numbers(value: float, subtype: str) -> None:
    kind = Kind("WAV", subtype, 16_000)
    data = bytearray(made(kind, 0.3))
    width = 4 if subtype == "FLOAT" else 8
    begin = len(data) - 1600 * width
    data[begin : begin + width] = np.array([value], f"<f{width}").tobytes()
    error = failure(bytes(data), size=999)
    assert f"no finite number ({value}) at byte {begin} (0.200 s)" in error.message
    assert len(error.samples) == 3200
