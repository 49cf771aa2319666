"""How versions go out of service: they answer what they have, end their sequences and close."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from streamgate.engine.host import Host
from streamgate.errors import EndReason, EndWarning, WarningCause
from streamgate.link.contract import MovableLink
from streamgate.repository.repository import ModelSource
from streamgate.server.loading import LoadedModel
from streamgate.server.warning import warned
from streamgate.session.durable.link import DurableLink
from streamgate.session.routing import UNAVAILABLE, UNLOADED, Route, VersionState
from streamgate.session.succession import RoutePlace, can_follow

log = logging.getLogger(__name__)

CLOSE_SECONDS = 2.0
"""How long a step that runs may hold up the closing of its model, once waiting is over."""


@dataclass(frozen=True, slots=True)
class Served:
    """A version in service. Its source is held for as long as the model may read its files."""

    model: LoadedModel
    source: ModelSource
    log: DurableLink | None = None
    """What stands in front of the model and keeps its sequences."""

    async def wait_idle(self) -> None:
        """Wait until nothing is under way and no sequence lives. May wait long: bound it."""
        await self.model.wait_idle()
        if self.log is not None:
            await self.log.wait_idle()

    async def close(self) -> None:
        if self.log is not None:
            self.log.close()
        await self.model.close(CLOSE_SECONDS)


class Retirement:
    """The versions that are going. `drain_seconds` is how long each may take over it; `on_gone` is
    told when one has gone."""

    def __init__(
        self, drain_seconds: float, host: Host, on_gone: Callable[[], None] = lambda: None
    ) -> None:
        self._drain_seconds = drain_seconds
        self._host = host
        self._on_gone = on_gone
        self._going: dict[asyncio.Task[None], Served] = {}
        # Versions that are closed, and through which sequences are served that have moved on.
        self._followed: set[asyncio.Task[None]] = set()

    def begin(
        self,
        route: Route,
        served: Served,
        state: VersionState | None,
        successor: Route | None = None,
    ) -> None:
        """Close a version that nobody is sent to any more. `state` is UNAVAILABLE then.

        Its sequences go on with the `successor`, where they can; those that can't live on here
        until they end, or their time is up. Without one they end behind what they have queued.
        """
        if successor is None and not route.is_held:
            _end(route, served.model)

        async def close() -> None:
            # Here the source lives on until the last step is done.
            if successor is not None:
                await self._move(route, served, successor)
            await self._close_when_idle(route, served, lives_on=successor is not None)
            self._follow(route, served)
            if state is not None:
                state.state, state.reason = UNAVAILABLE, UNLOADED
            self._on_gone()
            log.info("model '%s' version %s is unloaded", route.config.name, route.version)

        task = asyncio.create_task(close())
        self._going[task] = served
        task.add_done_callback(self._going.pop)

    async def stop(self, tiers: Sequence[Sequence[Served]], timeout_seconds: float) -> None:
        """Let everything end, at most so long, and close it. A tier's models may send requests to
        those of the tiers behind it."""
        clock = asyncio.get_running_loop()
        deadline = clock.time() + timeout_seconds
        for tier in tiers:
            for served in tier:
                served.model.drain()
            waiting = {asyncio.create_task(served.wait_idle()): served for served in tier}
            for late in await _late(waiting, deadline - clock.time()):
                log.warning(_NOT_IDLE, late.model.config.name, timeout_seconds)
            await _close_all(tier)
        going = await _late(dict(self._going), deadline - clock.time())
        for late in going:
            log.warning(_NOT_IDLE, late.model.config.name, timeout_seconds)
        await _close_all(going)
        for task in list(self._followed):
            task.cancel()

    async def _move(self, route: Route, served: Served, successor: Route) -> None:
        """Let sequences go on with the version that follows."""
        if served.log is None or not can_follow(route.config, successor.config):
            return
        held_fast = set(route.positions.named()) if route.version != successor.version else ()
        served.log.add_place(RoutePlace(route, successor, self._host), successor.version)
        left = await served.log.drain_place(
            cast(MovableLink, served.model),
            self._drain_seconds,
            lambda key: key in held_fast or route.is_held_elsewhere(key),
        )
        log.info(
            "model '%s' version %s: %d sequences have moved on, %d stay",
            route.config.name,
            route.version,
            len(route.positions) - left,
            left,
        )

    async def _close_when_idle(self, route: Route, served: Served, *, lives_on: bool) -> None:
        model = served.model
        try:
            with warned(self._drain_seconds if lives_on else 0.0, partial(_warn, route, served)):
                async with asyncio.timeout(self._drain_seconds):
                    if route.is_held:
                        await route.wait_released()
                        if not lives_on:
                            _end(route, model)
                    await (model if lives_on else served).wait_idle()
        except TimeoutError:
            log.warning(
                "model '%s' version %s is not idle after %g s: closing it",
                model.config.name,
                model.version,
                self._drain_seconds,
            )
        if served.log is not None and lives_on:
            await model.close(CLOSE_SECONDS)
            served.log.remove_place(cast(MovableLink, model))
        else:
            await served.close()

    def _follow(self, route: Route, served: Served) -> None:
        """It is closed; what has moved on is served through it until it ends."""
        if served.log is None or not len(route.positions):
            route.retired = True
            return

        async def wait(log: DurableLink) -> None:
            try:
                await log.wait_idle()
            finally:
                route.retired = True
                log.close()

        task = asyncio.create_task(wait(served.log))
        self._followed.add(task)
        task.add_done_callback(self._followed.discard)


def _end(route: Route, model: LoadedModel) -> None:
    """Take nothing new, and end the sequences behind what they have queued."""
    model.drain()
    for key in route.positions.keys():  # noqa: SIM118, it is no dict, and ends change it
        route.link.end_sequence(key, EndReason.DRAINED, drain=True)


def _warn(route: Route, served: Served, seconds: float) -> None:
    """Tell those whose sequences have not moved on that they will end."""
    warning = EndWarning(WarningCause.RELOAD, seconds)
    if served.log is not None:
        served.log.warn_at(cast(MovableLink, served.model), warning)
        return
    for key in route.positions.keys():  # noqa: SIM118, it is no dict
        route.warn(key, warning)


_NOT_IDLE = "model '%s' is not idle after %g s: closing it"


async def _late(waiting: dict[asyncio.Task[None], Served], timeout_seconds: float) -> list[Served]:
    """Wait for all these. Returns those that took longer, and gives up waiting for them."""
    if not waiting:
        return []
    _, late = await asyncio.wait(waiting, timeout=max(0.0, timeout_seconds))
    for task in late:
        task.cancel()
    return [waiting[task] for task in late]


async def _close_all(all_served: Iterable[Served]) -> None:
    await asyncio.gather(*(served.close() for served in all_served))
