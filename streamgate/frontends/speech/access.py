"""Who may use the speech dialects: API keys, if the server was given any."""

import hmac
from collections.abc import Callable, Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Access:
    """The API keys that open the server; without any, everybody may come in, with any key or none.

    Each dialect has its own place for the key and its own words for a wrong one. `is_tenant` says
    of a key whether it is a tenant's: those open, too.
    """

    keys: Collection[str] = ()
    is_tenant: Callable[[str], bool] = lambda _: False

    def allows(self, key: str | None) -> bool:
        """Whether this key opens. Takes as long for a wrong one as for a right one."""
        if not self.keys:
            return True
        # Bytes of a header that are no UTF-8 come as surrogates.
        given = (key or "").encode(errors="surrogateescape")
        if any([hmac.compare_digest(given, each.encode()) for each in self.keys]):  # noqa: C419
            return True
        return bool(key) and self.is_tenant(key or "")
