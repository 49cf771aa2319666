"""What front ends of one server do for each other: requests of a sequence go to who holds its log.

    PeerServer   takes requests from other front ends, for the sequences that are held here
    PeerLinks    sends requests to other front ends

A client's requests of one sequence may come over several connections, and these to several front
ends. There is one log for each sequence, so the others hand such requests on.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from streamgate.errors import Code, Failure, StreamGateError
from streamgate.link.addresses import UnixAddress
from streamgate.link.channel import Channel, Heartbeat
from streamgate.link.frames import FrameError
from streamgate.link.greeting import Doorkeeper, Handlers, OnLost, introduce
from streamgate.link.messages import (
    AskOwner,
    Cancel,
    Forward,
    ForwardEnd,
    Hello,
    Owner,
    Welcome,
)
from streamgate.link.steps import Result, Step, encode_result, encode_step
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.session.gateway import Call, Connection, Gateway, ResponseSink

log = logging.getLogger(__name__)

UNSENT_MAX: Final = 1_000
"""Requests that may wait for a front end to be connected."""

Holds = Callable[[str, SequenceKey], bool]
"""Whether the log of a model's sequence is held here."""


class PeerServer:
    """Serves requests that other front ends hand on. `gateway` must not hand them on again."""

    def __init__(
        self, gateway: Gateway, holds: Holds, incarnation: str, heartbeat: Heartbeat | None = None
    ) -> None:
        self._gateway = gateway
        self._holds = holds
        self._incarnation = incarnation
        self._door = Doorkeeper(b"", heartbeat or Heartbeat(), self._admit)
        self._visitors: set[_Visitor] = set()
        self._path = ""

    def listen_unix(self, path: Path) -> None:
        """Raises StreamGateError."""
        self._door.listen_unix(path)
        self._path = str(path)

    async def stop(self) -> None:
        """Idempotent."""
        await self._door.stop()
        for visitor in list(self._visitors):
            visitor.close()

    def _admit(self, channel: Channel, _: Hello, proof: bytes) -> tuple[Handlers, OnLost]:
        channel.send(Welcome(proof, self._incarnation, self._gateway.server_info()))
        channel.begin()
        visitor = _Visitor(channel, self._gateway, self._visitors.discard)
        self._visitors.add(visitor)

        def owner(ask: AskOwner) -> None:
            path = self._path if self._holds(ask.name, ask.sequence) else ""
            channel.send(Owner(ask.number, path))

        return {**visitor.handlers, AskOwner: owner}, visitor.lost


class _Visitor:
    """Another front end, and what it has handed on."""

    def __init__(
        self, channel: Channel, gateway: Gateway, on_gone: Callable[["_Visitor"], None]
    ) -> None:
        self._channel = channel
        self._gateway = gateway
        self._on_gone = on_gone
        self._announced: dict[int, Forward] = {}
        self._calls: dict[int, tuple[Connection, Call]] = {}
        self.handlers: Handlers = {
            Forward: self._announce,
            Step: self._step,
            Cancel: self._cancel,
            ForwardEnd: self._end,
        }

    def lost(self, why: str) -> None:
        log.info("a front end is gone: %s", why)
        self._let_go()

    def close(self) -> None:
        self._channel.close()
        self._let_go()

    def _let_go(self) -> None:
        """Nobody waits for the answers any more; the sequences are held here, and live on."""
        self._on_gone(self)
        for connection, call in list(self._calls.values()):
            call.cancel()
            connection.close(abort=False)
        self._calls.clear()

    def _announce(self, forward: Forward) -> None:
        if len(self._announced) > UNSENT_MAX:
            raise FrameError("steps are announced that do not come")
        self._announced[forward.number] = forward

    def _step(self, step: Step) -> None:
        forward = self._announced.pop(step.number, None)
        if forward is None:
            raise FrameError("a step came without its model")
        request = step.request
        request.model, request.version = forward.name, forward.version
        connection = self._gateway.connect()
        try:
            call = connection.submit(request, partial(self._respond, step.number))
        except StreamGateError as error:
            response = _failed(request, error.failure)
            self._channel.send_frame(*encode_result(step.number, response))
        else:
            self._calls[step.number] = connection, call

    def _respond(self, number: int, response: Response) -> None:
        if response.final:
            connection, _ = self._calls.pop(number, (None, None))
            if connection is not None:
                connection.close(abort=False)
        self._channel.send_frame(*encode_result(number, response))

    def _cancel(self, cancel: Cancel) -> None:
        _, call = self._calls.get(cancel.number, (None, None))
        if call is not None:
            call.cancel()

    def _end(self, end: ForwardEnd) -> None:
        connection = self._gateway.connect()
        try:
            connection.end_sequence(end.name, end.version, end.sequence)
        except StreamGateError as error:
            log.info("a sequence that another front end wants to end: %s", error)
        connection.close(abort=False)


class PeerLinks:
    """Connections to other front ends, made when they are needed."""

    def __init__(self, incarnation: str, heartbeat: Heartbeat | None = None) -> None:
        self._incarnation = incarnation
        self._heartbeat = heartbeat or Heartbeat()
        self._links: dict[str, _PeerLink] = {}

    def to(self, path: str) -> "_PeerLink":
        link = self._links.get(path)
        if link is None or link.is_over:
            link = self._links[path] = _PeerLink(path, self._incarnation, self._heartbeat)
        return link

    def close(self) -> None:
        """What is under way is answered as lost."""
        for link in self._links.values():
            link.close()
        self._links.clear()


class _PeerLink:
    """One other front end, from the first request to it until the connection is over."""

    def __init__(self, path: str, incarnation: str, heartbeat: Heartbeat) -> None:
        self.is_over = False
        self._path = path
        self._numbers = itertools.count(1)
        self._calls: dict[int, tuple[Request, ResponseSink]] = {}
        self._questions: dict[int, asyncio.Future[str]] = {}
        self._unsent: list[Callable[[Channel], None]] = []
        self._channel: Channel | None = None
        self._task = asyncio.create_task(self._connect(incarnation, heartbeat))

    async def _connect(self, incarnation: str, heartbeat: Heartbeat) -> None:
        address = UnixAddress(Path(self._path))
        try:
            await introduce(address, (incarnation, ""), b"", heartbeat, self._adopt, self._lost)
        except (OSError, TimeoutError, StreamGateError) as error:
            self._lost(str(error))

    def _adopt(self, channel: Channel, _: Welcome) -> Handlers:
        self._channel = channel
        for send in self._unsent:
            send(channel)
        self._unsent.clear()
        return {Result: self._result, Owner: self._owner}

    def _send(self, send: Callable[[Channel], None]) -> None:
        if self._channel is not None:
            send(self._channel)
        elif len(self._unsent) < UNSENT_MAX:
            self._unsent.append(send)
        else:
            raise StreamGateError(Code.UNAVAILABLE, "another front end can't be reached just now")

    def submit(self, request: Request, sink: ResponseSink) -> int:
        """Hand a checked request on; its number here. Raises StreamGateError for one that can't be
        sent."""
        number = next(self._numbers)
        try:
            header, bodies = encode_step(number, 0, 0, 0, -1, request)
        except (TypeError, ValueError) as error:
            raise StreamGateError(
                Code.INVALID_ARG, f"the request can't be sent: {error}"
            ) from error

        def send(channel: Channel) -> None:
            channel.send(Forward(number, request.model, request.version))
            channel.send_frame(header, bodies)

        self._send(send)
        self._calls[number] = request, sink
        return number

    def cancel(self, number: int) -> None:
        if number in self._calls:
            self._send(lambda channel: channel.send(Cancel(number)))

    def end_sequence(self, model: str, version: str, sequence: SequenceKey) -> None:
        self._send(lambda channel: channel.send(ForwardEnd(model, version, sequence)))

    async def holds(self, model: str, sequence: SequenceKey) -> bool:
        """Whether it holds the sequence's log. False when it can't be asked."""
        number = next(self._numbers)
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._questions[number] = future
        try:
            self._send(lambda channel: channel.send(AskOwner(number, model, sequence)))
            return bool(await future)
        except StreamGateError:
            return False
        finally:
            self._questions.pop(number, None)

    def close(self) -> None:
        self._task.cancel()
        if self._channel is not None:
            self._channel.close()
        if not self.is_over:
            self._lost("it is being closed")

    def _result(self, result: Result) -> None:
        request, sink = self._calls.get(result.number, (None, None))
        if request is None or sink is None:
            return
        if result.final:
            del self._calls[result.number]
        sink(result.response_to(request))

    def _owner(self, owner: Owner) -> None:
        future = self._questions.get(owner.number)
        if future is not None and not future.done():
            future.set_result(owner.peer_path)

    def _lost(self, why: str) -> None:
        log.info("the front end at %s is lost: %s", self._path, why)
        self.is_over = True
        self._channel = None
        self._unsent.clear()
        for future in self._questions.values():
            if not future.done():
                future.set_result("")
        calls, self._calls = self._calls, {}
        failure = Failure(Code.UNAVAILABLE, "the front end that holds the sequence was lost")
        for request, sink in calls.values():
            sink(_failed(request, failure))


def _failed(request: Request, failure: Failure) -> Response:
    return Response(
        *(request, request.model, request.version), failure=failure, admitted=False, ran=False
    )
