"""What metadata decides: which headers a model gets to see, and which RPCs need a key.

Both are off unless configured. Triton's flags are `--grpc-header-forward-pattern` and
`--grpc-restricted-protocol`. Knows no transport.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from streamgate.errors import Code, ConfigError, Failure

Metadata = Iterable[tuple[str, str | bytes]]

RESTRICTED_HEADER_PREFIX: Final = "triton-grpc-protocol-"

CATEGORIES: Final[Mapping[str, frozenset[str]]] = {
    "health": frozenset({"ServerLive", "ServerReady", "ModelReady", "Check", "Watch"}),
    "metadata": frozenset({"ServerMetadata", "ModelMetadata"}),
    "inference": frozenset({"ModelInfer", "ModelStreamInfer"}),
    "model-config": frozenset({"ModelConfig"}),
    "statistics": frozenset({"ModelStatistics"}),
    "model-repository": frozenset(
        {"RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"}
    ),
    "shared-memory": frozenset(
        f"{kind}SharedMemory{operation}"
        for kind in ("System", "Cuda")
        for operation in ("Status", "Register", "Unregister")
    ),
    "trace": frozenset({"TraceSetting"}),
    "logging": frozenset({"LogSettings"}),
}
"""The RPCs of each category that can be restricted."""


@dataclass(frozen=True, slots=True)
class RestrictedKey:
    """What a caller must show: metadata `triton-grpc-protocol-<name>` with this value."""

    name: str
    value: str

    @property
    def header(self) -> str:
        return RESTRICTED_HEADER_PREFIX + self.name

    def refusal(self, metadata: Metadata) -> Failure | None:
        """Why a call with this metadata may not pass; None when it may."""
        expected = self.value.encode()
        for key, value in metadata:
            shown = value.encode() if isinstance(value, str) else value
            if key == self.header and hmac.compare_digest(shown, expected):
                return None
        return Failure(
            Code.UNAVAILABLE, f"This protocol is restricted, expecting header '{self.header}'"
        )


def restricted_methods(categories: Mapping[str, RestrictedKey]) -> Mapping[str, RestrictedKey]:
    """The key of each restricted RPC. Raises ConfigError for an unknown category."""
    methods: dict[str, RestrictedKey] = {}
    for category, key in categories.items():
        if category not in CATEGORIES:
            raise ConfigError(
                f"unknown restricted protocol '{category}', expected one of "
                f"{', '.join(sorted(CATEGORIES))}"
            )
        methods.update(dict.fromkeys(CATEGORIES[category], key))
    return methods
