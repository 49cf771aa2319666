"""What can be wrong with audio, as errors that a client may be told.

Every message says what was found, where (byte of the stream, second of the audio) and what was
expected.
"""

from types import ModuleType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamgate.errors import Code, StreamGateError

EXTRA: Final = "streamgate-server[speech]"
NO_SAMPLES: Final[NDArray[np.float32]] = np.empty(0, np.float32)


class AudioError(StreamGateError):
    """Audio that can't be read, or not to its end.

    `samples` (float32 [n]) are what the failed call had read before the damage: nothing that came
    through whole is lost. After this error a reader is finished; it raises the same error again.
    """

    def __init__(self, message: str, code: Code = Code.INVALID_ARG) -> None:
        super().__init__(code, message)
        self.samples = NO_SAMPLES


def unsupported(message: str) -> AudioError:
    """Audio that is well known and not read here."""
    return AudioError(message, Code.UNSUPPORTED)


def shown(data: bytes | bytearray | memoryview, limit: int = 12) -> str:
    """The first bytes of something unexpected, for a message."""
    head = bytes(data[:limit])
    return f"{head.hex(' ')}{' ...' if len(data) > limit else ''}" if head else "nothing"


def soundfile() -> ModuleType:
    """The library `soundfile`, imported where it is first needed.

    Raises StreamGateError that names the extra, where it (or the libsndfile it brings) is missing.
    """
    try:
        import soundfile as module
    except (ImportError, OSError) as error:
        raise _missing("FLAC, Ogg and MP3 need soundfile", error) from error
    found: ModuleType = module
    return found


def soxr() -> ModuleType:
    """The library `soxr`, imported where it is first needed."""
    try:
        import soxr as module
    except (ImportError, OSError) as error:
        raise _missing("changing the sample rate needs soxr", error) from error
    found: ModuleType = module
    return found


def _missing(need: str, error: Exception) -> StreamGateError:
    return StreamGateError(
        Code.UNSUPPORTED, f"{need}: pip install '{EXTRA}' on the server ({error})"
    )
