"""Tensors between the models of an ensemble: batch dimensions, reshapes, what models tell."""

import numpy as np
import pytest

from streamgate.engine.ensemble.tensors import (
    Held,
    SequencePlace,
    ensemble_output,
    place_parameters,
    request_tensors,
    step_input,
    step_outputs,
)
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response
from streamgate.model.tensor import Shape, Tensor, TensorSpec
from tests.session.plain_models import config_of, spec


def held(shape: Shape, rows: int) -> Held:
    return Held(Tensor.of("t", np.zeros(shape, np.float32), DataType.FP32), rows)


@pytest.mark.parametrize(
    ("found", "rows", "wanted", "batches", "given"),
    [
        # Both have a batch dimension, or neither.
        ((2, 4), 2, (4,), True, (2, 4)),
        ((4,), 0, (4,), False, (4,)),
        # From a model without one to a model with one.
        ((4,), 0, (4,), True, (1, 4)),
        ((3, 4), 0, (4,), True, (3, 4)),
        ((4,), 0, (-1,), True, (1, 4)),
        # From a model with one to a model without one.
        ((1, 4), 1, (4,), False, (4,)),
        ((2, 4), 2, (4,), False, (2, 4)),
        ((1, 4), 1, (-1, 4), False, (1, 4)),
    ],
)
def test_batch_dimensions(
    found: Shape, rows: int, wanted: Shape, batches: bool, given: Shape
) -> None:
    tensor = step_input(held(found, rows), spec("INPUT", *wanted), batches=batches)
    assert (tensor.name, tensor.shape) == ("INPUT", given)
    assert tensor.array.shape == given


def test_data_that_came_from_a_socket_is_passed_on_as_it_is() -> None:
    raw = bytes(range(16))
    passed = step_input(
        Held(Tensor("t", DataType.FP32, (1, 4), raw=raw), 1), spec("INPUT", 4), batches=False
    )
    assert passed.raw is raw
    assert passed.shape == (4,)


@pytest.mark.parametrize(
    ("shape", "reshape", "batch", "sent", "inside"),
    [
        ((4,), (2, 2), 8, (3, 4), (3, 2, 2)),
        ((4,), (2, 2), 0, (4,), (2, 2)),
        ((-1,), (1, -1), 8, (2, 5), (2, 1, 5)),
        ((1,), (), 8, (2, 1), (2,)),
        ((4, -1), (-1,), 0, (4, 0), (0,)),
    ],
)
def test_reshapes_of_the_ensemble_itself(
    shape: Shape, reshape: Shape, batch: int, sent: Shape, inside: Shape
) -> None:
    tensor_spec = TensorSpec("I", DataType.FP32, shape, reshape=reshape)
    config = config_of(tensor_spec, max_batch=batch)
    rows = sent[0] if batch else 1
    request = Request(
        "m", inputs=[Tensor.of("I", np.zeros(sent, np.float32), DataType.FP32)], rows=rows
    )
    inner = request_tensors(request, config)["I"]
    assert inner.tensor.shape == inside
    assert ensemble_output(inner, tensor_spec, batches=batch > 0).shape == sent


def outputs_of(**parameters: bool | int | str) -> dict[str, Held]:
    request = Request("m", sequence=7, start=True)
    tensors = [Tensor.of(name, np.zeros(1, np.float32), DataType.FP32) for name in ("o", "more")]
    response = Response(request, "m", "1", tensors, parameters=parameters)
    return step_outputs(response, {"o": "t"}, request, config_of(), None)


def test_only_mapped_outputs_are_kept() -> None:
    assert list(outputs_of()) == ["t"]


def test_a_model_may_tell_where_in_a_sequence_its_answer_belongs() -> None:
    assert outputs_of()["t"].place is None
    told = outputs_of(sequence_id=9, sequence_end=True)["t"]
    assert told.place == SequencePlace(9, start=False, end=True)
    assert outputs_of(sequence_start=True)["t"].place == SequencePlace(7, start=True, end=False)
    parameters = place_parameters([told], Request("m", sequence=7, start=True))
    assert parameters == {"sequence_id": 9, "sequence_start": False, "sequence_end": True}


@pytest.mark.parametrize("wrong", [{"sequence_id": True}, {"sequence_start": 1}])
def test_a_place_that_is_none_is_refused(wrong: dict[str, bool | int]) -> None:
    with pytest.raises(ValueError, match="parameter"):
        outputs_of(**wrong)


def test_parameters_of_answers() -> None:
    request = Request("m", sequence=2**64 - 1, end=True)
    assert place_parameters([held((1,), 0)], request) == {
        "sequence_id": -1,
        "sequence_start": False,
        "sequence_end": True,
    }
    assert place_parameters([], request) == {}
