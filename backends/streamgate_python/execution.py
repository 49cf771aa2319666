"""What the code of a model is being run for, which decides what it may wait for.

The session says so around each call into the model; coroutines and `asyncio.to_thread` inherit it.
Threads that a model starts itself have none: they hold nothing up but themselves.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from streamgate.backend.contract import ModelRequest


class ModelExecution:
    """One call into a model: of `execute`, for these requests, or of another method (for none).

    `holds_instance`: the instance runs nothing else until the code is done. `holds_engine`: nor
    does the engine, on whose thread the code runs.
    """

    __slots__ = ("_requests", "holds_engine", "holds_instance")

    def __init__(self, *, holds_engine: bool, requests: Sequence[ModelRequest] = ()) -> None:
        self.holds_engine = holds_engine
        self.holds_instance = True
        self._requests = requests

    def go_to_background(self) -> None:
        """The call has returned; what still runs, or inherited this, holds nothing up."""
        self.holds_engine = self.holds_instance = False

    def is_cancelled(self) -> bool:
        """Whether nobody wants what the code is run for any more."""
        requests = self._requests
        return bool(requests) and all(each.reply.is_cancelled() for each in requests)


EXECUTION: ContextVar[ModelExecution | None] = ContextVar(
    "streamgate_python_execution", default=None
)


@contextmanager
def executing(execution: ModelExecution) -> Iterator[None]:
    """Code inside runs for this."""
    token = EXECUTION.set(execution)
    try:
        yield
    finally:
        EXECUTION.reset(token)
        execution.go_to_background()
