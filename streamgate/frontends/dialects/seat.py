"""A place at a speech model that is taken at the handshake, before the client has said all it
wants."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from streamgate.frontends.speech import (
    Declared,
    SpeechContext,
    SpeechModel,
    SpeechSink,
    SpeechStream,
)
from streamgate.model.request import ParameterValue


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client wants to be heard by, and how. `parameters` are the model's."""

    model: SpeechModel
    declared: Declared
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)


@final
class Seat:
    """A `SpeechStream` that may still be another one, as long as no audio has come.

    The first `take` is at the handshake, so that nobody is promised a session who has no slot.
    """

    def __init__(self, context: SpeechContext, sink: SpeechSink) -> None:
        self._context = context
        self._sink = sink
        self._stream: SpeechStream | None = None
        self._is_left = False

    @property
    def stream(self) -> SpeechStream:
        """The one that was taken last."""
        assert self._stream is not None
        return self._stream

    async def take(self, wish: Wish) -> None:
        """Sit down here. The old place is given back once there is another.

        Raises StreamGateError: UNAVAILABLE when no slot is free, INVALID_ARG for audio that can't
        be served; the client stays where it is then.
        """
        old = self._stream
        if old is not None and not old.is_over and _is_same(old.model, wish.model):
            old.declare(wish.declared, wish.parameters)
            return
        stream = SpeechStream(
            self._context.gateway, wish.model, wish.declared, self._sink, wish.parameters
        )
        try:
            await stream.open()
        except BaseException:
            stream.close()
            raise
        if self._is_left:
            stream.close()
        if old is not None:
            old.close()
        self._stream = stream

    def keep(self) -> None:
        """The client is away, and may come back."""
        if self._stream is not None:
            self._stream.keep()

    def leave(self) -> None:
        """The client is gone."""
        self._is_left = True
        if self._stream is not None:
            self._stream.close()


def _is_same(one: SpeechModel, other: SpeechModel) -> bool:
    return one.name == other.name and one.version == other.version
