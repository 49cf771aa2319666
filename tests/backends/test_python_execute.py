"""What `execute` may return, and what a client is told when it returns something else."""

import logging
from pathlib import Path

import numpy as np
import pytest

from streamgate.errors import Code
from streamgate.model.datatypes import DataType
from tests.backends.python_models import Model, reply_of, request

pytestmark = pytest.mark.usefixtures("execution")

PREFIX = "Failed to process the request(s) for model 'm_0', message: "


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model(tmp_path)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="streamgate_python")


def test_a_response_for_each_request(model: Model) -> None:
    model.execute("return [out(r.inputs()[0].as_numpy()[0] * 2) for r in requests]")
    first, second = model.run(request(3), request(4))
    assert first.only.values == {"OUT": [6]}
    assert second.only.values == {"OUT": [8]}
    assert first.only.failure is None


def test_a_model_from_the_documentation_runs_unmodified(model: Model) -> None:
    model.outputs = ("OUTPUT0", "OUTPUT1")
    model.write(
        """
        import json
        import numpy as np
        import triton_python_backend_utils as pb_utils

        class TritonPythonModel:
            def initialize(self, args):
                self.model_config = model_config = json.loads(args["model_config"])
                self.kind = np.float32

            def execute(self, requests):
                responses = []
                for request in requests:
                    in_0 = pb_utils.get_input_tensor_by_name(request, "INPUT0")
                    in_1 = pb_utils.get_input_tensor_by_name(request, "INPUT1")
                    out_0, out_1 = (
                        in_0.as_numpy() + in_1.as_numpy(),
                        in_0.as_numpy() - in_1.as_numpy(),
                    )
                    out_tensor_0 = pb_utils.Tensor("OUTPUT0", out_0.astype(self.kind))
                    out_tensor_1 = pb_utils.Tensor("OUTPUT1", out_1.astype(self.kind))
                    responses.append(
                        pb_utils.InferenceResponse(output_tensors=[out_tensor_0, out_tensor_1])
                    )
                return responses

            def finalize(self):
                print("Cleaning up...")
        """,
        header="",
    )
    asked = request(5, np.float32, name="INPUT0", more={"INPUT1": np.array([3], np.float32)})
    assert model.answer(asked).only.values == {"OUTPUT0": [8.0], "OUTPUT1": [2.0]}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            "return (out(1),)",
            "Expected a list in the execute return, found type '<class 'tuple'>'.",
        ),
        (
            "return 7",
            "Expected a list in the execute return, found type '<class 'int'>'.",
        ),
        (
            "return []",
            (
                "Number of InferenceResponse objects do not match the number of InferenceRequest "
                "objects. InferenceRequest(s) size is:1, and InferenceResponse(s) size is:0\n"
            ),
        ),
        (
            "return [out(1), out(2)]",
            (
                "Number of InferenceResponse objects do not match the number of InferenceRequest "
                "objects. InferenceRequest(s) size is:1, and InferenceResponse(s) size is:2\n"
            ),
        ),
        (
            "requests.pop(); return []",
            (
                "Number of InferenceResponse objects do not match the number of InferenceRequest "
                "objects. InferenceRequest(s) size is:1, and InferenceResponse(s) size is:0\n"
            ),
        ),
        (
            "return ['text']",
            (
                "Expected an 'InferenceResponse' object in the execute function return list, found "
                "type '<class 'str'>'."
            ),
        ),
        (
            "requests[0].set_release_flags(2); return [out(1)]",
            (
                "Expected a None object in the execute function return list for reschduled "
                "request, found type '<class 'streamgate_python.responses.InferenceResponse'>'."
            ),
        ),
        (
            "return None",
            "execute returned no response for the request and took no response sender",
        ),
        (
            "return [None]",
            "execute returned no response for the request and took no response sender",
        ),
    ],
)
def test_wrong_returns_are_named(model: Model, body: str, text: str) -> None:
    assert model.execute(body).answer().message == PREFIX + text


def test_a_wrong_entry_fails_the_whole_call_before_anything_is_sent(model: Model) -> None:
    model.execute("return [out(1), 'text']")
    messages = {reply.message for reply in model.run(request(), request())}
    assert messages == {
        PREFIX + "Expected an 'InferenceResponse' object in the execute function return list, "
        "found type '<class 'str'>'."
    }


def test_a_missing_answer_fails_only_its_request(model: Model) -> None:
    model.execute("return [out(1), None]")
    first, second = model.run(request(), request())
    assert first.only.values == {"OUT": [1]}
    assert "no response" in second.message


@pytest.mark.parametrize("returned", ["[]", "[None]", "[out(1)]", "7"])
def test_a_decoupled_model_returns_none(model: Model, returned: str) -> None:
    model.decoupled = True
    assert model.execute(f"return {returned}").answer().message == (
        PREFIX + "Python model 'm_0' is using the decoupled mode and the execute function must "
        "return None."
    )


def test_a_decoupled_model_that_forgets_its_request(model: Model) -> None:
    model.decoupled = True
    assert model.execute("return None").answer().message == (
        PREFIX + "execute returned no response for the request and took no response sender"
    )


def test_a_class_without_execute_loads_and_fails_its_requests(model: Model) -> None:
    model.write("class TritonPythonModel:\n    pass\n")
    assert model.answer().message == (
        f"{PREFIX}Python model {model.path} does not implement `execute` method."
    )


def test_an_exception_shows_the_frames_of_the_model_innermost_first(model: Model) -> None:
    model.write(
        """
        class TritonPythonModel:
            def execute(self, requests):
                self.step(requests[0])

            def step(self, request):
                raise ValueError("text")
        """,
        header="",
    )
    path = model.path
    assert model.answer().message == (
        f"{PREFIX}ValueError: text\n\nAt:\n  {path}(7): step\n  {path}(4): execute\n"
    )


def test_an_exception_inside_pb_utils_ends_at_the_models_line(model: Model) -> None:
    model.write(
        """
        import numpy, triton_python_backend_utils as pb_utils
        class TritonPythonModel:
            def execute(self, requests):
                pb_utils.Tensor("", numpy.zeros(1))
        """,
        header="",
    )
    assert model.answer().message == (
        f"{PREFIX}TritonModelException: Tensor name cannot be an empty string.\n\nAt:\n"
        f"  {model.path}(5): execute\n"
    )


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        ("pb_utils.TritonModelException('text')", "TritonModelException: text"),
        (
            "json.JSONDecodeError('text', 'doc', 0)",
            "JSONDecodeError: text: line 1 column 1 (char 0)",
        ),
        ("KeyError('text')", "KeyError: 'text'"),
        ("SystemExit(1)", "SystemExit: 1"),
    ],
)
def test_an_exception_is_named_without_its_module(model: Model, raised: str, text: str) -> None:
    reply = model.execute(f"raise {raised}").answer()
    assert reply.message.startswith(f"{PREFIX}{text}\n\nAt:\n  {model.path}(")


def test_the_instance_goes_on_after_an_exception(model: Model) -> None:
    model.execute(
        """
        if requests[0].inputs()[0].as_numpy()[0] == 0:
            raise ValueError("zero")
        return [out(1)]
        """
    )
    session = model.load()
    bad, good = request(0), request(1)
    session.execute([bad])
    session.execute([good])
    session.close()
    assert "ValueError: zero" in reply_of(bad).message
    assert reply_of(good).only.values == {"OUT": [1]}


def test_a_failed_call_is_logged_with_its_traceback(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="streamgate_python"):
        model.execute("raise ValueError('text')").answer()
    [record] = caplog.records
    assert PREFIX + "ValueError: text" in record.message
    shown = logging.Formatter().format(record)
    assert "Traceback (most recent call last)" in shown
    assert "raise ValueError('text')" in shown


@pytest.mark.parametrize("code", list(Code))
def test_every_error_code_reaches_the_client_unchanged(model: Model, code: Code) -> None:
    model.execute(
        f"""
        error = pb_utils.TritonError("my text", pb_utils.TritonError.{code.name})
        return [pb_utils.InferenceResponse(error=error)]
        """
    )
    failure = model.answer().only.failure
    assert failure is not None
    assert (failure.code, failure.message) == (code, "my text")


def test_an_error_hides_the_outputs_and_keeps_the_parameters(model: Model) -> None:
    model.execute("return [out(1, error=pb_utils.TritonError('no'), parameters={'why': 3})]")
    sent = model.answer().only
    assert sent.failure is not None
    assert sent.failure.code is Code.INTERNAL
    assert not sent.outputs
    assert sent.parameters == {"why": 3}


def test_parameters_of_a_response_are_sent(model: Model) -> None:
    model.execute("return [out(1, parameters={'n': 1, 's': 'x', 'b': True})]")
    assert model.answer().only.parameters == {"n": 1, "s": "x", "b": True}


class TestLeniency:
    """Clients of Triton rely on outputs being passed on as they are."""

    def test_another_type_and_shape_are_delivered(self, model: Model) -> None:
        model.execute(
            """
            array = np.arange(6, dtype=np.float32).reshape(2, 3)
            return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)])]
            """
        )
        [tensor] = model.answer().only.outputs
        assert (tensor.datatype, tensor.shape) == (DataType.FP32, (2, 3))

    def test_unknown_outputs_are_dropped(self, model: Model) -> None:
        sent = model.execute("return [out(1, name='NOBODY')]").answer().only
        assert sent.failure is None
        assert not sent.outputs

    def test_outputs_not_asked_for_are_dropped(self, model: Model) -> None:
        model.execute(
            """
            tensors = [pb_utils.Tensor(n, np.zeros(1, np.int32)) for n in ("SECOND", "X", "OUT")]
            return [pb_utils.InferenceResponse(tensors) for _ in requests]
            """
        )
        every, one, null = model.run(
            request(), request(requested_outputs=("OUT",)), request(null=True)
        )
        assert list(every.only.values) == ["SECOND", "OUT"]
        assert list(one.only.values) == ["OUT"]
        assert not null.only.outputs

    def test_missing_outputs_are_no_error(self, model: Model) -> None:
        sent = model.execute("return [out(1, name='SECOND')]").answer().only
        assert sent.values == {"SECOND": [1]}


def test_a_model_may_go_on_using_the_array_it_answered_with(model: Model) -> None:
    model.write(
        """
        class TritonPythonModel:
            def initialize(self, args):
                self.total = np.zeros(1, np.int32)

            def execute(self, requests):
                responses = []
                for request in requests:
                    self.total += request.inputs()[0].as_numpy()
                    responses.append(
                        pb_utils.InferenceResponse([pb_utils.Tensor("OUT", self.total)])
                    )
                return responses
        """
    )
    session = model.load()
    steps = [request(n) for n in (1, 2, 3)]
    for step in steps:
        session.execute([step])
    session.close()
    assert [reply_of(step).only.values["OUT"] for step in steps] == [[1], [3], [6]]


def test_null_rows_are_handed_over_like_other_requests(model: Model) -> None:
    model.execute(
        """
        for r in requests[1:]:
            assert (r.correlation_id(), r.flags(), r.request_id()) == (0, 0, "")
            assert r.requested_output_names() == set()
            assert r.inputs()[1].as_numpy()[0] == 0
        return [out(len(requests)) for r in requests]
        """
    )
    live = request(1, correlation_id=9, flags=1, more={"READY": np.array([1], np.int32)})
    null = request(0, null=True, more={"READY": np.array([0], np.int32)})
    first, second = model.run(live, null)
    assert first.only.values == {"OUT": [2]}
    assert second.finished


def test_rescheduling(model: Model) -> None:
    model.execute(
        """
        if requests[0].flags():
            requests[0].set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            return [None]
        requests[0].set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_ALL)
        return [out(1)]
        """
    )
    session = model.load()
    asked = request(flags=1)
    session.execute([asked])
    assert asked.reschedule
    assert not reply_of(asked).sent
    asked.flags = 0
    asked.reschedule = False
    session.execute([asked])
    session.close()
    assert not asked.reschedule
    assert reply_of(asked).only.values == {"OUT": [1]}


def test_a_failed_call_reschedules_nothing(model: Model) -> None:
    model.execute("requests[0].set_release_flags(2); raise ValueError('text')")
    asked = request()
    assert "ValueError: text" in model.answer(asked).message
    assert not asked.reschedule


def test_unknown_release_flags(model: Model) -> None:
    message = model.execute("requests[0].set_release_flags(3)").answer().message
    assert "expected 1 (all) or 2 (reschedule), found 3" in message


def test_finalize_is_called_and_its_exception_logged(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    model.write(
        """
        class TritonPythonModel:
            def execute(self, requests):
                return [out(1)]

            def finalize(self):
                raise OSError("disk")
        """
    )
    with caplog.at_level(logging.ERROR, logger="streamgate_python"):
        model.run()
    [record] = caplog.records
    assert "finalize of model instance 'm_0' failed: OSError: disk" in record.message


def test_a_request_after_close_fails(model: Model) -> None:
    session = model.execute("return [out(1)]").load()
    session.close()
    late = request()
    session.execute([late])
    assert reply_of(late).message == PREFIX + "the model instance is closed"
