"""What the metadata of calls says that can be resumed: its names, and what clients wish."""

from collections.abc import Mapping
from typing import Final

from streamgate.errors import Code, StreamGateError

TOKEN: Final = "streamgate-resume"  # noqa: S105, the name of a piece of metadata
SECONDS: Final = "streamgate-resume-seconds"
LAST_EVENT: Final = "streamgate-last-event"
RECEIVED: Final = "streamgate-received"

SECONDS_MAX: Final = 3600.0
_DIGITS_MAX: Final = 18


def seconds_in(wishes: Mapping[str, str], most: float) -> float:
    """For how long a client wants to be waited for, at most so long; 0 if it does not. Raises
    StreamGateError (INVALID_ARG)."""
    text = wishes.get(SECONDS, "")
    if not text:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= SECONDS_MAX:
        raise StreamGateError(
            Code.INVALID_ARG,
            f"'{SECONDS}' is '{text[:100]}', expected seconds from 0 to {SECONDS_MAX:g}",
        )
    return min(seconds, most)


def last_event_in(wishes: Mapping[str, str]) -> int:
    """The number of the message that a client had last, 0 for none. Raises StreamGateError
    (INVALID_ARG)."""
    text = wishes.get(LAST_EVENT, "0")
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise StreamGateError(
            Code.INVALID_ARG, f"'{LAST_EVENT}' is '{text[:100]}', expected a number of messages"
        )
    return int(text)
