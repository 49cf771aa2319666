"""MP3: frame by frame through libsndfile, restarted now and then.

A frame needs what came before it: up to 511 bytes of main data from frames before (the bit
reservoir, ISO/IEC 11172-3, 2.4.2.7), half a block of overlap, and 15 of 16 slots of the filter
bank's memory. All of that is finite, so a decoder that begins some frames earlier gives the same
samples; and since the filter bank sums in an order that depends on how many blocks it has seen
(modulo 16), it gives them to the last bit if it begins a multiple of 8 frames later. So the
decoder is thrown away every few seconds, as for Ogg (see ogg_lossy.py): a bounded state is enough
to go on. The encoder's delay and padding are cut off here where LAME's tag states them.
"""

from typing import Final

from streamgate.speech.audio.faults import AudioError
from streamgate.speech.audio.format import check_channels, check_rate
from streamgate.speech.audio.live_file import Decoder
from streamgate.speech.audio.mpeg_frames import (
    HEAD_BYTES,
    TAGS_AFTER,
    InfoTag,
    MpegHead,
    checked,
    id3_bytes,
    read_head,
    read_info,
    silenced,
)
from streamgate.speech.audio.samples import Samples
from streamgate.speech.audio.snapshot import Fields, State
from streamgate.speech.audio.source import Output

_EPOCH_SECONDS: Final = 2
_RESERVOIR_BYTES: Final = 511
_WARM_UP_FRAMES: Final = 4  # two are needed
_ALIGNMENT: Final = 8
_FIRST_FRAMES: Final = 2  # libsndfile looks for a second head before it trusts the first
_TAG_HEAD_BYTES: Final = 11  # of the longest mark of a tag


class Mp3Source:
    """Layer III, MPEG-1, -2 and -2.5; tags before, between and after are skipped."""

    KIND = "mp3"

    def __init__(self, channel: int | None = None) -> None:
        self.sample_rate_hz: int | None = None
        self.channels = 1
        self.output = Output()
        self._channel = channel
        self._rest = bytearray()
        self._at = 0  # the byte of the stream at which _rest begins
        self._skip_bytes = 0  # of a tag
        self._ended = False  # nothing but tags follows
        self._head = b""  # of the first frame
        self._first: MpegHead | None = None
        self._info = InfoTag(0, 0, 0)
        self._decoder: Decoder | None = None
        self._history: list[bytes] = []  # frames since the decoder's beginning
        self._silenced = 0  # of them, how many only fill the reservoir
        self._waiting = 0  # at its end, how many the decoder was not given yet
        self._history_at = 0  # the number of its first frame
        self._epoch_from = 0  # frame
        self._put_to = 0  # decoded samples since the stream's beginning, put or dropped

    @property
    def name(self) -> str:
        return "MP3"

    def feed(self, data: bytes) -> None:
        self._rest += data
        try:
            while not self._ended and (frame := self._next_frame()) is not None:
                self._add(frame)
        except AudioError:
            self._decode()  # what still waits for a second frame
            raise
        if self._ended:
            self._at += len(self._rest)
            self._rest.clear()

    def finish(self) -> None:
        end = self._at + len(self._rest)
        if self._first is None or (not self._history and not self._put_to):
            raise AudioError(f"MP3 is truncated: it ends at byte {end}, before its first frame")
        self._decode()
        if self._rest and not self._begins_tag():
            seconds = self.output.frames_put / self._first.sample_rate_hz
            raise AudioError(
                f"MP3 is truncated: it ends at byte {end} ({seconds:.3f} s), within the frame "
                f"that begins at byte {self._at}"
            )
        if self._decoder is not None:
            self._decoder.close()

    def _begins_tag(self) -> bool:
        return any(self._rest.startswith(tag) for tag in TAGS_AFTER)

    def _drop(self, count: int) -> None:
        del self._rest[:count]
        self._at += count

    def _next_frame(self) -> bytes | None:
        """The next whole frame of sound, if it has come."""
        while True:
            skipped = min(self._skip_bytes, len(self._rest))
            self._skip_bytes -= skipped
            self._drop(skipped)
            rest = self._rest
            if self._skip_bytes or len(rest) < _TAG_HEAD_BYTES:
                return None
            if rest.startswith(b"ID3"):
                self._skip_bytes = id3_bytes(rest)
                continue
            if self._begins_tag():
                self._ended = True
                return None
            if self._first is None and rest[0] == 0:  # some writers pad their tag
                self._drop(len(rest) - len(rest.lstrip(b"\0")))
                continue
            head = checked(read_head(rest), bytes(rest[:HEAD_BYTES]), self._at, self._first)
            if len(rest) < head.frame_bytes:
                return None
            frame = bytes(rest[: head.frame_bytes])
            self._drop(head.frame_bytes)
            if self._first is None and self._begin(head, frame):
                continue
            return frame

    def _begin(self, head: MpegHead, frame: bytes) -> bool:
        """The first frame; returns whether it is no sound but says how long the stream is."""
        check_rate(head.sample_rate_hz, "MP3")
        check_channels(head.channels, self._channel, "MP3")
        self._head, self._first = frame[:HEAD_BYTES], head
        self.sample_rate_hz, self.channels = head.sample_rate_hz, head.channels
        info = read_info(frame, head)
        self._info = info or self._info
        return info is not None

    def _add(self, frame: bytes) -> None:
        self._history.append(frame)
        self._waiting += 1
        if self._decoder is not None or len(self._history) >= _FIRST_FRAMES:
            self._decode()
        assert self._first is not None
        frames = self._history_at + len(self._history)
        if (
            frames - self._epoch_from
        ) * self._first.block_size >= _EPOCH_SECONDS * self._first.sample_rate_hz:
            self._end_epoch(frames)

    def _decode(self) -> None:
        """Decode every frame of the history that was not yet, and put what is sound."""
        if not self._waiting:
            return
        assert self._first is not None
        block = self._first.block_size
        begin = self._history_at * block
        if self._decoder is None:
            data = b"".join(self._prepared(frame, i) for i, frame in enumerate(self._history))
            self._decoder = Decoder(data, None, "MP3")
            count = len(self._history)
        else:
            count = self._waiting
            for frame in self._history[len(self._history) - count :]:
                self._decoder.append(frame)
            begin += (len(self._history) - count) * block
        self._waiting = 0
        frames = self._decoder.read(count * block)
        self._put(begin, begin + len(frames), frames)
        if len(frames) < count * block:
            seconds = self.output.frames_put / self._first.sample_rate_hz
            raise AudioError(
                f"MP3 can't be decoded beyond {seconds:.3f} s, before byte {self._at}: "
                f"{len(frames)} samples came of {count} frames of {block}"
            )

    def _prepared(self, frame: bytes, index: int) -> bytes:
        if index >= self._silenced or (head := read_head(frame)) is None:
            return frame
        return silenced(frame, head)

    def _put(self, begin: int, end: int, frames: Samples) -> None:
        """Put what was not put before, and is neither the encoder's delay nor its padding."""
        assert self._first is not None
        first = max(self._put_to, self._info.skip)
        self._put_to = max(self._put_to, end)
        last = self._info.end(self._first.block_size)
        padded_to = self._info.frames * self._first.block_size
        if last is None or end <= last:
            self.output.put(frames[max(first - begin, 0) :])
            return
        self.output.put(frames[max(first - begin, 0) : max(last - begin, 0)])
        # Frames beyond those that the tag counts are sound again: files were joined.
        self.output.put(frames[max(first - begin, padded_to - begin, 0) :])

    def _end_epoch(self, frames: int) -> None:
        """Begin anew at the latest frame from which the reservoir fills and the filters warm up."""
        warm = len(self._history) - _WARM_UP_FRAMES
        begin, reservoir = warm, 0
        while begin > 0 and reservoir < _RESERVOIR_BYTES:
            begin -= 1
            head = read_head(self._history[begin])
            assert head is not None
            reservoir += head.frame_bytes - head.main_at
        begin -= (self._history_at + begin) % _ALIGNMENT
        self._epoch_from = frames
        if begin <= 0:
            return
        self._history = self._history[begin:]
        self._history_at += begin
        self._silenced = warm - begin
        self._waiting = 0
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    def state(self) -> State:
        return {
            "channel": self._channel,
            "rest": bytes(self._rest),
            "at": self._at,
            "skip": self._skip_bytes,
            "ended": self._ended,
            "frames": self.output.frames_put,
            "head": self._head,
            "info": [self._info.frames, self._info.delay, self._info.padding],
            "history": list(self._history),
            "silenced": self._silenced,
            "waiting": self._waiting,
            "history_at": self._history_at,
            "epoch": self._epoch_from,
            "put": self._put_to,
        }

    @classmethod
    def restored(cls, state: Fields) -> "Mp3Source":
        source = cls(state.optional_integer("channel"))
        source._rest = bytearray(state.data("rest"))
        source._at = state.integer("at")
        source._skip_bytes = state.integer("skip")
        source._ended = state.flag("ended")
        source.output.frames_put = state.integer("frames")
        source._head = state.data("head")
        source._first = head = read_head(source._head)
        if head is not None:
            source.sample_rate_hz, source.channels = head.sample_rate_hz, head.channels
        source._info = InfoTag(*state.integers("info"))
        source._history = state.chunks("history")
        source._silenced = state.integer("silenced")
        source._waiting = state.integer("waiting")
        source._history_at = state.integer("history_at")
        source._epoch_from = state.integer("epoch")
        source._put_to = state.integer("put")
        return source
