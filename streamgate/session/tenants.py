"""Who may have how much: the limits of each tenant, decided without a clock.

A tenant is whoever holds one of its API keys; who brings none that is known is the tenant "". Keys
are kept as their SHA-256 alone. `docs/admission.md` says what each limit means to clients.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Final, final

from streamgate.model.statistics import TenantStatistics
from streamgate.session.tenant import Rate, Tenant

NS: Final = 10**9
_FINE: Final = 10**6
"""Rates are heeded to a millionth of a unit in a second."""

ANYBODY: Final = ""
"""The tenant of those who bring no key that is known."""

STREAM_RETRY_NS: Final = NS
"""When a client that has all its streams may try again: nobody knows when one will end."""


class Limit(Enum):
    """Which limit was reached: MODEL is that of a model for all its clients together."""

    STREAMS = "streams"
    STREAMS_OF_MODEL = "streams_of_model"
    MODEL = "model"
    REQUESTS = "requests"


@dataclass(frozen=True, slots=True)
class OverLimit:
    """A refusal: why, and after how long it is worth another try."""

    limit: Limit
    message: str
    retry_ns: int


@final
class Bucket:
    """A token bucket, full at first. Exact: what it lets through in t is at most burst + rate·t."""

    __slots__ = ("_at", "_full", "_level", "_per_ns")

    def __init__(self, rate: Rate) -> None:
        # The level counts units · _FINE · NS, so that a nanosecond's share is a whole number.
        self._per_ns = round(rate.per_second * _FINE)
        assert self._per_ns > 0, "a rate above 0"
        self._full = rate.burst * _FINE * NS
        self._level = self._full
        self._at = 0

    def take(self, now: int) -> int:
        """Take one unit: 0 if it was there, else the nanoseconds until it will be, and it was not
        taken."""
        self._fill(now)
        missing = _FINE * NS - self._level
        if missing > 0:
            return self._time(missing)
        self._level -= _FINE * NS
        return 0

    def owe(self, units: int, now: int) -> int:
        """Take so many units, which there need not be: the nanoseconds until none is owed."""
        self._fill(now)
        self._level -= units * _FINE * NS
        return self._time(-self._level)

    def _fill(self, now: int) -> None:
        if now > self._at:
            self._level = min(self._full, self._level + (now - self._at) * self._per_ns)
            self._at = now

    def _time(self, missing: int) -> int:
        return max(0, -(-missing // self._per_ns))


@final
class Account:
    """One tenant's use of what it may have. Raises nothing: a refusal is a value."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self._requests = Bucket(tenant.requests) if tenant.requests is not None else None
        self._bytes = Bucket(tenant.bytes) if tenant.bytes is not None else None
        self._streams: Counter[str] = Counter()
        self._refused: Counter[Limit] = Counter()
        self._admitted = 0
        self._received_bytes = 0
        self._pauses = 0

    @property
    def streams(self) -> int:
        """Its live sequences and reservations."""
        return self._streams.total()

    def ask(self, now: int) -> OverLimit | None:
        """May it make a request outside of sequences? None: it has."""
        refusal = self._over_rate(now)
        if refusal is None:
            self._admitted += 1
        return refusal

    def open(self, model: str, now: int) -> OverLimit | None:
        """May it have one more stream of this model? None: it has it, until `close`."""
        tenant = self.tenant
        limit = tenant.streams_max
        own_limit = tenant.streams_max_by_model.get(model)
        if limit is not None and self.streams >= limit:
            return self._refuse(Limit.STREAMS, f"has all its {limit} streams", STREAM_RETRY_NS)
        if own_limit is not None and self._streams[model] >= own_limit:
            what = f"has all its {own_limit} streams of model '{model}'"
            return self._refuse(Limit.STREAMS_OF_MODEL, what, STREAM_RETRY_NS)
        refusal = self._over_rate(now)
        if refusal is None:
            self.replace(model)
        return refusal

    def note_refusal(self, limit: Limit) -> None:
        """It was refused for a limit that is not its own."""
        self._refused[limit] += 1

    def replace(self, model: str) -> None:
        """One more stream of the model, which will end another of its own, or was let in at another
        server: no limit is for that."""
        self._admitted += 1
        self._streams[model] += 1

    def close(self, model: str) -> None:
        """A stream of the model is over, or never came to be."""
        assert self._streams[model] > 0, "a stream that was opened"
        self._streams[model] -= 1
        if not self._streams[model]:
            del self._streams[model]

    def owe(self, size_bytes: int, now: int) -> int:
        """It has sent so much: for how many nanoseconds nothing more should be read of it."""
        self._received_bytes += size_bytes
        if self._bytes is None:
            return 0
        pause_ns = self._bytes.owe(size_bytes, now)
        self._pauses += pause_ns > 0
        return pause_ns

    def statistics(self) -> TenantStatistics:
        return TenantStatistics(
            self.tenant.name,
            self.streams,
            self._admitted,
            {limit.value: self._refused[limit] for limit in Limit},
            self._received_bytes,
            self._pauses,
        )

    def _over_rate(self, now: int) -> OverLimit | None:
        if self._requests is None:
            return None
        wait_ns = self._requests.take(now)
        if not wait_ns:
            return None
        assert self.tenant.requests is not None
        per_second = self.tenant.requests.per_second
        what = f"makes more than {per_second:g} requests a second"
        return self._refuse(Limit.REQUESTS, what, wait_ns)

    def _refuse(self, limit: Limit, what: str, retry_ns: int) -> OverLimit:
        self._refused[limit] += 1
        name = self.tenant.name
        who = f"tenant '{name}'" if name else "whoever brings no known API key"
        return OverLimit(limit, f"{who} {what}; try again later", retry_ns)


@final
class Tenants:
    """All tenants by their keys.

    `share` is the number of processes among which clients are spread: each keeps its part of every
    limit, rounded up for what is counted. Who brings no known key has an account, too, without
    limits unless there is a tenant "".
    """

    def __init__(self, tenants: Iterable[Tenant], share: int = 1) -> None:
        self._by_hash: dict[bytes, Account] = {}
        self._accounts: dict[str, Account] = {}
        for tenant in (Tenant(ANYBODY), *tenants):
            account = self._accounts[tenant.name] = Account(part_of(tenant, share))
            self._by_hash.update(dict.fromkeys(tenant.key_hashes, account))

    def account(self, key: str) -> Account:
        """The account of whoever brings this key."""
        account = self._by_hash.get(hash_of(key)) if key else None
        return account if account is not None else self._accounts[ANYBODY]

    def knows(self, key: str) -> bool:
        """Whether this is a tenant's key."""
        return bool(key) and hash_of(key) in self._by_hash

    def statistics(self) -> Sequence[TenantStatistics]:
        """Of each tenant, by name."""
        return [self._accounts[name].statistics() for name in sorted(self._accounts)]


def hash_of(key: str) -> bytes:
    """What is kept of a key."""
    # Bytes of a header that are no UTF-8 come as surrogates.
    return sha256(key.encode(errors="surrogateescape")).digest()


def part_of(tenant: Tenant, share: int) -> Tenant:
    """What one of so many processes grants the tenant. Limits that are 0 stay so, all others leave
    room for one."""
    if share == 1:
        return tenant
    return Tenant(
        tenant.name,
        tenant.key_hashes,
        None if tenant.streams_max is None else -(-tenant.streams_max // share),
        {model: -(-limit // share) for model, limit in tenant.streams_max_by_model.items()},
        _part_of_rate(tenant.requests, share),
        _part_of_rate(tenant.bytes, share),
    )


def _part_of_rate(rate: Rate | None, share: int) -> Rate | None:
    return None if rate is None else Rate(rate.per_second / share, -(-rate.burst // share))
