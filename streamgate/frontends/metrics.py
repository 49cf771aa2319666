"""Prometheus metrics over HTTP, on a port of their own: `GET /metrics`."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from streamgate.frontends.listening import listen_tcp

HANDLERS_SECONDS = 1.0
"""How long a scrape that is under way may hold up a stop."""


class MetricsEndpoint:
    """Serves what `scrape` gives: all metrics, in Prometheus' text format."""

    def __init__(self, scrape: Callable[[], Awaitable[bytes]]) -> None:
        self._scrape = scrape
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int, *, shared: bool = False) -> int:
        """Listen; returns the port. Raises StreamGateError when it can't be bound."""
        listener = listen_tcp(host, port, "metrics", shared=shared)
        application = web.Application()
        application.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=HANDLERS_SECONDS
        )
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()
        bound: int = listener.getsockname()[1]
        return bound

    async def stop(self, grace_seconds: float) -> None:
        """Close the port. A scrape takes no time that could be waited for."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=await self._scrape(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )
