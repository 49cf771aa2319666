"""A model in a process of its own: what its crash, hang, leak or end does, and does not do."""

import logging
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from streamgate.backend.contract import SessionLostError
from streamgate.errors import Code, LoadError
from streamgate.model.config import Execution, WorkerLimits
from streamgate_python.process.session import ProcessSession
from tests.backends.python_models import (
    Model,
    RecordingReply,
    eventually,
    is_gone,
    reply_of,
    request,
)

UNHEALTHY = "Stub process 'm_0' is not healthy."
ROOT = Path(__file__).resolve().parents[2]
GATEWAY = """
import pathlib, sys, threading, time
from tests.backends.python_models import *

session = Model(pathlib.Path(sys.argv[1]), execution=Execution.PROCESS).load()
threading.Thread(target=session.execute, args=([request()],), daemon=True).start()
print(session.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model(tmp_path, execution=Execution.PROCESS)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="streamgate_python")


Opened = Callable[[Model], ProcessSession]


def is_over(pid: int) -> bool:
    """Whether a process that somebody else waits for has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


class TestItsOwn:
    def test_it_runs_in_another_process_that_ends_with_the_session(
        self, model: Model, opened: Opened
    ) -> None:
        session = opened(model.execute("import os; return [out(os.getpid())]"))
        made = request()
        session.execute([made])
        assert reply_of(made).only.values == {"OUT": [session.pid]}
        assert session.pid != os.getpid()
        session.close()
        assert is_gone(session.pid)

    def test_two_instances_share_nothing(self, model: Model, opened: Opened) -> None:
        model.execute("self.n = getattr(self, 'n', 0) + 1; return [out(self.n)]")
        sessions = [opened(model), opened(model)]
        for session in sessions:
            made = request()
            session.execute([made])
            assert reply_of(made).only.values == {"OUT": [1]}

    @pytest.mark.parametrize("size", [0, 1, 20_000, 24_000, 30_000, 3_000_000])
    def test_small_and_large_tensors_cross(self, model: Model, opened: Opened, size: int) -> None:
        session = opened(
            model.execute(
                "data = requests[0].inputs()[0].as_numpy()\n"
                "return [pb_utils.InferenceResponse([pb_utils.Tensor('OUT', data + 1)])]"
            )
        )
        sent = np.arange(size, dtype=np.int32)
        for _ in range(2):
            made = request(more={"IN": sent})
            session.execute([made])
            [tensor] = reply_of(made).only.outputs
            assert np.array_equal(tensor.array, sent + 1)

    @pytest.mark.parametrize("count", [250, 2000])
    def test_a_batch_larger_than_a_packet(self, model: Model, opened: Opened, count: int) -> None:
        session = opened(model.execute("return [out(r.inputs()[0].as_numpy()) for r in requests]"))
        batch = [request(number, request_id="x" * 400) for number in range(count)]
        session.execute(batch)
        assert [reply_of(made).only.values["OUT"][0][0] for made in batch] == [*range(count)]

    def test_descriptors_come_back(self, model: Model, opened: Opened) -> None:
        def descriptors() -> int:
            return len([*Path("/proc/self/fd").iterdir()])

        before = descriptors()
        session = opened(model.execute("return [out(r.inputs()[0].as_numpy()) for r in requests]"))
        for _ in range(5):
            session.execute([request(more={"IN": np.zeros(100_000, np.int32)})])
        session.close()
        assert descriptors() == before


class TestCrashes:
    @pytest.mark.parametrize(
        "end",
        [
            "import os; os._exit(3)",
            "import os; os._exit(0)",
            "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "import ctypes; ctypes.string_at(0)",
        ],
    )
    def test_in_a_step(self, model: Model, opened: Opened, end: str) -> None:
        told: list[SessionLostError] = []
        model.on_lost = told.append
        session = opened(model.execute(end))
        with pytest.raises(SessionLostError) as caught:
            session.execute([request()])
        assert caught.value.message == UNHEALTHY
        assert caught.value.code is Code.INTERNAL
        assert is_gone(session.pid)
        with pytest.raises(SessionLostError, match="not healthy"):
            session.execute([request()])
        assert told == []

    def test_while_idle_it_is_told(self, model: Model, opened: Opened) -> None:
        told: queue.SimpleQueue[SessionLostError] = queue.SimpleQueue()
        model.on_lost = told.put
        session = opened(model.execute("return [out(1)]"))
        session.execute([request()])
        os.kill(session.pid, signal.SIGKILL)
        assert told.get(timeout=20).message == UNHEALTHY
        assert is_gone(session.pid)

    def test_what_earlier_requests_are_owed_fails_too(self, model: Model, opened: Opened) -> None:
        model.decoupled = True
        session = opened(
            model.execute(
                """
                if requests[0].inputs()[0].as_numpy()[0] == 2:
                    import os; os._exit(1)
                self.sender = requests[0].get_response_sender()
                self.sender.send(out(7))
                """
            )
        )
        first = request(1)
        session.execute([first])
        with pytest.raises(SessionLostError):
            session.execute([request(2)])
        reply = reply_of(first)
        reply.wait()
        answer, failure = reply.sent
        assert answer.values == {"OUT": [7]}
        assert failure.failure is not None
        assert failure.failure.message == UNHEALTHY

    def test_what_was_sent_before_arrives(self, model: Model, opened: Opened) -> None:
        model.decoupled = True
        session = opened(
            model.execute(
                """
                sender = requests[0].get_response_sender()
                for number in range(50):
                    sender.send(out(number))
                import os; os._exit(1)
                """
            )
        )
        made = request()
        with pytest.raises(SessionLostError):
            session.execute([made])
        found = [sent.values["OUT"][0] for sent in reply_of(made).sent if sent.failure is None]
        assert found == [*range(50)]

    def test_its_children_go_with_it(self, model: Model, opened: Opened) -> None:
        session = opened(
            model.execute(
                """
                import os, subprocess
                if requests[0].inputs()[0].as_numpy()[0] == 2:
                    os._exit(1)
                return [out(subprocess.Popen(["sleep", "600"]).pid)]
                """
            )
        )
        made = request(1)
        session.execute([made])
        [child] = reply_of(made).only.values["OUT"]
        with pytest.raises(SessionLostError):
            session.execute([request(2)])
        eventually(lambda: is_over(child), "the child lives on")

    def test_the_trace_of_a_fault_is_logged(
        self, model: Model, opened: Opened, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, logger="streamgate.models.m")
        session = opened(model.execute("import ctypes; ctypes.string_at(0)"))
        with pytest.raises(SessionLostError):
            session.execute([request()])
        session.close()
        assert "Segmentation fault" in caplog.text
        assert "model.py" in caplog.text

    def test_while_loading(self, model: Model) -> None:
        model.write("import os\nos._exit(5)\n")
        with pytest.raises(LoadError) as caught:
            model.load()
        assert caught.value.message == (
            f"{UNHEALTHY} It ended with exit status 5 while it loaded the model."
        )


class TestLimits:
    def test_a_step_that_hangs(self, model: Model, opened: Opened) -> None:
        model.worker_limits = WorkerLimits(step_timeout_ns=200_000_000)
        session = opened(model.execute("import time; time.sleep(600)"))
        with pytest.raises(SessionLostError) as caught:
            session.execute([request()])
        assert caught.value.message == (
            f"{UNHEALTHY} A step took longer than 0.2 s (streamgate.step_timeout_seconds), and its "
            "process was killed."
        )
        assert is_gone(session.pid)

    def test_a_step_that_holds_the_interpreter(self, model: Model, opened: Opened) -> None:
        model.worker_limits = WorkerLimits(step_timeout_ns=200_000_000)
        session = opened(model.execute("import re; re.match(r'(a+)+$', 'a' * 64 + 'b')"))
        with pytest.raises(SessionLostError, match="took longer than"):
            session.execute([request()])
        assert is_gone(session.pid)

    def test_an_interpreter_that_does_not_start(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sleepy = model.add("python", "#!/bin/sh\nexec sleep 600\n").directory / "python"
        sleepy.chmod(0o755)
        monkeypatch.setattr("streamgate_python.process.keeper.sys.executable", str(sleepy))
        monkeypatch.setattr("streamgate_python.process.beginning.START_SECONDS_MAX", 0.3)
        with pytest.raises(LoadError) as caught:
            model.execute("return [out(1)]").load()
        assert caught.value.message == (
            "the process of model instance 'm_0' took longer than 0.3 s to start, and was killed"
        )

    def test_an_interpreter_that_is_not_there(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("streamgate_python.process.keeper.sys.executable", "/nowhere/python")
        with pytest.raises(LoadError, match=r"or watched: .*No such file") as caught:
            model.execute("return [out(1)]").load()
        assert caught.value.message.startswith(UNHEALTHY)

    def test_a_kernel_that_can_watch_no_process(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started: list[int] = []

        def refuse(pid: int) -> int:
            started.append(pid)
            raise PermissionError("not permitted")

        monkeypatch.setattr("streamgate_python.process.keeper.os.pidfd_open", refuse)
        with pytest.raises(LoadError, match="or watched: not permitted"):
            model.execute("return [out(1)]").load()
        assert is_gone(started[0])

    def test_loading_that_hangs(self, model: Model) -> None:
        model.worker_limits = WorkerLimits(load_timeout_ns=300_000_000)
        model.write("import time\ntime.sleep(600)\n")
        with pytest.raises(LoadError) as caught:
            model.load()
        assert caught.value.message == (
            "the process of model instance 'm_0' took longer than 0.3 s to load the model "
            "(streamgate.load_timeout_seconds), and was killed"
        )

    def test_a_leak(self, model: Model, opened: Opened) -> None:
        told: queue.SimpleQueue[SessionLostError] = queue.SimpleQueue()
        model.on_lost = told.put
        model.worker_limits = WorkerLimits(memory_bytes=300 * 2**20)
        session = opened(
            model.execute(
                "self.kept = b'x' * int(requests[0].inputs()[0].as_numpy()[0]); return [out(1)]"
            )
        )
        session.execute([request(1)])
        assert told.empty()
        made = request(400 * 2**20)
        session.execute([made])
        assert reply_of(made).only.values == {"OUT": [1]}
        error = told.get(timeout=20)
        assert error.message.startswith(f"{UNHEALTHY} Its process held ")
        assert "more than streamgate.worker_memory_limit_mb (300)" in error.message

    def test_a_finalize_that_hangs(
        self, model: Model, opened: Opened, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("streamgate_python.process.session.FINALIZE_SECONDS_MAX", 0.3)
        session = opened(
            model.write(
                """
                import signal, time

                class TritonPythonModel:
                    def finalize(self):
                        time.sleep(600)
                """
            )
        )
        session.close()
        assert is_gone(session.pid)

    def test_a_process_that_will_not_end(
        self, model: Model, opened: Opened, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("streamgate_python.process.session.FINALIZE_SECONDS_MAX", 0.3)
        monkeypatch.setattr("streamgate_python.process.keeper.TERM_SECONDS", 0.3)
        session = opened(
            model.write(
                """
                import signal, time

                class TritonPythonModel:
                    def initialize(self, args):
                        signal.signal(signal.SIGTERM, signal.SIG_IGN)

                    def finalize(self):
                        time.sleep(600)
                """
            )
        )
        session.close()
        assert is_gone(session.pid)


def test_no_worker_outlives_its_gateway(model: Model) -> None:
    model.execute("import time; time.sleep(600)")
    gateway = subprocess.Popen(
        [sys.executable, "-c", GATEWAY, str(model.folder)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'backends'}"},
        stdout=subprocess.PIPE,
    )
    assert gateway.stdout is not None
    worker = int(gateway.stdout.readline())
    assert not is_over(worker)
    gateway.kill()
    gateway.wait(20)
    gateway.stdout.close()
    eventually(lambda: is_over(worker), "the worker lives on")


def test_closed_sessions_answer_as_in_the_gateway(model: Model, opened: Opened) -> None:
    session = opened(model.execute("return [out(1)]"))
    session.close()
    made = request()
    session.execute([made])
    assert isinstance(made.reply, RecordingReply)
    assert made.reply.message.endswith("message: the model instance is closed")


def test_a_finalize_that_crashes_is_logged(
    model: Model, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, logger="streamgate_python")
    session = opened(
        model.write(
            """
            import os

            class TritonPythonModel:
                def finalize(self):
                    os._exit(9)
            """
        )
    )
    session.close()
    [record] = caplog.records
    assert record.getMessage() == (
        "the process of model instance 'm_0' did not end well when it was closed: It ended with "
        "exit status 9"
    )
