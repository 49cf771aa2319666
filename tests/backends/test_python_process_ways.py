"""What passes between a model's process and the gateway beside requests and responses."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, generate_latest

from streamgate.backend.contract import (
    ReadinessAware,
    SequenceListener,
    SessionLostError,
    StateDropper,
    StateKeeper,
)
from streamgate.errors import EndReason
from streamgate.model.config import Execution
from streamgate_python.faults import ModelRuleError
from streamgate_python.metrics import MetricFamily
from streamgate_python.process.session import ProcessSession
from tests.backends.python_models import Model, eventually, is_gone, reply_of, request

Opened = Callable[[Model], ProcessSession]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model(tmp_path, execution=Execution.PROCESS)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="streamgate_python")


class TestBetween:
    def test_prints_are_logged_under_the_models_name(
        self, model: Model, opened: Opened, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, logger="streamgate.models.m")
        session = opened(
            model.execute(
                """
                import os, sys
                print("to stdout")
                print("to stderr", file=sys.stderr)
                os.write(1, b"unfinished \\xff")
                return [out(1)]
                """
            )
        )
        session.execute([request()])
        session.close()
        texts = [
            record.message for record in caplog.records if record.name == "streamgate.models.m"
        ]
        assert texts == ["to stdout", "to stderr", "unfinished \ufffd"]

    def test_the_models_log_is_the_gateways(
        self, model: Model, opened: Opened, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING, logger="streamgate.models.m")
        session = opened(
            model.execute(
                """
                pb_utils.Logger.log_info("not this")
                pb_utils.Logger.log_warn("but this")
                return [out(1)]
                """
            )
        )
        session.execute([request()])
        [record] = [each for each in caplog.records if each.name == "streamgate.models.m"]
        assert (record.message, record.levelno) == ("but this", logging.WARNING)
        assert record.pathname == str(model.path)

    def test_a_cancellation_is_seen_at_once(self, model: Model, opened: Opened) -> None:
        model.decoupled = True
        session = opened(
            model.execute(
                """
                import threading, time

                def watch(request, sender):
                    sender.send(out(int(request.is_cancelled())))
                    while not sender.is_cancelled():
                        time.sleep(0.001)
                    sender.send(out(int(request.is_cancelled())), FINAL)

                for r in requests:
                    threading.Thread(target=watch, args=(r, r.get_response_sender())).start()
                """
            )
        )
        wanted, unwanted = request(), request()
        session.execute([wanted, unwanted])
        eventually(lambda: bool(reply_of(unwanted).sent), "it does not run")
        reply_of(unwanted).cancelled = True
        reply_of(unwanted).wait()
        assert [sent.values["OUT"] for sent in reply_of(unwanted).sent] == [[0], [1]]
        assert not reply_of(wanted).finished
        reply_of(wanted).cancelled = True
        reply_of(wanted).wait()

    def test_siblings_can_be_imported_in_every_way(self, model: Model, opened: Opened) -> None:
        model.add("1/beside.py", "NUMBER = 3").add("above.py", "NUMBER = 4")
        session = opened(
            model.execute(
                """
                import beside, importlib
                return [out(beside.NUMBER * 10 + importlib.import_module("above").NUMBER)]
                """
            )
        )
        made = request()
        session.execute([made])
        assert reply_of(made).only.values == {"OUT": [34]}

    def test_a_forked_child_says_nothing(self, model: Model, opened: Opened) -> None:
        model.decoupled = True
        session = opened(
            model.execute(
                """
                import os
                senders = [r.get_response_sender() for r in requests]
                pid = os.fork()
                if pid == 0:
                    senders.clear()
                    os._exit(0)
                os.waitpid(pid, 0)
                senders[0].send(out(1), FINAL)
                """
            )
        )
        made = request()
        session.execute([made])
        assert reply_of(made).only.values == {"OUT": [1]}

    def test_nonsense_costs_the_session_alone(self, model: Model, opened: Opened) -> None:
        session = opened(
            model.execute(
                """
                import os, socket
                for descriptor in map(int, os.listdir("/proc/self/fd")):
                    try:
                        socket.socket(fileno=os.dup(descriptor)).send(b"nonsense")
                    except OSError:
                        pass
                import time; time.sleep(600)
                """
            )
        )
        with pytest.raises(SessionLostError, match="not healthy"):
            session.execute([request()])
        assert is_gone(session.pid)


def scraped(name: str) -> list[str]:
    text = generate_latest(REGISTRY).decode()
    return [line for line in text.splitlines() if line.startswith(name)]


class TestMetrics:
    """Defect 15 of Triton: custom metrics and a stub that dies bring the server down."""

    SOURCE = """
    class TritonPythonModel:
        def initialize(self, args):
            self.family = pb_utils.MetricFamily(
                "t_worker_steps", "Steps", pb_utils.MetricFamily.COUNTER
            )
            self.steps = self.family.Metric(labels={"model": args["model_name"]})

        def execute(self, requests):
            self.steps.increment(len(requests))
            if requests[0].inputs()[0].as_numpy()[0] == 2:
                import os; os._exit(1)
            return [out(int(self.steps.value())) for _ in requests]
    """

    def test_they_are_the_gateways(self, model: Model, opened: Opened) -> None:
        sessions = [opened(model.write(self.SOURCE)), opened(model)]
        for expected, session in enumerate(sessions, start=1):
            made = request()
            session.execute([made])
            assert reply_of(made).only.values == {"OUT": [expected]}
        assert scraped("t_worker_steps") == ['t_worker_steps{model="m"} 2.0']
        for session in sessions:
            session.close()
        assert scraped("t_worker_steps") == []

    def test_a_crash_takes_no_counter_back(self, model: Model, opened: Opened) -> None:
        first = opened(model.write(self.SOURCE))
        first.execute([request()])
        with pytest.raises(SessionLostError):
            first.execute([request(2)])
        first.close()
        assert scraped("t_worker_steps") == ['t_worker_steps{model="m"} 2.0']
        second = opened(model)
        second.execute([request()])
        assert scraped("t_worker_steps") == ['t_worker_steps{model="m"} 3.0']
        second.close()
        assert scraped("t_worker_steps") == []

    def test_refusals_are_raised_in_the_worker(self, model: Model, opened: Opened) -> None:
        family = MetricFamily("t_worker_taken", "d", MetricFamily.GAUGE)
        session = opened(
            model.execute(
                """
                try:
                    pb_utils.MetricFamily("t_worker_taken", "d", pb_utils.MetricFamily.COUNTER)
                except pb_utils.TritonModelException as error:
                    return [out(str(error).encode(), dtype=object)]
                """
            )
        )
        made = request()
        session.execute([made])
        [text] = reply_of(made).only.values["OUT"]
        assert b"already exists with different type" in text
        del family


class TestHooks:
    def test_a_model_without_hooks(self, model: Model, opened: Opened) -> None:
        session = opened(model.execute("return [out(1)]"))
        assert not session.tells_readiness
        assert not session.hears_sequence_ends
        assert not session.keeps_states

    def test_readiness(self, model: Model, opened: Opened) -> None:
        session = opened(
            model.write(
                """
                class TritonPythonModel:
                    asked = 0

                    def is_ready(self):
                        self.asked += 1
                        if self.asked == 3:
                            raise ValueError("text")
                        return self.asked == 1
                """
            )
        )
        assert session.tells_readiness
        assert isinstance(session, ReadinessAware)
        assert [session.is_ready(), session.is_ready()] == [True, False]
        with pytest.raises(ModelRuleError, match=r"^ValueError: text\n\nAt:\n"):
            session.is_ready()

    def test_ends_of_sequences(self, model: Model, opened: Opened) -> None:
        session = opened(
            model.write(
                """
                class TritonPythonModel:
                    def initialize(self, args):
                        self.ended = []

                    def on_sequence_end(self, correlation_id, reason):
                        self.ended.append([correlation_id, str(reason)])

                    def execute(self, requests):
                        return [out(json.dumps(self.ended).encode(), dtype=object)]
                """
            )
        )
        assert isinstance(session, SequenceListener)
        assert session.hears_sequence_ends
        session.on_sequence_end(2**64 - 1, EndReason.IDLE)
        session.on_sequence_end("name", EndReason.CLIENT_END)
        made = request()
        session.execute([made])
        [text] = reply_of(made).only.values["OUT"]
        assert json.loads(text) == [[2**64 - 1, "idle"], ["name", "client_end"]]

    @pytest.mark.parametrize("size", [0, 5, 3_000_000])
    def test_states(self, model: Model, opened: Opened, size: int) -> None:
        model.write(
            """
            class TritonPythonModel:
                def initialize(self, args):
                    self.kept = {}

                def get_state(self, correlation_id):
                    return self.kept[correlation_id]

                def set_state(self, correlation_id, state):
                    assert type(state) is bytes
                    self.kept[correlation_id] = state
            """
        )
        one, other = opened(model), opened(model)
        assert isinstance(one, StateKeeper)
        assert one.keeps_states
        one.set_state(7, b"x" * size)
        other.set_state("there", one.get_state(7))
        assert other.get_state("there") == b"x" * size
        with pytest.raises(ModelRuleError, match=r"^KeyError: 'nobody'\n\nAt:\n"):
            one.get_state("nobody")

    def test_a_model_is_told_of_what_has_left_it(self, model: Model, opened: Opened) -> None:
        model.write(
            """
            class TritonPythonModel:
                def initialize(self, args):
                    self.told = []

                def on_sequence_end(self, correlation_id, reason):
                    self.told.append(f"{correlation_id!r} {reason}")

                def get_state(self, correlation_id):
                    return " ".join(self.told).encode()

                def set_state(self, correlation_id, state):
                    pass
            """
        )
        session = opened(model)
        assert isinstance(session, StateDropper)
        session.drop_state(7)
        session.drop_state("a")
        assert session.get_state(0) == b"7 moved 'a' moved"

    def test_a_model_that_hears_no_ends_hears_of_no_moves(
        self, model: Model, opened: Opened
    ) -> None:
        session = opened(model.write("class TritonPythonModel:\n    pass\n"))
        assert isinstance(session, StateDropper)
        session.drop_state(7)

    def test_a_crash_in_a_hook_is_told(self, model: Model, opened: Opened) -> None:
        told: list[SessionLostError] = []
        model.on_lost = told.append
        session = opened(
            model.write(
                """
                import os

                class TritonPythonModel:
                    def is_ready(self):
                        os._exit(1)
                """
            )
        )
        with pytest.raises(SessionLostError):
            session.is_ready()
        [error] = told
        assert error.message == "Stub process 'm_0' is not healthy."
