"""FLAC as a stream of its own: metadata blocks, then frames."""

from typing import Final

from streamgate.speech.audio.faults import AudioError, shown
from streamgate.speech.audio.flac_frames import MAGIC, FrameHead, StreamInfo, decode, read_head
from streamgate.speech.audio.snapshot import Fields, State
from streamgate.speech.audio.source import Output

_STREAMINFO: Final = 0
_BLOCK_SAMPLES_MAX: Final = 65_536
_UNPACKED_PER_BYTE_MAX: Final = 2048
"""Samples of all channels. Silence in the largest blocks that encoders make (16384) has 1170; with
many more, a few KiB would take gigabytes."""
_FEW_BYTES: Final = 4096
"""Of so few, every number of samples may come that is allowed of so many."""


class FlacFrames:
    """Puts the samples of whole frames, and counts them. Native FLAC and Ogg share it."""

    def __init__(self, info: StreamInfo, output: Output) -> None:
        self.info = info
        self._output = output

    def put(self, frames: list[bytes], at: int) -> None:
        """`at`: the byte of the stream at which the first frame begins."""
        self._check_size(frames, at)
        try:
            for part in decode(self.info, frames, at, self._output.frames_put):
                self._output.put(part)
        except AudioError as error:
            self._output.put(error.samples)
            raise

    def _check_size(self, frames: list[bytes], at: int) -> None:
        """Before anything is unpacked."""
        channels = self.info.channels
        packed = sum(map(len, frames))
        most = _UNPACKED_PER_BYTE_MAX * max(packed, _FEW_BYTES)
        if len(frames) * _BLOCK_SAMPLES_MAX * channels <= most:
            return
        heads = (read_head(frame, 0) for frame in frames)
        unpacked = channels * sum(head.block_size for head in heads if head is not None)
        if unpacked > most:
            raise AudioError(
                f"the FLAC frames at byte {at} hold {unpacked} samples in {packed} bytes, expected "
                f"at most {most}"
            )

    def finish(self, end: int) -> None:
        missing = self.info.frames_total - self._output.frames_put
        if self.info.frames_total and missing > 0:
            seconds = self._output.frames_put / self.info.sample_rate_hz
            raise AudioError(
                f"FLAC is truncated: it ends at byte {end} ({seconds:.3f} s), {missing} samples "
                f"before the end that its head states"
            )


class FlacSource:
    """Native FLAC. A frame is decoded when the head of the next has come, or the end."""

    KIND = "flac"

    def __init__(self, channel: int | None = None) -> None:
        self.sample_rate_hz: int | None = None
        self.channels = 1
        self.output = Output()
        self._channel = channel
        self._frames: FlacFrames | None = None
        self._is_metadata = True
        self._rest = bytearray()
        self._at = 0  # the byte of the stream at which _rest begins
        self._skip_bytes = 0  # of metadata that nobody needs: pictures have megabytes
        self._searched = 0  # how far into _rest there is no next head

    @property
    def name(self) -> str:
        return "FLAC"

    def feed(self, data: bytes) -> None:
        self._rest += data
        while self._is_metadata:
            if not self._read_block():
                return
        self._read_frames()

    def finish(self) -> None:
        end = self._at + len(self._rest)
        if self._frames is None or self._is_metadata:
            raise AudioError(f"FLAC is truncated: it ends at byte {end}, before its first frame")
        if self._rest and not self._rest.startswith(b"TAG"):
            self._frames.put([bytes(self._rest)], self._at)
        self._frames.finish(end)

    def _drop(self, count: int) -> None:
        del self._rest[:count]
        self._at += count

    def _read_block(self) -> bool:
        """The magic or one metadata block; False: it has not all come yet."""
        skipped = min(self._skip_bytes, len(self._rest))
        self._skip_bytes -= skipped
        self._drop(skipped)
        rest = self._rest
        if self._skip_bytes or len(rest) < 4:
            return False
        if self._at == 0:
            self._drop(len(MAGIC))
            return True
        if self._frames is not None and rest[0] == 0xFF:  # a frame: no type of block is 127
            self._is_metadata = False
            return True
        kind, size = rest[0] & 0x7F, int.from_bytes(rest[1:4], "big")
        if self._frames is None:
            if kind != _STREAMINFO:
                raise AudioError(
                    f"FLAC begins with the metadata block {kind}, expected STREAMINFO (0)"
                )
            if len(rest) < 4 + min(size, 34):
                return False
            self._begin(StreamInfo.read(bytes(rest[4 : 4 + size]), self._channel))
        self._drop(4)
        self._skip_bytes = size
        return True

    def _begin(self, info: StreamInfo) -> None:
        self.sample_rate_hz, self.channels = info.sample_rate_hz, info.channels
        self._frames = FlacFrames(info, self.output)

    def _read_frames(self) -> None:
        assert self._frames is not None
        frames: list[bytes] = []
        begin, head = 0, self._head_at(0)
        while head is not None:
            end = self._find_next(head, begin)
            if end is None:
                break
            frames.append(bytes(self._rest[begin:end]))
            begin, head = end, self._head_at(end)
            self._searched = begin
        at = self._at
        self._drop(begin)
        self._searched = max(self._searched - begin, 0)
        if frames:
            self._frames.put(frames, at)
        if len(self._rest) > self._frames.info.frame_bytes_max + 16:
            raise AudioError(
                f"the FLAC frame at byte {self._at} is damaged: no other follows within "
                f"{len(self._rest)} bytes"
            )

    def _head_at(self, begin: int) -> FrameHead | None:
        """The head of the frame that must be there; None: it has not all come yet."""
        head = read_head(self._rest, begin)
        if head is None and len(self._rest) - begin >= 16:
            found = shown(self._rest[begin : begin + 16])
            raise AudioError(f"expected a FLAC frame at byte {self._at + begin}, found {found}")
        return head

    def _find_next(self, head: FrameHead, begin: int) -> int | None:
        """Where the frame after that one begins.

        A sync code, a CRC-8 and the very number that must follow: 40 bits and more that chance
        would have to hit within one frame.
        """
        assert self._frames is not None
        sync = b"\xff\xf9" if head.is_variable else b"\xff\xf8"
        place = max(self._searched, begin + max(self._frames.info.frame_bytes_min, 6))
        while (place := self._rest.find(sync, place)) >= 0:
            following = read_head(self._rest, place)
            if following is not None and following.number == head.next_number:
                return place
            if len(self._rest) - place < 16 and following is None:
                break  # it may be a head that has not come whole
            place += 1
        self._searched = place if place >= 0 else max(len(self._rest) - 1, 0)
        return None

    def state(self) -> State:
        return {
            "channel": self._channel,
            "info": self._frames.info.data if self._frames else b"",
            "metadata": self._is_metadata,
            "rest": bytes(self._rest),
            "at": self._at,
            "skip": self._skip_bytes,
            "frames": self.output.frames_put,
        }

    @classmethod
    def restored(cls, state: Fields) -> "FlacSource":
        source = cls(state.optional_integer("channel"))
        if info := state.data("info"):
            source._begin(StreamInfo.read(info, source._channel))
        source._is_metadata = state.flag("metadata")
        source._rest = bytearray(state.data("rest"))
        source._at = state.integer("at")
        source._skip_bytes = state.integer("skip")
        source.output.frames_put = state.integer("frames")
        return source
