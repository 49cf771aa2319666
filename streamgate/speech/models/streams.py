"""The streams of a model: a state for each sequence, with the hooks that let them be moved."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from streamgate.speech.states import pack, unpack

START = 1
END = 2
"""Triton's request flags."""

State = TypeVar("State")
Key = int | str


class Streams(Generic[State]):
    """States by correlation ID.

    A step reads its state with `enter` and gives the next one to `leave`; between the two nothing
    has changed, so a step that fails leaves its stream as it was.
    """

    def __init__(self, kind: type[State], fresh: Callable[[], State]) -> None:
        self._kind = kind
        self._fresh = fresh
        self._states: dict[Key, State] = {}

    def __len__(self) -> int:
        return len(self._states)

    def enter(self, request: Any) -> State:
        """The state that a request finds: a fresh one with START.

        Raises ValueError for a sequence that did not begin here.
        """
        if request.flags() & START:
            return self._fresh()
        try:
            return self._states[request.correlation_id()]
        except KeyError:
            raise ValueError(
                f"sequence {request.correlation_id()!r} has not begun: expected a request with "
                "START first, of a model with sequence_batching"
            ) from None

    def leave(self, request: Any, state: State) -> None:
        """What the request leaves behind; nothing with END."""
        if request.flags() & END:
            self._states.pop(request.correlation_id(), None)
        else:
            self._states[request.correlation_id()] = state

    def end(self, key: Key) -> None:
        """The sequence is over, for whatever reason."""
        self._states.pop(key, None)

    def packed(self, key: Key) -> bytes:
        """The state of a live sequence."""
        return pack(self._states[key])

    def restore(self, key: Key, data: bytes) -> None:
        """Go on with a sequence from its packed state. Raises ValueError for other bytes."""
        self._states[key] = unpack(self._kind, data)
