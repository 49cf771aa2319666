"""What the tests of the conformance kit share: a backend to break, and its findings."""

from collections.abc import Callable
from typing import Any

from streamgate.backend.conformance import Report, Samples
from streamgate.backend.contract import (
    LoadContext,
)
from streamgate.backend.fake import FakeBackend

SAMPLES = Samples(timeout_ns=2_000_000_000)


def broken(report: Report) -> dict[str, str]:
    return {result.name: result.broken or "" for result in report.failures}


class Loading(FakeBackend):
    """A backend with one thing about loading replaced."""

    def __init__(self, load: Callable[[FakeBackend, LoadContext], Any] = FakeBackend.load) -> None:
        super().__init__()
        self._load = load

    def load(self, context: LoadContext) -> Any:
        return self._load(self, context)
