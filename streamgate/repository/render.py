"""A `ModelConfig` message in Triton's JSON form.

Original field names, enums as names, keys in the order in which Triton writes them, 64-bit
integers as numbers (Triton 2.51 leaves those of `initial_state.dims` as strings; here they are
numbers like all dims). Two flavours: complete, with defaults, as `/v2/models/m/config` answers;
and only what was given, which a backend may complete.
"""

import math
from typing import Any, cast

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_ORDER: dict[str, tuple[str, ...]] = {
    "ModelConfig": (
        "name",
        "platform",
        "backend",
        "runtime",
        "version_policy",
        "max_batch_size",
        "input",
        "output",
        "batch_input",
        "batch_output",
        "optimization",
        "dynamic_batching",
        "sequence_batching",
        "ensemble_scheduling",
        "instance_group",
        "default_model_filename",
        "cc_model_filenames",
        "metric_tags",
        "parameters",
        "model_warmup",
        "model_operations",
        "model_transaction_policy",
    ),
    "ModelInstanceGroup": (
        "name",
        "kind",
        "count",
        "rate_limiter",
        "gpus",
        "secondary_devices",
        "profile",
        "passive",
        "host_policy",
    ),
    "ModelSequenceBatching": ("direct", "oldest"),
    "Control": (
        "kind",
        "int32_false_true",
        "fp32_false_true",
        "bool_false_true",
        "data_type",
    ),
}
"""Keys that do not come in the order of their field numbers; the others follow."""

_TEXT_INTEGERS = frozenset({"SecondaryDevice.device_id"})
"""64-bit integers that Triton leaves as JSON strings."""

_FLOAT_MAX = float(np.finfo(np.float32).max)
_WIDE = frozenset({FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64})


def complete_form(message: Message) -> dict[str, Any]:
    """Every field; absent sub-messages and unset members of a oneof are left out."""
    return _render(message, given_only=False)


def given_form(message: Message) -> dict[str, Any]:
    """Only the fields that were given."""
    return _render(message, given_only=True)


def description(message: Message) -> Descriptor:
    """The message's descriptor; the typed stubs offer two classes for it."""
    return cast("Descriptor", message.DESCRIPTOR)


def is_repeated(field: FieldDescriptor) -> bool:
    """Protobuf before 6.31 has no `is_repeated`, and later ones warn about `label`."""
    if hasattr(field, "is_repeated"):
        return field.is_repeated
    return bool(cast("Any", field).label == FieldDescriptor.LABEL_REPEATED)


def map_value(field: FieldDescriptor) -> FieldDescriptor | None:
    """What a map field maps to; None for any other field."""
    entry = field.message_type
    if entry is None or not entry.GetOptions().map_entry:
        return None
    return entry.fields_by_name["value"]


def _render(message: Message, given_only: bool) -> dict[str, Any]:
    given = {descriptor.name: value for descriptor, value in message.ListFields()}
    result: dict[str, Any] = {}
    for descriptor in _ordered(description(message)):
        if descriptor.name in given:
            result[descriptor.name] = _field(descriptor, given[descriptor.name], given_only)
        elif not given_only and not descriptor.has_presence:
            value = getattr(message, descriptor.name)
            result[descriptor.name] = _field(descriptor, value, given_only)
    return result


def _ordered(descriptor: Descriptor) -> list[FieldDescriptor]:
    first = _ORDER.get(descriptor.name, ())
    rank = {name: position for position, name in enumerate(first)}
    return sorted(
        descriptor.fields, key=lambda field: (rank.get(field.name, len(first)), field.number)
    )


def _field(descriptor: FieldDescriptor, value: Any, given_only: bool) -> Any:
    item = map_value(descriptor)
    if item is not None:
        return {str(key): _single(item, value[key], given_only) for key in sorted(value)}
    if is_repeated(descriptor):
        return [_single(descriptor, item, given_only) for item in value]
    return _single(descriptor, value, given_only)


def _single(descriptor: FieldDescriptor, value: Any, given_only: bool) -> Any:
    kind = descriptor.cpp_type
    if kind == FieldDescriptor.CPPTYPE_MESSAGE:
        return _render(value, given_only)
    if descriptor.enum_type is not None:
        known = descriptor.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return _number(value, kind == FieldDescriptor.CPPTYPE_FLOAT)
    if kind in _WIDE and descriptor.containing_type is not None:
        owner = descriptor.containing_type.name
        return str(value) if f"{owner}.{descriptor.name}" in _TEXT_INTEGERS else value
    return value


def _number(value: float, single: bool) -> int | float | str:
    """Words for what JSON has no number for, whole numbers without a point, 0.1 as 0.1 in FP32."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value.is_integer() and abs(value) < 2**31:
        return int(value)
    short = float(str(np.float32(value))) if single else value
    # The shortest form of the largest FP32 is just above it, which protobuf does not read back.
    return short if abs(short) <= _FLOAT_MAX or not single else value
