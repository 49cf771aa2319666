"""The file of `--tenants`: who may have how much, in TOML or JSON. `docs/admission.md` has one."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from streamgate.errors import Code, StreamGateError
from streamgate.session.tenant import Rate, Tenant
from streamgate.session.tenants import ANYBODY, hash_of

HASH_PREFIX: Final = "sha256:"
NAME_CHARS_MAX: Final = 64
_FIELDS: Final = (
    "name",
    "keys",
    "streams_max",
    "streams_max_by_model",
    "requests_per_second",
    "requests_burst",
    "bytes_per_second",
    "bytes_burst",
)
_HIGH: Final = 10**12
_RATE_LOW: Final = 0.001


def read_tenants(path: Path) -> Sequence[Tenant]:
    """The tenants in the file. Raises StreamGateError (INVALID_ARG), which says what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise _wrong(path, f"can't be read: {error}") from None
    entries = content.get("tenants") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise _wrong(path, "has no list 'tenants' of tables, expected one")
    tenants: list[Tenant] = []
    names: set[str] = set()
    owners: dict[bytes, str] = {}
    for entry in entries:
        tenant = _tenant(path, entry)
        if tenant.name in names:
            raise _wrong(path, f"has two tenants of the name '{tenant.name}', expected one")
        names.add(tenant.name)
        for key_hash in tenant.key_hashes:
            owner = owners.setdefault(key_hash, tenant.name)
            if owner != tenant.name:
                raise _wrong(path, f"gives '{owner}' and '{tenant.name}' the same key")
        tenants.append(tenant)
    return tenants


def _tenant(path: Path, entry: Mapping[str, Any]) -> Tenant:
    name = entry.get("name")
    if not isinstance(name, str) or len(name) > NAME_CHARS_MAX:
        expected = f"a text of at most {NAME_CHARS_MAX} characters"
        raise _wrong(path, f"has a tenant with the name {name!r}, expected {expected}")
    table = _Table(path, name, entry)
    for field in entry:
        if field not in _FIELDS:
            raise table.wrong(field, entry[field], f"one of {', '.join(_FIELDS)}")
    keys = table.keys()
    if bool(keys) == (name == ANYBODY):
        expected = "none: it is whoever brings no known key" if keys else "at least one"
        raise table.wrong("keys", f"{len(keys)} of them", expected)
    by_model = entry.get("streams_max_by_model", {})
    if not isinstance(by_model, dict):
        raise table.wrong("streams_max_by_model", by_model, "a table of numbers by model")
    return Tenant(
        name,
        keys,
        table.count("streams_max") if "streams_max" in entry else None,
        {model: _Table(path, name, by_model).count(model) for model in by_model},
        table.rate("requests"),
        table.rate("bytes"),
    )


class _Table:
    """One table of the file, which knows how to complain."""

    def __init__(self, path: Path, name: str, entry: Mapping[str, Any]) -> None:
        self._path = path
        self._name = name
        self._entry = entry

    def wrong(self, field: str, found: object, expected: str) -> StreamGateError:
        shown = str(found)[:100]
        return _wrong(
            self._path, f"tenant '{self._name}': {field} is {shown!r}, expected {expected}"
        )

    def keys(self) -> tuple[bytes, ...]:
        """Their hashes. What is no key is not shown: it may be one with a slip."""
        found = self._entry.get("keys", [])
        if not isinstance(found, list) or not all(isinstance(key, str) and key for key in found):
            raise self.wrong("keys", "something else", "a list of texts")
        return tuple(sorted({self._hash(key) for key in found}))

    def count(self, field: str) -> int:
        found = self._entry[field]
        if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= _HIGH:
            raise self.wrong(field, found, f"an integer from 0 to {_HIGH}")
        return found

    def rate(self, what: str) -> Rate | None:
        """`<what>_per_second` and `<what>_burst`, which is a second's worth unless told."""
        field, burst_field = f"{what}_per_second", f"{what}_burst"
        if field not in self._entry:
            if burst_field in self._entry:
                raise self.wrong(burst_field, self._entry[burst_field], f"a {field} beside it")
            return None
        found = self._entry[field]
        is_number = isinstance(found, (int, float)) and not isinstance(found, bool)
        if not is_number or not _RATE_LOW <= found <= _HIGH:
            raise self.wrong(field, found, f"a number from {_RATE_LOW} to {_HIGH}")
        if burst_field not in self._entry:
            return Rate(float(found), max(1, round(found)))
        burst = self.count(burst_field)
        if not burst:
            raise self.wrong(burst_field, burst, "at least 1")
        return Rate(float(found), burst)

    def _hash(self, key: str) -> bytes:
        if not key.startswith(HASH_PREFIX):
            return hash_of(key)
        digits = key.removeprefix(HASH_PREFIX)
        try:
            digest = bytes.fromhex(digits)
        except ValueError:
            digest = b""
        if len(digest) != len(hash_of("")):
            raise self.wrong("keys", f"{HASH_PREFIX}...", "64 hexadecimal digits behind it")
        return digest


def _wrong(path: Path, what: str) -> StreamGateError:
    return StreamGateError(Code.INVALID_ARG, f"--tenants {path} {what}")
