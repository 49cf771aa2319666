"""How a client's stream ends: once, with the best reason that is known."""

from collections.abc import Callable, Sized
from typing import final

from streamgate.errors import Code, EndReason, Failure
from streamgate.frontends.world import soon
from streamgate.session.gateway import Connection

UNTOLD = Failure(Code.INTERNAL, "a result could not be told; the server's log says more")
END_TEXTS = {
    EndReason.IDLE: "no audio came for too long",
    EndReason.LIFETIME: "the stream has reached the longest time that its model allows",
    EndReason.DRAINED: "the server or this version of its model is going away",
    EndReason.PREEMPTED: "the stream's place was needed",
    EndReason.ENGINE_LOST: "the model's process was lost, and the stream's state with it",
}
"""What a client is told of a stream that ended otherwise than it wanted."""


@final
class Ending:
    """What is known of a stream's end, until `on_end` is told of it, once.

    `in_flight` are the steps that wait for an answer. `late_fault` is told of a stream that would
    else have ended well.
    """

    def __init__(
        self,
        connection: Connection,
        on_end: Callable[[EndReason, Failure | None], None],
        in_flight: Sized,
    ) -> None:
        self._connection = connection
        self._on_end = on_end
        self._in_flight = in_flight
        self._reason: EndReason | None = None
        self._failure: Failure | None = None
        self.late_fault: Failure | None = None
        self.is_over = False

    @property
    def has_failed(self) -> bool:
        return self._failure is not None

    @property
    def is_in_sight(self) -> bool:
        """Whether anything is known of it yet, or it has come."""
        return bool(self.is_over or self._reason or self._failure or self.late_fault)

    def abandon(self) -> None:
        """The client is gone: give everything up and tell nobody. Idempotent."""
        if not self.is_over:
            self.is_over = True
            self._connection.close(abort=True)

    def fail(self, failure: Failure) -> None:
        """A step failed. Why its sequence ended, if it did, is told within the same turn of the
        loop, and is the better reason."""
        if self._failure is None:
            self._failure = failure
            soon(self.end, EndReason.ERROR)

    def sequence_ended(self, reason: EndReason) -> None:
        """The sequence is over; answers may still come."""
        if not self.is_over:
            self._reason = reason
            self.finish_if_done()

    def finish_if_done(self) -> None:
        """The responses of a decoupled model may come after its sequence's end."""
        if self._reason is not None and not self._in_flight:
            self.end(self._reason)

    def end(self, reason: EndReason) -> None:
        """End now, for this reason unless the sequence's own is known."""
        if self.is_over:
            return
        self.abandon()
        reason = self._reason or reason
        failure = self._failure
        if failure is None and reason is EndReason.CLIENT_END and self.late_fault is not None:
            reason, failure = EndReason.ERROR, self.late_fault
        if failure is None and reason is not EndReason.CLIENT_END:
            failure = Failure(Code.UNAVAILABLE, END_TEXTS.get(reason, reason.value))
        self._on_end(reason, failure)
