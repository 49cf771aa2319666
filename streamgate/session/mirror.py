"""The models of several engines as one table: a route for each version that some engine serves.

In front of the engines' links stands one log for each version (`DurableLink`), whose places are the
engines that serve it. It outlives them: while all of them are away, its sequences wait there for
one to come back, and what is asked for meanwhile waits with them.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from streamgate.engine.host import AsyncioHost
from streamgate.errors import EndReason
from streamgate.link.client import EngineLink
from streamgate.link.contract import ModelLink
from streamgate.link.remote_model import RemoteModel
from streamgate.model.config import ModelConfig
from streamgate.model.statistics import DurabilityStatistics
from streamgate.session.durable.link import DurableLink
from streamgate.session.routing import (
    LOADING,
    READY,
    UNAVAILABLE,
    UNLOADING,
    ModelTable,
    Route,
    VersionState,
)
from streamgate.session.succession import RoutePlace, can_follow
from streamgate.session.sums import sum_durability

log = logging.getLogger(__name__)

MOVE_SECONDS: Final = 600.0
"""How long the sequences of a place may take to leave it. The engine ends what is left earlier."""

_BEST_FIRST: Final = (READY, LOADING, UNLOADING, UNAVAILABLE, "")
"""Which state is shown of a version that has several, on several engines."""

MakeLink = Callable[[ModelConfig, str], DurableLink]


@dataclass(eq=False)
class Service:
    """One version as clients reach it. `is_wanted`: an engine that is connected, or was when it was
    lost, serves it. `is_left`: others have come in its place, and it serves what lives there;
    `successor` is where that may go."""

    route: Route
    link: DurableLink
    config: ModelConfig
    places: set[RemoteModel] = field(default_factory=set)
    is_wanted: bool = True
    is_left: bool = False
    successor: RoutePlace | None = None
    moving: dict[RemoteModel, asyncio.Task[None]] = field(default_factory=dict)
    """Places that sequences are leaving."""

    def can_be_at(self, model: RemoteModel) -> bool:
        return _essence(model.config) == _essence(self.config)

    @property
    def is_served(self) -> bool:
        """Whether an engine takes new sequences of it now."""
        return any(model.is_accepting for model in self.places)


class Mirror:
    """Keeps a table as its engines have theirs. `renew` whenever one of them has changed."""

    def __init__(
        self,
        engines: Sequence[EngineLink],
        table: ModelTable,
        make: MakeLink,
        front: Callable[[ModelLink], ModelLink] | None = None,
    ) -> None:
        self._front = front
        self._engines = engines
        self._table = table
        self._make = make
        self._services: dict[tuple[str, int], list[Service]] = {}
        self._renewed: set[tuple[str, int]] = set()
        self._past: dict[tuple[str, str], DurabilityStatistics] = {}

    def renew(self) -> None:
        self._renew_places()
        lines: dict[str, dict[int, VersionState]] = {}
        troubles: dict[str, str] = {}
        for engine in self._engines:
            for line in engine.lines:
                troubles[line.name] = troubles.get(line.name, "") or line.trouble
                versions = lines.setdefault(line.name, {})
                for version in line.versions:
                    state = self._state(line.name, version.number, version.state, version.reason)
                    known = versions.get(version.number)
                    if known is None or is_better(state.state, known.state):
                        versions[version.number] = state
        for name, versions in lines.items():
            for number, state in versions.items():
                self._enter(name, number, state)
            is_served = any(each.route is not None for each in versions.values())
            self._note_trouble(name, "" if is_served else troubles[name])

    def services(self) -> Iterable[Service]:
        """All that are in the table."""
        for services in self._services.values():
            yield from (service for service in services if service.is_wanted)

    def sequences(self) -> int:
        """How many live here."""
        return sum(len(service.route.positions) for service in self.services())

    def stalled(self) -> int:
        """How many of them have stalled, and not got on yet."""
        return sum(service.link.watch.stalled for service in self.services())

    def durability(self) -> dict[tuple[str, str], DurabilityStatistics]:
        """What was recovered here, and what was refused of engines that were given up, by model and
        version, by what has gone out of service too."""
        found = dict(self._past)
        for services in self._services.values():
            for service in services:
                _add(found, service)
        for engine in self._engines:
            stale = engine.counts.stale
            for key in stale.results_of.keys() | stale.snapshots_of.keys():
                refused = DurabilityStatistics(
                    stale_results=stale.results_of.get(key, 0),
                    stale_snapshots=stale.snapshots_of.get(key, 0),
                )
                counted = sum_durability(found.get(key), refused)
                assert counted is not None
                found[key] = counted
        return found

    def close(self) -> None:
        """Recover nothing any more."""
        for services in self._services.values():
            for service in services:
                service.link.close()
                for task in list(service.moving.values()):
                    task.cancel()

    # -- places

    def _renew_places(self) -> None:
        models = [(each, model) for each in self._engines for model in each.models.values()]
        for engine, model in models:
            self._place(engine, model)
        for key, services in list(self._services.items()):
            for service in services:
                for model in list(service.places):
                    if not model.is_open:
                        service.places.discard(model)
                        service.link.remove_place(model, model.engine.loss)
                        if (moving := service.moving.get(model)) is not None:
                            moving.cancel()
            wanted = self._wanted(*key)
            for service in services:
                service.is_wanted = service is wanted
                if service.is_wanted:
                    self._come_back(service)
        for key, services in list(self._services.items()):
            for service in services:
                if not service.is_wanted:
                    self._leave(service)
                # Once all places are there: what leaves one goes to another.
                for model in service.places:
                    self._drain(service, model)
            self._services[key] = [each for each in services if not self._retire(each)]

    @staticmethod
    def _come_back(service: Service) -> None:
        """What came in its place is there no more. Nothing goes on to there, from where it would
        come back here."""
        service.is_left = False
        successor, service.successor = service.successor, None
        if successor is not None:
            service.link.remove_place(successor)

    def _leave(self, service: Service) -> None:
        """A service is out of service: its sequences go on at one that has come in its place, or
        live on where they are; where none has, they end."""
        if service.is_left:
            return
        others = [
            each
            for (name, _), services in sorted(self._services.items())
            if name == service.config.name
            for each in services
            if each.is_wanted
        ]
        if not others:
            _end(service)
            return
        service.is_left = True
        following = [each for each in others if can_follow(service.config, each.config)]
        same = [each for each in following if each.route.version == service.route.version]
        successor = next(iter(same or following[-1:]), None)
        if successor is None:
            return
        if not same:
            service.link.pin(service.route.positions.named())
        host = AsyncioHost(asyncio.get_running_loop())
        service.successor = RoutePlace(service.route, successor.route, host)
        service.link.add_place(service.successor, "successor")

    def _drain(self, service: Service, model: RemoteModel) -> None:
        """Send nothing new to a place that wants nothing, and let its sequences go to others."""
        service.link.set_draining(model, draining=not model.is_accepting)
        moving = service.moving.get(model)
        if model.is_accepting:
            if moving is not None:
                moving.cancel()
        elif moving is None and (service.is_served or service.is_left):
            moving = asyncio.create_task(self._move(service, model))
            service.moving[model] = moving
            moving.add_done_callback(lambda _: service.moving.pop(model, None))

    @staticmethod
    async def _move(service: Service, model: RemoteModel) -> None:
        left = await service.link.drain_place(model, MOVE_SECONDS)
        if left and model.is_open:
            log.warning(
                "%d sequences of model '%s' stay where they are: they can't be moved",
                *(left, service.config.name),
            )

    def _place(self, engine: EngineLink, model: RemoteModel) -> None:
        """See that a version of an engine is a place of the service that it belongs to."""
        services = self._services.setdefault((model.config.name, int(model.version)), [])
        service = next((each for each in services if model in each.places), None)
        if service is None:
            if not model.is_ready_there:
                return
            service = next((each for each in services if each.can_be_at(model)), None)
            if service is None:
                service = self._open(model)
                services.append(service)
            service.places.add(model)
            service.link.add_place(model, engine.name)
        if service.link.config is not service.route.config:
            service.config = service.link.config
            service.route.renew_config()
            self._renewed.add((model.config.name, int(model.version)))

    def _open(self, model: RemoteModel) -> Service:
        link = self._make(model.config, model.version)
        served: ModelLink = link if self._front is None else self._front(link)
        return Service(Route(served), link, model.config)

    def _retire(self, service: Service) -> bool:
        """Let a service go when nothing lives there any more, nor will. Returns whether it goes."""
        if service.is_wanted or service.places or len(service.route.positions):
            return False
        service.route.retired = True
        service.link.close()
        _add(self._past, service)
        return True

    def _wanted(self, name: str, number: int) -> Service | None:
        """Which of a version's services new requests go to: the newest that is served, or was until
        its engines were lost."""
        services = self._services.get((name, number), [])
        ready = [each for each in services if any(model.is_ready_there for model in each.places)]
        if ready:
            return ready[-1]
        is_lost = any(
            not engine.is_connected
            and line.name == name
            and any(each.number == number and each.model for each in line.versions)
            for engine in self._engines
            for line in engine.lines
        )
        return services[-1] if services and is_lost else None

    # -- the table

    def _state(self, name: str, number: int, state: str, reason: str) -> VersionState:
        """What clients see of a version of which an engine says this."""
        service = self._wanted(name, number)
        if service is not None:
            return VersionState(READY, "", service.route)
        if state == READY:
            return VersionState(UNAVAILABLE, "no engine serves it just now")
        return VersionState(state, reason)

    def _enter(self, name: str, number: int, state: VersionState) -> None:
        model = self._table.get(name)
        known = model.versions.get(number) if model is not None else None
        if known != state or (name, number) in self._renewed:
            self._renewed.discard((name, number))
            self._table.set(name, number, state)

    def _note_trouble(self, name: str, trouble: str) -> None:
        model = self._table.get(name)
        if (model.trouble if model is not None else "") != trouble:
            self._table.note_trouble(name, trouble)


def _end(service: Service) -> None:
    """The version was taken out of service, and nothing takes its place: its sequences end."""
    for key in service.route.positions.keys():  # noqa: SIM118, it is no dict, and ends change it
        service.link.end_sequence(key, EndReason.DRAINED, drain=True)


def _add(to: dict[tuple[str, str], DurabilityStatistics], service: Service) -> None:
    """Count what a service has counted."""
    key = service.config.name, service.route.version
    counted = sum_durability(to.get(key), service.link.durability())
    assert counted is not None
    to[key] = counted


def _essence(config: ModelConfig) -> ModelConfig:
    """Without what engines may differ in, or be resized to."""
    return replace(config, instances=(), json="", wire=b"")


def is_better(state: str, than: str) -> bool:
    """Whether this state of a version is shown rather than that one of another engine."""
    return _BEST_FIRST.index(state) < _BEST_FIRST.index(than)
