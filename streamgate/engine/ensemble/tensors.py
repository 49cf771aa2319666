"""Tensors on their way between the models of an ensemble: names, shapes and batch dimensions.

A model without a batch dimension may stand between models with one: a batch of one row then loses
its leading dimension on the way in, or gets one.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from streamgate.core.value import value
from streamgate.model.config import ModelConfig
from streamgate.model.request import ParameterValue, Request, Response, SequenceKey
from streamgate.model.tensor import Shape, Tensor, TensorSpec


@value
class SequencePlace:
    """Which sequence a tensor belongs to and where it stands there, as a model has told it."""

    key: SequenceKey
    start: bool
    end: bool


@value
class Held:
    """A tensor of the ensemble. `rows` is its batch dimension, 0 when its maker has none.

    `place` is there when a model told it; otherwise that of the request holds.
    """

    tensor: Tensor
    rows: int
    place: SequencePlace | None = None


def request_tensors(request: Request, config: ModelConfig) -> dict[str, Held]:
    """The inputs of a request to the ensemble, reshaped where its configuration asks for it."""
    rows = request.rows if config.batches else 0
    specs = {spec.name: spec for spec in config.inputs}
    held = {}
    for tensor in request.inputs:
        reshape = specs[tensor.name].reshape
        shape = tensor.shape if reshape is None else _reshaped(tensor, rows, reshape)
        held[tensor.name] = Held(tensor.viewed(tensor.name, shape), rows)
    return held


def step_input(held: Held, spec: TensorSpec, *, batches: bool) -> Tensor:
    """The tensor as the input `spec` of a model."""
    return held.tensor.viewed(spec.name, _fitted(held, spec.shape, batches=batches))


def ensemble_output(held: Held, spec: TensorSpec, *, batches: bool) -> Tensor:
    """The tensor as the output `spec` of the ensemble."""
    tensor = held.tensor.viewed(spec.name, _fitted(held, spec.model_shape, batches=batches))
    if spec.reshape is None:
        return tensor
    rows = tensor.shape[0] if batches else 0
    return tensor.viewed(spec.name, _reshaped(tensor, rows, spec.shape))


def step_outputs(
    response: Response,
    names: Mapping[str, str],
    request: Request,
    config: ModelConfig,
    place: SequencePlace | None,
) -> dict[str, Held]:
    """What a model answered, by the ensemble's names. `place` is that of its request.

    Outputs that the ensemble does not map are dropped. Raises ValueError for a place that is none.
    """
    rows = request.rows if config.batches else 0
    told = _told_place(response.parameters, request.sequence) or place
    return {
        names[tensor.name]: Held(tensor, rows, told)
        for tensor in response.outputs
        if tensor.name in names
    }


SEQUENCE_ID: Final = "sequence_id"
SEQUENCE_START: Final = "sequence_start"
SEQUENCE_END: Final = "sequence_end"
_INT64_MAX = 2**63 - 1


def place_parameters(held: Sequence[Held], request: Request) -> dict[str, ParameterValue]:
    """The parameters that Triton sends with each answer of an ensemble that has outputs."""
    if not held:
        return {}
    told = [each.place for each in held if each.place is not None]
    place = told[-1] if told else SequencePlace(request.sequence, request.start, request.end)
    key = place.key
    if isinstance(key, int) and key > _INT64_MAX:
        key -= 2**64  # the wire has signed integers only
    return {SEQUENCE_ID: key, SEQUENCE_START: place.start, SEQUENCE_END: place.end}


def _told_place(
    parameters: Mapping[str, ParameterValue], sequence: SequenceKey
) -> SequencePlace | None:
    if not parameters.keys() & {SEQUENCE_ID, SEQUENCE_START, SEQUENCE_END}:
        return None
    key = parameters.get(SEQUENCE_ID, sequence)
    flags = [parameters.get(name, False) for name in (SEQUENCE_START, SEQUENCE_END)]
    if isinstance(key, bool | float):
        raise ValueError(f"parameter '{SEQUENCE_ID}' must be an integer or a string, found {key!r}")
    if not all(isinstance(flag, bool) for flag in flags):
        raise ValueError(
            f"parameters '{SEQUENCE_START}' and '{SEQUENCE_END}' must be booleans, found {flags}"
        )
    return SequencePlace(key, bool(flags[0]), bool(flags[1]))


def _fitted(held: Held, shape: Shape, *, batches: bool) -> Shape:
    """The tensor's shape for a model that takes `shape`, which has no batch dimension in it."""
    found = held.tensor.shape
    if batches == (held.rows > 0):
        return found
    if batches:
        return (1, *found) if _matches(found, shape) else found
    return found[1:] if held.rows == 1 and not _matches(found, shape) else found


def _matches(found: Shape, wanted: Shape) -> bool:
    return len(found) == len(wanted) and all(
        -1 in pair or pair[0] == pair[1] for pair in zip(found, wanted, strict=True)
    )


def _reshaped(tensor: Tensor, rows: int, shape: Shape) -> Shape:
    """`shape` behind the batch dimension, with its one unknown size filled in."""
    lead = (rows,) if rows else ()
    known = math.prod(size for size in (*lead, *shape) if size != -1)
    unknown = tensor.count // known if known else 0
    return (*lead, *(unknown if size == -1 else size for size in shape))
