"""A request between its arrival and its final response."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import final

from streamgate.core.commands import Row
from streamgate.core.ids import NO_INSTANCE, Ns, RequestNumber
from streamgate.errors import Failure
from streamgate.model.request import ParameterValue, Request, Response
from streamgate.model.tensor import Tensor

Outbox = list["tuple[LiveRequest, Response]"]
Deliver = Callable[["LiveRequest", Response], None]


@final
class LiveRequest:
    """One request under way, and the `Reply` through which a model answers it.

    The engine's thread owns `closed` (the client has its final response), `cancelled` and the
    counters, and where it runs or ran last: on `instance` (NO_INSTANCE while it waits for a step)
    as `row`; the model's threads own `answered` (the model has sent its final response) and `lost`
    (that was for want of a model). `paused` (the client does not read) and `ahead` (responses that
    the engine has not taken in yet) belong to the model's `Pressure`. `stepper` is the thread that
    runs its step.
    """

    __slots__ = (
        "ahead",
        "answered",
        "arrived_ns",
        "cancelled",
        "closed",
        "deliver",
        "index",
        "instance",
        "lost",
        "model",
        "number",
        "outbox",
        "paused",
        "position",
        "request",
        "row",
        "sink",
        "started_ns",
        "stepper",
        "version",
    )

    def __init__(
        self,
        number: RequestNumber,
        request: Request,
        sink: Callable[[Response], None],
        deliver: Deliver,
        arrived_ns: Ns,
        position: int,
    ) -> None:
        self.number = number
        self.request = request
        self.sink = sink
        self.deliver = deliver
        self.arrived_ns = arrived_ns
        self.started_ns = 0
        self.position = position
        self.model = request.model
        self.version = request.version
        self.index = 0
        self.instance = NO_INSTANCE
        self.row: Row | None = None
        self.answered = False
        self.lost = False
        self.closed = False
        self.cancelled = False
        self.outbox: Outbox | None = None
        self.stepper = 0
        self.paused = False
        self.ahead = 0

    def open_outbox(self, outbox: Outbox | None) -> None:
        """Collect what this thread sends, to be delivered together when the step is over; with
        None, it is delivered as it comes.

        Each delivery on its own wakes the engine's thread, which then competes with the model for
        the interpreter.
        """
        self.outbox = outbox
        self.stepper = threading.get_ident()

    def send(
        self,
        outputs: Sequence[Tensor],
        failure: Failure | None = None,
        *,
        final: bool,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        if self.answered:
            return
        self.answered = final
        self._emit(
            Response(
                self.request,
                self.model,
                self.version,
                outputs,
                failure,
                final,
                parameters=parameters or {},
                position=self.position,
            )
        )

    def lose(self, failure: Failure) -> None:
        """What was to answer it is gone: say so, unless it has answered already."""
        if self.answered:
            return
        self.answered = self.lost = True
        self._emit(self.lost_answer(failure))

    def lost_answer(self, failure: Failure) -> Response:
        """What `lose` says."""
        return Response(
            self.request,
            self.model,
            self.version,
            failure=failure,
            position=self.position,
            lost=True,
        )

    def finish(self) -> None:
        if self.answered:
            return
        self.answered = True
        self._emit(
            Response(self.request, self.model, self.version, empty=True, position=self.position)
        )

    def is_cancelled(self) -> bool:
        return self.cancelled

    def is_held_up(self) -> bool:
        return self.paused and not self.closed and not self.cancelled

    def _emit(self, response: Response) -> None:
        outbox = self.outbox
        if outbox is not None and threading.get_ident() == self.stepper:
            outbox.append((self, response))
        else:
            self.deliver(self, response)


def lost_answers(lives: Sequence[LiveRequest | None], failure: Failure) -> Outbox:
    """What is still to be said to those whose step was lost. It has to be heard before that a
    sequence is over: one whose last step was lost is not."""
    lost = (live for live in lives if live is not None and live.lost and not live.closed)
    return [(live, live.lost_answer(failure)) for live in lost]


@final
class NullReply:
    """Where the answers of null rows go."""

    __slots__ = ()

    def send(
        self,
        outputs: Sequence[Tensor],
        failure: Failure | None = None,
        *,
        final: bool,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        """Dropped."""

    def finish(self) -> None:
        """Dropped."""

    def is_cancelled(self) -> bool:
        return False


NULL_REPLY = NullReply()
