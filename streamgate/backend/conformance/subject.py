"""The model under test, and how a list of checks is run over it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, NoReturn

import numpy as np

from streamgate.backend.conformance.report import Broken, CheckResult, Report, Unfit
from streamgate.backend.conformance.samples import Samples
from streamgate.backend.contract import (
    Backend,
    ConfigDict,
    LoadContext,
    RequestSession,
    Session,
    TensorSession,
)
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array

Check = Callable[["Subject"], None]
"""Returns when the contract holds, else raises Broken, or Unfit where it can't be checked. Its
docstring's first line is its name."""


class Subject:
    """A backend, a model of it, and the samples to try it with."""

    def __init__(
        self, backend: Backend, context: LoadContext, samples: Samples, given: ConfigDict
    ) -> None:
        self.backend = backend
        self.context = context
        self.samples = samples
        self.given = given
        self.kind: Literal["tensor", "request"] | None = None
        """Set by the check that loads the model first."""

    @property
    def config(self) -> ModelConfig:
        return self.context.config

    @property
    def rows(self) -> int:
        """The rows of a full batch. Raises Unfit when the model does not batch."""
        if self.config.max_batch_size < 2:
            raise Unfit(f"max_batch_size is {self.config.max_batch_size}")
        return min(self.samples.rows, self.config.max_batch_size)

    def require_deterministic(self) -> None:
        """Raise Unfit when answers are not to be compared."""
        if not self.samples.deterministic:
            raise Unfit("the samples say that the model is not deterministic")

    @contextmanager
    def loaded(self) -> Iterator[Session]:
        """A session of its own, closed at the end."""
        session = self.backend.load(self.context)
        try:
            yield session
        finally:
            session.close()

    @contextmanager
    def tensor_session(self) -> Iterator[TensorSession]:
        with self.loaded() as session:
            if not isinstance(session, TensorSession):
                wrong_kind(session, "run")
            yield session

    @contextmanager
    def request_session(self) -> Iterator[RequestSession]:
        with self.loaded() as session:
            if not isinstance(session, RequestSession):
                wrong_kind(session, "execute")
            yield session

    def compare(
        self, what: str, datatype: DataType, one: Array, other: Array, how: tuple[str, str]
    ) -> None:
        """Raise Broken when two answers differ; `how` says how each came about."""
        if not self.samples.same(datatype, one, other):
            raise Broken(f"{what} is {shown(one)} {how[0]}, but {shown(other)} {how[1]}")


def run_checks(subject: Subject, checks: Sequence[Check]) -> Report:
    """Run the checks one after the other; an exception is a failure of that check alone."""
    return Report(subject.config.name, tuple(_run(subject, check) for check in checks))


def _run(subject: Subject, check: Check) -> CheckResult:
    name = (check.__doc__ or check.__name__).partition("\n")[0].rstrip(".")
    try:
        check(subject)
    except Broken as finding:
        return CheckResult(name, broken=str(finding))
    except Unfit as reason:
        return CheckResult(name, unfit=str(reason))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it throws is a finding
        return CheckResult(name, broken=f"it raised {type(error).__name__}: {error}")
    return CheckResult(name)


def wrong_kind(session: object, wanted: str) -> NoReturn:
    raise Broken(f"load made a {type(session).__name__} without '{wanted}' and 'close'")


def check_array(what: str, array: object, datatype: DataType, shape: Sequence[int]) -> None:
    """Raise Broken unless it is an array of this type and shape, where -1 is any size."""
    if not isinstance(array, np.ndarray):
        raise Broken(f"{what} is a {type(array).__name__}, expected a numpy array")
    if array.dtype != datatype.dtype:
        raise Broken(f"{what} has dtype {array.dtype}, expected {datatype.dtype}")
    fits = len(array.shape) == len(shape) and all(
        wants in (-1, has) for has, wants in zip(array.shape, shape, strict=True)
    )
    if not fits:
        raise Broken(f"{what} has shape {list(array.shape)}, expected {list(shape)}")
    if datatype is DataType.BYTES:
        wrong = next((each for each in array.ravel() if not isinstance(each, bytes)), None)
        if wrong is not None:
            raise Broken(f"{what} holds a {type(wrong).__name__}, expected bytes")


def copied(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array.copy() for name, array in arrays.items()}


def frozen(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays as the engine may give them: views that can't be written to."""
    views = {name: array.view() for name, array in arrays.items()}
    for view in views.values():
        view.flags.writeable = False
    return views


def shown(array: Array) -> str:
    """An array in a few words."""
    if array.size <= 6:
        return f"{array.dtype}{list(array.shape)} {array.ravel().tolist()}"
    first = ", ".join(map(str, array.ravel()[:6].tolist()))
    return f"{array.dtype}{list(array.shape)} [{first}, ...]"
