"""What the kit finds in broken tensor sessions: each check must catch its kind."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from streamgate.backend.conformance import Samples, check_backend
from streamgate.backend.contract import (
    LoadContext,
    TensorStep,
)
from streamgate.backend.fake import FakeBackend
from streamgate.backend.fake.layout import Layout
from streamgate.backend.fake.plan import Plan
from streamgate.backend.fake.tensor import FakeTensorSession
from streamgate.errors import BackendError
from streamgate.model.tensor import Array
from tests.backend.broken_backends import SAMPLES, Loading, broken
from tests.backend.fake_models import FILES, fake_config


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
