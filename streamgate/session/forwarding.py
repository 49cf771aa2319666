"""Requests of sequences whose logs other front ends hold: finds out whose, and hands them on."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.link.client import EngineLink
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.session.connection import SessionConnection
from streamgate.session.gateway import Call, ResponseSink
from streamgate.session.peers import PeerLinks
from streamgate.session.routing import ModelTable

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0
"""How long may be looked for who holds a sequence's log."""

WAITING_MAX: Final = 1_000
"""Requests of one sequence that may wait for that."""

_Key = tuple[str, SequenceKey]


class Forwarding:
    """The other front ends of this server, as this one uses them. `own_path` is where they reach
    this one."""

    def __init__(
        self,
        engines: Sequence[EngineLink],
        table: ModelTable,
        peers: PeerLinks,
        own_path: str,
    ) -> None:
        self._engines = engines
        self._table = table
        self._peers = peers
        self._own_path = own_path
        self._waiting: dict[_Key, list[ForwardedCall]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def is_elsewhere(self, model: str, version: str, sequence: SequenceKey) -> bool:
        """Whether a sequence of this ID may live, and not here. Raises as `Gateway.model` does."""
        route = self._table.route(model, version)
        if not route.is_stateful or sequence in route.positions:
            return False
        return not self._table.lives(model, sequence)

    def begin(self, model: str, sequence: SequenceKey) -> None:
        """A START comes here: another front end's sequence of its ID ends, at whichever engine."""
        for engine in self._engines:
            engine.supersede(model, sequence)

    def submit(
        self, connection: SessionConnection, request: Request, sink: ResponseSink
    ) -> "ForwardedCall":
        """Hand a request on, behind those of its sequence that wait for it; when nobody holds the
        sequence, it is answered over this connection. Raises StreamGateError for a request that
        does not fit its model."""
        self._table.route(request.model, request.version).checker.check(request)
        call = ForwardedCall(self._peers, connection, request, sink)
        key = request.model, request.sequence
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = [call]
            self._start(self._hand_on(key))
        elif len(waiting) >= WAITING_MAX:
            text = f"{WAITING_MAX} requests of sequence {request.sequence} wait already"
            raise StreamGateError(Code.UNAVAILABLE, text)
        else:
            waiting.append(call)
        return call

    def end_sequence(
        self, connection: SessionConnection, model: str, version: str, sequence: SequenceKey
    ) -> None:
        async def end() -> None:
            path = await self._look((model, sequence))
            try:
                if path:
                    self._peers.to(path).end_sequence(model, version, sequence)
                else:
                    connection.end_sequence(model, version, sequence)
            except StreamGateError as error:
                log.info("sequence %s of model '%s' can't be ended: %s", sequence, model, error)

        self._start(end())

    async def finish(
        self, connection: SessionConnection, model: str, version: str, sequence: SequenceKey
    ) -> EndReason | None:
        """As `Connection.finish`: where another front end holds it, its end is asked for there."""
        path = await self._look((model, sequence))
        if not path:
            return await connection.finish(model, version, sequence)
        self._peers.to(path).end_sequence(model, version, sequence)
        return EndReason.CLIENT_END

    def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        self._peers.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hand_on(self, key: _Key) -> None:
        path = ""
        try:
            path = await self._look(key)
        finally:
            for call in self._waiting.pop(key):
                call.go(path)

    async def _look(self, key: _Key) -> str:
        """Where the front end is that holds a sequence; "" for none, or this one."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                path = await self._ask(key)
        except TimeoutError:
            log.warning("it took too long to find out who holds sequence %s", key[1])
            return ""
        return path if path != self._own_path else ""

    async def _ask(self, key: _Key) -> str:
        """The engines know of what lives there; what lives nowhere just now, its front end."""
        name, sequence = key
        asked = (
            engine.owner_of(name, sequence, LOOK_SECONDS)
            for engine in self._engines
            if engine.is_connected
        )
        for told in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(told, StreamGateError):
                continue
            if isinstance(told, BaseException):
                raise told
            if told:
                return told
        others = {path for engine in self._engines for path in engine.peers}
        paths = sorted(others - {self._own_path})
        hold = await asyncio.gather(*(self._peers.to(path).holds(name, sequence) for path in paths))
        return next((path for path, holds in zip(paths, hold, strict=True) if holds), "")


class ForwardedCall:
    """Implements `streamgate.session.gateway.Call`: its sequence is perhaps held elsewhere."""

    def __init__(
        self,
        peers: PeerLinks,
        connection: SessionConnection,
        request: Request,
        sink: ResponseSink,
    ) -> None:
        self._peers = peers
        self._connection = connection
        self._request = request
        self._sink = sink
        self._is_cancelled = False
        self._is_over = False
        self._path = ""
        self._number = 0
        self._here: Call | None = None

    def cancel(self) -> None:
        self._is_cancelled = True
        if self._here is not None:
            self._here.cancel()
        elif self._number:
            self._peers.to(self._path).cancel(self._number)

    def go(self, path: str) -> None:
        """It is known where the sequence is held: there, or with "" nowhere else."""
        request = self._request
        try:
            if self._is_cancelled:
                raise StreamGateError(Code.CANCELLED, "")
            if path:
                self._path = path
                self._number = self._peers.to(path).submit(request, self._receive)
            else:
                self._here = self._connection.submit(request, self._receive)
        except StreamGateError as error:
            self._receive(_failed(request, error.failure))

    def _receive(self, response: Response) -> None:
        if self._is_over:
            return
        self._is_over = response.final
        try:
            self._sink(response)
        except Exception:
            log.exception("a response of model '%s' was lost in its front end", response.model)


class ForwardingConnection:
    """Implements `streamgate.session.gateway.Connection` where there are other front ends."""

    def __init__(self, here: SessionConnection, forwarding: Forwarding) -> None:
        self._here = here
        self._forwarding = forwarding
        self._away: set[ForwardedCall] = set()
        self.keep = here.keep
        self.reserve = here.reserve
        self.pause = here.pause
        self.resume = here.resume

    def submit(self, request: Request, sink: ResponseSink) -> Call:
        if not request.sequence or not self._forwarding.is_elsewhere(
            request.model, request.version, request.sequence
        ):
            return self._here.submit(request, sink)
        if request.start:
            self._forwarding.begin(request.model, request.sequence)
            return self._here.submit(request, sink)

        def receive(response: Response) -> None:
            if response.final:
                self._away.discard(call)
            sink(response)

        call = self._forwarding.submit(self._here, request, receive)
        self._away.add(call)
        return call

    def end_sequence(self, model: str, version: str, sequence: SequenceKey) -> None:
        if self._forwarding.is_elsewhere(model, version, sequence):
            self._forwarding.end_sequence(self._here, model, version, sequence)
        else:
            self._here.end_sequence(model, version, sequence)

    async def finish(self, model: str, version: str, sequence: SequenceKey) -> EndReason | None:
        if self._forwarding.is_elsewhere(model, version, sequence):
            return await self._forwarding.finish(self._here, model, version, sequence)
        return await self._here.finish(model, version, sequence)

    def close(self, *, abort: bool) -> None:
        self._here.close(abort=abort)
        if abort:
            for call in list(self._away):
                call.cancel()


def _failed(request: Request, failure: Failure) -> Response:
    return Response(
        *(request, request.model, request.version), failure=failure, admitted=False, ran=False
    )
