"""Where a model's steps run, and the limits of worker processes."""

import pytest

from streamgate.errors import ConfigError
from streamgate.model.config import Execution, WorkerLimits
from tests.repository.conftest import FakeBackend, Models
from tests.repository.pieces import PYTHON, parameter

STEP = "streamgate.step_timeout_seconds"
LOAD = "streamgate.load_timeout_seconds"
MEMORY = "streamgate.worker_memory_limit_mb"


class Isolating(FakeBackend):
    """A backend that can run processes."""

    def can_run_processes(self) -> bool:
        return True


def execution(choice: str) -> str:
    return PYTHON + parameter("streamgate.execution", choice)


@pytest.fixture
def isolating(models: Models) -> Models:
    models.backends["python"] = Isolating("model.py")
    return models


def failure(models: Models, config: str) -> str:
    models.write("m", config)
    error = models.source().failures["1"]
    assert isinstance(error, ConfigError)
    return error.message


@pytest.mark.parametrize("choice", list(Execution))
def test_the_choices(isolating: Models, choice: Execution) -> None:
    isolating.write("m", execution(choice.value))
    made = isolating.config()
    assert made.execution is choice
    assert made.worker_limits == WorkerLimits()


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ("", Execution.THREAD),
        ("instance_group { count: 1 }", Execution.THREAD),
        ("instance_group { count: 2 }", Execution.PROCESS),
        ("instance_group [ { }, { } ]", Execution.PROCESS),
    ],
)
def test_several_instances_have_processes_unless_told(
    isolating: Models, groups: str, expected: Execution
) -> None:
    isolating.write("m", PYTHON + groups)
    assert isolating.config().execution is expected
    isolating.write("m", execution("thread") + groups)
    assert isolating.config().execution is Execution.THREAD


def test_a_backend_that_can_run_no_process_has_threads(models: Models) -> None:
    models.write("m", PYTHON + "instance_group { count: 2 }")
    assert models.config().execution is Execution.THREAD


def test_limits(isolating: Models) -> None:
    isolating.write(
        "m",
        execution("process")
        + parameter(STEP, "2.5")
        + parameter(LOAD, "60")
        + parameter(MEMORY, "512"),
    )
    assert isolating.config().worker_limits == WorkerLimits(
        2_500_000_000, 60_000_000_000, 512 * 2**20
    )


def test_a_step_on_a_thread_has_a_limit_too(models: Models) -> None:
    models.write("m", PYTHON + parameter(STEP, "2.5"))
    assert models.config().execution is Execution.THREAD
    assert models.config().worker_limits == WorkerLimits(2_500_000_000)


def test_a_backend_that_can_run_no_process(models: Models) -> None:
    assert (
        "parameter 'streamgate.execution' of model m is wrong (parameters['streamgate.execution']"
        ".string_value: found 'process', expected 'thread' or 'inline' with backend 'python')"
    ) in failure(models, execution("process"))


def test_a_choice_that_there_is_not(isolating: Models) -> None:
    assert "found 'fork', expected 'thread' or 'inline' or 'process' with backend 'python'" in (
        failure(isolating, execution("fork"))
    )


@pytest.mark.parametrize("name", [STEP, LOAD, MEMORY])
class TestWrongLimits:
    @pytest.mark.parametrize("value", ["-1", "soon", "nan", "1e9"])
    def test_values(self, isolating: Models, name: str, value: str) -> None:
        text = failure(isolating, execution("process") + parameter(name, value))
        assert f"parameter '{name}' of model m is wrong" in text
        assert f"found '{value}', expected a number from 0 to " in text

    def test_of_what_is_no_process(self, isolating: Models, name: str) -> None:
        text = failure(isolating, execution("inline") + parameter(name, "1"))
        assert "no such parameter unless the model has streamgate.execution 'process'" in text
        if name != STEP:
            text = failure(isolating, execution("thread") + parameter(name, "1"))
            assert "no such parameter unless the model has streamgate.execution 'process'" in text
