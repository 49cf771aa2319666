"""What headers decide: which of them a model gets to see, and which end points need a key.

Both are off unless configured. Triton's flags are `--http-header-forward-pattern` and
`--http-restricted-api`. Knows no transport.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, final

from streamgate.errors import Code, ConfigError, StreamGateError
from streamgate.frontends.kserve_http.routes import Category, Endpoint
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


@dataclass(frozen=True, slots=True)
class RestrictedKey:
    """What a caller must show: a header of this name with this value."""

    name: str
    value: str

    def opens(self, shown: str | None) -> bool:
        """Whether this value of the header will do."""
        return shown is not None and hmac.compare_digest(shown.encode(), self.value.encode())

    @property
    def refusal(self) -> str:
        return f"This API is restricted, expecting header '{self.name}'"


def restricted_endpoints(
    categories: Mapping[str, RestrictedKey],
) -> Mapping[Endpoint, RestrictedKey]:
    """The key of each restricted end point. Raises ConfigError for an unknown category."""
    known = {category.value: category for category in Category}
    for name in categories:
        if name not in known:
            raise ConfigError(
                f"unknown restricted API '{name}', expected one of {', '.join(sorted(known))}"
            )
    return {
        endpoint: categories[endpoint.category.value]
        for endpoint in Endpoint
        if endpoint.category.value in categories
    }


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

    def parameters(self, headers: Iterable[tuple[bytes, bytes]]) -> Mapping[str, ParameterValue]:
        """The forwarded headers, named as they were written. The last of equal names counts.

        Raises StreamGateError (INVALID_ARG) for a header that would pass for one of the
        protocol's own parameters.
        """
        found: dict[str, ParameterValue] = {}
        if self._pattern is None:
            return found
        for raw_name, raw_value in headers:
            name = raw_name.decode(errors="replace")
            if not self._pattern.fullmatch(name):
                continue
            if name in _RESERVED or name.startswith("triton_"):
                raise StreamGateError(
                    Code.INVALID_ARG,
                    f"Header '{name}' is reserved for Triton usage and cannot be forwarded.",
                )
            found[name] = raw_value.decode(errors="replace")
        return found
