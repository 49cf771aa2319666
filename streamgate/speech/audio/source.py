"""What reads one kind of stream: bytes in, frames of samples out."""

from typing import Protocol

import numpy as np

from streamgate.speech.audio.samples import Samples
from streamgate.speech.audio.snapshot import State


class Output:
    """The frames that a source has read and nobody has taken yet: float32 [n, channels] each.

    They are put here one by one rather than returned, so that a source that comes upon damage
    can simply raise: what it put before that is still there to be taken.
    """

    def __init__(self) -> None:
        self.frames_put = 0
        self._parts: list[Samples] = []

    def put(self, frames: Samples) -> None:
        if len(frames):
            self.frames_put += len(frames)
            self._parts.append(frames)

    def take(self, channels: int) -> Samples:
        """float32 [n, channels]: everything put since the last call."""
        parts, self._parts = self._parts, []
        if not parts:
            return np.empty((0, channels), np.float32)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


class Source(Protocol):
    """Reads one kind of stream.

    The frames it puts depend on the bytes alone, never on how they were split. All methods raise
    AudioError where the stream is damaged; after that a source is not used again.
    """

    KIND: str  # names the kind in snapshots
    output: Output
    sample_rate_hz: int | None  # None until the header is read; then it never changes
    channels: int

    @property
    def name(self) -> str:
        """What it reads, for messages: "WAV (s16le)"."""
        ...

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream, and put the frames that are whole by them."""
        ...

    def finish(self) -> None:
        """The stream ends here: put what was held back, or raise if something is missing."""
        ...

    def state(self) -> State:
        """What `restored` needs to go on from here; bounded."""
        ...
