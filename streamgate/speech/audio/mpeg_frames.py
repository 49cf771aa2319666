"""MPEG audio frames of layer III: their heads, and the tags around them.

ISO/IEC 11172-3, 2.4.1.3 (MPEG-1) and 13818-3 (MPEG-2); MPEG-2.5 halves the rates once more.
"""

from dataclasses import dataclass
from typing import Final

from streamgate.speech.audio.faults import AudioError, unsupported

HEAD_BYTES: Final = 4
FRAME_BYTES_MAX: Final = 1441  # 320 kbit/s at 32 kHz with padding
_VERSIONS: Final = {3: 1, 2: 2, 0: 4}  # by what the sample rates are divided; 1 is reserved
_RATES: Final = (44100, 48000, 32000)
_KBITS_1: Final = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2: Final = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
# A decoder's own delay, which LAME's tag does not count: 528 samples and one more.
DECODER_DELAY: Final = 529
TAGS_AFTER: Final = (b"TAG", b"APETAGEX", b"LYRICSBEGIN")


@dataclass(frozen=True, slots=True)
class MpegHead:
    """What a frame's head says."""

    sample_rate_hz: int
    channels: int
    frame_bytes: int
    block_size: int  # samples of each channel
    side_bytes: int  # of side information, after the head and the CRC
    has_crc: bool

    @property
    def main_at(self) -> int:
        """Where the frame's main data begins."""
        return HEAD_BYTES + 2 * self.has_crc + self.side_bytes

    def fits(self, other: "MpegHead") -> bool:
        """Whether both can be frames of one stream."""
        mine = (self.sample_rate_hz, self.channels, self.block_size)
        return mine == (other.sample_rate_hz, other.channels, other.block_size)


def read_head(data: bytes | bytearray, at: int = 0) -> MpegHead | None:
    """The head at `at`, or None where there is none of layer III.

    Raises AudioError (UNSUPPORTED) for the free format, whose frames say no length.
    """
    if len(data) < at + HEAD_BYTES or data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return None
    version, layer = data[at + 1] >> 3 & 3, data[at + 1] >> 1 & 3
    rate_index, kbits_index = data[at + 2] >> 2 & 3, data[at + 2] >> 4
    if version == 1 or layer != 1 or rate_index == 3 or kbits_index == 15:
        return None
    if kbits_index == 0:
        raise unsupported(f"MP3 has a frame of free format at byte {at}; expected a bit rate")
    divisor = _VERSIONS[version]
    is_first = version == 3
    rate = _RATES[rate_index] // divisor
    kbits = (_KBITS_1 if is_first else _KBITS_2)[kbits_index]
    is_mono = data[at + 3] >> 6 == 3
    padding = data[at + 2] >> 1 & 1
    return MpegHead(
        sample_rate_hz=rate,
        channels=1 if is_mono else 2,
        frame_bytes=(144 if is_first else 72) * kbits * 1000 // rate + padding,
        block_size=1152 if is_first else 576,
        side_bytes=(17 if is_mono else 32) if is_first else (9 if is_mono else 17),
        has_crc=not data[at + 1] & 1,
    )


def id3_bytes(data: bytes | bytearray) -> int:
    """The size of the ID3v2 tag that `data` (10 bytes at least) begins with, head and foot."""
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    return size + (20 if data[5] & 0x10 else 10)


@dataclass(frozen=True, slots=True)
class InfoTag:
    """The first frame of a file may hold no sound but say how long the file is (Xing, LAME).

    `frames` (0: unknown) does not count that frame itself. The encoder's `delay` and `padding`
    are samples of silence before and after.
    """

    frames: int
    delay: int
    padding: int

    @property
    def skip(self) -> int:
        """Samples at the beginning that are none of the sound."""
        return self.delay + DECODER_DELAY if self.delay or self.padding else 0

    def end(self, block_size: int) -> int | None:
        """Where the sound ends among the decoded samples; None: not known."""
        if not self.frames or not self.skip:
            return None
        return self.frames * block_size - max(self.padding - DECODER_DELAY, 0)


def read_info(frame: bytes, head: MpegHead) -> InfoTag | None:
    """The tag in a stream's first frame; None: it is sound."""
    tag = frame[HEAD_BYTES + head.side_bytes :]
    if frame[36:40] == b"VBRI":
        return InfoTag(int.from_bytes(frame[50:54], "big"), 0, 0)
    if tag[:4] not in (b"Xing", b"Info"):
        return None
    flags, at, frames = int.from_bytes(tag[4:8], "big"), 8, 0
    if flags & 1:
        frames = int.from_bytes(tag[at : at + 4], "big")
    at += 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    packed = int.from_bytes(tag[at + 21 : at + 24], "big")  # after LAME's name and settings
    return InfoTag(frames, packed >> 12, packed & 0xFFF)


def silenced(frame: bytes, head: MpegHead) -> bytes:
    """The frame with its side information cleared but for where its main data begins.

    It decodes as silence, whatever is missing before it, and its main data is still there for
    the frames after it to reach back to.
    """
    if head.has_crc:
        return frame
    begin = 9 if head.block_size == 1152 else 8  # bits of main_data_begin
    side = int.from_bytes(frame[HEAD_BYTES : HEAD_BYTES + head.side_bytes], "big")
    below = head.side_bytes * 8 - begin
    side = side >> below << below
    return (
        frame[:HEAD_BYTES]
        + side.to_bytes(head.side_bytes, "big")
        + frame[HEAD_BYTES + head.side_bytes :]
    )


def checked(head: MpegHead | None, data: bytes, at: int, first: MpegHead | None) -> MpegHead:
    """The head, if it is one and one of the same stream; raises AudioError otherwise."""
    if head is None:
        raise AudioError(f"expected an MP3 frame at byte {at}, found {data.hex(' ')}")
    if first is not None and not head.fits(first):
        raise unsupported(
            f"MP3 changes from {first.sample_rate_hz} Hz, {first.channels} channels to "
            f"{head.sample_rate_hz} Hz, {head.channels} channels at byte {at}"
        )
    return head
