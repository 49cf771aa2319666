"""The engine's end of all links: exports a model table to the front ends that connect.

Each front end is told the whole table, and every change of it at once. What it asks for here is its
own: when its connection is over, its sequences end, as its clients are not reached any more.
"""

import contextlib
import logging
import secrets
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Final

from streamgate.errors import EndReason, EndWarning
from streamgate.link.addresses import TcpAddress
from streamgate.link.blocks import ARENA_BYTES
from streamgate.link.channel import Channel, Heartbeat
from streamgate.link.exports import ExportedModel
from streamgate.link.fence import Fences
from streamgate.link.greeting import Doorkeeper, Handlers, OnLost
from streamgate.link.messages import (
    AskIndex,
    AskOwner,
    AskSlots,
    AskStatistics,
    Done,
    Export,
    Hello,
    Index,
    Load,
    ModelLine,
    Owner,
    Peers,
    Slots,
    Statistics,
    Supersede,
    Table,
    Unload,
    VersionLine,
    Welcome,
    Withdrawn,
)
from streamgate.link.peer import Counts, Peer
from streamgate.link.steps import Step
from streamgate.session.gateway import Gateway
from streamgate.session.routing import ModelTable, Route

log = logging.getLogger(__name__)

FENCES_MAX: Final = 16
"""Connections of front ends that were given up and are listened to."""


class LinkServer:
    """Serves the models of a table to front ends in other processes.

    Questions go to `gateway`: statistics, slots, the index, loading and unloading. With a `secret`
    (bytes that both sides know, needed for TCP) nobody is served who does not know it. On this
    machine, large outputs go through an arena of `arena_bytes` for each front end; 0 is none.
    """

    def __init__(
        self,
        table: ModelTable,
        gateway: Gateway,
        *,
        secret: bytes = b"",
        heartbeat: Heartbeat | None = None,
        arena_bytes: int = ARENA_BYTES,
    ) -> None:
        self._table = table
        self._gateway = gateway
        self._arena_bytes = arena_bytes
        self.incarnation = secrets.token_hex(8)
        self.counts = Counts()
        self._exports: dict[int, ExportedModel] = {}
        self._numbers: dict[Route, int] = {}
        self._configs: dict[int, object] = {}
        self._last_number = 0
        self._last_peer = 0
        self._peers: dict[str, tuple[Channel, Peer]] = {}
        self._fences = Fences(FENCES_MAX)
        self._door = Doorkeeper(secret, heartbeat or Heartbeat(), self._admit)
        table.watch(self._changed)
        self._export_new()

    # -- life

    def listen_unix(self, path: Path) -> None:
        """Serve on a Unix socket. Raises StreamGateError."""
        self._door.listen_unix(path)

    def listen_tcp(self, address: TcpAddress) -> int:
        """Serve on a port, which is returned. Raises StreamGateError, also without a secret."""
        return self._door.listen_tcp(address)

    async def stop(self) -> None:
        """Take no more connections, and end those that there are. Idempotent."""
        await self._door.stop()
        for channel, peer in list(self._peers.values()):
            channel.close()
            peer.leave()
        self._peers.clear()
        self._fences.close()
        with contextlib.suppress(ValueError):
            self._table.unwatch(self._changed)

    def say_live(self) -> None:
        """The gateway has started, or stops: tell the front ends what `is_live` says now."""
        self._tell_table()

    def warn(self, warning: EndWarning) -> None:
        """What front ends have here will end: whose sequences can't go elsewhere is to know."""
        for _, peer in list(self._peers.values()):
            peer.warn(warning)

    @property
    def peers(self) -> int:
        """How many front ends are connected."""
        return len(self._peers)

    @property
    def sequences(self) -> int:
        """How many sequences of front ends live here."""
        return sum(peer.sequences for _, peer in self._peers.values())

    def late_ns(self) -> int:
        """How late the loop of the latest front end is."""
        return max((channel.lateness.ns for channel, _ in self._peers.values()), default=0)

    def exported(self, number: int) -> ExportedModel | None:
        return self._exports.get(number)

    # -- front ends

    def _admit(self, channel: Channel, hello: Hello, proof: bytes) -> tuple[Handlers, OnLost]:
        """A front end has introduced itself. One of its name that seems to live still does not."""
        older = self._peers.pop(hello.incarnation, None)
        if older is not None:
            self._give_up(*older)
        self._last_peer += 1
        peer = Peer(self._last_peer, channel, hello.peer_path, self, self.counts)
        self._peers[hello.incarnation] = channel, peer

        def silent(why: str) -> None:
            self._fence(channel, peer)
            lost(why)

        channel.on_silent = silent
        peer.handlers.update(self._questions(peer))
        offered = channel.sharing.offer(self._arena_bytes)
        channel.send(Welcome(proof, self.incarnation, self._gateway.server_info(), offered))
        channel.begin()
        for model in self._exports.values():
            channel.send(_export(model))
        channel.send(self._lines())
        self._tell_peers()

        def lost(why: str) -> None:
            if self._peers.get(hello.incarnation) == (channel, peer):
                del self._peers[hello.incarnation]
                log.log(
                    logging.WARNING if peer.sequences else logging.INFO,
                    "a front end is gone (%s); %d sequences end here",
                    *(why, peer.sequences),
                )
                peer.leave()
                self._tell_peers()

        return peer.handlers, lost

    def _give_up(self, channel: Channel, peer: Peer) -> None:
        self._fence(channel, peer)
        peer.leave()

    def _fence(self, channel: Channel, peer: Peer) -> None:
        """A front end that was silent may go on all the same, and not know that it was given up."""
        noted: dict[type, Callable[[Any], None]] = {Step: peer.refuse_late}
        self._fences.put(channel, peer.handlers.keys(), noted, lambda _: None)

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

    def _tell_peers(self) -> None:
        paths = {each.peer_path for _, each in self._peers.values()} - {""}
        self._tell(Peers(tuple(sorted(paths))))

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
        return {
            Supersede: partial(self._supersede, peer),
            **{cls: partial(_ask, peer, answer) for cls, answer in answers.items()},
        }

    def _supersede(self, peer: Peer, asked: Supersede) -> None:
        for model in self._exports.values():
            if model.route.config.name == asked.name:
                for held in model.of_others(peer, asked.sequence):
                    model.route.link.end_sequence(held.key, EndReason.SUPERSEDED, drain=True)

    def _owner_of(self, ask: AskOwner) -> str:
        for model in self._exports.values():
            if model.route.config.name == ask.name:
                held = model.newest(ask.sequence)
                if held is not None:
                    return held.peer.peer_path
        return ""


def _ask(peer: Peer, answer: Callable[[Any], Coroutine[Any, Any, object]], ask: Any) -> None:
    peer.answer(ask.number, answer(ask))


def _export(model: ExportedModel) -> Export:
    return Export(model.number, model.route.version, model.route.config)
