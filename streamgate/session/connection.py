"""One client connection's side of its requests: what is lost with it, and what is not.

The engine calls back through here. Whatever a front end's sink raises ends here: it must not stop
the engine's turn, in which other clients' responses leave.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.errors import Code, EndReason, EndWarning, Failure, StreamGateError
from streamgate.link.contract import Listener, OnReservation
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.session.gateway import ComeSink, EndSink, ResponseSink, WarningSink
from streamgate.session.named_position import out_of_turn, take_position
from streamgate.session.routing import ModelTable, Route

log = logging.getLogger(__name__)

RESERVE_SECONDS: Final = 10.0
"""How long an engine may take to answer a reservation. In one process it takes no time."""


class OpenCall:
    """A request under way. Also the sink that sits between the engine and the front end."""

    __slots__ = ("_connection", "_sink", "is_cancelled", "number", "route")

    def __init__(self, connection: "SessionConnection", route: Route, sink: ResponseSink) -> None:
        self._connection = connection
        self.route = route
        self._sink = sink
        self.number = RequestNumber(0)
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True
        if self.number:
            self.route.link.cancel(self.number)

    def receive(self, response: Response) -> None:
        """Hand a response on; the connection forgets the call with its last, and the call its sink,
        whose front end mostly has the call: what it was told would be kept until the collector
        comes, and memory that an engine has lent with it."""
        sink = self._sink
        if response.final:
            self._connection.forget(self)
            self._sink = _ignore
        if self.route.deadlines and not self._connection.hears_warnings:
            self.route.deadlines.say(response)
        try:
            sink(response)
        except Exception:
            log.exception("a response of model '%s' was lost in its front end", response.model)


def _ignore(_: Response) -> None:
    """Nothing is expected any more."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of a sequence, with all that it takes to submit it."""

    route: Route
    request: Request
    call: OpenCall
    owner: OwnerNumber
    listener: Listener | None

    def submit(self) -> None:
        """Raises StreamGateError as `Route.submit` does."""
        self.call.number = self.route.submit(
            self.request, self.call.receive, self.owner, self.listener
        )


def _check_position(route: Route, request: Request) -> None:
    """A request that says its position must be the next: answers are not kept for a repetition."""
    position = take_position(request)
    if position is not None and not request.start:
        following = route.positions.newest_of(request.sequence) + 1
        if following and position != following:
            raise out_of_turn(request, position, following)


def nowhere(model: str, sequence: SequenceKey) -> StreamGateError:
    """For a sequence that was to be ended, and does not live."""
    return StreamGateError(Code.NOT_FOUND, f"no sequence {sequence} of model '{model}' lives")


class Takeover(Protocol):
    """Submits requests of sequences, some of which live elsewhere until then."""

    def watch(self, on_come: ComeSink) -> None:
        """Be told of each that has come."""

    async def finish(self, route: Route, sequence: SequenceKey) -> EndReason:
        """End a sequence that does not live here, or learn how it has ended. Raises
        StreamGateError for none, and for one that can't be had."""

    def submit(self, asked: Asked) -> None:
        """Now or later. Raises StreamGateError for what can be told at once."""


class SessionConnection:
    """Implements `streamgate.session.gateway.Connection` over a model table."""

    def __init__(
        self,
        owner: OwnerNumber,
        table: ModelTable,
        on_sequence_end: EndSink | None,
        on_warning: WarningSink | None = None,
        check_accepting: Callable[[], None] = lambda: None,
        takeover: "Takeover | None" = None,
    ) -> None:
        """`check_accepting` raises StreamGateError while no sequence may begin. `takeover` looks
        for sequences that do not live here."""
        self._takeover = takeover
        self._owner = owner
        self._table = table
        self._on_sequence_end = on_sequence_end
        self._on_warning = on_warning
        self.hears_warnings = on_warning is not None
        self._check_accepting = check_accepting
        self._calls: set[OpenCall] = set()
        # The routes over which it sent sequences, each with whom to tell of their end.
        self._routes: dict[Route, Listener | None] = {}
        self._closed = False
        self._is_paused = False

    def submit(self, request: Request, sink: ResponseSink) -> OpenCall:
        route = self._table.route_for(request)
        is_of_sequence = request.sequence and route.is_stateful
        comes_here = request.start or self._takeover is not None
        if comes_here and is_of_sequence and request.sequence not in route.positions:
            self._check_accepting()
        is_new = is_of_sequence and route not in self._routes
        listener = self._listener(route) if is_new else self._routes.get(route)
        call = OpenCall(self, route, sink)
        if self._takeover is None or not is_of_sequence:
            if request.parameters and is_of_sequence:
                _check_position(route, request)
            call.number = route.submit(request, call.receive, self._owner, listener)
        else:
            self._takeover.submit(Asked(route, request, call, self._owner, listener))
        self._calls.add(call)
        if is_new:
            self._add_route(route, listener)
        if self._is_paused and call.number:
            route.link.pause((call.number,))
        return call

    async def reserve(self, model: str, version: str, sequence: SequenceKey) -> None:
        answer: asyncio.Future[Failure | None] = asyncio.get_running_loop().create_future()

        def answered(failure: Failure | None) -> None:
            if not answer.done():
                answer.set_result(failure)
            elif failure is None:
                give_back()

        def give_back() -> None:
            route.link.end_sequence(sequence, EndReason.CLIENT_ABORT, drain=False)

        route = self.ask_to_reserve(model, version, sequence, answered)
        try:
            async with asyncio.timeout(RESERVE_SECONDS):
                refusal = await answer
        except (TimeoutError, asyncio.CancelledError) as error:
            # An answer that is still to come finds nobody waiting.
            if not answer.cancelled() and answer.result() is None:
                give_back()
            if isinstance(error, asyncio.CancelledError):
                raise
            text = f"model '{model}' did not answer a reservation within {RESERVE_SECONDS:g} s"
            raise StreamGateError(Code.UNAVAILABLE, text) from None
        if refusal is not None:
            raise StreamGateError(refusal.code, refusal.message)
        if self._closed:
            give_back()
            text = f"the connection was closed before sequence {sequence} began"
            raise StreamGateError(Code.CANCELLED, text)

    def ask_to_reserve(
        self, model: str, version: str, sequence: SequenceKey, on_answer: OnReservation
    ) -> Route:
        """As `reserve`, for callers that do not wait; where the sequence will live. Raises what can
        be told at once."""
        route = self._table.route(model, version)
        self._check_accepting()
        is_new = route not in self._routes
        listener = self._listener(route) if is_new else self._routes[route]
        route.reserve(sequence, self._owner, listener, on_answer)
        if is_new:
            self._add_route(route, listener)
        return route

    def keep(self, model: str, version: str, sequence: SequenceKey) -> None:
        route = self._route_of(model, sequence)
        if route is not None:
            route.link.touch(sequence)

    def end_sequence(self, model: str, version: str, sequence: SequenceKey) -> None:
        route = self._route_of(model, sequence) or self._table.route(model, version)
        route.link.end_sequence(sequence, EndReason.CLIENT_END, drain=True)

    async def finish(self, model: str, version: str, sequence: SequenceKey) -> EndReason | None:
        route = self._route_of(model, sequence)
        if route is None:
            route = self._table.route_for(Request(model, version, sequence=sequence))
            if sequence not in route.positions:
                if self._takeover is None:
                    raise nowhere(model, sequence)
                return await self._takeover.finish(route, sequence)
            listener = self._routes.get(route) or self._listener(route)
            self._add_route(route, listener)
            route.positions.listen(sequence, listener)
        route.link.end_sequence(sequence, EndReason.CLIENT_END, drain=True)
        return None

    def pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            for route, numbers in self._numbers_by_route().items():
                route.link.pause(numbers)

    def resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            for route, numbers in self._numbers_by_route().items():
                route.link.resume(numbers)

    def close(self, *, abort: bool) -> None:
        if self._closed:
            return
        self._closed = True
        if not abort:
            self.resume()
            return
        for route in self._routes:
            route.link.hang_up(self._owner)
        for call in list(self._calls):
            call.cancel()

    def forget(self, call: OpenCall) -> None:
        self._calls.discard(call)

    def _numbers_by_route(self) -> dict[Route, list[RequestNumber]]:
        numbers: dict[Route, list[RequestNumber]] = {}
        for call in self._calls:
            numbers.setdefault(call.route, []).append(call.number)
        return numbers

    def _route_of(self, model: str, sequence: SequenceKey) -> Route | None:
        """Where this connection's sequence lives: after a reload, not where new ones go."""
        for route in reversed(self._routes):
            if route.config.name == model and sequence in route.positions:
                return route
        return None

    def _add_route(self, route: Route, listener: Listener | None) -> None:
        # A connection may outlive many reloads of its models.
        self._routes = {old: told for old, told in self._routes.items() if not old.retired}
        self._routes[route] = listener

    def _listener(self, route: Route) -> Listener | None:
        on_end, on_warning = self._on_sequence_end, self._on_warning
        if on_end is None and on_warning is None:
            return None

        def ended(key: SequenceKey, reason: EndReason) -> None:
            if on_end is not None:
                self._tell(partial(on_end, route.config.name, key, reason), key)

        def warned(key: SequenceKey, warning: EndWarning) -> None:
            if on_warning is not None:
                self._tell(partial(on_warning, route.config.name, key, warning), key)

        return Listener(ended, warned)

    def _tell(self, tell: Callable[[], None], key: SequenceKey) -> None:
        if self._closed:
            return
        try:
            tell()
        except Exception:
            log.exception("news of sequence %r was lost in its front end", key)
