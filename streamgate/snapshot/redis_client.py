"""The client of a Redis server, which is only imported where one is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamgate.errors import Code, ConfigError

if TYPE_CHECKING:
    import redis.asyncio

SCHEMES: Final = ("redis://", "rediss://", "unix://")


def connect(url: str, timeout_seconds: float) -> redis.asyncio.Redis:
    """A client that tries nothing twice. Raises ConfigError for a URL that is none, and where the
    client is not installed."""
    if not url.startswith(SCHEMES):
        raise ConfigError(
            f"session store '{url}': expected redis://host:port/db, rediss://host:port/db (TLS) or "
            "unix:///path?db=0"
        )
    try:
        import redis.asyncio
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise ConfigError(
            "a session store in Redis needs its client: pip install 'streamgate-server[redis]'",
            Code.UNAVAILABLE,
        ) from None
    try:
        return redis.asyncio.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=timeout_seconds,
            socket_timeout=timeout_seconds,
            client_name="streamgate",
        )
    except ValueError as error:
        raise ConfigError(f"session store '{url}': {error}") from None


def faults() -> tuple[type[BaseException], ...]:
    """What is raised by a server that can't be reached or does not do as it is told."""
    import redis.exceptions

    return (redis.exceptions.RedisError, OSError, TimeoutError)


def is_unknown_script(error: Exception) -> bool:
    """Whether the server has forgotten its scripts: it was restarted."""
    import redis.exceptions

    return isinstance(error, redis.exceptions.NoScriptError)
