"""What a conversation has of the world besides its messages: chance, the clock, turns of the loop,
and its connections to the gateway.

A session that is to go on in another process is told there again what it was told here. So that it
says the same, all of this comes through its own world, which it finds by context; everybody else
has the real one.
"""

import asyncio
import secrets
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol, TypeVar, final

from streamgate.session.gateway import Connection, EndSink, Gateway, WarningSink

ChoiceT = TypeVar("ChoiceT", int, float, str)

Trigger = Callable[[], bool]
"""Does what it was made for. False: not now, try again later."""


class World(Protocol):
    """Where a conversation lives."""

    def connect(
        self, gateway: Gateway, on_sequence_end: EndSink | None, on_warning: WarningSink | None
    ) -> Connection:
        """As `Gateway.connect`."""

    def owe(self, gateway: Gateway, size_bytes: int) -> float:
        """As `Gateway.owe`."""

    def moment(self, do: Callable[[], None]) -> Trigger:
        """What is to be called, at most once, when it is time for that."""

    def soon(self, do: Callable[[], None]) -> None:
        """Do this in the next turn of the loop."""

    def token_bytes(self, size: int) -> bytes:
        """Bytes that nobody can guess."""

    def chosen(self, choose: Callable[[], ChoiceT]) -> ChoiceT:
        """What `choose` says: the time, or the next number of a counter."""


@final
class RealWorld:
    """Implements `World`."""

    def connect(
        self, gateway: Gateway, on_sequence_end: EndSink | None, on_warning: WarningSink | None
    ) -> Connection:
        return gateway.connect(on_sequence_end, on_warning)

    def owe(self, gateway: Gateway, size_bytes: int) -> float:
        return gateway.owe(size_bytes)

    def moment(self, do: Callable[[], None]) -> Trigger:
        def trigger() -> bool:
            do()
            return True

        return trigger

    def soon(self, do: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(do)

    def token_bytes(self, size: int) -> bytes:
        return secrets.token_bytes(size)

    def chosen(self, choose: Callable[[], ChoiceT]) -> ChoiceT:
        return choose()


_world: ContextVar[World] = ContextVar("_world", default=RealWorld())  # noqa: B039 - it has no state


def world() -> World:
    """That of whoever asks."""
    return _world.get()


@contextmanager
def within(inner: World) -> Iterator[None]:
    """What is done meanwhile, and what that begins, is done in this world."""
    token = _world.set(inner)
    try:
        yield
    finally:
        _world.reset(token)


def soon(do: Callable[..., None], *arguments: Any) -> None:
    """Do this in the next turn of the loop."""
    world().soon(partial(do, *arguments) if arguments else do)


def token_hex(size: int) -> str:
    """Twice so many hexadecimal digits that nobody can guess."""
    return world().token_bytes(size).hex()


def uuid4() -> str:
    """A random UUID."""
    return str(uuid.UUID(bytes=world().token_bytes(16), version=4))
