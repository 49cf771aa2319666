"""Implicit state of Python models: an output named as a state's output is the new state."""

import logging
from pathlib import Path

import numpy as np
import pytest

from streamgate.model.config import StateSpec
from streamgate.model.datatypes import DataType
from tests.backends.python_models import Model, request

pytestmark = pytest.mark.usefixtures("execution")

SUM = StateSpec("SUM_IN", "SUM_OUT", DataType.INT32, (1,))
ANSWER = """
tensors = [pb_utils.Tensor("OUT", np.ones(1, np.int32)), pb_utils.Tensor("SUM_OUT", {state})]
return [pb_utils.InferenceResponse(tensors) for _ in requests]
"""


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model(tmp_path, states=(SUM,))


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="streamgate_python")


def test_the_state_is_kept_and_not_sent(model: Model) -> None:
    made = request(3, more={"SUM_IN": np.array([4], np.int32)})
    model.execute(
        "total = sum(t.as_numpy() for t in requests[0].inputs())\n"
        + ANSWER.format(state="total").strip()
    )
    assert model.answer(made).only.values == {"OUT": [1]}
    assert made.states["SUM_OUT"].tolist() == [7]
    assert made.states["SUM_OUT"].dtype == np.int32


def test_a_state_that_is_also_an_output_is_sent_when_asked_for(model: Model) -> None:
    model.outputs = ("OUT", "SUM_OUT")
    model.execute(ANSWER.format(state="np.full(1, 5, np.int32)"))
    every, one = request(), request(requested_outputs=("OUT",))
    first, second = model.run(every, one)
    assert first.only.values == {"OUT": [1], "SUM_OUT": [5]}
    assert second.only.values == {"OUT": [1]}
    assert [made.states["SUM_OUT"].tolist() for made in (every, one)] == [[5], [5]]


def test_a_state_that_is_not_answered_stays_as_it_was(model: Model) -> None:
    made = request()
    assert model.execute("return [out(1)]").answer(made).only.failure is None
    assert made.states == {}


def test_the_state_is_a_copy(model: Model) -> None:
    model.write(
        """
        class TritonPythonModel:
            def initialize(self, args):
                self.array = np.zeros(1, np.int32)

            def execute(self, requests):
                self.array += 1
                return [pb_utils.InferenceResponse([pb_utils.Tensor("SUM_OUT", self.array)])]
        """
    )
    session = model.load()
    steps = [request(), request()]
    for step in steps:
        session.execute([step])
    session.close()
    assert [step.states["SUM_OUT"].tolist() for step in steps] == [[1], [2]]


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ("np.zeros(1, np.int64)", "INT64 of shape [1]"),
        ("np.zeros(2, np.int32)", "INT32 of shape [2]"),
        ("np.zeros((1, 1), np.int32)", "INT32 of shape [1, 1]"),
    ],
)
def test_a_state_of_another_type_or_shape_fails_its_request(
    model: Model, state: str, found: str
) -> None:
    made = request()
    assert (
        model.execute(ANSWER.format(state=state))
        .answer(made)
        .message.endswith(
            f"state 'SUM_OUT' of model 'm_0' must be INT32 of shape [1], found {found}"
        )
    )
    assert made.states == {}


@pytest.mark.parametrize(("axis", "shape"), [(0, "(1, 2, 3)"), (1, "(2, 1, 3)")])
def test_batching_models_have_the_batch_dimension_in_the_state(
    model: Model, axis: int, shape: str
) -> None:
    model.max_batch_size = 4
    model.states = (StateSpec("SUM_IN", "SUM_OUT", DataType.INT32, (2, -1), batch_axis=axis),)
    made = request()
    model.execute(ANSWER.format(state=f"np.zeros({shape}, np.int32)"))
    assert model.answer(made).only.failure is None
    assert str(made.states["SUM_OUT"].shape) == shape


def test_text_states(model: Model) -> None:
    model.states = (StateSpec("SUM_IN", "SUM_OUT", DataType.BYTES, (-1,)),)
    made = request()
    model.execute(ANSWER.format(state="np.array([b'a', b'bc'])"))
    assert model.answer(made).only.failure is None
    assert made.states["SUM_OUT"].dtype == np.object_
    assert made.states["SUM_OUT"].tolist() == [b"a", b"bc"]


def test_text_is_kept_as_bytes_however_it_comes(model: Model) -> None:
    model.states = (StateSpec("SUM_IN", "SUM_OUT", DataType.BYTES, (-1,)),)
    made = request()
    model.execute(ANSWER.format(state="np.array(['a', 'ß', b'c', 4], dtype=object)"))
    assert model.answer(made).only.failure is None
    assert made.states["SUM_OUT"].tolist() == [b"a", "ß".encode(), b"c", b"4"]


def test_clients_see_a_state_with_the_batch_dimension_first(model: Model) -> None:
    model.max_batch_size = 4
    model.outputs = ("OUT", "SUM_OUT")
    model.states = (StateSpec("SUM_IN", "SUM_OUT", DataType.INT32, (2, 3), batch_axis=1),)
    made = request()
    model.execute(ANSWER.format(state="np.arange(6, dtype=np.int32).reshape(2, 1, 3)"))
    assert model.answer(made).only.values["SUM_OUT"] == [[[0, 1, 2], [3, 4, 5]]]
    assert made.states["SUM_OUT"].shape == (2, 1, 3)


def test_an_error_takes_back_the_states_that_came_before_it(model: Model) -> None:
    model.decoupled = True
    made = request()
    model.execute(
        """
        sender = requests[0].get_response_sender()
        sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("SUM_OUT", np.ones(1, np.int32))]))
        sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError("no")), FINAL)
        """
    )
    replies = model.run(made)
    assert replies[0].sent[-1].failure is not None
    assert made.states == {}


def test_through_a_sender(model: Model) -> None:
    model.decoupled = True
    made = request()
    model.execute(
        """
        response = pb_utils.InferenceResponse([pb_utils.Tensor("SUM_OUT", np.ones(1, np.int32))])
        requests[0].get_response_sender().send(response, FINAL)
        """
    )
    assert model.answer(made).only.outputs == []
    assert made.states["SUM_OUT"].tolist() == [1]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_state_that_comes_after_execute_is_refused(model: Model, when: str) -> None:
    model.decoupled = True
    model.write(
        f"""
        import asyncio

        class TritonPythonModel:
            def execute(self, requests):
                self.sender = requests[0].get_response_sender() if "{when}" == "before" else None
                self.request = requests[0]

            def finalize(self):
                sender = self.sender or self.request.get_response_sender()
                try:
                    sender.send(out(1, name="SUM_OUT"))
                except pb_utils.TritonModelException as error:
                    array = np.array([str(error)], dtype=object)
                    tensor = pb_utils.Tensor("OUT", array)
                    sender.send(pb_utils.InferenceResponse([tensor]), FINAL)
        """
    )
    if when == "after":
        model.path.write_text(
            model.path.read_text().replace(
                "self.request = requests[0]", "self.request = requests[0]; requests.clear()"
            )
        )
    reply = model.answer()
    if when == "before":
        assert b"came after execute had returned" in reply.only.values["OUT"][0]
    else:
        assert "took no response sender" in reply.message
