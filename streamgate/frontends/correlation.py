"""Correlation IDs: whether a client's fits its model, and new ones for clients that bring none."""

import itertools
import secrets

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.world import token_hex, world
from streamgate.model.config import ControlKind, ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import SequenceKey

_JSON_INTEGER_BITS = 53
"""Readers of JSON that know doubles only (browsers) lose larger integers."""

_numbers = itertools.count(secrets.randbelow(2**31))


def correlation_id(wanted: SequenceKey, config: ModelConfig) -> SequenceKey:
    """The client's correlation ID, or a new one that no other connection of this process has.

    Raises StreamGateError for one that the model's CORRID control can't carry.
    """
    datatype = next((c.datatype for c in config.controls if c.kind is ControlKind.CORRID), None)
    if not wanted:
        return _new_id(datatype)
    if datatype is not None and isinstance(wanted, str) != (datatype is DataType.BYTES):
        kinds = {True: "a string", False: "an integer"}
        raise StreamGateError(
            Code.INVALID_ARG,
            f"'sequence_id' is {kinds[isinstance(wanted, str)]}, but model '{config.name}' takes "
            f"{kinds[datatype is DataType.BYTES]} (its CORRID control is {datatype.value})",
        )
    return wanted


def _new_id(datatype: DataType | None) -> SequenceKey:
    if datatype in (None, DataType.BYTES):
        return f"ws-{token_hex(8)}"
    assert datatype is not None
    # Counted, not drawn: 31 bits would soon be drawn twice.
    bits = min(datatype.size_bytes * 8 - 1, _JSON_INTEGER_BITS)
    return world().chosen(lambda: 1 + next(_numbers) % ((1 << bits) - 1))
