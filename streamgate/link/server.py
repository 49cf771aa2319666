"""The engine's end of all links: exports a model table to the front ends that connect.

Each front end is told the whole table, and every change of it at once. What it asks for here is its
own: when its connection is over, its sequences end, as its clients are not reached any more.
"""

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Final

from streamgate.errors import Code, Failure, StreamGateError
from streamgate.link.addresses import TcpAddress, listen_tcp, listen_unix
from streamgate.link.channel import NONCE_BYTES, Channel, Heartbeat, is_proof, proof_of
from streamgate.link.exports import ExportedModel
from streamgate.link.messages import (
    SHAPE,
    AskIndex,
    AskOwner,
    AskSlots,
    AskStatistics,
    Challenge,
    Done,
    Export,
    Hello,
    Index,
    Load,
    ModelLine,
    Owner,
    Refused,
    Slots,
    Statistics,
    Table,
    Unload,
    VersionLine,
    Welcome,
    Withdrawn,
)
from streamgate.link.peer import Counts, Peer
from streamgate.session.gateway import Gateway
from streamgate.session.routing import ModelTable, Route

log = logging.getLogger(__name__)

GREETING_SECONDS: Final = 5.0
"""How long a front end may take to introduce itself."""


class LinkServer:
    """Serves the models of a table to front ends in other processes.

    Questions go to `gateway`: statistics, slots, the index, loading and unloading. With a `secret`
    (bytes that both sides know, needed for TCP) nobody is served who does not know it.
    """

    def __init__(
        self,
        table: ModelTable,
        gateway: Gateway,
        *,
        secret: bytes = b"",
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self._table = table
        self._gateway = gateway
        self._secret = secret
        self._heartbeat = heartbeat or Heartbeat()
        self.incarnation = secrets.token_hex(8)
        self.counts = Counts()
        self._exports: dict[int, ExportedModel] = {}
        self._numbers: dict[Route, int] = {}
        self._configs: dict[int, object] = {}
        self._last_number = 0
        self._last_peer = 0
        self._peers: dict[str, tuple[Channel, Peer]] = {}
        self._greeting: set[_Greeting] = set()
        self._accepting: list[asyncio.Task[None]] = []
        self._listeners: list[socket.socket] = []
        self._paths: list[Path] = []
        table.watch(self._changed)
        self._export_new()

    # -- life

    def listen_unix(self, path: Path) -> None:
        """Serve on a Unix socket. Raises StreamGateError."""
        self._listen(listen_unix(path))
        self._paths.append(path)

    def listen_tcp(self, address: TcpAddress) -> int:
        """Serve on a port, which is returned. Raises StreamGateError, also without a secret."""
        if not self._secret:
            raise StreamGateError(
                Code.INVALID_ARG, "a link over TCP needs a secret: whoever connects may do anything"
            )
        listener = listen_tcp(address)
        self._listen(listener)
        port: int = listener.getsockname()[1]
        return port

    async def stop(self) -> None:
        """Take no more connections, and end those that there are. Idempotent."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        for path in self._paths:
            path.unlink(missing_ok=True)
        for greeting in list(self._greeting):
            greeting.close()
        for channel, peer in list(self._peers.values()):
            channel.close()
            peer.leave()
        self._peers.clear()
        self._accepting, self._listeners, self._paths = [], [], []
        with contextlib.suppress(ValueError):
            self._table.unwatch(self._changed)

    def say_live(self) -> None:
        """The gateway has started, or stops: tell the front ends what `is_live` says now."""
        self._tell_table()

    @property
    def peers(self) -> int:
        """How many front ends are connected."""
        return len(self._peers)

    @property
    def sequences(self) -> int:
        """How many sequences of front ends live here."""
        return sum(peer.sequences for _, peer in self._peers.values())

    def exported(self, number: int) -> ExportedModel | None:
        return self._exports.get(number)

    # -- connections

    def _listen(self, listener: socket.socket) -> None:
        self._listeners.append(listener)
        self._accepting.append(asyncio.create_task(self._accept(listener)))

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:
                # Out of descriptors, or who connected is gone already.
                log.warning("a connection could not be accepted: %s", error)
                await asyncio.sleep(0.1)
                continue
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            greeting = _Greeting(
                connection, self._secret, self._heartbeat, self._welcome, self._greeting.discard
            )
            self._greeting.add(greeting)

    def _welcome(self, channel: Channel, hello: Hello, proof: bytes) -> "tuple[Peer, _OnLost]":
        """A front end has introduced itself. One of its name that seems to live still does not."""
        older = self._peers.pop(hello.incarnation, None)
        if older is not None:
            older[0].close()
            older[1].leave()
        self._last_peer += 1
        peer = Peer(self._last_peer, channel, hello.peer_path, self, self.counts)
        self._peers[hello.incarnation] = channel, peer
        peer.handlers.update(self._questions(peer))
        channel.send(Welcome(proof, self.incarnation, self._gateway.server_info()))
        channel.begin()
        for model in self._exports.values():
            channel.send(_export(model))
        channel.send(self._lines())

        def lost(why: str) -> None:
            if self._peers.get(hello.incarnation) == (channel, peer):
                del self._peers[hello.incarnation]
                log.log(
                    logging.WARNING if peer.sequences else logging.INFO,
                    "a front end is gone (%s); %d sequences end here",
                    *(why, peer.sequences),
                )
                peer.leave()

        return peer, lost

    # -- the table

    def _changed(self) -> None:
        self._export_new()
        self._tell_table()
        for number, model in list(self._exports.items()):
            if model.route.retired:
                self._withdraw(number, model)

    def _export_new(self) -> None:
        """Export what has become ready, and what has another configuration than it had."""
        for route in self._table.routes():
            number = self._numbers.get(route)
            if number is None:
                self._last_number = number = self._last_number + 1
                self._numbers[route] = number
                self._exports[number] = ExportedModel(number, route)
            elif self._configs[number] is route.config:
                continue
            self._configs[number] = route.config
            self._tell(_export(self._exports[number]))

    def _withdraw(self, number: int, model: ExportedModel) -> None:
        del self._exports[number]
        del self._numbers[model.route]
        del self._configs[number]
        self._tell(Withdrawn(number))

    def _tell_table(self) -> None:
        self._tell(self._lines())

    def _tell(self, message: object) -> None:
        for channel, _ in list(self._peers.values()):
            channel.send(message)

    def _lines(self) -> Table:
        lines = []
        for name in self._table.names():
            model = self._table.get(name)
            assert model is not None
            versions = tuple(
                VersionLine(
                    number,
                    version.state,
                    version.reason,
                    self._numbers.get(version.route, 0) if version.route is not None else 0,
                )
                for number, version in sorted(model.versions.items())
            )
            lines.append(ModelLine(name, model.trouble, versions))
        return Table(tuple(lines), self._gateway.is_live())

    # -- questions

    def _questions(self, peer: Peer) -> dict[type, Callable[[Any], None]]:
        gateway = self._gateway

        async def statistics(ask: AskStatistics) -> Statistics:
            found = await gateway.statistics(ask.name, ask.version)
            return Statistics(ask.number, tuple(found))

        async def slots(ask: AskSlots) -> Slots:
            return Slots(ask.number, tuple(await gateway.slots(ask.name, ask.version)))

        async def index(ask: AskIndex) -> Index:
            entries = await gateway.repository_index(ready_only=ask.ready_only)
            return Index(ask.number, tuple(entries))

        async def load(ask: Load) -> Done:
            await gateway.load_model(ask.name, ask.config, ask.files)
            return Done(ask.number)

        async def unload(ask: Unload) -> Done:
            await gateway.unload_model(ask.name, unload_dependents=ask.unload_dependents)
            return Done(ask.number)

        async def owner(ask: AskOwner) -> Owner:
            return Owner(ask.number, self._owner_of(ask))

        answers: dict[type, Callable[[Any], Coroutine[Any, Any, object]]] = {
            AskStatistics: statistics,
            AskSlots: slots,
            AskIndex: index,
            Load: load,
            Unload: unload,
            AskOwner: owner,
        }
        return {cls: partial(_ask, peer, answer) for cls, answer in answers.items()}

    def _owner_of(self, ask: AskOwner) -> str:
        for model in self._exports.values():
            if model.route.config.name == ask.name:
                held = model.newest(ask.sequence)
                if held is not None:
                    return held.peer.peer_path
        return ""


_OnLost = Callable[[str], None]


class _Greeting:
    """A connection until its front end is known."""

    def __init__(
        self,
        connection: socket.socket,
        secret: bytes,
        heartbeat: Heartbeat,
        welcome: Callable[[Channel, Hello, bytes], tuple[Peer, _OnLost]],
        on_over: Callable[["_Greeting"], None],
    ) -> None:
        self._secret = secret
        self._welcome = welcome
        self._on_over = on_over
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        self._handlers: dict[type, Callable[[Any], None]] = {Hello: self._hear}
        self._on_lost: _OnLost | None = None
        self._channel = Channel(connection, self._handlers, self._lost, heartbeat)
        self._timer = asyncio.get_running_loop().call_later(
            GREETING_SECONDS, self._refuse, f"no greeting came within {GREETING_SECONDS:g} s"
        )
        self._channel.send(Challenge(SHAPE, self._nonce))

    def close(self) -> None:
        self._timer.cancel()
        self._channel.close()

    def _hear(self, hello: Hello) -> None:
        if hello.shape != SHAPE:
            self._refuse(
                f"front end and engine are of different versions: messages {hello.shape} there, "
                f"{SHAPE} here"
            )
        elif not is_proof(hello.proof, self._secret, "front end", hello.nonce, self._nonce):
            self._refuse("the front end does not know the link's secret")
        else:
            self._timer.cancel()
            self._on_over(self)
            del self._handlers[Hello]
            proof = proof_of(self._secret, "engine", self._nonce, hello.nonce)
            peer, self._on_lost = self._welcome(self._channel, hello, proof)
            self._handlers.update(peer.handlers)

    def _refuse(self, why: str) -> None:
        log.warning("a connection over a link was refused: %s", why)
        self._channel.send(Refused(0, Failure(Code.UNAVAILABLE, why)))
        self._timer.cancel()
        self._channel.close()
        self._on_over(self)

    def _lost(self, why: str) -> None:
        if self._on_lost is not None:
            self._on_lost(why)
        else:
            self._timer.cancel()
            self._on_over(self)


def _ask(peer: Peer, answer: Callable[[Any], Coroutine[Any, Any, object]], ask: Any) -> None:
    peer.answer(ask.number, answer(ask))


def _export(model: ExportedModel) -> Export:
    return Export(model.number, model.route.version, model.route.config)
