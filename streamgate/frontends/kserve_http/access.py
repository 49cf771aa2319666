"""What headers decide: which of them a model gets to see, and which end points need a key.

Both are off unless configured. Triton's flags are `--http-header-forward-pattern` and
`--http-restricted-api`. Knows no transport.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from streamgate.errors import ConfigError
from streamgate.frontends.kserve_http.routes import Category, Endpoint


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
