"""What a client may have told to a model with each step of its stream."""

from collections.abc import Mapping

from streamgate.errors import Code, StreamGateError
from streamgate.model.request import ParameterValue

TEXT_CHARS_MAX = 16_384
"""A prompt's length. It goes to the model with each chunk of audio."""


def checked(parameters: Mapping[str, ParameterValue] | None) -> dict[str, ParameterValue]:
    """A copy. Raises StreamGateError (INVALID_ARG) for a text that is too long."""
    for name, value in (parameters or {}).items():
        if isinstance(value, str) and len(value) > TEXT_CHARS_MAX:
            raise StreamGateError(
                Code.INVALID_ARG,
                f"'{name}' has {len(value)} characters, expected at most {TEXT_CHARS_MAX}",
            )
    return dict(parameters or {})
