"""What the kit finds in good backends and in broken loading; its report."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from streamgate.backend.conformance import check_backend
from streamgate.backend.contract import (
    ConfigDict,
    LoadContext,
    ModelFiles,
    ModelRequest,
)
from streamgate.backend.fake import FakeBackend, create
from streamgate.backend.fake.layout import Layout
from streamgate.backend.fake.plan import Plan
from streamgate.backend.fake.tensor import FakeTensorSession
from streamgate.errors import BackendError
from streamgate.model.config import ModelConfig
from tests.backend.broken_backends import SAMPLES, Loading, broken
from tests.backend.fake_models import FILES, fake_config, request_config, stateless_config


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


def test_the_report_reads_like_a_list() -> None:
    report = check_backend(create(), stateless_config(max_batch_size=0), FILES, samples=SAMPLES)
    lines = str(report).splitlines()
    assert lines[0] == "model 'fake': 0 of 19 checks failed"
    assert "ok Loads" in lines
    assert "left out A copied state goes on like the original: the model has no states" in lines
