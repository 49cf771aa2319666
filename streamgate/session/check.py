"""Whether a request fits its model: counts, names, types, shapes and sizes of its inputs.

The rules, their order and their texts are Triton's (`request normalization`), with its gaps
closed: required inputs are checked by name, and the batch dimension must be positive.
"""

import math
from collections.abc import Hashable, Sequence
from operator import attrgetter

from streamgate.errors import Code, StreamGateError
from streamgate.model.config import ControlKind, ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, SequenceKey
from streamgate.model.tensor import Shape, Tensor, TensorSpec

_BATCH_NOTE = (
    "NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be "
    "prepended to each input shape. If you want to specify the full shape including the batch dim "
    "in your input dims config, try setting max_batch_size to zero. See the model configuration "
    "docs for more info on max_batch_size."
)
_BYTES_MAX = 2**63 - 1
_NAME = attrgetter("name")


class RequestChecker:
    """The checks of one model version, prepared once."""

    def __init__(self, config: ModelConfig) -> None:
        self._name = config.name
        self._is_stateful = config.stateful
        self._max_batch = config.max_batch_size
        self._inputs = {spec.name: spec for spec in config.inputs}
        self._outputs = frozenset(spec.name for spec in config.outputs)
        self._required = [spec.name for spec in config.inputs if not spec.optional]
        corrid = [c.datatype for c in config.controls if c.kind is ControlKind.CORRID]
        self._corrid = corrid[0] if corrid else None
        # Only these decide whether two requests can share a batch.
        self._varying = frozenset(
            spec.name for spec in config.inputs if -1 in spec.shape and not spec.ragged
        )
        self._plain = _plain_inputs(config)
        self._has_optional = any(spec.optional for spec in config.inputs)

    def check(self, request: Request) -> None:
        """Fill in `request.rows` and `request.signature`.

        Raises StreamGateError (INVALID_ARG) with Triton's text for the first rule that it breaks.
        """
        request.rows = self._rows_at_once(request) or self._rows_or_why_not(request)
        if self._varying or self._has_optional:
            request.signature = self._signature(request.inputs)
        if self._corrid is not None and request.sequence:
            self._check_correlation_id(request.sequence, _prefix(request))

    def check_reservation(self, sequence: SequenceKey) -> None:
        """Whether the model can have a sequence of this ID. Raises INVALID_ARG if not."""
        if not self._is_stateful:
            raise _invalid(f"model '{self._name}' has no sequences: no slot can be reserved")
        if not sequence:
            raise _invalid(
                f"a reservation for model '{self._name}' must specify a non-zero or non-empty "
                "correlation ID"
            )
        if self._corrid is not None:
            self._check_correlation_id(sequence, "")

    def _rows_at_once(self, request: Request) -> int:
        """The rows of a request that is plainly right; 0 for one that must be looked at closely.

        Nearly all requests are of the first kind, and this is on the way of each.
        """
        inputs = request.inputs
        plain_inputs = self._plain
        if plain_inputs is None or len(inputs) != len(plain_inputs) or request.unknown_types:
            return 0
        if request.requested_outputs and not self._outputs.issuperset(request.requested_outputs):
            return 0
        rows = 0
        for tensor in inputs:
            plain = plain_inputs.get(tensor.name)
            shape = tensor.shape
            if plain is None or tensor.datatype is not plain[0]:
                return 0
            if self._max_batch:
                if not shape or shape[0] < 1 or shape[1:] != plain[1]:
                    return 0
                if rows and shape[0] != rows:
                    return 0
                rows = shape[0]
            elif shape != plain[1]:
                return 0
            if tensor.is_raw and tensor.size_bytes != (rows or 1) * plain[2]:
                return 0
        if len(inputs) > 1 and len(set(map(_NAME, inputs))) != len(inputs):
            return 0
        if not self._max_batch:
            return 1
        return rows if rows <= self._max_batch else 0

    def _rows_or_why_not(self, request: Request) -> int:
        inputs = request.inputs
        seen: set[str] = set()
        for tensor in inputs:
            if tensor.name in seen:
                raise _invalid(f"{_prefix(request)}input '{tensor.name}' already exists in request")
            seen.add(tensor.name)
        for name in request.requested_outputs:
            if name not in self._outputs:
                raise _invalid(f"unexpected inference output '{name}' for model '{self._name}'")
        self._check_names(request, inputs, seen)
        rows = self._check_shapes(request, inputs) if inputs else 1
        for tensor in inputs:
            self._check_size(request, tensor)
        return rows

    def _check_names(self, request: Request, inputs: Sequence[Tensor], seen: set[str]) -> None:
        missing = [name for name in self._required if name not in seen]
        unknown = [tensor.name for tensor in inputs if tensor.name not in self._inputs]
        expected = len(self._inputs)
        required = len(self._required)
        if not required <= len(inputs) <= expected or (missing and not unknown):
            wanted = f"expected {expected} inputs"
            if required != expected:
                wanted = f"expected number of inputs between {required} and {expected}"
            raise _invalid(
                f"{_prefix(request)}{wanted} but got {len(inputs)} inputs for model "
                f"'{self._name}'. {_got(inputs, missing)}"
            )
        if unknown:
            raise _invalid(f"unexpected inference input '{unknown[0]}' for model '{self._name}'")

    def _check_shapes(self, request: Request, inputs: Sequence[Tensor]) -> int:
        rows = 0
        batches = self._max_batch > 0
        for tensor in inputs:
            shape = tensor.shape
            if not batches:
                continue
            if not shape:
                raise _invalid(
                    f"{_prefix(request)}input '{tensor.name}' has no shape but model requires "
                    f"batch dimension for '{self._name}'"
                )
            if rows and shape[0] != rows:
                raise _invalid(
                    f"{_prefix(request)}input '{tensor.name}' batch size does not match other "
                    f"inputs for '{self._name}'"
                )
            rows = shape[0]
            if rows < 1:
                raise _invalid(
                    f"{_prefix(request)}input '{tensor.name}' has batch dimension {rows}, "
                    f"expected 1 to {self._max_batch} for '{self._name}'"
                )
        if batches and rows > self._max_batch:
            raise _invalid(
                f"{_prefix(request)}inference request batch-size must be <= {self._max_batch} "
                f"for '{self._name}'"
            )
        for tensor in inputs:
            spec = self._inputs[tensor.name]
            is_unknown = tensor.name in request.unknown_types
            if is_unknown or tensor.datatype is not spec.datatype:
                found = "<invalid>" if is_unknown else tensor.datatype.value
                raise _invalid(
                    f"{_prefix(request)}inference input '{tensor.name}' data-type is "
                    f"'{found}', but model '{self._name}' expects "
                    f"'{spec.datatype.value}'"
                )
            shape = tensor.shape[1:] if batches else tensor.shape
            if not _fits(shape, spec.shape):
                raise self._shape_error(request, tensor, spec)
        return rows or 1

    def _shape_error(self, request: Request, tensor: Tensor, spec: TensorSpec) -> StreamGateError:
        if -1 in tensor.shape:
            return _invalid(
                f"{_prefix(request)}All input dimensions should be specified for input "
                f"'{tensor.name}' for model '{self._name}', got {_dims(tensor.shape)}"
            )
        expected: Shape = (-1, *spec.shape) if self._max_batch else spec.shape
        return _invalid(
            f"{_prefix(request)}unexpected shape for input '{tensor.name}' for model "
            f"'{self._name}'. Expected {_dims(expected)}, got {_dims(tensor.shape)}. "
            f"{_BATCH_NOTE if self._max_batch else ''}"
        )

    def _check_size(self, request: Request, tensor: Tensor) -> None:
        # Sizes of 0 apart: with one of them, no data at all fills any shape, and yet an array of
        # that shape can't be made.
        extent = math.prod(size for size in tensor.shape if size)
        if extent * max(1, tensor.datatype.size_bytes) > _BYTES_MAX:
            raise _invalid(
                f"{_prefix(request)}byte size for tensor '{tensor.name}' exceeds maximum size of "
                f"{_BYTES_MAX}"
            )
        if tensor.datatype is DataType.BYTES:
            if tensor.is_raw:
                _check_strings(memoryview(tensor.raw), tensor, request, self._name)
            return
        expected = tensor.count * tensor.datatype.size_bytes
        if tensor.size_bytes != expected:
            raise _invalid(
                f"{_prefix(request)}input byte size mismatch for input '{tensor.name}' for model "
                f"'{self._name}'. Expected {expected}, got {tensor.size_bytes}"
            )

    def _signature(self, inputs: Sequence[Tensor]) -> Hashable:
        if not self._varying:
            return frozenset([tensor.name for tensor in inputs])
        lead = 1 if self._max_batch else 0
        return tuple(
            sorted(
                (tensor.name, tensor.shape[lead:] if tensor.name in self._varying else ())
                for tensor in inputs
            )
        )

    def _check_correlation_id(self, sequence: SequenceKey, prefix: str) -> None:
        # Triton refuses a mismatch since 25.01; before it handed the model garbage.
        assert self._corrid is not None
        is_string = isinstance(sequence, str)
        if is_string != (self._corrid is DataType.BYTES):
            found = "BYTES" if is_string else "UINT64"
            raise _invalid(
                f"{prefix}sequence batching control 'CORRID' data-type is '{found}', "
                f"but model '{self._name}' expects '{self._corrid.value}'"
            )


Plain = tuple[DataType, Shape, int]
"""An input's type, the shape of one row and its bytes."""


def _plain_inputs(config: ModelConfig) -> dict[str, Plain] | None:
    """All inputs by name, or None when the configuration does not fix the size of each."""
    if any(-1 in spec.shape or spec.datatype is DataType.BYTES for spec in config.inputs):
        return None
    return {
        spec.name: (spec.datatype, spec.shape, math.prod(spec.shape) * spec.datatype.size_bytes)
        for spec in config.inputs
    }


def _invalid(message: str) -> StreamGateError:
    return StreamGateError(Code.INVALID_ARG, message)


def _prefix(request: Request) -> str:
    return f"[request id: {request.id or '<id_unknown>'}] "


def _dims(shape: Sequence[int]) -> str:
    return "[" + ",".join(str(size) for size in shape) + "]"


def _names(names: Sequence[str]) -> str:
    return "[" + ",".join(f"'{name}'" for name in names) + "]"


def _got(inputs: Sequence[Tensor], missing: Sequence[str]) -> str:
    # Triton closes an empty list of missing inputs without having opened it; clients match on it.
    shown = _names(missing) if missing else "]"
    got = _names([tensor.name for tensor in inputs])
    return (
        f"Got input(s) {got}, but missing required input(s) {shown}. "
        "Please provide all required input(s)."
    )


def _fits(shape: Shape, spec: Shape) -> bool:
    if shape == spec:
        return -1 not in shape
    if len(shape) != len(spec):
        return False
    return all(have >= 0 and want in (-1, have) for have, want in zip(shape, spec, strict=True))


def _check_strings(view: memoryview, tensor: Tensor, request: Request, model: str) -> None:
    """Whether BYTES data holds as many elements as its shape says, none cut short.

    Elements are counted first, the last of them even if it is cut.
    """
    offset, found, size = 0, 0, view.nbytes
    length = available = 0
    while offset < size:
        if offset + 4 > size:
            raise _invalid(
                f"{_prefix(request)}incomplete string length indicator for inference input "
                f"'{tensor.name}' for model '{model}', expecting 4 bytes but only "
                f"{size - offset} bytes available. Please make sure the string length indicator "
                "is in one buffer."
            )
        length = int.from_bytes(view[offset : offset + 4], "little")
        offset += 4
        available = size - offset
        offset += length
        found += 1
        if found > tensor.count:
            raise _invalid(
                f"{_prefix(request)}unexpected number of string elements {found} for inference "
                f"input '{tensor.name}' for model '{model}', expecting {tensor.count}"
            )
    if found < tensor.count:
        raise _invalid(
            f"{_prefix(request)}expected {tensor.count} string elements for inference input "
            f"'{tensor.name}' for model '{model}', got {found}"
        )
    if offset > size:
        raise _invalid(
            f"incomplete string data for inference input '{tensor.name}', expecting string of "
            f"length {length} but only {available} bytes available"
        )
