"""Which models there are, in which versions and states, and the link to each that is ready.

The lifecycle writes this table, the gateway reads it. Lookup texts are Triton's.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from streamgate.core.ids import NO_OWNER, OwnerNumber, RequestNumber
from streamgate.errors import Code, EndReason, EndWarning, Failure, StreamGateError
from streamgate.link.contract import Listener, ModelLink, OnHandOver, OnReservation, movable
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.session.check import RequestChecker
from streamgate.session.deadlines import Deadlines
from streamgate.session.gateway import ModelIndexEntry, ModelInfo
from streamgate.session.positions import Positions

READY = "READY"
LOADING = "LOADING"
UNLOADING = "UNLOADING"
UNAVAILABLE = "UNAVAILABLE"

UNLOADED = "unloaded"
"""The reason of a version that was unloaded on purpose: it does not make the server unready."""


OnGone = Callable[[str, SequenceKey], None]
"""Told of a sequence that lives no more: model, correlation ID."""


class Route:
    """A ready model version: its link, its checks and the positions of its live sequences.

    Implements `streamgate.link.contract.ModelRoute`.
    """

    def __init__(self, link: ModelLink) -> None:
        self.retired = False
        self.link = link
        self.config = link.config
        self.version = link.version
        self.is_stateful = link.config.stateful
        self.checker = RequestChecker(link.config)
        self.positions = Positions()
        self.is_held_elsewhere: Callable[[SequenceKey], bool] = lambda _: False
        """Whether who holds a sequence moves it on its own: a front end in another process."""
        self.fronts: dict[SequenceKey, Route] = {}
        """The sequences that have come from a route that was replaced, and are reached through it
        until they end."""
        self._holders = 0
        self._when_released: asyncio.Event | None = None
        self.deadlines = Deadlines()
        link.watch_sequences(self._ended, self.warn)

    def warn(self, sequence: SequenceKey, warning: EndWarning) -> None:
        """The sequence will end: tell who has it."""
        self.deadlines.note(sequence, warning)
        self.positions.warn(sequence, warning)

    def _ended(self, sequence: SequenceKey, reason: EndReason, place: int) -> None:
        self.deadlines.forget(sequence)
        self.positions.end(sequence, reason, place)

    def submit(
        self,
        request: Request,
        sink: Callable[[Response], None],
        owner: OwnerNumber,
        listener: Listener | None,
    ) -> RequestNumber:
        self.checker.check(request)
        return self.submit_checked(request, sink, owner, listener)

    def submit_checked(
        self,
        request: Request,
        sink: Callable[[Response], None],
        owner: OwnerNumber,
        listener: Listener | None,
        at: int | None = None,
    ) -> RequestNumber:
        """As `submit`, for a request that was checked elsewhere, by the same rules, and has perhaps
        been given its position there."""
        if not request.sequence or not self.is_stateful:
            request.version = self.version
            return self.link.submit(request, sink, NO_OWNER, -1)
        position = self.positions.assign(request, listener, at)
        request.version = self.version
        if not request.start:
            return self.link.submit(request, sink, owner, position)

        def receive(response: Response) -> None:
            if response.final and not response.admitted:
                self.positions.refuse(request)
            sink(response)

        return self.link.submit(request, receive, owner, position)

    def reserve(
        self,
        sequence: SequenceKey,
        owner: OwnerNumber,
        listener: Listener | None,
        on_answer: OnReservation,
    ) -> None:
        self.checker.check_reservation(sequence)
        if not self.positions.reserve(sequence, listener):
            raise self._lives(sequence, "reserved")

        def answered(failure: Failure | None) -> None:
            if failure is not None:
                self.positions.refuse_reservation(sequence)
            on_answer(failure)

        self.link.reserve(sequence, owner, answered)

    def restore(
        self,
        sequence: SequenceKey,
        owner: OwnerNumber,
        listener: Listener | None,
        snapshot: Snapshot,
        on_answer: OnReservation,
    ) -> None:
        link = movable(self.link)
        self.checker.check_reservation(sequence)
        if not self.positions.restore(sequence, listener, snapshot.position + 1):
            raise self._lives(sequence, "restored")

        def answered(failure: Failure | None) -> None:
            if failure is not None:
                self.positions.refuse_restored(sequence)
            on_answer(failure)

        link.restore(sequence, owner, snapshot, answered)

    def hand_over(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        def answered(answer: Snapshot | Failure) -> None:
            if isinstance(answer, Snapshot):
                self.deadlines.forget(sequence)
                self.positions.leave(sequence)
            on_answer(answer)

        movable(self.link).hand_over(sequence, answered)

    def _lives(self, sequence: SequenceKey, done: str) -> StreamGateError:
        return StreamGateError(
            Code.ALREADY_EXISTS,
            f"sequence {sequence} of model '{self.config.name}' lives already: no other can be "
            f"{done}",
        )

    def renew_config(self) -> None:
        """The model has another configuration now, in nothing that requests are checked by."""
        self.config = self.link.config

    def hold(self) -> None:
        self._holders += 1

    def release(self) -> None:
        self._holders -= 1
        if not self._holders and self._when_released is not None:
            self._when_released.set()

    @property
    def is_held(self) -> bool:
        return self._holders > 0

    async def wait_released(self) -> None:
        """Until no request that is under way has anything to send here. May wait long: bound it."""
        while self._holders:
            self._when_released = asyncio.Event()
            await self._when_released.wait()


@dataclass(slots=True)
class VersionState:
    """One version's state as the repository index shows it; `route` is there when it is READY."""

    state: str
    reason: str = ""
    route: Route | None = None


@dataclass(slots=True)
class ModelState:
    """One model's versions, by number."""

    versions: dict[int, VersionState] = field(default_factory=dict)
    trouble: str = ""
    """Why the model could not be read, where that kept it from being served; "" if it could."""

    def ready(self) -> list[int]:
        """The ready versions, ascending."""
        return sorted(n for n, version in self.versions.items() if version.route is not None)


class ModelTable:
    """Every model that is known, by name."""

    def __init__(self) -> None:
        self._models: dict[str, ModelState] = {}
        # What lookups found, until something changes: each request makes several.
        self._routes: dict[tuple[str, str], Route] = {}
        self._infos: dict[tuple[str, str], ModelInfo] = {}
        # Out of service, but sequences may live on in them.
        self._older: dict[str, list[Route]] = {}
        self._watchers: list[Callable[[], None]] = []
        self._on_gone: OnGone | None = None

    def watch(self, on_change: Callable[[], None]) -> None:
        """Be told, at once, of each change from now on: of versions, their states and reasons."""
        self._watchers.append(on_change)

    def unwatch(self, on_change: Callable[[], None]) -> None:
        """Not any more."""
        self._watchers.remove(on_change)

    def note_change(self) -> None:
        """A version's state or reason was changed in its place."""
        for on_change in list(self._watchers):
            on_change()

    def names(self) -> list[str]:
        """Every model that is known, sorted."""
        return sorted(self._models)

    def watch_sequences(self, on_gone: OnGone) -> None:
        """Be told of each sequence of any model that lives no more, whoever's it was. Before the
        first model is asked for one."""
        self._on_gone = on_gone
        for route in self.routes():
            self._watch(route)

    def _watch(self, route: Route) -> None:
        if self._on_gone is not None:
            route.positions.watch(partial(self._on_gone, route.config.name))

    def get(self, name: str) -> ModelState | None:
        return self._models.get(name)

    def is_served(self, name: str) -> bool:
        """Whether any version of the model is ready."""
        model = self._models.get(name)
        return model is not None and bool(model.ready())

    def route_of(self, name: str, number: int) -> Route | None:
        """The route of exactly this version, if it is ready."""
        model = self._models.get(name)
        version = model.versions.get(number) if model is not None else None
        return version.route if version is not None else None

    def set(self, name: str, number: int, version: VersionState) -> None:
        """Enter a version, in place of the one that had its number."""
        model = self._models.setdefault(name, ModelState())
        known = model.versions.get(number)
        if known is not None and known.route is not None and known.route is not version.route:
            self._older[name] = [*self._older_of(name), known.route]
        model.versions[number] = version
        if version.route is not None:
            self._watch(version.route)
        model.trouble = ""
        self._routes.clear()
        self._infos.clear()
        self.note_change()

    def note_trouble(self, name: str, reason: str) -> None:
        """A model that should be served could not be read: not even its versions are known.

        An empty reason takes the note back, and so does the next version that is entered.
        """
        model = self._models.setdefault(name, ModelState())
        model.trouble = reason
        if not reason and not model.versions:
            del self._models[name]
        self.note_change()

    def route(self, name: str, version: str) -> Route:
        """The ready version asked for, the newest when `version` is "".

        Raises StreamGateError: NOT_FOUND, UNAVAILABLE, or INVALID_ARG for a malformed version.
        """
        route = self._routes.get((name, version))
        if route is None:
            route = self._find(name, version)
            if version in ("", route.version):
                # "1", "01" and "1x" are the same version: only what is bounded is remembered.
                self._routes[name, version] = route
        return route

    def route_for(self, request: Request) -> Route:
        """Where a request goes: a sequence goes on where it lives, though another version or load
        of the model has come into service. A START takes its ID over from there. Raises as `route`
        does."""
        key, version = request.sequence, request.version
        if not key or request.model not in self._older:
            return self.route(request.model, version)
        try:
            route = self.route(request.model, version)
        except StreamGateError:
            if request.start:
                raise
            route = None
        if not request.start and route is not None and key in route.positions:
            while key in route.fronts:
                route = route.fronts[key]
            return route
        for older in self._older_of(request.model):
            if older is route or key not in older.positions or version not in {"", older.version}:
                continue
            if not request.start:
                return older
            older.link.end_sequence(key, EndReason.SUPERSEDED, drain=True)
        if route is None:
            return self.route(request.model, version)
        route.fronts.pop(key, None)
        return route

    def warn(self, warning: EndWarning) -> None:
        """All sequences of all models will end: tell who has them."""
        for name in list(self._models):
            ready = [each.route for each in self._models[name].versions.values() if each.route]
            for route in (*ready, *self._older_of(name)):
                for key in route.positions.keys():  # noqa: SIM118, it is no dict
                    route.warn(key, warning)

    def lives(self, name: str, sequence: SequenceKey) -> bool:
        """Whether the model has such a sequence, in any version."""
        model = self._models.get(name)
        routes = [each.route for each in model.versions.values()] if model is not None else []
        return any(
            route is not None and sequence in route.positions
            for route in (*routes, *self._older_of(name))
        )

    def _older_of(self, name: str) -> list[Route]:
        older = [each for each in self._older.get(name, ()) if not each.retired]
        if older:
            self._older[name] = older
        else:
            self._older.pop(name, None)
        return older

    def info(self, name: str, version: str) -> ModelInfo:
        """What front ends see of the version asked for. Raises as `route` does."""
        info = self._infos.get((name, version))
        if info is None:
            route = self.route(name, version)
            ready = [str(number) for number in self._models[name].ready()]
            info = ModelInfo(route.config, route.version, [route.version] if version else ready)
            if version in ("", route.version):
                self._infos[name, version] = info
        return info

    def _find(self, name: str, version: str) -> Route:
        number = parse_version(version)
        model = self._models.get(name)
        if model is None or not (model.versions or model.trouble):
            raise _not_found(name, "is not found")
        if number is None:
            ready = model.ready()
            if not ready:
                raise _not_found(name, "has no available versions")
            route = model.versions[ready[-1]].route
        else:
            state = model.versions.get(number)
            if state is None:
                raise _not_found(name, f"version {number} is not found")
            route = state.route
            if route is None:
                raise StreamGateError(
                    Code.UNAVAILABLE,
                    f"Request for unknown model: '{name}' version {number} is not at ready state",
                )
        assert route is not None
        return route

    def routes(self) -> Iterator[Route]:
        """All ready versions, by name and version."""
        for name in sorted(self._models):
            model = self._models[name]
            for number in model.ready():
                route = model.versions[number].route
                assert route is not None
                yield route

    def is_ready(self) -> bool:
        """Whether every known version is READY or was unloaded on purpose (strict readiness).

        One that is still being unloaded counts as unloaded; in Triton it makes the server unready
        until it is.
        """
        return all(
            not model.trouble
            and all(
                version.route is not None
                or version.state == UNLOADING
                or version.reason == UNLOADED
                for version in model.versions.values()
            )
            for model in self._models.values()
        )

    def index(self, known_names: Sequence[str], *, ready_only: bool) -> list[ModelIndexEntry]:
        """The repository index; `known_names` are listed even if they were never loaded."""
        entries = []
        for name in sorted({*known_names, *self._models}):
            model = self._models.get(name, ModelState())
            for number, version in sorted(model.versions.items()):
                if version.state == READY or not ready_only:
                    entries.append(
                        ModelIndexEntry(name, str(number), version.state, version.reason)
                    )
            if not ready_only and (model.trouble or not model.versions):
                state = UNAVAILABLE if model.trouble else ""
                entries.append(ModelIndexEntry(name, "", state, model.trouble))
        return entries


_INTEGER = re.compile(r"[ \t-\r]*([+-]?)0*([0-9]+)")


def parse_version(text: str) -> int | None:
    """A version as a client writes it; None for "", the newest.

    Read as C's `stol` reads it, as Triton does: leading digits count, so "1x" is 1. Raises
    StreamGateError (INVALID_ARG).
    """
    if not text:
        return None
    match = _INTEGER.match(text)
    # Twenty digits are too many already, and Python reads only so many.
    number = int(match[1] + match[2]) if match and len(match[2]) < 20 else None
    if number is None or not -(2**63) <= number < 2**63:
        raise StreamGateError(
            Code.INVALID_ARG,
            f"failed to get model version from specified version string '{text}' (details: "
            "stol), version should be an integral value > 0",
        )
    if number < 0:
        raise StreamGateError(
            Code.INVALID_ARG,
            f"invalid model version specified '{text}' , version should be an integral value > 0",
        )
    return number


def _not_found(name: str, what: str) -> StreamGateError:
    return StreamGateError(Code.NOT_FOUND, f"Request for unknown model: '{name}' {what}")
