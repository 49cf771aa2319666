"""Who may use the speech dialects: API keys, if the server was given any."""

import hmac
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Access:
    """The API keys that open the server; without any, everybody may come in, with any key or none.

    Each dialect has its own place for the key and its own words for a wrong one.
    """

    keys: Collection[str] = ()

    def allows(self, key: str | None) -> bool:
        """Whether this key opens. Takes as long for a wrong one as for a right one."""
        if not self.keys:
            return True
        # Bytes of a header that are no UTF-8 come as surrogates.
        given = (key or "").encode(errors="surrogateescape")
        return any([hmac.compare_digest(given, each.encode()) for each in self.keys])  # noqa: C419


def bearer(authorization: str, scheme: str = "Bearer") -> str:
    """The key in an `Authorization` header of this scheme; "" when it is of another one."""
    word, _, key = authorization.partition(" ")
    return key.strip() if word.lower() == scheme.lower() else ""
