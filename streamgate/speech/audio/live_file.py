"""A compressed file that is still being written, for libsndfile, which expects whole ones.

libsndfile asks for the length when it opens a file, looks at the end for it, and takes the first
read that returns nothing as the end for good. So:

- while it opens, the file ends with something that states a length beyond any stream's; that is
  taken away again before the first frame is decoded;
- nobody reads more frames than the bytes that have come hold, which the callers know from the
  container's own structure (pages, frames).
"""

from functools import cache
from typing import Any, Final

import numpy as np

from streamgate.speech.audio.faults import NO_SAMPLES, AudioError, soundfile
from streamgate.speech.audio.samples import Samples

_SIZE_STATED: Final = 2**40


class LiveFile:
    """Bytes that grow, as a file object that never raises.

    `ending` is there until `opened` is called. None: the file claims to be very long instead.
    """

    def __init__(self, data: bytes, ending: bytes | None) -> None:
        self._data = bytearray(data)
        self._ending = ending or b""
        self._at = 0
        self._size = _SIZE_STATED if ending is None else len(data) + len(ending)

    def opened(self) -> None:
        """The file was opened, its length found: take the made-up ending away."""
        self._ending, self._size = b"", _SIZE_STATED

    def append(self, data: bytes) -> None:
        self._data += data

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = len(buffer)
        data = bytes(self._data[self._at : self._at + count])
        if len(data) < count and self._ending:
            begin = max(self._at - len(self._data), 0)
            data += self._ending[begin : begin + count - len(data)]
        elif not data and self._at >= self._size - 65536:
            data = bytes(min(count, self._size - self._at))  # is there a tag at the very end?
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def read(self, count: int = -1) -> bytes:
        buffer = bytearray(max(count, 0))
        return bytes(buffer[: self.readinto(buffer)])

    def write(self, data: bytes) -> int:
        return 0 * len(data)  # soundfile looks for it even where it only reads


class Decoder:
    """libsndfile upon a LiveFile.

    Raises AudioError where libsndfile does not take the beginning for what it should be. `what`
    names the stream in messages.
    """

    def __init__(self, data: bytes, ending: bytes | None, what: str) -> None:
        self._live = LiveFile(data, ending)
        self._what = what
        library = soundfile()
        try:
            self._file = _forward_only()(self._live)
        except library.LibsndfileError as error:
            raise AudioError(f"{what} can't be decoded: {error}") from error
        self._live.opened()
        self.frames_stated: int = self._file.frames
        self.sample_rate_hz: int = self._file.samplerate
        self.channels: int = self._file.channels

    def append(self, data: bytes) -> None:
        self._live.append(data)

    def read(self, count: int) -> Samples:
        """The next `count` frames, float32 [count, channels]; fewer where there are not so many,
        after which no more will come."""
        if count <= 0:
            return NO_SAMPLES.reshape(0, 1).repeat(self.channels, axis=1)
        try:
            frames: Samples = self._file.read(count, dtype="float32", always_2d=True)
        except soundfile().LibsndfileError as error:
            raise AudioError(f"{self._what} can't be decoded: {error}") from error
        return np.ascontiguousarray(frames)

    def close(self) -> None:
        self._file.close()


@cache
def _forward_only() -> Any:
    """The class of soundfile, without the seek to where it is after each read.

    That seek is for reading and writing one file in turn; for MP3 it decodes several frames anew.
    """

    class ForwardOnly(soundfile().SoundFile):  # type: ignore[misc]  # the library has no types
        def seekable(self) -> bool:
            return False

    return ForwardOnly
