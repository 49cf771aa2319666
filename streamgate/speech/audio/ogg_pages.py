"""Pages of Ogg (RFC 3533): cut from a stream, checked, and written.

"OggS", version 0, flags, granule position (8), serial (4), sequence number (4), CRC (4),
number of segments, their lengths, the segments; a segment under 255 bytes ends a packet
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streamgate.speech.audio.faults import AudioError, shown

MAGIC: Final = b"OggS"
_HEAD: Final = struct.Struct("<4sBBqIIIB")
CONTINUED, FIRST, LAST = 1, 2, 4
NO_GRANULE: Final = -1  # no packet ends on the page
_REVERSED_BITS: Final = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def checksum(page: bytes) -> int:
    """Ogg's CRC of a page whose own field is zero: polynomial 0x04c11db7, nothing reversed.

    zlib's has the same polynomial with all bits reversed, and inverts before and after: so it
    is fast on reversed bytes.
    """
    reverse = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reverse.to_bytes(4, "little").translate(_REVERSED_BITS), "big")


@dataclass(frozen=True, slots=True)
class Page:
    """One page. `at` is the byte of the stream at which it begins."""

    data: bytes
    at: int = 0

    @property
    def flags(self) -> int:
        return self.data[5]

    @property
    def granule(self) -> int:
        return int.from_bytes(self.data[6:14], "little", signed=True)

    @property
    def serial(self) -> int:
        return int.from_bytes(self.data[14:18], "little")

    @property
    def sequence(self) -> int:
        return int.from_bytes(self.data[18:22], "little")

    @property
    def lacing(self) -> bytes:
        return self.data[27 : 27 + self.data[26]]

    @property
    def body(self) -> bytes:
        return self.data[27 + self.data[26] :]

    def pieces(self) -> list[tuple[bytes, bool]]:
        """The packets' pieces on this page, each with whether its packet ends here."""
        pieces, body, begin, end = [], self.body, 0, 0
        lacing = self.lacing
        for length in lacing:
            end += length
            if length < 255:
                pieces.append((body[begin:end], True))
                begin = end
        if lacing and lacing[-1] == 255:
            pieces.append((body[begin:end], False))
        return pieces

    def changed(self, *, flags: int, granule: int, sequence: int) -> "Page":
        """The same packets under another head."""
        head = struct.pack("<BqIII", flags, granule, self.serial, sequence, 0)
        data = self.data[:5] + head + self.data[26:]
        return Page(data[:22] + checksum(data).to_bytes(4, "little") + data[26:])


def write(packets: Sequence[bytes], serial: int, sequence: int, *, first: bool) -> list[Page]:
    """Header packets (granule 0) on as many pages as they need."""
    lacing = b"".join(
        bytes([255]) * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets
    )
    body = b"".join(packets)
    pages: list[Page] = []
    flags = FIRST if first else 0
    for index in range(0, len(lacing), 255):
        part = lacing[index : index + 255]
        ends = any(length < 255 for length in part)
        granule = 0 if ends else NO_GRANULE
        head = _HEAD.pack(MAGIC, 0, flags, granule, serial, sequence + len(pages), 0, len(part))
        data = head + part + body[: sum(part)]
        body = body[sum(part) :]
        pages.append(Page(data[:22] + checksum(data).to_bytes(4, "little") + data[26:]))
        flags = 0 if part[-1] < 255 else CONTINUED
    return pages


class PageCutter:
    """Whole pages from bytes in any split. Holds at most one page (65 307 bytes) back."""

    def __init__(self, rest: bytes = b"", at: int = 0) -> None:
        self.rest = bytearray(rest)  # the page that has not come whole yet
        self.at = at  # the byte of the stream at which it begins

    def feed(self, data: bytes) -> None:
        self.rest += data

    def next(self) -> Page | None:
        """The next whole page, if it has come. Raises AudioError on anything that is none."""
        rest = self.rest
        if not MAGIC.startswith(rest[:4]):
            raise AudioError(f"expected an Ogg page at byte {self.at}, found {shown(rest)}")
        if len(rest) < 27 or len(rest) < 27 + rest[26]:
            return None
        length = 27 + rest[26] + sum(rest[27 : 27 + rest[26]])
        if len(rest) < length:
            return None
        data = bytes(rest[:length])
        if checksum(data[:22] + bytes(4) + data[26:]) != int.from_bytes(data[22:26], "little"):
            raise AudioError(f"the Ogg page at byte {self.at} is damaged: its checksum is wrong")
        page = Page(data, self.at)
        del rest[:length]
        self.at += length
        return page
