"""Which of a caller's headers a model gets to see, as request parameters.

Off unless a pattern is configured. Triton's flags are `--grpc-header-forward-pattern` and
`--http-header-forward-pattern`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, final

from streamgate.errors import Code, ConfigError, StreamGateError
from streamgate.model.request import ParameterValue

_RESERVED: Final = frozenset(
    {
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "priority",
        "timeout",
        "headers",
        "binary_data_output",
    }
)


@final
class HeaderForwarding:
    """Passes headers whose whole name matches a pattern to models, as string parameters."""

    def __init__(self, pattern: str) -> None:
        """`pattern` "" forwards nothing. Raises ConfigError when it is no regular expression."""
        try:
            self._pattern = re.compile(pattern) if pattern else None
        except re.error as error:
            raise ConfigError(
                f"the header forward pattern '{pattern}' is no regular expression: {error}"
            ) from None

    @property
    def is_on(self) -> bool:
        return self._pattern is not None

    def parameters(
        self, headers: Iterable[tuple[str, str | bytes]]
    ) -> Mapping[str, ParameterValue]:
        """The forwarded headers; binary ones are never. The last of equal names counts.

        Raises StreamGateError (INVALID_ARG) for a header that would pass for one of the
        protocol's own parameters.
        """
        found: dict[str, ParameterValue] = {}
        if self._pattern is None:
            return found
        for name, value in headers:
            if not isinstance(value, str) or not self._pattern.fullmatch(name):
                continue
            if name in _RESERVED or name.startswith("triton_"):
                raise StreamGateError(
                    Code.INVALID_ARG,
                    f"Header '{name}' is reserved for Triton usage and cannot be forwarded.",
                )
            found[name] = value
        return found
