"""Compressed streams that are cut, damaged or not read: what is said, and what is kept."""

from contextlib import suppress
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.errors import Code
from streamgate.speech.audio import AudioError, AudioFormat, AudioReader
from streamgate.speech.audio.mpeg_frames import read_head
from streamgate.speech.audio.ogg_pages import FIRST, Page, PageCutter, checksum, write
from tests.speech.audio_files import LOSSY, Kind, decoded, encoded, failure, made, pieces, speech

WAV = Kind("WAVEX", "PCM_16", 48_000, 3)
FLAC = Kind("FLAC", "PCM_16", 16_000)
OPUS = Kind("OGG", "OPUS", 16_000)
VORBIS = Kind("OGG", "VORBIS", 16_000)
MP3 = Kind("MP3", "MPEG_LAYER_III", 44_100)


def pages_of(data: bytes) -> list[Page]:
    cutter = PageCutter(data)
    pages = []
    while cutter.rest and (page := cutter.next()) is not None:
        pages.append(page)
    return pages


def joined(pages: list[Page]) -> bytes:
    return b"".join(page.data for page in pages)


@pytest.mark.parametrize("kind", [FLAC, *LOSSY], ids=str)
@pytest.mark.parametrize("size", [700, 10**6])
def test_a_cut_stream_gives_what_came_whole(kind: Kind, size: int) -> None:
    data = made(kind, 2.5)
    cut = len(data) * 2 // 3
    error = failure(data[:cut], size=size)
    assert "truncated" in error.message
    assert str(cut if kind is not FLAC else "byte") in error.message
    assert error.code is Code.INVALID_ARG
    whole = decoded(data)
    assert len(error.samples) > len(whole) // 4
    np.testing.assert_array_equal(error.samples, whole[: len(error.samples)])


@pytest.mark.parametrize("kind", [FLAC, *LOSSY], ids=str)
def test_a_stream_of_a_few_bytes_says_so(kind: Kind) -> None:
    error = failure(made(kind, 2.5)[:30], size=3)
    assert "truncated: it ends at byte 30, before" in error.message


def test_a_damaged_flac_frame() -> None:
    data = bytearray(made(FLAC, 2.5))
    place = len(data) // 2
    data[place] ^= 0x40
    error = failure(bytes(data))
    whole = decoded(made(FLAC, 2.5))
    assert "the FLAC frame at byte" in error.message
    assert "is damaged" in error.message
    assert len(error.samples) % 4096 == 0
    assert len(error.samples) > len(whole) // 3
    np.testing.assert_array_equal(error.samples, whole[: len(error.samples)])


def test_flac_with_rubbish_for_a_frame() -> None:
    data = made(FLAC, 2.5)
    first = data.index(b"\xff\xf8")
    says = failure(data[:first] + bytes(100)).message
    assert says.startswith(f"FLAC is truncated: it ends at byte {first + 100}") or (
        "metadata" in says or "expected a FLAC frame" in says
    )


def test_flac_that_unpacks_to_gigabytes_is_not_unpacked() -> None:
    """Frames of 65535 samples in 13 bytes: 4 KiB of them would take 80 MB, 1 MiB 20 GB."""
    error = failure(flac_silence(blocks=400, block_size=65_535), size=4096)
    assert "samples in" in error.message
    assert "expected at most 8388608" in error.message
    assert len(error.samples) == 0


def test_silence_in_large_blocks_is_heard() -> None:
    assert len(decoded(flac_silence(blocks=300, block_size=16_384), size=4096)) == 300 * 16_384


def flac_silence(blocks: int, block_size: int) -> bytes:
    """Mono, at 16 kHz, in the smallest frames that there are."""
    head = bytearray(made(FLAC, 0.1)[:42])
    head[8:12] = 2 * block_size.to_bytes(2, "big")
    head[12:18] = bytes(6)  # frames of any size
    head[21:26] = bytes([head[21] & 0xF0, 0, 0, 0, 0])  # of a length that is not known
    return bytes(head) + b"".join(constant_frame(number, block_size) for number in range(blocks))


def constant_frame(number: int, block_size: int) -> bytes:
    """A FLAC frame of silence (RFC 9639, 9): mono, rate and width as in STREAMINFO."""
    coded = chr(number).encode()
    head = b"\xff\xf8\x70\x00" + coded + (block_size - 1).to_bytes(2, "big")
    head += crc(head, 8, 0x07).to_bytes(1, "big")
    frame = head + b"\0\0\0"
    return frame + crc(frame, 16, 0x8005).to_bytes(2, "big")


def crc(data: bytes, width: int, polynomial: int) -> int:
    value = 0
    for byte in data:
        value ^= byte << (width - 8)
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value >> (width - 1) else 0)) & ((1 << width) - 1)
    return value


def test_flac_that_ends_at_a_frame_too_early() -> None:
    data = made(FLAC, 2.5)
    from streamgate.speech.audio.flac_frames import read_head as read_frame

    places = [i for i in range(len(data)) if data[i] == 0xFF and read_frame(data, i)]
    error = failure(data[: places[4]])
    assert "samples before the end that its head states" in error.message
    np.testing.assert_array_equal(error.samples, decoded(data)[: 4 * 4096])


@pytest.mark.parametrize("kind", [OPUS, VORBIS], ids=str)
def test_a_damaged_ogg_page(kind: Kind) -> None:
    pages = pages_of(made(kind, 2.5))
    bad = pages[-1]
    data = joined(pages[:-1]) + bad.data[:-10] + b"?" + bad.data[-9:]
    error = failure(data)
    assert f"the Ogg page at byte {bad.at} is damaged: its checksum is wrong" in error.message
    assert len(error.samples) > 16_000


@pytest.mark.parametrize("kind", [OPUS, VORBIS], ids=str)
def test_missing_ogg_pages(kind: Kind) -> None:
    pages = pages_of(made(kind, 2.5))
    error = failure(joined(pages[:-2] + pages[-1:]))
    assert "Ogg pages are missing before byte" in error.message


@pytest.mark.parametrize("kind", [OPUS, VORBIS], ids=str)
@pytest.mark.parametrize(("granule", "says"), [(-5, "goes back in time"), (2**40, "a gap of")])
def test_ogg_pages_of_a_wrong_time(kind: Kind, granule: int, says: str) -> None:
    *pages, last = pages_of(made(kind, 2.5))
    moved = last.changed(
        flags=0,
        granule=pages[-1].granule + granule if granule > 0 else pages[-1].granule - 480,
        sequence=last.sequence,
    )
    assert says in failure(joined([*pages, moved])).message


@pytest.mark.parametrize("kind", [OPUS, VORBIS], ids=str)
def test_ogg_pages_that_hold_less_than_they_state(kind: Kind) -> None:
    *pages, last = pages_of(made(kind, 2.5))
    more = last.changed(flags=0, granule=last.granule + 48_000, sequence=last.sequence)
    error = failure(joined([*pages, more]))
    assert "states" in error.message
    assert len(error.samples) >= 2.5 * 16_000


def test_rubbish_between_ogg_pages() -> None:
    pages = pages_of(made(OPUS, 2.5))
    error = failure(joined(pages[:-1]) + b"what is this?" + pages[-1].data)
    assert f"expected an Ogg page at byte {pages[-1].at}, found 77 68 61 74" in error.message


def test_chained_ogg_streams() -> None:
    data = made(OPUS, 0.3)
    error = failure(data + data)
    assert f"another Ogg stream begins at byte {len(data)}" in error.message
    assert error.code is Code.UNSUPPORTED
    assert len(error.samples) == 4800


def test_ogg_without_any_audio_we_read() -> None:
    speex = write([b"Speex   " + bytes(72)], 7, 0, first=True)
    more = write([b"comments"], 7, 1, first=False)
    error = failure(joined(speex + more))
    assert "Ogg holds Speex; expected Opus, Vorbis or FLAC" in error.message


def test_other_ogg_streams_are_passed_over() -> None:
    first, *others = pages_of(made(OPUS, 0.3))
    skeleton = write([b"fishead\0" + bytes(56)], first.serial + 1, 0, first=True)
    between = write([bytes(300)], first.serial + 1, 1, first=False)
    data = joined([*skeleton, first, *between, *others])
    np.testing.assert_array_equal(decoded(data, 100), decoded(made(OPUS, 0.3)))


@pytest.mark.parametrize("kind", [OPUS, VORBIS], ids=str)
def test_ogg_comments_of_any_size_are_no_matter(kind: Kind) -> None:
    """A picture of two megabytes among the comments; and the stream goes on on other pages."""
    head, *others = pages_of(made(kind, 0.3))
    packets, part = [], b""
    count = 0
    for page in others:
        count += 1
        for piece, ends in page.pieces():
            part += piece
            if ends:
                packets.append(part)
                part = b""
        if len(packets) >= (1 if kind is OPUS else 2):
            break
    packets[0] += bytes(2_000_000)
    headers = write(packets, head.serial, 1, first=False)
    audio = [
        page.changed(flags=page.flags, granule=page.granule, sequence=1 + len(headers) + i)
        for i, page in enumerate(others[count:])
    ]
    data = joined([head, *headers, *audio])
    np.testing.assert_array_equal(decoded(data, 5000), decoded(made(kind, 0.3)))


def test_mp3_with_rubbish_between_frames() -> None:
    data = made(MP3, 2.5)
    at, frames = 0, 0
    while frames < 40:
        head = read_head(data, at)
        assert head is not None
        at += head.frame_bytes
        frames += 1
    error = failure(data[:at] + b"rubbish" + data[at:])
    assert f"expected an MP3 frame at byte {at}, found 72 75 62 62" in error.message
    assert len(error.samples) == 39 * 1152 - 1105  # without the tag's frame and the delay
    np.testing.assert_array_equal(error.samples, decoded(data)[: len(error.samples)])


def test_mp3_that_changes_its_rate() -> None:
    error = failure(made(MP3, 0.3) + made(Kind("MP3", "MPEG_LAYER_III", 22_050), 0.3))
    assert "MP3 changes from 44100 Hz, 1 channels to 22050 Hz" in error.message


@pytest.mark.parametrize("size", [1, 400, 100_000])
def test_mp3_between_tags(size: int) -> None:
    data = made(MP3, 0.3)
    tag = b"ID3\x04\x00\x00\x00\x00\x02\x10" + bytes(272)
    big = b"ID3\x03\x00\x00\x00\x0c\x00\x00" + bytes(0x0C << 14)
    whole = decoded(data)
    for before, after in ((tag, b"TAG" + bytes(125)), (tag + bytes(50), b"APETAGEX" + bytes(99))):
        np.testing.assert_array_equal(decoded(before + data + after, size), whole)
    if size > 1:
        np.testing.assert_array_equal(decoded(big + data, size), whole)


def test_mp3_files_that_were_joined_are_all_there() -> None:
    data, again = made(MP3, 0.3), made(MP3, 2.5)
    both = decoded(data + again)
    np.testing.assert_array_equal(both[: len(decoded(data))], decoded(data))
    assert len(both) > len(decoded(data)) + len(decoded(again))  # and the second one's silence


def test_mp3_cut_within_a_tag_is_no_error() -> None:
    data = made(MP3, 0.3)
    np.testing.assert_array_equal(decoded(data + b"TAG" + bytes(20)), decoded(data))


def test_rubbish_behind_a_tag() -> None:
    error = failure(b"ID3\x04\x00\x00\x00\x00\x00\x10" + bytes(16) + b"no frame at all")
    assert "expected an MP3 frame at byte 26, found 6e 6f 20 66" in error.message


def test_free_format_mp3_is_not_read() -> None:
    error = failure(b"\xff\xfb\x00\xc4" + bytes(3000))
    assert "free format" in error.message
    assert error.code is Code.UNSUPPORTED


def test_flac_in_ogg() -> None:
    """Frames of a FLAC file as packets, one to three a page, some over several pages."""
    from streamgate.speech.audio.flac_frames import read_head as read_frame

    kind = Kind("FLAC", "PCM_24", 48_000, 2)
    data = encoded(speech(0.7, 48_000, 2), kind)
    starts = [i for i in range(42, len(data)) if data[i] == 0xFF and read_frame(data, i)]
    frames = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
    for counted in (1, 0):
        head = b"\x7fFLAC\x01\x00" + counted.to_bytes(2, "big") + data[:42]
        pages = write([head], 5, 0, first=True)
        pages += write([b"\x84\0\0\x08" + bytes(8)], 5, 1, first=False)
        for begin in range(0, len(frames), 3):
            pages += write(frames[begin : begin + 3], 5, len(pages), first=False)
        assert pages[0].flags == FIRST
        for size in (100, 10**6):
            np.testing.assert_array_equal(decoded(joined(pages), size), decoded(data))
    assert "truncated" in failure(joined(pages[:-1])).message


def with_checksums(data: bytes) -> bytes:
    """Ogg pages whose checksums fit again, so that damage comes through to the decoders."""
    out, at = b"", 0
    while at + 27 <= len(data) and data[at : at + 4] == b"OggS":
        segments = data[at + 26]
        end = at + 27 + segments + sum(data[at + 27 : at + 27 + segments])
        page = data[at:end]
        fixed = checksum(page[:22] + bytes(4) + page[26:]).to_bytes(4, "little")
        out += page[:22] + fixed + page[26:]
        at = end
    return out + data[at:]


@pytest.mark.parametrize("kind", [WAV, FLAC, OPUS, VORBIS, MP3], ids=str)
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    damages=st.integers(1, 20),
    size=st.integers(50, 5000),
    fixes=st.booleans(),
)
def test_any_damage_is_heard_or_told_and_nothing_else(
    kind: Kind, seed: int, damages: int, size: int, fixes: bool
) -> None:
    random = Random(seed)
    data = bytearray(made(kind, 1.2))
    for _ in range(damages):
        place = random.randrange(random.choice([400, len(data)]))
        data[place : place + random.choice([0, 1, 1, 30])] = random.randbytes(
            random.choice([0, 1, 1, 30])
        )
    damaged = with_checksums(bytes(data)) if fixes else bytes(data)
    reader = AudioReader(AudioFormat(), 16_000)
    with suppress(AudioError):
        for piece in pieces(damaged, [size]):
            assert np.isfinite(reader.feed(piece)).all()
            if random.random() < 0.2:
                reader = AudioReader.restore(reader.snapshot())
        reader.finish()
