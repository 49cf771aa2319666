"""Each check of the kit must pass a good backend and catch a broken one."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from streamgate.backend.conformance import Report, Samples, check_backend
from streamgate.backend.contract import (
    ConfigDict,
    LoadContext,
    ModelFiles,
    ModelRequest,
    TensorStep,
)
from streamgate.backend.fake import FakeBackend, create
from streamgate.backend.fake.layout import Layout
from streamgate.backend.fake.plan import Plan
from streamgate.backend.fake.request import FakeRequestSession
from streamgate.backend.fake.tensor import FakeTensorSession
from streamgate.errors import BackendError, Code
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array, Tensor
from tests.backend.fake_models import FILES, fake_config, request_config, stateless_config

SAMPLES = Samples(timeout_ns=2_000_000_000)


def broken(report: Report) -> dict[str, str]:
    return {result.name: result.broken or "" for result in report.failures}


@pytest.mark.parametrize(
    "config",
    [
        fake_config(),
        fake_config(max_batch_size=0),
        fake_config(max_batch_size=1),
        stateless_config(),
        request_config(),
        request_config(max_batch_size=0),
        request_config(decoupled=True, parameters={"responses": "2"}),
        request_config(decoupled=True, parameters={"responses": "0"}),
    ],
)
def test_the_fake_keeps_the_contract(config: ModelConfig) -> None:
    report = check_backend(create(), config, FILES, samples=SAMPLES)
    report.require()
    assert len(report.passed) >= 12


class Loading(FakeBackend):
    """A backend with one thing about loading replaced."""

    def __init__(self, load: Callable[[FakeBackend, LoadContext], Any] = FakeBackend.load) -> None:
        super().__init__()
        self._load = load

    def load(self, context: LoadContext) -> Any:
        return self._load(self, context)


def test_a_model_that_does_not_load_is_one_finding() -> None:
    def fail(backend: FakeBackend, context: LoadContext) -> Any:
        raise BackendError("no moon")

    report = check_backend(Loading(fail), fake_config(), FILES)
    assert broken(report) == {"Loads": "it raised BackendError: no moon"}
    assert len(report.results) == 4
    with pytest.raises(AssertionError, match="1 of 4 checks failed\nFAILED Loads: it raised"):
        report.require()


@pytest.mark.parametrize("made", [object(), {"run": 1}])
def test_something_else_than_a_session_is_found(made: object) -> None:
    report = check_backend(Loading(lambda *_: Closing(made)), fake_config(), FILES)
    assert "without 'run' or 'execute'" in broken(report)["Loads"]


class Closing:
    def __init__(self, inner: object) -> None:
        self.inner = inner

    def close(self) -> None:
        pass


class BothKinds(FakeTensorSession):
    def execute(self, requests: Sequence[ModelRequest]) -> None: ...


def test_a_session_of_both_kinds_is_found() -> None:
    def load(backend: FakeBackend, context: LoadContext) -> Any:
        return BothKinds(Layout(context.config), "fake_0", Plan())

    report = check_backend(Loading(load), fake_config(), FILES)
    assert broken(report) == {"Loads": "load made a session with both 'run' and 'execute'"}


@pytest.mark.parametrize("name", ["", "a/b", None])
def test_a_wrong_file_name_is_found(name: Any) -> None:
    backend = create()
    backend.default_model_filename = name
    report = check_backend(backend, fake_config(), FILES, samples=SAMPLES)
    assert broken(report) == {
        "Names its model file": f"default_model_filename is {name!r}, expected a file's name"
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.pop("name"), "in place"),
        (lambda config: config["input"].append({}), "in place"),
    ],
)
def test_completion_in_place_is_found(change: Callable[[ConfigDict], Any], message: str) -> None:
    class Completing(FakeBackend):
        def auto_complete(self, config: ConfigDict, files: ModelFiles) -> ConfigDict:
            change(config)
            return config

    given = {"name": "fake", "input": [{"name": "X"}]}
    report = check_backend(Completing(), fake_config(), FILES, given=given, samples=SAMPLES)
    assert message in broken(report)["Auto-completion changes nothing that was given"]


@pytest.mark.parametrize(
    ("completed", "message"),
    [({}, "dropped the field 'name'"), ({"name": "y"}, "changed 'name' from 'x' to 'y'")],
)
def test_completion_that_changes_is_found(completed: ConfigDict, message: str) -> None:
    class Completing(FakeBackend):
        def auto_complete(self, config: ConfigDict, files: ModelFiles) -> ConfigDict:
            return completed

    report = check_backend(Completing(), fake_config(), FILES, given={"name": "x"}, samples=SAMPLES)
    assert message in broken(report)["Auto-completion changes nothing that was given"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError("gone"), "load raised FileNotFoundError: gone"),
        (BackendError(" "), "the error has no message"),
    ],
)
def test_a_bad_error_for_a_missing_file_is_found(error: Exception, message: str) -> None:
    def load(backend: FakeBackend, context: LoadContext) -> Any:
        if context.files != FILES:
            raise error
        return FakeBackend.load(backend, context)

    report = check_backend(Loading(load), fake_config(), FILES, samples=SAMPLES)
    assert broken(report) == {"A missing model file is a StreamGateError": message}


class Reading(FakeTensorSession):
    """A tensor session whose answers, all of them computed, can be spoiled."""

    def run(self, step: TensorStep) -> dict[str, Array]:
        names = dict.fromkeys((*(spec.name for spec in self._layout.config.outputs), *step.outputs))
        results = super().run(replace(step, outputs=tuple(names)))
        spoiled = self.spoil(step, results)
        return {name: spoiled[name] for name in self.select(step, spoiled) if name in spoiled}

    def select(self, step: TensorStep, results: Mapping[str, Array]) -> Sequence[str]:
        return step.outputs

    def spoil(self, step: TensorStep, results: dict[str, Array]) -> dict[str, Array]:
        return results


class MissingOutput(Reading):
    def spoil(self, step: TensorStep, results: dict[str, Array]) -> dict[str, Array]:
        return {name: array for name, array in results.items() if name != "LEVEL"}


class WrongType(Reading):
    def spoil(self, step: TensorStep, results: dict[str, Array]) -> dict[str, Array]:
        return results | {"LEVEL": results["LEVEL"].astype(np.float64)}


class NoArray(Reading):
    def spoil(self, step: TensorStep, results: dict[str, Array]) -> dict[str, Array]:
        return results | {"LEVEL": results["LEVEL"].tolist()}


class NoBatch(Reading):
    def spoil(self, step: TensorStep, results: dict[str, Array]) -> dict[str, Array]:
        return results | {"HASH": results["HASH"][:1]}


class WrongAxis(Reading):
    def spoil(self, step: TensorStep, results: dict[str, Array]) -> dict[str, Array]:
        if "count_out" in results:
            results["count_out"] = results["count_out"].T
        return results


class NeighbourAware(Reading):
    def spoil(self, step: TensorStep, results: dict[str, Array]) -> dict[str, Array]:
        return results | {"COUNT": results["COUNT"] + step.rows}


class NullAware(Reading):
    def spoil(self, step: TensorStep, results: dict[str, Array]) -> dict[str, Array]:
        nulls = np.count_nonzero(step.inputs["READY"] == 0)
        return results | {"COUNT": results["COUNT"] + nulls}


class Counting(Reading):
    def spoil(self, step: TensorStep, results: dict[str, Array]) -> dict[str, Array]:
        return results | {"COUNT": results["COUNT"] + self._number}


class Remembering(Reading):
    """Keeps something of the sequence in the session, and forgets it at START."""

    steps = 0

    def spoil(self, step: TensorStep, results: dict[str, Array]) -> dict[str, Array]:
        self.steps = 0 if np.any(step.inputs["START"]) else self.steps + 1
        return results | {"COUNT": results["COUNT"] + self.steps}


class InPlace(Reading):
    def spoil(self, step: TensorStep, results: dict[str, Array]) -> dict[str, Array]:
        if step.inputs["hash"].flags.writeable:
            step.inputs["hash"].fill(1)
        return results


class NeedsWriteable(Reading):
    def spoil(self, step: TensorStep, results: dict[str, Array]) -> dict[str, Array]:
        step.inputs["INPUT"][:] = step.inputs["INPUT"]
        return results


class OneBuffer(Reading):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.buffer: Array = np.zeros((4, 1), np.uint64)

    def spoil(self, step: TensorStep, results: dict[str, Array]) -> dict[str, Array]:
        self.buffer[: step.rows] = results["HASH"]
        return results | {"HASH": self.buffer[: step.rows]}


class AllOutputs(Reading):
    def select(self, step: TensorStep, results: Mapping[str, Array]) -> Sequence[str]:
        return tuple(results)


class BreaksOnError(Reading):
    errors = 0

    def run(self, step: TensorStep) -> dict[str, Array]:
        try:
            return super().run(step)
        except BackendError:
            self.errors += 1
            raise

    def spoil(self, step: TensorStep, results: dict[str, Array]) -> dict[str, Array]:
        return results | {"COUNT": results["COUNT"] + self.errors}


class Exits(Reading):
    def run(self, step: TensorStep) -> dict[str, Array]:
        try:
            return super().run(step)
        except BackendError:
            raise SystemExit(1) from None


class Mute(Reading):
    def run(self, step: TensorStep) -> dict[str, Array]:
        try:
            return super().run(step)
        except BackendError:
            raise ValueError from None


class OneThread(Reading):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.thread = threading.get_ident()

    def run(self, step: TensorStep) -> dict[str, Array]:
        if threading.get_ident() != self.thread:
            raise RuntimeError("not my thread")
        return super().run(step)


class Shared(Reading):
    last: ClassVar[object] = None

    def spoil(self, step: TensorStep, results: dict[str, Array]) -> dict[str, Array]:
        other = Shared.last not in (None, self)
        Shared.last = self
        return results | {"COUNT": results["COUNT"] + other}

    def close(self) -> None:
        Shared.last = None
        super().close()


class Undead(Reading):
    def close(self) -> None:
        pass


TENSOR_FAULTS: dict[type[Reading], tuple[str, str]] = {
    MissingOutput: ("One row gets every output", "there is no LEVEL among the answers"),
    WrongType: ("One row gets every output", "dtype float64, expected float32"),
    NoArray: ("One row gets every output", "is a list, expected a numpy array"),
    NoBatch: ("A full batch gets every output", "has shape [1, 1], expected [4, 1]"),
    WrongAxis: ("Every state output has", "has shape [4, 1], expected [1, 4]"),
    NeighbourAware: ("A row alone and among others", "'COUNT' is int64[1] [2] alone, but int64[1]"),
    NullAware: ("Null rows in a batch", "[3] beside null rows, but int64[1] [1] beside others"),
    Counting: ("The same inputs and states", "at first, but"),
    Remembering: ("A copied state goes on", "when resumed from the copy"),
    InPlace: ("A step leaves its inputs", "the step changed its input 'hash' in place"),
    NeedsWriteable: ("Inputs may be arrays that can't", "read-only"),
    OneBuffer: ("A later step leaves earlier", "the next step overwrote the answer 'HASH'"),
    AllOutputs: ("Exactly the wanted outputs", "only ['HASH'] was wanted"),
    BreaksOnError: ("Wrong inputs are an error", "after a step with"),
    Exits: ("Wrong inputs are an error", "it raised SystemExit, which ends threads"),
    Mute: ("Wrong inputs are an error", "it raised ValueError without a message"),
    OneThread: ("A session runs in another thread", "RuntimeError: not my thread"),
    Shared: ("Two instances do not disturb", "after the other"),
    Undead: ("A step after close", "a closed session still answers"),
}


@pytest.mark.parametrize("fault", TENSOR_FAULTS, ids=lambda fault: fault.__name__)
def test_a_broken_tensor_session_is_found(fault: type[Reading]) -> None:
    def load(backend: FakeBackend, context: LoadContext) -> Any:
        return fault(Layout(context.config), context.instance.name, Plan())

    check, message = TENSOR_FAULTS[fault]
    found = broken(check_backend(Loading(load), fake_config(), FILES, samples=SAMPLES))
    named = [text for name, text in found.items() if name.startswith(check)]
    assert named, found
    assert message in named[0]


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


def test_a_model_that_is_not_deterministic_is_not_compared() -> None:
    def load(backend: FakeBackend, context: LoadContext) -> Any:
        return Counting(Layout(context.config), context.instance.name, Plan())

    samples = Samples(deterministic=False)
    report = check_backend(Loading(load), fake_config(), FILES, samples=samples)
    report.require()
    reasons = {result.unfit for result in report.results}
    assert "the samples say that the model is not deterministic" in reasons


def test_samples_can_be_made_to_order() -> None:
    seen: list[Array] = []

    class Watching(Reading):
        def spoil(self, step: TensorStep, results: dict[str, Array]) -> dict[str, Array]:
            seen.append(step.inputs["INPUT"])
            return results

    def load(backend: FakeBackend, context: LoadContext) -> Any:
        return Watching(Layout(context.config), context.instance.name, Plan())

    def make(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return np.full(shape, 7, np.int16)

    samples = Samples(rows=2, shapes={"INPUT": (5,)}, makers={"INPUT": make})
    check_backend(Loading(load), fake_config(), FILES, samples=samples).require()
    right = [array for array in seen if array.dtype == np.int16 and array.ndim == 2]
    assert {array.shape for array in right} == {(1, 5), (2, 5)}
    assert {int(value) for array in right for value in np.unique(array)} == {0, 7}


def test_the_report_reads_like_a_list() -> None:
    report = check_backend(create(), stateless_config(max_batch_size=0), FILES, samples=SAMPLES)
    lines = str(report).splitlines()
    assert lines[0] == "model 'fake': 0 of 19 checks failed"
    assert "ok Loads" in lines
    assert "left out A copied state goes on like the original: the model has no states" in lines
