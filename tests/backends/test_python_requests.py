"""What a model can read from a request, and the requests that it makes itself."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamgate.backend.contract import ModelRequest
from streamgate.model.tensor import Tensor
from streamgate_python import triton_python_backend_utils as pb_utils
from tests.backends.python_models import Model, request

pytestmark = pytest.mark.usefixtures("execution")


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model(tmp_path)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="streamgate_python")


def told(model: Model, expression: str, made: ModelRequest) -> Any:
    """What `expression` gives in the model for its request `r`, through JSON."""
    model.execute(
        f"""
        r = requests[0]
        text = json.dumps({expression})
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([text], "O"))])]
        """
    )
    sent = model.answer(made).only
    assert sent.failure is None, sent.failure
    return json.loads(sent.outputs[0].array[0])


@pytest.mark.parametrize(
    ("expression", "fields", "expected"),
    [
        ("r.request_id()", {"request_id": "abc"}, "abc"),
        ("r.request_id()", {}, ""),
        ("r.correlation_id()", {}, 0),
        ("r.correlation_id()", {"correlation_id": 2**64 - 3}, 2**64 - 3),
        ("r.correlation_id()", {"correlation_id": "call-7"}, "call-7"),
        ("r.flags()", {"flags": 3}, 3),
        ("r.timeout()", {"timeout_us": 1500}, 1500),
        ("r.parameters()", {}, "{}"),
        ("r.parameters()", {"parameters": {"k": 1}}, '{"k":1}'),
        (
            "json.loads(r.parameters())",
            {"parameters": {"b": True, "s": "ä", "f": 0.5, "i": -1}},
            {"b": True, "s": "ä", "f": 0.5, "i": -1},
        ),
        ("sorted(r.requested_output_names())", {}, ["OUT", "SECOND"]),
        ("sorted(r.requested_output_names())", {"requested_outputs": ("OUT",)}, ["OUT"]),
        ("r.is_cancelled()", {}, False),
        ("r.trace().get_context()", {}, None),
        (
            (
                "[bool(r.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START),"
                "bool(r.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END)]"
            ),
            {"flags": 2},
            [False, True],
        ),
    ],
)
def test_accessors(model: Model, expression: str, fields: dict[str, Any], expected: Any) -> None:
    assert told(model, expression, request(**fields)) == expected


def test_inputs_come_in_the_requests_order_and_by_name(model: Model) -> None:
    more = {"START": np.array([1], np.int32), "STATE": np.zeros((1, 2), np.float32)}
    expression = (
        "[[[t.name(), t.shape(), t.is_cpu()] for t in r.inputs()],"
        "pb_utils.get_input_tensor_by_name(r, 'STATE').as_numpy().tolist(),"
        "pb_utils.get_input_tensor_by_name(r, 'NOBODY')]"
    )
    assert told(model, expression, request(4, more=more)) == [
        [["IN", [1], True], ["START", [1], True], ["STATE", [1, 2], True]],
        [[0.0, 0.0]],
        None,
    ]


def test_an_input_is_one_writable_array_of_the_models_own(model: Model) -> None:
    made = request(4)
    before = bytes(made.inputs[0].raw)
    model.execute(
        """
        array = requests[0].inputs()[0].as_numpy()
        array += 1
        assert requests[0].inputs()[0].as_numpy() is array
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)])]
        """
    )
    assert model.answer(made).only.values == {"OUT": [5]}
    assert bytes(made.inputs[0].raw) == before


def test_an_input_that_is_an_array_is_not_shared_either(model: Model) -> None:
    array = np.array([4], np.int32)
    made = request()
    made.inputs = [Tensor.of("IN", array, made.inputs[0].datatype)]
    model.execute("requests[0].inputs()[0].as_numpy()[:] = 9; return [out(1)]")
    assert model.answer(made).only.failure is None
    assert array.tolist() == [4]


def test_text_inputs_are_arrays_of_bytes(model: Model) -> None:
    made = request("grüß", np.object_, more={"MORE": np.array([[b"\0a", b""]], np.object_)})
    expression = (
        "[t.as_numpy().dtype == object, t.as_numpy().shape, [e.hex() for e in t.as_numpy().flat]]"
        " for t in r.inputs()"
    )
    assert told(model, f"[{expression}]", made) == [
        [True, [1], ["grüß".encode().hex()]],
        [True, [1, 2], ["0061", ""]],
    ]


def test_an_input_may_be_sent_back_as_it_is(model: Model) -> None:
    model.execute("return [pb_utils.InferenceResponse(requests[0].inputs())]")
    text, number = np.array([b"a", b"bc"], np.object_), np.array([[3]], np.int16)
    made = request(more={"OUT": text, "SECOND": number})
    assert model.answer(made).only.values == {"OUT": [b"a", b"bc"], "SECOND": [[3]]}


class TestOwnRequests:
    """Requests to other models: made and read, not yet executed."""

    @staticmethod
    def made(**fields: Any) -> pb_utils.InferenceRequest:
        fields = {"inputs": [], "requested_output_names": ["O"], "model_name": "x"} | fields
        return pb_utils.InferenceRequest(**fields)

    def test_reads_as_it_was_made(self) -> None:
        tensor = pb_utils.Tensor("I", np.zeros(2, np.int8))
        made = self.made(
            request_id="7",
            correlation_id=5,
            inputs=[tensor],
            flags=1,
            timeout=3,
            parameters={"a": 1},
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        made.set_flags(2)
        assert made.inputs() == [tensor]
        assert pb_utils.get_input_tensor_by_name(made, "I") is tensor
        assert (made.request_id(), made.correlation_id(), made.flags()) == ("7", 5, 2)
        assert (made.timeout(), made.parameters()) == (3, '{"a": 1}')
        assert made.requested_output_names() == {"O"}
        assert not made.is_cancelled()

    @pytest.mark.parametrize("missing", ["inputs", "requested_output_names", "model_name"])
    def test_mandatory_arguments(self, missing: str) -> None:
        fields = {"inputs": [], "requested_output_names": ["O"], "model_name": "x"}
        del fields[missing]
        with pytest.raises(TypeError, match=missing):
            pb_utils.InferenceRequest(**fields)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            (
                {"inputs": [None]},
                "Input tensor for request with id '' and model name 'x' should not be empty.",
            ),
            (
                {"requested_output_names": [""]},
                (
                    "Requested output name for request with id '' and model name 'x' should not be "
                    "empty."
                ),
            ),
            ({"correlation_id": 1.5}, "Correlation ID must be integer or string"),
            (
                {"correlation_id": -1},
                "Correlation ID must be an unsigned 64-bit integer, found -1",
            ),
            (
                {"correlation_id": "é" * 65},
                "string correlation ID cannot be longer than 128 characters",
            ),
            (
                {"parameters": {"a": 1.5}},
                "Expect parameters values to have type bool/int/str, found type <class 'float'>",
            ),
            (
                {"parameters": {1: 1}},
                "Expect parameters keys to have type str, found type <class 'int'>",
            ),
        ],
    )
    def test_wrong_arguments(self, fields: dict[str, Any], text: str) -> None:
        with pytest.raises(pb_utils.TritonModelException) as caught:
            self.made(**fields)
        assert str(caught.value) == text

    def test_a_negative_timeout(self) -> None:
        with pytest.raises(TypeError, match="timeout must be 0 or more us, found -1"):
            self.made(timeout=-1)

    async def test_outside_all_models_nobody_can_be_called(self) -> None:
        with pytest.raises(pb_utils.TritonModelException, match="BLS: no model is calling"):
            self.made().exec()
        with pytest.raises(pb_utils.TritonModelException, match="BLS: no model is calling"):
            await self.made().async_exec(decoupled=True)

    @pytest.mark.parametrize("name", ["load_model", "unload_model", "is_model_ready"])
    def test_outside_all_models_nothing_is_loaded(self, name: str) -> None:
        with pytest.raises(pb_utils.TritonModelException, match=f"{name}: no model is calling"):
            getattr(pb_utils, name)("x")

    @pytest.mark.parametrize("name", ["load_model", "unload_model", "is_model_ready"])
    def test_without_a_server_nothing_is_loaded(self, model: Model, name: str) -> None:
        message = model.execute(f"pb_utils.{name}('x')").answer().message
        assert "TritonModelException: " in message
        assert "there is no server here" in message

    def test_without_a_server_nobody_is_called(self, model: Model) -> None:
        message = (
            model.execute(
                """
            asked = pb_utils.InferenceRequest(model_name="x", inputs=[], requested_output_names=[])
            asked.exec()
            """
            )
            .answer()
            .message
        )
        assert "other models can't be called: there is no server here" in message

    def test_a_received_request_is_not_executed_again(self, model: Model) -> None:
        message = model.execute("requests[0].exec()").answer().message
        assert "A request that execute received can't be executed again." in message
