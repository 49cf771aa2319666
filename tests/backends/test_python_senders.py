"""Models that answer through response senders: the rules, other threads, forgotten senders."""

import gc
import logging
import textwrap
from pathlib import Path

import pytest

from streamgate.errors import Code
from tests.backends.python_models import Model, reply_of, request

pytestmark = pytest.mark.usefixtures("execution")

PREFIX = "Failed to process the request(s) for model 'm_0', message: "


@pytest.fixture(params=[False, True], ids=["plain", "decoupled"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    return Model(tmp_path, decoupled=request.param)


@pytest.fixture
def plain(tmp_path: Path) -> Model:
    return Model(tmp_path)


@pytest.fixture
def decoupled(tmp_path: Path) -> Model:
    return Model(tmp_path, decoupled=True)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="streamgate_python")


def through_sender(model: Model, body: str) -> Model:
    first, last = "sender = requests[0].get_response_sender()", "return None"
    return model.execute("\n".join((first, textwrap.dedent(body), last)))


class TestEitherKind:
    def test_the_response_with_the_final_flag(self, either: Model) -> None:
        sent = through_sender(either, "sender.send(out(5), flags=FINAL)").answer().only
        assert sent.values == {"OUT": [5]}

    def test_arguments_by_name(self, either: Model) -> None:
        body = "sender.send(response=out(5), flags=FINAL)"
        assert through_sender(either, body).answer().only.values == {"OUT": [5]}

    @pytest.mark.parametrize(
        ("call", "text"),
        [
            ("sender.send(out(1), flags=4)", "Unable to send response. Unsupported flag provided."),
            (
                "sender.send()",
                (
                    "Inference Response object must be provided when the response flags is set to "
                    "zero."
                ),
            ),
        ],
    )
    def test_wrong_arguments(self, either: Model, call: str, text: str) -> None:
        message = through_sender(either, call).answer().message
        assert message.startswith(f"{PREFIX}TritonModelException: {text}\n\nAt:\n")

    def test_something_else_than_a_response(self, either: Model) -> None:
        message = through_sender(either, "sender.send('text', flags=FINAL)").answer().message
        assert "TypeError: send: response must be an InferenceResponse" in message

    def test_the_final_flag_twice(self, either: Model) -> None:
        through_sender(
            either,
            """
            sender.send(out(1), flags=FINAL)
            try:
                sender.send(flags=FINAL)
            except pb_utils.TritonModelException as error:
                self.said = str(error)
            assert self.said == "Unable to send response. Response sender has been closed."
            """,
        )
        assert either.answer().only.values == {"OUT": [1]}

    def test_one_sender_for_each_request(self, either: Model) -> None:
        body = "assert requests[0].get_response_sender() is sender; sender.send(out(1), FINAL)"
        assert through_sender(either, body).answer().only.failure is None

    def test_outputs_not_asked_for_are_dropped(self, either: Model) -> None:
        through_sender(either, "sender.send(out(1), FINAL)")
        assert not either.answer(request(requested_outputs=("SECOND",))).only.outputs

    def test_an_error_with_the_final_flag(self, either: Model) -> None:
        error = "pb_utils.TritonError('gone', pb_utils.TritonError.NOT_FOUND)"
        body = f"sender.send(pb_utils.InferenceResponse(error={error}), FINAL)"
        failure = through_sender(either, body).answer().only.failure
        assert failure is not None
        assert (failure.code, failure.message) == (Code.NOT_FOUND, "gone")

    def test_a_request_answered_before_the_exception_keeps_its_answer(self, either: Model) -> None:
        either.execute(
            """
            requests[0].get_response_sender().send(out(1), FINAL)
            raise ValueError("later")
            """
        )
        first, second = either.run(request(), request())
        assert first.only.values == {"OUT": [1]}
        assert "ValueError: later" in second.message

    def test_senders_are_closed_after_an_exception(self, either: Model) -> None:
        either.write(
            """
            class TritonPythonModel:
                def execute(self, requests):
                    self.sender = requests[0].get_response_sender()
                    raise ValueError("text")

                def finalize(self):
                    try:
                        self.sender.send(out(1), FINAL)
                    except pb_utils.TritonModelException as error:
                        assert str(error).endswith("Response sender has been closed."), error
                        open(__file__ + ".closed", "w").close()
            """
        )
        assert "ValueError: text" in either.answer().message
        assert either.path.with_name("model.py.closed").exists()

    def test_a_sender_outlives_execute_in_another_thread(self, either: Model) -> None:
        either.write(
            """
            import threading
            import time
            from pathlib import Path

            class TritonPythonModel:
                def initialize(self, args):
                    self.go = Path(args["model_repository"], "go")

                def execute(self, requests):
                    senders = [r.get_response_sender() for r in requests]
                    self.thread = threading.Thread(target=self.answer, args=(senders,))
                    self.thread.start()
                    return None

                def answer(self, senders):
                    deadline = time.monotonic() + 20
                    while not self.go.exists():
                        assert time.monotonic() < deadline
                        time.sleep(0.01)
                    for index, sender in enumerate(senders):
                        sender.send(out(index), FINAL)

                def finalize(self):
                    self.thread.join()
            """
        )
        session = either.load()
        batch = [request(), request()]
        session.execute(batch)
        assert not any(reply_of(made).sent for made in batch)
        either.add("go", "")
        for index, made in enumerate(batch):
            reply_of(made).wait()
            assert reply_of(made).only.values == {"OUT": [index]}
        session.close()

    def test_a_forgotten_sender_fails_its_request(self, either: Model) -> None:
        through_sender(either, "")
        reply = either.answer()
        gc.collect()
        assert reply.message == (
            PREFIX + "the response sender was released before the final response was sent"
        )

    def test_is_cancelled(self, either: Model) -> None:
        through_sender(
            either,
            "cancelled = sender.is_cancelled(), requests[0].is_cancelled()\n"
            "sender.send(out(sum(cancelled)), FINAL)",
        )
        dropped = request()
        reply_of(dropped).cancelled = True
        wanted, unwanted = request(), dropped
        assert either.answer(wanted).only.values == {"OUT": [0]}
        assert either.answer(unwanted).only.values == {"OUT": [2]}


class TestPlain:
    def test_response_and_final_flag_apart_are_one_response(self, plain: Model) -> None:
        body = "sender.send(out(1)); sender.send(flags=FINAL)"
        assert through_sender(plain, body).answer().only.values == {"OUT": [1]}

    def test_a_response_without_a_final_flag_is_sent_when_the_sender_is_released(
        self, plain: Model
    ) -> None:
        assert through_sender(plain, "sender.send(out(1))").answer().only.values == {"OUT": [1]}

    def test_two_responses(self, plain: Model) -> None:
        message = through_sender(plain, "sender.send(out(1)); sender.send(out(2))").answer().message
        assert message.startswith(
            f"{PREFIX}TritonModelException: Unable to send response. Non-decoupled model cannot "
            "send more than one response."
        )

    def test_two_final_responses(self, plain: Model) -> None:
        body = "sender.send(out(1), FINAL); sender.send(out(2), FINAL)"
        assert through_sender(plain, body).answer().only.values == {"OUT": [1]}

    def test_the_final_flag_alone(self, plain: Model) -> None:
        message = through_sender(plain, "sender.send(flags=FINAL)").answer().message
        assert message.startswith(
            f"{PREFIX}TritonModelException: Unable to send response. Non-decoupled model cannot "
            "send complete final before sending a response."
        )

    @pytest.mark.parametrize("sent", ["out(1), FINAL", "out(1)"])
    def test_of_a_sent_and_a_returned_response_the_first_counts(
        self, plain: Model, sent: str
    ) -> None:
        plain.execute(f"requests[0].get_response_sender().send({sent}); return [out(2)]")
        assert plain.answer().only.values == {"OUT": [1]}

    def test_an_unused_sender_does_not_stop_a_returned_response(self, plain: Model) -> None:
        plain.execute("requests[0].get_response_sender(); return [out(2)]")
        assert plain.answer().only.values == {"OUT": [2]}

    def test_some_sent_and_some_returned(self, plain: Model) -> None:
        plain.execute(
            "requests[1].get_response_sender().send(out(2), FINAL)\nreturn [out(1), None]"
        )
        first, second = plain.run(request(), request())
        assert (first.only.values, second.only.values) == ({"OUT": [1]}, {"OUT": [2]})


class TestDecoupled:
    def test_responses_leave_as_they_are_sent(self, decoupled: Model) -> None:
        body = "sender.send(out(1)); sender.send(out(2)); sender.send(flags=FINAL)"
        reply = through_sender(decoupled, body).answer()
        assert [sent.values for sent in reply.sent] == [{"OUT": [1]}, {"OUT": [2]}, {}]
        assert [sent.final for sent in reply.sent] == [False, False, True]

    def test_no_response_at_all(self, decoupled: Model) -> None:
        sent = through_sender(decoupled, "sender.send(flags=FINAL)").answer().only
        assert sent.failure is None
        assert not sent.outputs

    def test_an_error_in_the_middle_ends_nothing(self, decoupled: Model) -> None:
        body = (
            "sender.send(out(1))\n"
            "sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError('bad')))\n"
            "sender.send(out(3), FINAL)"
        )
        reply = through_sender(decoupled, body).answer()
        assert [sent.failure is not None for sent in reply.sent] == [False, True, False]
        assert [sent.final for sent in reply.sent] == [False, False, True]

    def test_what_was_sent_before_an_exception_stays_sent(self, decoupled: Model) -> None:
        reply = through_sender(decoupled, "sender.send(out(1)); raise ValueError('x')").answer()
        assert reply.sent[0].values == {"OUT": [1]}
        assert reply.sent[1].failure is not None
        assert [sent.final for sent in reply.sent] == [False, True]

    def test_parameters(self, decoupled: Model) -> None:
        body = "sender.send(out(1, parameters={'stable': True}), FINAL)"
        assert through_sender(decoupled, body).answer().only.parameters == {"stable": True}
