"""The parameters of an inference message: which keys exist, which type each one takes.

All texts are Triton's (2.51), as clients match on them. Knows no transport.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from streamgate._proto.grpc_service_pb2 import InferParameter
from streamgate.errors import Code, StreamGateError
from streamgate.frontends.unserved import SHARED_MEMORY_DISABLED
from streamgate.model.request import ParameterValue, SequenceKey

CORRELATION_ID_BYTES_MAX: Final = 128

_UINT64: Final = 0xFFFF_FFFF_FFFF_FFFF
_CHOICE: Final = "parameter_choice"
_RESERVED_PREFIX: Final = "triton_"
_CUSTOM_CHOICES: Final = frozenset({"bool_param", "int64_param", "string_param", "double_param"})
_REGION: Final = "shared_memory_region"
_REGION_NUMBERS: Final = ("shared_memory_offset", "shared_memory_byte_size")


@dataclass(slots=True)
class RequestParameters:
    """What the parameters of one request say; `custom` are those that the model gets."""

    sequence: SequenceKey = 0
    start: bool = False
    end: bool = False
    priority: int = 0
    timeout_us: int = 0
    empty_final: bool = False
    custom: dict[str, ParameterValue] = field(default_factory=dict)


def invalid(message: str) -> StreamGateError:
    return StreamGateError(Code.INVALID_ARG, message)


def read_request_parameters(parameters: Mapping[str, InferParameter]) -> RequestParameters:
    """The request's parameters, sorted out. Raises StreamGateError for a wrong type or value."""
    found = RequestParameters()
    for key, parameter in parameters.items():
        choice = parameter.WhichOneof(_CHOICE)
        if key == "sequence_id":
            found.sequence = _sequence_key(parameter, choice)
        elif key == "sequence_start":
            found.start = _bool(key, parameter, choice)
        elif key == "sequence_end":
            found.end = _bool(key, parameter, choice)
        elif key == "priority":
            found.priority = _priority(parameter, choice)
        elif key == "timeout":
            if choice != "int64_param":
                raise invalid("invalid value type for 'timeout' parameter, expected int64_param.")
            found.timeout_us = parameter.int64_param & _UINT64
        elif key.startswith(_RESERVED_PREFIX):
            if key != "triton_enable_empty_final_response":
                raise invalid(
                    "parameter keys starting with 'triton_' are reserved for Triton usage. Only "
                    "the following keys starting with 'triton_' are allowed: "
                    "triton_enable_empty_final_response"
                )
            found.empty_final = _bool(key, parameter, choice)
        else:
            if choice not in _CUSTOM_CHOICES:
                raise invalid(
                    f"invalid value type for '{key}' parameter, expected int64_param, "
                    "bool_param, or string_param."
                )
            found.custom[key] = getattr(parameter, choice)
    return found


def sequence_of(parameters: Mapping[str, InferParameter]) -> SequenceKey:
    """The sequence that a refused request speaks of; 0 when that can't be read."""
    if "sequence_id" not in parameters:
        return 0
    parameter = parameters["sequence_id"]
    try:
        return _sequence_key(parameter, parameter.WhichOneof(_CHOICE))
    except StreamGateError:
        return 0


def names_region(tensor: str, parameters: Mapping[str, InferParameter]) -> bool:
    """Whether the tensor lies in shared memory, its three parameters being well formed."""
    has_region = _REGION in parameters
    if has_region and parameters[_REGION].WhichOneof(_CHOICE) != "string_param":
        raise invalid(
            f"invalid value type for '{_REGION}' parameter for tensor '{tensor}', "
            "expected string_param."
        )
    for key in _REGION_NUMBERS:
        if key not in parameters:
            continue
        if not has_region:
            raise invalid(
                f"'{key}' can not be specified without '{_REGION}' parameter for tensor '{tensor}'"
            )
        if parameters[key].WhichOneof(_CHOICE) != "int64_param":
            raise invalid(
                f"invalid value type for '{key}' parameter for tensor '{tensor}', "
                "expected int64_param."
            )
    if has_region and "shared_memory_byte_size" not in parameters:
        raise invalid(
            f"'shared_memory_byte_size' must be specified along with '{_REGION}' parameter for "
            f"tensor '{tensor}'"
        )
    return has_region


def read_output_parameters(tensor: str, parameters: Mapping[str, InferParameter]) -> int:
    """How many classes are asked for of this output; 0 when none are."""
    classes = 0
    if "classification" in parameters:
        parameter = parameters["classification"]
        if parameter.WhichOneof(_CHOICE) != "int64_param":
            raise invalid("invalid value type for 'classification' parameter, expected int64_param")
        classes = parameter.int64_param
        if classes < 1:  # Triton's text notwithstanding, 2.51 refuses 0 too
            raise invalid("invalid value for 'classification' parameter, expected >= 0")
    if names_region(tensor, parameters):
        if classes:
            raise invalid("output can't set both 'shared_memory_region' and 'classification'")
        raise StreamGateError(Code.UNSUPPORTED, SHARED_MEMORY_DISABLED)
    return classes


def _sequence_key(parameter: InferParameter, choice: str | None) -> SequenceKey:
    if choice == "int64_param":
        return parameter.int64_param & _UINT64
    if choice == "string_param":
        key = parameter.string_param
        if len(key.encode()) > CORRELATION_ID_BYTES_MAX:
            raise StreamGateError(
                Code.UNSUPPORTED, "string correlation ID cannot be longer than 128 characters"
            )
        return key
    raise invalid(
        "invalid value type for 'sequence_id' parameter, expected int64_param or string_param."
    )


def _bool(key: str, parameter: InferParameter, choice: str | None) -> bool:
    if choice != "bool_param":
        raise invalid(f"invalid value type for '{key}' parameter, expected bool_param.")
    return parameter.bool_param


def _priority(parameter: InferParameter, choice: str | None) -> int:
    if choice == "uint64_param":
        return parameter.uint64_param
    if choice != "int64_param":
        raise invalid(
            "invalid value type for 'priority' parameter, expected int64_param or uint64_param."
        )
    if parameter.int64_param < 0:
        raise invalid("invalid value for 'priority', expected value >= 0.")
    return parameter.int64_param
