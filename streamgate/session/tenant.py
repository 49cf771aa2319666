"""Who a tenant is and what it may have, as settings say it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rate:
    """So many units a second on average, and at most `burst` at once after a pause."""

    per_second: float
    burst: int


@dataclass(frozen=True, slots=True)
class Tenant:
    """What one tenant may have; None is without limit.

    `streams_max` counts its live sequences and reservations of all models together,
    `streams_max_by_model` those of one. `requests` are new sequences and requests outside of
    sequences; `bytes` is all that it sends.
    """

    name: str
    key_hashes: tuple[bytes, ...] = ()
    streams_max: int | None = None
    streams_max_by_model: Mapping[str, int] = field(default_factory=dict)
    requests: Rate | None = None
    bytes: Rate | None = None
