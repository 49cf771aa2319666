"""What v1 and v2 of Google's calls do alike: when what is said, and to which options.

A version's own are its messages: how they are read, and how values become them.
"""

from collections.abc import Iterable
from typing import Protocol, final

from google.protobuf.message import Message

from streamgate.frontends.dialects.over_grpc.call import Asked
from streamgate.frontends.dialects.over_grpc.google_speech import Options, Result, Said, Speaking
from streamgate.frontends.dialects.over_grpc.hearing import Heard


class StreamMessages(Protocol):
    """One version's messages of a StreamingRecognize call. `tag` is the channel's, from 1 on; 0
    where channels are not heard apart."""

    def read(self, data: bytes) -> tuple[Asked, Options | None]:
        """What a message asks for, and the options if it is the configuration. Raises
        StreamGateError (INVALID_ARG) and DecodeError."""

    def message(self, said: Said, options: Options, tag: int, language: str) -> Message | None:
        """What says this; None where the version has no word for it."""

    def closing(self, heard_seconds: float) -> Message:
        """The last one."""


class RecordingMessages(Protocol):
    """One version's messages of a Recognize call: one each way."""

    def read(self, data: bytes) -> tuple[Asked, Options]:
        """As above."""

    def add(self, result: Result, options: Options, tag: int, language: str) -> None:
        """The answer has this result, too."""

    def closing(self, heard_seconds: float) -> Message:
        """The answer."""


@final
class GoogleStreaming:
    """The words of StreamingRecognize."""

    def __init__(self, messages: StreamMessages) -> None:
        self._messages = messages
        self._options = Options()
        self._speaking: Speaking | None = None
        self._apart = False

    @property
    def is_done(self) -> bool:
        return self._speaking is not None and self._speaking.is_done

    def read(self, data: bytes) -> Asked:
        asked, options = self._messages.read(data)
        if options is not None and self._speaking is None:
            self._options = options
            self._speaking = Speaking(options)
            self._apart = _is_apart(asked)
        return asked

    def say(self, heard: Heard) -> Iterable[Message]:
        assert self._speaking is not None
        tag = heard.channel + 1 if self._apart else 0
        for said in self._speaking.of(heard):
            message = self._messages.message(said, self._options, tag, heard.language)
            if message is not None:
                yield message

    def closing(self, heard_seconds: float) -> Iterable[Message]:
        return (self._messages.closing(heard_seconds),)


@final
class GoogleRecording:
    """The words of Recognize: a result for each utterance, all at the end."""

    is_done = False

    def __init__(self, messages: RecordingMessages) -> None:
        self._messages = messages
        self._options = Options()
        self._apart = False

    def read(self, data: bytes) -> Asked:
        asked, self._options = self._messages.read(data)
        self._apart = _is_apart(asked)
        return asked

    def say(self, heard: Heard) -> Iterable[Message]:
        if heard.utterance.is_final and heard.utterance.text:
            result = Speaking(self._options).final(heard)
            tag = heard.channel + 1 if self._apart else 0
            self._messages.add(result, self._options, tag, heard.language)
        return ()

    def closing(self, heard_seconds: float) -> Iterable[Message]:
        return (self._messages.closing(heard_seconds),)


def _is_apart(asked: Asked) -> bool:
    return asked.wanted is not None and asked.wanted.channels > 0
