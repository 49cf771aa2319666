"""Calls that hear and that their clients come back to.

The messages of Riva and Google have no place for what is ours: all is said in metadata, and
clients count the responses.
"""

from collections.abc import Callable, Sequence
from typing import Final, final

from streamgate.frontends.dialects.over_grpc.call import SpeechCall
from streamgate.frontends.grpc_resumption import Beginning, ResumableStream
from streamgate.frontends.grpc_service import CallWire

RECEIVED_BYTES: Final = "streamgate-received-bytes"
"""How many bytes of audio have come, over all calls."""


def hearing_beginning(
    kind: str, wire: CallWire, speak: Callable[[CallWire], SpeechCall]
) -> Beginning:
    """How a call of this method begins over this wire."""

    def resumable(stream: ResumableStream) -> tuple[SpeechCall, SpeechWords]:
        call = speak(stream)
        return call, SpeechWords(call)

    return Beginning(kind, lambda: speak(wire), resumable)


@final
class SpeechWords:
    """The `Words` of a call."""

    def __init__(self, call: SpeechCall) -> None:
        self._call = call

    def numbered(self, message: bytes, event: int, token: str) -> bytes:
        del event, token
        return message

    def greeting(self, token: str, received: int, last_event: int) -> None:
        del token, received, last_event

    def repeats(self, data: bytes) -> bool:
        """Client libraries begin every call with the configuration."""
        return self._call.repeats(data)

    def received(self) -> Sequence[tuple[str, str]]:
        return [(RECEIVED_BYTES, str(self._call.received_bytes))]
