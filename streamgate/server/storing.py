"""From the settings to what keeps sequences in a session store."""

import secrets
from typing import Final

from streamgate.server.settings import Settings
from streamgate.session.stored.takeover import StoredSequences
from streamgate.snapshot.redis_store import RedisLimits, RedisStore

STORING_SECONDS: Final = 5.0
"""How long the session store may take over what is to be written last."""


def stored_sequences_of(settings: Settings) -> StoredSequences | None:
    """None where no store is named. Raises ConfigError for a name that is none."""
    if not settings.session_store:
        return None
    owner = f"{settings.server_id}-{secrets.token_hex(8)}"
    limits = RedisLimits(ttl_seconds=settings.session_store_ttl_seconds)
    return StoredSequences(RedisStore(settings.session_store, owner, limits))
