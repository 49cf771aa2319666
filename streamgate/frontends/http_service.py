"""Further services on the HTTP front end's port, beside KServe v2."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import web

HttpHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""Answers a request whose body was not read yet. What it raises is answered as any other error."""


class HttpService(Protocol):
    """Paths that KServe does not have. Asked after it, in order."""

    def handler_for(self, method: str, path: str) -> HttpHandler | None:
        """Who answers; None for none of this service's paths."""
