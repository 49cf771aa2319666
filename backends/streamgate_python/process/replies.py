"""The replies of a worker's requests: what is sent through them reaches those of the gateway."""

import threading
from collections.abc import Mapping, Sequence
from typing import final

from streamgate.errors import Failure
from streamgate.model.request import ParameterValue
from streamgate.model.tensor import Buffer, Tensor
from streamgate_python.process.pace import UNASKED_MAX, ThreadMarks
from streamgate_python.process.side import Side
from streamgate_python.process.values import Value, pack_failure, pack_tensors

_threads = ThreadMarks()


@final
class Returned:
    """What the thread that runs `execute` answers before it returns: it leaves with the return.

    A decoupled model's answers leave as they come, and those of other threads.
    """

    def __init__(self, *, decoupled: bool) -> None:
        self.thread = 0 if decoupled else threading.get_ident()
        self.answers: dict[int, Value] = {}
        self.buffers: dict[int, list[Buffer]] = {}

    def end(self) -> None:
        """`execute` has returned."""
        self.thread = 0


@final
class WorkerReply:
    """The way back for one request, from any thread."""

    __slots__ = ("_number", "_over", "_returned", "_side", "_unasked")

    def __init__(self, number: int, side: Side, returned: Returned) -> None:
        self._number = number
        self._side = side
        self._returned = returned
        self._over = False
        self._unasked = 0

    def send(
        self,
        outputs: Sequence[Tensor],
        failure: Failure | None = None,
        *,
        final: bool,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        if self._over:
            return
        self._over = final
        buffers: list[Buffer] = []
        given = None if parameters is None else dict(parameters)
        answer = [final, pack_tensors(outputs, buffers), pack_failure(failure), given]
        returned = self._returned
        if final and threading.get_ident() == returned.thread:
            returned.answers[self._number] = answer
            returned.buffers[self._number] = buffers
            return
        self._side.tell(["reply", self._number, answer], buffers)
        may_wait = _threads.may_wait(self._number, final=final)
        self._unasked += 1
        if may_wait and not final and self._unasked >= UNASKED_MAX:
            self._unasked = 0
            self._side.ask("room", self._number)

    def finish(self) -> None:
        if not self._over:
            self._over = True
            _threads.may_wait(self._number, final=True)
            self._side.tell(["reply", self._number, [True, None, None, None]])

    def is_cancelled(self) -> bool:
        """Asks the gateway: it knows at once."""
        return bool(self._side.ask("is_cancelled", self._number))

    def __del__(self) -> None:
        if not self._over:
            self._side.tell(["dropped", self._number])
