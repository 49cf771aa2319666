"""What the kit finds in broken request sessions: each check must catch its kind."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from streamgate.backend.conformance import Samples, check_backend
from streamgate.backend.contract import (
    LoadContext,
    ModelRequest,
)
from streamgate.backend.fake import FakeBackend
from streamgate.backend.fake.layout import Layout
from streamgate.backend.fake.plan import Plan
from streamgate.backend.fake.request import FakeRequestSession
from streamgate.errors import BackendError, Code
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array, Tensor
from tests.backend.broken_backends import SAMPLES, Loading, broken
from tests.backend.fake_models import FILES, request_config


class Serving(FakeRequestSession):
    """A request session whose requests can be spoiled, or the answers on their way out."""

    def execute(self, requests: Sequence[ModelRequest]) -> None:
        super().execute([replace(each, reply=Tap(self, each, requests)) for each in requests])

    def spoil(
        self, request: ModelRequest, batch: Sequence[ModelRequest], outputs: list[Tensor]
    ) -> list[Tensor] | None:
        return outputs


class Tap:
    """Stands between a session and a reply."""

    def __init__(
        self, session: Serving, request: ModelRequest, batch: Sequence[ModelRequest]
    ) -> None:
        self.session = session
        self.request = request
        self.batch = batch

    def send(
        self,
        outputs: Sequence[Tensor],
        failure: Any = None,
        *,
        final: bool,
        parameters: Any = None,
    ) -> None:
        spoiled = self.session.spoil(self.request, self.batch, list(outputs))
        if spoiled is not None:
            self.request.reply.send(spoiled, failure, final=final)

    def finish(self) -> None:
        self.request.reply.finish()

    def is_cancelled(self) -> bool:
        return False


def raised(outputs: list[Tensor], amount: int) -> list[Tensor]:
    """The answers with the count raised."""
    return [
        Tensor.of(each.name, each.array + amount, each.datatype) if each.name == "COUNT" else each
        for each in outputs
    ]


class Silent(Serving):
    def spoil(self, *_: Any) -> list[Tensor] | None:
        return None


class Refusing(Serving):
    def execute(self, requests: Sequence[ModelRequest]) -> None:
        for request in requests:
            request.reply.send((), BackendError("no moon").failure, final=True)


class Undeclared(Serving):
    def spoil(self, request: Any, batch: Any, outputs: list[Tensor]) -> list[Tensor]:
        return [*outputs, Tensor.of("EXTRA", np.zeros(1), DataType.FP64)]


class Relabelled(Serving):
    def spoil(self, request: Any, batch: Any, outputs: list[Tensor]) -> list[Tensor]:
        return [Tensor.of(each.name, each.array, DataType.FP64) for each in outputs]


class Forgetful(Serving):
    def spoil(self, request: Any, batch: Any, outputs: list[Tensor]) -> list[Tensor]:
        return outputs[:-1]


class Flat(Serving):
    def spoil(self, request: Any, batch: Any, outputs: list[Tensor]) -> list[Tensor]:
        if len(batch) == 1:
            return outputs
        return [Tensor.of(each.name, each.array[0], each.datatype) for each in outputs]


class Twice(Serving):
    def spoil(self, request: Any, batch: Any, outputs: list[Tensor]) -> list[Tensor]:
        request.reply.send(outputs, final=False)
        return outputs


class Crowded(Serving):
    def spoil(self, request: Any, batch: Any, outputs: list[Tensor]) -> list[Tensor]:
        return raised(outputs, len(batch))


class NullCounting(Serving):
    def spoil(self, request: Any, batch: Any, outputs: list[Tensor]) -> list[Tensor]:
        return raised(outputs, sum(each.null for each in batch))


class NullIgnoring(Serving):
    def spoil(self, request: Any, batch: Any, outputs: list[Tensor]) -> list[Tensor] | None:
        return None if request.null else outputs


class NeverFresh(Serving):
    def spoil(self, request: Any, batch: Any, outputs: list[Tensor]) -> list[Tensor]:
        return raised(outputs, self._number)


class WritesInputs(Serving):
    def spoil(self, request: Any, batch: Any, outputs: list[Tensor]) -> list[Tensor]:
        array = request.inputs[0].array
        array[...] = array + 1
        return outputs


class SameBuffer(Serving):
    buffer: Array = np.zeros((1, 1), np.uint64)

    def spoil(self, request: Any, batch: Any, outputs: list[Tensor]) -> list[Tensor]:
        self.buffer[:] = outputs[0].array
        return [Tensor.of("HASH", self.buffer, DataType.UINT64), *outputs[1:]]


class FirstOnly(Serving):
    def spoil(self, request: Any, batch: Any, outputs: list[Tensor]) -> list[Tensor]:
        return outputs if len(outputs) > 1 or outputs[0].name == "HASH" else []


class MuteRequests(Serving):
    def execute(self, requests: Sequence[ModelRequest]) -> None:
        if not requests[0].inputs:
            raise ValueError
        super().execute(requests)


class MuteFailures(Serving):
    def execute(self, requests: Sequence[ModelRequest]) -> None:
        if requests[0].inputs:
            super().execute(requests)
        else:
            requests[0].reply.send((), BackendError("", Code.INTERNAL).failure, final=True)


class ExitingRequests(Serving):
    def execute(self, requests: Sequence[ModelRequest]) -> None:
        if not requests[0].inputs:
            raise SystemExit(1)
        super().execute(requests)


class RequestThread(Serving):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.thread = threading.get_ident()

    def execute(self, requests: Sequence[ModelRequest]) -> None:
        if threading.get_ident() != self.thread:
            raise RuntimeError("not my thread")
        super().execute(requests)


class SharedRequests(Serving):
    last: ClassVar[object] = None

    def spoil(self, request: Any, batch: Any, outputs: list[Tensor]) -> list[Tensor]:
        other = SharedRequests.last not in (None, self)
        SharedRequests.last = self
        return raised(outputs, other)

    def close(self) -> None:
        SharedRequests.last = None
        super().close()


class UndeadRequests(Serving):
    def close(self) -> None:
        pass


REQUEST_FAULTS: dict[type[Serving], tuple[str, str]] = {
    Silent: ("One request gets every output", "no final response within 0.05 s"),
    Refusing: ("One request gets every output", "request 0 of 1 failed: no moon"),
    Undeclared: ("One request gets every output", "'EXTRA', which is not declared"),
    Relabelled: ("One request gets every output", "'HASH' is FP64, expected UINT64"),
    Forgetful: ("One request gets every output", "there is no 'LEVEL' among the answers"),
    Twice: ("One request gets every output", "2 responses to one request"),
    Flat: ("Each request of a batch", "has shape [1], expected [1, 1]"),
    Crowded: ("A request alone and among others", "[2] alone, but int64[1, 1] [5] among others"),
    NullCounting: ("Null requests are answered", "beside null requests, but"),
    NullIgnoring: ("Null requests are answered", "no final response within 0.05 s"),
    NeverFresh: ("A sequence that starts again", "when started again"),
    WritesInputs: ("A step leaves its inputs", "the step changed its input 'INPUT' in place"),
    SameBuffer: ("A later step leaves earlier", "the next step overwrote the answer 'HASH'"),
    FirstOnly: ("Every wanted output comes back", "'COUNT' was wanted, but [] came back"),
    MuteRequests: ("A request without inputs", "it raised ValueError without a message"),
    MuteFailures: ("A request without inputs", "a failure without a message"),
    ExitingRequests: ("A request without inputs", "it raised SystemExit, which ends threads"),
    RequestThread: ("A session runs in another thread", "RuntimeError: not my thread"),
    SharedRequests: ("Two instances do not disturb", "beside another instance"),
    UndeadRequests: ("A request after close", "a closed session still answers"),
}


@pytest.mark.parametrize("fault", REQUEST_FAULTS, ids=lambda fault: fault.__name__)
def test_a_broken_request_session_is_found(fault: type[Serving]) -> None:
    def load(backend: FakeBackend, context: LoadContext) -> Any:
        return fault(Layout(context.config), context.instance.name, Plan())

    check, message = REQUEST_FAULTS[fault]
    samples = Samples(timeout_ns=50_000_000)
    found = broken(check_backend(Loading(load), request_config(), FILES, samples=samples))
    named = [text for name, text in found.items() if name.startswith(check)]
    assert named, found
    assert message in named[0]


def test_inputs_that_must_be_writeable_are_found_with_raw_bytes() -> None:
    def load(backend: FakeBackend, context: LoadContext) -> Any:
        return WritesInputs(Layout(context.config), context.instance.name, Plan())

    found = broken(check_backend(Loading(load), request_config(), FILES, samples=SAMPLES))
    assert "read-only" in found["Inputs may come as raw bytes that can't be written to"]
