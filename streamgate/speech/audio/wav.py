"""WAV as it comes over a wire: RIFF and RF64, in any split, of known or unknown length.

The header may be cut anywhere, chunks of any size may stand before `data`, and a writer that
could not seek back left 0 or 2^32 - 1 as sizes. Layout: Microsoft's Multimedia Programming
Interface 1.0 (RIFF, WAVE), its "Multiple channel audio data" (WAVE_FORMAT_EXTENSIBLE), and
EBU Tech 3306 (RF64).
"""

import struct
from typing import Final

from streamgate.speech.audio.faults import AudioError, shown, unsupported
from streamgate.speech.audio.format import Encoding, check_channels, check_rate
from streamgate.speech.audio.pcm import PcmSource
from streamgate.speech.audio.snapshot import Fields, State
from streamgate.speech.audio.source import Output

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_ENCODINGS: Final = {
    (_PCM, 1): Encoding.U8,
    (_PCM, 2): Encoding.S16LE,
    (_PCM, 3): Encoding.S24LE,
    (_PCM, 4): Encoding.S32LE,
    (_FLOAT, 4): Encoding.F32LE,
    (_FLOAT, 8): Encoding.F64LE,
    (_ALAW, 1): Encoding.ALAW,
    (_MULAW, 1): Encoding.MULAW,
}
_TAGS: Final = {
    0x02: "Microsoft ADPCM",
    0x11: "IMA ADPCM",
    0x31: "GSM 6.10",
    0x45: "G.726 ADPCM",
    0x50: "MPEG audio",
    0x55: "MP3",
    0x161: "Windows Media Audio",
    0x2000: "AC-3",
    0xFF: "AAC",
}
# The tail of every subformat GUID that stands for a plain tag.
_GUID_TAIL: Final = bytes.fromhex("000000001000800000aa00389b71")
_FMT_BYTES_MAX: Final = 4096
_UNKNOWN: Final = (0, 0xFFFFFFFF)
# What programs that write to a pipe put where 32 bits are signed to them: a size near 2 GiB.
_UNLIKELY: Final = 0x7FFF0000


class WavSource:
    """The frames of the `data` chunk."""

    KIND = "wav"

    def __init__(self, channel: int | None = None) -> None:
        self.sample_rate_hz: int | None = None
        self.channels = 1
        self.output = Output()
        self._channel = channel
        self._pcm: PcmSource | None = None
        self._head = b""  # what of the header is not understood yet
        self._at = 0  # the byte of the stream at which _head begins
        self._skip_bytes = 0  # of a chunk that nobody needs
        self._seen_riff = False
        self._data_bytes_64: int | None = None
        self._format: tuple[Encoding, int, int] | None = None

    @property
    def name(self) -> str:
        return f"WAV ({self._format[0].value})" if self._format else "WAV"

    def feed(self, data: bytes) -> None:
        if self._pcm is None:
            data = self._read_header(data)
        if self._pcm is not None:
            self._pcm.feed(data)

    def finish(self) -> None:
        if self._pcm is not None:
            self._pcm.finish()
            return
        end = self._at + len(self._head)
        raise AudioError(f"WAV is truncated: it ends at byte {end}, before its chunk 'data'")

    def _read_header(self, data: bytes) -> bytes:
        """Walk the chunks; returns the bytes after the header once it is complete."""
        self._head += data
        while self._pcm is None:
            if self._skip_bytes:
                skipped = min(self._skip_bytes, len(self._head))
                self._skip_bytes -= skipped
                self._drop(skipped)
            if not self._read_chunk():
                return b""
        rest, self._head = self._head, b""
        return rest

    def _drop(self, count: int) -> None:
        self._head = self._head[count:]
        self._at += count

    def _read_chunk(self) -> bool:
        """One chunk's head, and its body where that matters; False: it has not all come yet."""
        head = self._head
        if self._skip_bytes or len(head) < (8 if self._seen_riff else 12):
            return False
        if not self._seen_riff:
            if head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE":
                raise AudioError(f"expected a WAV header at byte 0, found {shown(head)}")
            self._seen_riff = True
            self._drop(12)
            return True
        name, size = head[:4], int.from_bytes(head[4:8], "little")
        if name == b"data":
            self._begin_data(size)
            return True
        if name not in (b"fmt ", b"ds64"):
            self._drop(8)
            self._skip_bytes = size + size % 2  # chunks begin at even bytes
            return True
        if not 14 <= size <= _FMT_BYTES_MAX:
            raise AudioError(
                f"WAV has a chunk '{name.decode()}' of {size} bytes at byte {self._at}; "
                f"expected 14 to {_FMT_BYTES_MAX}"
            )
        if len(head) < 8 + size:
            return False
        body = head[8 : 8 + size]
        if name == b"fmt ":
            self._read_fmt(body)
        elif len(body) >= 16:
            self._data_bytes_64 = int.from_bytes(body[8:16], "little")
        self._drop(8)
        self._skip_bytes = size + size % 2
        return True

    def _read_fmt(self, body: bytes) -> None:
        tag, channels, rate, _, block = struct.unpack_from("<HHIIH", body)
        if tag == _EXTENSIBLE and len(body) >= 40:
            tag = int.from_bytes(body[24:26], "little")
            if body[26:40] != _GUID_TAIL:
                raise unsupported(f"WAV has the subformat {body[24:40].hex()}; {_expected()}")
        check_rate(rate, "WAV")
        check_channels(channels, self._channel, "WAV")
        encoding = _ENCODINGS.get((tag, block // channels)) if block % channels == 0 else None
        if encoding is None:
            known = _TAGS.get(tag, f"format 0x{tag:04x}")
            what = known if tag not in (_PCM, _FLOAT, _ALAW, _MULAW) else "samples"
            raise unsupported(
                f"WAV holds {what} of {block} bytes for {channels} channels; {_expected()}"
            )
        self._format = (encoding, rate, channels)

    def _begin_data(self, size: int) -> None:
        if self._format is None:
            raise AudioError(
                f"WAV has its chunk 'data' at byte {self._at} and no chunk 'fmt ' before it"
            )
        encoding, rate, channels = self._format
        limit: int | None = size
        if size in _UNKNOWN:
            limit = self._data_bytes_64 or None
        self._drop(8)
        self.sample_rate_hz, self.channels = rate, channels
        self._pcm = PcmSource(
            encoding,
            rate,
            channels,
            limit_bytes=limit,
            is_complete=limit != size or size < _UNLIKELY,
            name=self.name,
            at=self._at,
        )
        self.output = self._pcm.output

    def state(self) -> State:
        encoding, rate, channels = self._format or (None, 0, 0)
        return {
            "channel": self._channel,
            "pcm": self._pcm.state() if self._pcm else None,
            "head": self._head,
            "at": self._at,
            "skip": self._skip_bytes,
            "riff": self._seen_riff,
            "data64": self._data_bytes_64,
            "encoding": encoding.value if encoding else "",
            "rate": rate,
            "channels": channels,
        }

    @classmethod
    def restored(cls, state: Fields) -> "WavSource":
        source = cls(state.optional_integer("channel"))
        source._head = state.data("head")
        source._at = state.integer("at")
        source._skip_bytes = state.integer("skip")
        source._seen_riff = state.flag("riff")
        source._data_bytes_64 = state.optional_integer("data64")
        if encoding := state.text("encoding"):
            rate, channels = state.integer("rate"), state.integer("channels")
            source._format = (Encoding(encoding), rate, channels)
        if pcm := state.optional_inner("pcm"):
            source._pcm = PcmSource.restored(pcm)
            source.output = source._pcm.output
            source.sample_rate_hz = source._pcm.sample_rate_hz
            source.channels = source._pcm.channels
        return source


def _expected() -> str:
    return "expected PCM of 8, 16, 24 or 32 bits, float of 32 or 64, mu-law or A-law"
