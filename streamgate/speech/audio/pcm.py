"""Bare samples that arrive in any split."""

import numpy as np

from streamgate.speech.audio.faults import AudioError
from streamgate.speech.audio.format import Encoding
from streamgate.speech.audio.samples import Samples, to_float
from streamgate.speech.audio.snapshot import Fields, State
from streamgate.speech.audio.source import Output


class PcmSource:
    """Frames of bare samples; what is left of a split frame waits for the rest.

    `limit_bytes`: how many bytes are samples, where a header says so; what follows is ignored.
    `at`: the byte of the whole stream at which the samples begin, for messages.
    """

    KIND = "pcm"

    def __init__(
        self,
        encoding: Encoding,
        rate_hz: int,
        channels: int,
        *,
        limit_bytes: int | None = None,
        is_complete: bool = True,
        name: str = "",
        at: int = 0,
    ) -> None:
        self.sample_rate_hz: int | None = rate_hz
        self.channels = channels
        self.output = Output()
        self._encoding = encoding
        self._name = name or f"{encoding.value} audio"
        self._frame_bytes = encoding.sample_bytes * channels
        self._limit_bytes = limit_bytes
        self._is_complete = is_complete
        self._at = at
        self._rest = b""
        self._taken_bytes = 0

    @property
    def name(self) -> str:
        return self._name

    def feed(self, data: bytes) -> None:
        if self._limit_bytes is not None:
            data = data[: self._limit_bytes - self._taken_bytes - len(self._rest)]
        whole = self._rest + data if self._rest else data
        used = len(whole) - len(whole) % self._frame_bytes
        self._rest = whole[used:]
        if used:
            frames = to_float(self._encoding, memoryview(whole)[:used])
            self._put(frames.reshape(-1, self.channels))
            self._taken_bytes += used

    def _put(self, frames: Samples) -> None:
        if self._encoding in (Encoding.F32LE, Encoding.F64LE) and not np.isfinite(frames).all():
            first = int(np.argmin(np.isfinite(frames).all(axis=1)))
            self.output.put(frames[:first])
            value = frames[first][~np.isfinite(frames[first])][0]
            byte = self._at + self._taken_bytes + first * self._frame_bytes
            raise AudioError(
                f"{self._name} holds a sample that is no finite number ({value}) at byte {byte} "
                f"({self._seconds():.3f} s); is it float at all?"
            )
        self.output.put(frames)

    def finish(self) -> None:
        end = self._at + self._taken_bytes + len(self._rest)
        missing = 0
        if self._limit_bytes is not None and self._is_complete:
            missing = self._at + self._limit_bytes - end
        if missing > 0:
            raise AudioError(
                f"{self._name} is truncated: it ends at byte {end} ({self._seconds():.3f} s), "
                f"{missing} bytes before the end that its header states"
            )
        # A header may well state a size that is no whole number of frames: the last is ignored.
        if self._rest and (self._limit_bytes is None or end < self._at + self._limit_bytes):
            raise AudioError(
                f"{self._name} ends within a frame at byte {end} ({self._seconds():.3f} s): "
                f"{len(self._rest)} bytes are left over; expected a multiple of "
                f"{self._frame_bytes} ({self.channels} channels of {self._encoding.value})"
            )

    def _seconds(self) -> float:
        assert self.sample_rate_hz is not None
        return self.output.frames_put / self.sample_rate_hz

    def state(self) -> State:
        return {
            "encoding": self._encoding.value,
            "rate": self.sample_rate_hz,
            "channels": self.channels,
            "limit": self._limit_bytes,
            "complete": self._is_complete,
            "name": self._name,
            "at": self._at,
            "rest": self._rest,
            "taken": self._taken_bytes,
            "frames": self.output.frames_put,
        }

    @classmethod
    def restored(cls, state: Fields) -> "PcmSource":
        source = cls(
            Encoding(state.text("encoding")),
            state.integer("rate"),
            state.integer("channels"),
            limit_bytes=state.optional_integer("limit"),
            is_complete=state.flag("complete"),
            name=state.text("name"),
            at=state.integer("at"),
        )
        source._rest = state.data("rest")
        source._taken_bytes = state.integer("taken")
        source.output.frames_put = state.integer("frames")
        return source
