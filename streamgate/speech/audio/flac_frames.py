"""FLAC's frames: where they end, and their samples.

A frame does not say how long it is. It ends where the next one begins, whose head is known: sync
code, its own number, a CRC-8. Frames depend on nothing but the stream's head, so any run of them
is decoded as a small file of its own. Format: RFC 9639.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from streamgate.speech.audio.faults import AudioError, shown, soundfile
from streamgate.speech.audio.format import check_channels, check_rate
from streamgate.speech.audio.samples import Samples

MAGIC: Final = b"fLaC"
_STREAMINFO_BYTES: Final = 34
_HEAD_BYTES_MAX: Final = 16
_BLOCK_SIZES: Final = {1: 192, 2: 576, 3: 1152, 4: 2304, 5: 4608}


def _crc8_table() -> bytes:
    table = bytearray(256)
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = ((crc << 1) ^ (0x07 if crc & 0x80 else 0)) & 0xFF
        table[value] = crc
    return bytes(table)


_CRC8: Final = _crc8_table()


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """The metadata block STREAMINFO (RFC 9639, 8.2)."""

    data: bytes

    @classmethod
    def read(cls, data: bytes, channel: int | None) -> "StreamInfo":
        if len(data) != _STREAMINFO_BYTES:
            raise AudioError(
                f"FLAC's STREAMINFO has {len(data)} bytes, expected {_STREAMINFO_BYTES}"
            )
        info = cls(data)
        check_rate(info.sample_rate_hz, "FLAC")
        check_channels(info.channels, channel, "FLAC")
        return info

    @property
    def block_size_max(self) -> int:
        return int.from_bytes(self.data[2:4], "big")

    @property
    def frame_bytes_min(self) -> int:
        return int.from_bytes(self.data[4:7], "big")

    @property
    def _packed(self) -> int:
        return int.from_bytes(self.data[10:18], "big")

    @property
    def sample_rate_hz(self) -> int:
        return self._packed >> 44

    @property
    def channels(self) -> int:
        return (self._packed >> 41 & 7) + 1

    @property
    def bits(self) -> int:
        return (self._packed >> 36 & 31) + 1

    @property
    def frames_total(self) -> int:
        """Samples of each channel; 0: unknown."""
        return self._packed & (1 << 36) - 1

    @property
    def frame_bytes_max(self) -> int:
        """The most that a frame can take: all samples verbatim, one more bit for a side channel."""
        size = self.block_size_max or 65536
        return (size * self.channels * (self.bits + 1)) // 8 + 64

    def file_head(self, frames_total: int) -> bytes:
        """The beginning of a file of so many samples, whose MD5 is not known."""
        packed = (self._packed >> 36 << 36 | frames_total).to_bytes(8, "big")
        return MAGIC + b"\x80\x00\x00\x22" + self.data[:10] + packed + bytes(16)


@dataclass(frozen=True, slots=True)
class FrameHead:
    """What a frame's head says that matters here (RFC 9639, 9.1)."""

    number: int  # of the frame, or of its first sample where block sizes vary
    is_variable: bool
    block_size: int
    channels: int

    @property
    def next_number(self) -> int:
        return self.number + (self.block_size if self.is_variable else 1)


def read_head(data: bytes | bytearray, at: int) -> FrameHead | None:
    """The head of a frame at `at`, or None where there is none or it has not come whole.

    The CRC decides; what the RFC forbids beyond that is left to the decoder.
    """
    head = bytes(data[at : at + _HEAD_BYTES_MAX])
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8 or head[3] & 1:
        return None
    number, end = _coded_number(head)
    size_code, rate_code = head[2] >> 4, head[2] & 15
    if end == 0 or size_code == 0 or rate_code == 15:
        return None
    if size_code in (6, 7):
        width = size_code - 5
        block_size = int.from_bytes(head[end : end + width], "big") + 1
        end += width
    else:
        block_size = _BLOCK_SIZES.get(size_code) or 1 << size_code
    end += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    crc = 0
    for byte in head[: end + 1]:
        crc = _CRC8[crc ^ byte]
    if len(head) <= end or crc != 0:  # a CRC over itself is zero
        return None
    channel_code = head[3] >> 4
    return FrameHead(
        number=number,
        is_variable=bool(head[1] & 1),
        block_size=block_size,
        channels=channel_code + 1 if channel_code < 8 else 2,
    )


def _coded_number(head: bytes) -> tuple[int, int]:
    """The number at byte 4, coded as UTF-8 codes characters but up to 36 bits, and its end."""
    first = head[4]
    if first < 0x80:
        return first, 5
    following = 7 - (first ^ 0xFF).bit_length()  # one less than there are leading ones
    if not 1 <= following <= 6 or len(head) < 5 + following:
        return 0, 0
    number = first & (0x3F >> following)
    for byte in head[5 : 5 + following]:
        if byte & 0xC0 != 0x80:
            return 0, 0
        number = number << 6 | byte & 0x3F
    return number, 5 + following


def decode(info: StreamInfo, frames: Sequence[bytes], at: int, done: int) -> list[Samples]:
    """The samples of whole frames, float32 [block, channels] each or of all at once.

    `at` is the byte at which the first begins, `done` how many samples were before it. Raises
    AudioError, with those of the frames before in `samples` as [n, channels], for a damaged one.
    """
    try:
        return [_decode(info, frames)]
    except AudioError:
        pass
    parts: list[Samples] = []
    for frame in frames:  # which one is it?
        try:
            parts.append(_decode(info, [frame]))
        except AudioError as error:
            fault = AudioError(
                f"the FLAC frame at byte {at} ({done / info.sample_rate_hz:.3f} s) is damaged or "
                f"truncated: {error.message}"
            )
            if parts:
                fault.samples = np.concatenate(parts)
            raise fault from error
        at += len(frame)
        done += len(parts[-1])
    return parts


def _decode(info: StreamInfo, frames: Sequence[bytes]) -> Samples:
    count = 0
    for frame in frames:
        head = read_head(frame, 0)
        if head is None or head.channels != info.channels:
            raise AudioError(f"expected a frame of {info.channels} channels, found {shown(frame)}")
        count += head.block_size
    library = soundfile()
    try:
        with library.SoundFile(io.BytesIO(info.file_head(count) + b"".join(frames))) as file:
            samples: Samples = file.read(count, dtype="float32", always_2d=True)
    except library.LibsndfileError as error:
        raise AudioError(str(error)) from error
    if len(samples) != count:
        raise AudioError(f"it holds {len(samples)} samples, expected {count}")
    return samples
