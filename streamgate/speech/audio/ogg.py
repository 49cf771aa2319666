"""Ogg: finds the audio stream, reads its header packets, and hands on what follows."""

from typing import Final

from streamgate.speech.audio.faults import AudioError, unsupported
from streamgate.speech.audio.flac import FlacFrames
from streamgate.speech.audio.flac_frames import StreamInfo
from streamgate.speech.audio.format import check_channels, check_rate
from streamgate.speech.audio.ogg_lossy import Headers, LossyPages
from streamgate.speech.audio.ogg_pages import FIRST, LAST, Page, PageCutter, write
from streamgate.speech.audio.snapshot import Fields, State
from streamgate.speech.audio.source import Output

OPUS: Final = b"OpusHead"
VORBIS: Final = b"\x01vorbis"
FLAC: Final = b"\x7fFLAC"
_NAMES: Final = {OPUS: "Ogg Opus", VORBIS: "Ogg Vorbis", FLAC: "Ogg FLAC"}
_UNSUPPORTED: Final = {
    b"Speex   ": "Speex",
    b"\x80theora": "Theora video",
    b"fishead\x00": "a skeleton",
    b"\x80kate": "text",
    b"BBCD\x00": "Dirac video",
}
_PACKET_BYTES_MAX: Final = 2**20
_OPUS_RATES: Final = (8000, 12000, 16000, 24000, 48000)
_NO_COMMENTS: Final = bytes(8)  # no vendor, no comments


class OggSource:
    """One Opus, Vorbis or FLAC stream in Ogg; other streams beside it are passed over."""

    KIND = "ogg"

    def __init__(self, channel: int | None = None) -> None:
        self.sample_rate_hz: int | None = None
        self.channels = 1
        self.output = Output()
        self._channel = channel
        self._cutter = PageCutter()
        self._others: list[str] = []  # streams that are none of ours
        self._serial: int | None = None
        self._sequence = 0  # of our stream's last page
        self._first = b""  # our stream's first packet
        self._setup = b""  # Vorbis' third
        self._packets = 0  # header packets that have come whole
        self._part = bytearray()  # of a packet that goes on on the next page
        self._ended = False
        self._lossy: LossyPages | None = None
        self._flac: FlacFrames | None = None

    @property
    def name(self) -> str:
        return next((name for magic, name in _NAMES.items() if self._is(magic)), "Ogg")

    def _is(self, magic: bytes) -> bool:
        return self._first.startswith(magic)

    def feed(self, data: bytes) -> None:
        self._cutter.feed(data)
        while (page := self._cutter.next()) is not None:
            self._take(page)

    def finish(self) -> None:
        end = self._cutter.at + len(self._cutter.rest)
        if self._lossy is None and self._flac is None:
            raise AudioError(f"{self.name} is truncated: it ends at byte {end}, before any audio")
        if self._cutter.rest or self._part:
            assert self.sample_rate_hz is not None
            seconds = self.output.frames_put / self.sample_rate_hz
            raise AudioError(
                f"{self.name} is truncated: it ends at byte {end} ({seconds:.3f} s), within the "
                f"page that begins at byte {self._cutter.at}"
            )
        if self._flac is not None:
            self._flac.finish(end)
        if self._lossy is not None:
            self._lossy.close()

    def _take(self, page: Page) -> None:
        if page.flags & FIRST:
            self._meet(page)
        elif self._serial is None:
            streams = ", ".join(self._others) or "nothing"
            raise unsupported(f"Ogg holds {streams}; expected Opus, Vorbis or FLAC")
        elif page.serial == self._serial and not self._ended:
            if page.sequence != self._sequence + 1 & 0xFFFFFFFF:
                raise AudioError(
                    f"Ogg pages are missing before byte {page.at}: page {page.sequence} follows "
                    f"page {self._sequence}"
                )
            self._sequence = page.sequence
            self._ended = bool(page.flags & LAST)
            if self._lossy is not None:
                self._lossy.add(page)
            else:
                self._take_packets(page)

    def _meet(self, page: Page) -> None:
        """A stream begins."""
        packet = page.pieces()[0][0] if page.lacing else b""
        if self._lossy is not None or self._flac is not None:
            raise unsupported(
                f"another Ogg stream begins at byte {page.at}; chained streams are not read"
            )
        ours = any(packet.startswith(magic) for magic in _NAMES)
        if ours and self._serial is None:
            self._serial, self._sequence = page.serial, page.sequence
            self._first, self._packets = packet, 1
        elif not ours:
            known = (name for magic, name in _UNSUPPORTED.items() if packet.startswith(magic))
            self._others.append(next(known, "an unknown stream"))

    def _take_packets(self, page: Page) -> None:
        """Header packets; and FLAC's audio, whose packets are its frames."""
        frames: list[bytes] = []
        for piece, is_end in page.pieces():
            is_frame = self._is(FLAC) and (self._part or piece)[:1] == b"\xff"
            keeps = is_frame or (self._is(VORBIS) and self._packets == 2)
            if keeps:
                self._part += piece
                if len(self._part) > _PACKET_BYTES_MAX:
                    raise AudioError(f"a packet of {self.name} has over {_PACKET_BYTES_MAX} bytes")
            elif not self._part:
                self._part += piece[:1]  # all that is needed of comments and pictures
            if not is_end:
                continue
            packet = bytes(self._part)
            self._part.clear()
            if is_frame:
                frames.append(packet)
            else:
                self._packets += 1
                self._setup = packet if keeps else b""
                self._end_headers()
        if frames:
            if self._flac is None:  # its head did not say how many header packets there are
                self._begin_flac()
            assert self._flac is not None
            self._flac.put(frames, page.at)

    def _end_headers(self) -> None:
        """Begin with the audio, if the header packet that came was the last."""
        if self._is(OPUS) and self._packets == 2:
            self._begin_lossy(self._opus_headers())
        elif self._is(VORBIS) and self._packets == 3:
            self._begin_lossy(self._vorbis_headers())
        elif self._is(FLAC):
            # After "\x7fFLAC", version 1.0 and the number of header packets after this; 0: unknown.
            following = int.from_bytes(self._first[7:9], "big")
            if following and self._packets == 1 + following:
                self._begin_flac()

    def _opus_headers(self) -> Headers:
        if len(self._first) < 19 or self._first[8] >> 4:
            raise AudioError("Ogg Opus has a damaged or unknown head; expected version 1")
        rate = int.from_bytes(self._first[12:16], "little")
        rate = rate if rate in _OPUS_RATES else 48000
        scale = 48000 // rate
        # The skip is ours to make: libsndfile makes it only where it sees the beginning.
        head = self._first[:10] + bytes(2) + self._first[12:]
        return Headers(
            data=self._pages([head], [b"OpusTags" + _NO_COMMENTS]),
            name=self.name,
            sample_rate_hz=rate,
            channels=self._first[9],
            granules_per_frame=scale,
            skip_frames=int.from_bytes(self._first[10:12], "little") // scale,
            warm_up_seconds=4,
        )

    def _vorbis_headers(self) -> Headers:
        if len(self._first) < 30:
            raise AudioError("Ogg Vorbis has a damaged head")
        comments = b"\x03vorbis" + _NO_COMMENTS + b"\x01"
        return Headers(
            data=self._pages([self._first], [comments, self._setup]),
            name=self.name,
            sample_rate_hz=int.from_bytes(self._first[12:16], "little"),
            channels=self._first[11],
            granules_per_frame=1,
            skip_frames=0,
            warm_up_seconds=1,
        )

    def _pages(self, first: list[bytes], others: list[bytes]) -> bytes:
        """Header pages of our own: the stream's comments may hold pictures of any size.

        They need no sequence numbers that fit: libogg only reports a gap.
        """
        assert self._serial is not None
        pages = write(first, self._serial, 0, first=True)
        pages += write(others, self._serial, 1, first=False)
        return b"".join(page.data for page in pages)

    def _begin_lossy(self, headers: Headers) -> None:
        check_rate(headers.sample_rate_hz, headers.name)
        check_channels(headers.channels, self._channel, headers.name)
        self.sample_rate_hz, self.channels = headers.sample_rate_hz, headers.channels
        self._lossy = LossyPages(headers, self.output)

    def _begin_flac(self) -> None:
        info = StreamInfo.read(self._first[17:51], self._channel)
        self.sample_rate_hz, self.channels = info.sample_rate_hz, info.channels
        self._flac = FlacFrames(info, self.output)

    def state(self) -> State:
        return {
            "channel": self._channel,
            "rest": bytes(self._cutter.rest),
            "at": self._cutter.at,
            "others": ", ".join(self._others),
            "serial": self._serial,
            "sequence": self._sequence,
            "first": self._first,
            "setup": self._setup,
            "packets": self._packets,
            "part": bytes(self._part),
            "ended": self._ended,
            "frames": self.output.frames_put,
            "lossy": self._lossy.state() if self._lossy else None,
            "flac": self._flac is not None,
        }

    @classmethod
    def restored(cls, state: Fields) -> "OggSource":
        source = cls(state.optional_integer("channel"))
        source._cutter = PageCutter(state.data("rest"), state.integer("at"))
        source._others = [name for name in state.text("others").split(", ") if name]
        source._serial = state.optional_integer("serial")
        source._sequence = state.integer("sequence")
        source._first, source._setup = state.data("first"), state.data("setup")
        source._packets = state.integer("packets")
        source._part = bytearray(state.data("part"))
        source._ended = state.flag("ended")
        source.output.frames_put = state.integer("frames")
        if lossy := state.optional_inner("lossy"):
            headers = source._opus_headers() if source._is(OPUS) else source._vorbis_headers()
            source._begin_lossy(headers)
            assert source._lossy is not None
            source._lossy.restore(lossy)
        elif state.flag("flac"):
            source._begin_flac()
        return source
