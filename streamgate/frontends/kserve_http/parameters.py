"""The `parameters` of an inference request in JSON: which keys exist, which type each one takes.

All texts are Triton's (2.51). A wrong JSON type of a known key is INTERNAL there, a parameter that
can't be is INVALID_ARG.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.kserve_http.document import (
    Document,
    bool_member,
    is_unsigned,
    unparsable,
    unsigned_member,
    wrong_type,
)
from streamgate.frontends.unserved import SHARED_MEMORY_DISABLED
from streamgate.model.request import ParameterValue, SequenceKey

CORRELATION_ID_BYTES_MAX: Final = 128

_RESERVED_PREFIX: Final = "triton_"


@dataclass(slots=True)
class RequestParameters:
    """What the parameters of one request say; `custom` are those that the model gets."""

    sequence: SequenceKey = 0
    start: bool = False
    end: bool = False
    priority: int = 0
    timeout_us: int = 0
    binary_output: bool = False
    custom: dict[str, ParameterValue] = field(default_factory=dict)


def read_request_parameters(parameters: object) -> RequestParameters:
    """The request's parameters, sorted out. Raises StreamGateError for a wrong type."""
    if not isinstance(parameters, dict):
        raise StreamGateError(
            Code.INTERNAL, "failed to get request params.: attempt to get members for non-object"
        )
    found = RequestParameters()
    for key, value in parameters.items():
        if key == "sequence_id":
            found.sequence = _sequence_key(value)
        elif key == "sequence_start":
            found.start = bool_member(parameters, key)
        elif key == "sequence_end":
            found.end = bool_member(parameters, key)
        elif key == "priority":
            found.priority = unsigned_member(parameters, key)
        elif key == "timeout":
            found.timeout_us = unsigned_member(parameters, key)
        elif key == "binary_data_output":
            found.binary_output = bool_member(parameters, key)
        elif key.startswith(_RESERVED_PREFIX):
            raise StreamGateError(
                Code.INVALID_ARG,
                "parameter keys starting with 'triton_' are reserved for Triton usage and should "
                "not be specified.",
            )
        else:
            found.custom[key] = custom_parameter(key, value)
    return found


def custom_parameter(key: str, value: Any) -> ParameterValue:
    """A parameter that the model gets: text, boolean, integer or double.

    An integer beyond 64 bits is a double, as in rapidjson. Raises StreamGateError (INVALID_ARG).
    """
    if type(value) is int and not -(2**63) <= value < 2**64:
        try:
            return float(value)
        except OverflowError:
            value = None
    if not isinstance(value, str | bool | int | float):
        raise StreamGateError(
            Code.INVALID_ARG,
            f"parameter '{key}' has invalid type. It should be either 'int', 'bool', or 'string'.",
        )
    return value


def read_output_parameters(parameters: Document) -> tuple[bool | None, int]:
    """What the parameters of a requested output say.

    Whether it is wanted as binary data (None: the request's default), and how many classes are
    asked for instead of the output itself (0: none).
    """
    binary = bool_member(parameters, "binary_data") if "binary_data" in parameters else None
    classes = 0
    if "classification" in parameters:
        value = parameters["classification"]
        if not is_unsigned(value):
            raise StreamGateError(
                Code.INTERNAL, f"Unable to set 'classification': {wrong_type('unsigned-integer')}"
            )
        classes = value
    if "shared_memory_region" in parameters:
        for key, is_set in (("binary_data", binary), ("classification", classes)):
            if is_set:
                raise StreamGateError(
                    Code.INVALID_ARG, f"Output can't set both 'shared_memory_region' and '{key}'"
                )
        raise StreamGateError(Code.UNSUPPORTED, SHARED_MEMORY_DISABLED)
    return binary, classes


def _sequence_key(value: object) -> SequenceKey:
    if is_unsigned(value):
        assert isinstance(value, int)
        return value
    if not isinstance(value, str):
        raise unparsable("sequence_id", wrong_type("string"))
    if len(value.encode()) > CORRELATION_ID_BYTES_MAX:
        raise StreamGateError(
            Code.UNSUPPORTED, "string correlation ID cannot be longer than 128 characters"
        )
    return value
