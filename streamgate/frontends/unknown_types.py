"""The refusal of a word that is no datatype, for the dialects whose clients name types."""

from streamgate.errors import Code, StreamGateError
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType


def refuse_unknown_type(name: str, request_id: str, config: ModelConfig) -> DataType:
    """Refuse input `name` for its unknown datatype, where the model knows the input.

    Raises StreamGateError (INVALID_ARG) with Triton's text. Else the session's check of names has
    the better answer, and any type will do until then.
    """
    for spec in config.inputs:
        if spec.name == name:
            raise StreamGateError(
                Code.INVALID_ARG,
                f"[request id: {request_id or '<id_unknown>'}] inference input '{name}' data-type "
                f"is '<invalid>', but model '{config.name}' expects '{spec.datatype.value}'",
            )
    return DataType.UINT8
