"""One session's tape: what its conversation is told is written to the session store, in order, and
what it says; and the world that the conversation lives in, which is the same each time."""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final, cast, final

from streamgate.errors import StreamGateError
from streamgate.frontends.sockets.contract import Message
from streamgate.frontends.sockets.taped.connections import TapedConnection, error_of
from streamgate.frontends.sockets.taped.entries import (
    Admitted,
    Came,
    Chosen,
    Entry,
    Heard,
    Raised,
    Settled,
    Taken,
    encode_entry,
)
from streamgate.frontends.world import ChoiceT, Trigger, World, within
from streamgate.session.gateway import EndSink, Gateway, IdleSink
from streamgate.snapshot.codec import CodecError
from streamgate.snapshot.contract import KeptResult, KeptSequence, SequenceWriter

log = logging.getLogger(__name__)

TAPE_BYTES: Final = 16 * 2**20
"""What is written of one session at most. One that outgrows it is kept no more."""

KEPT_NO_MORE: Final = "kept no more"

_DIGEST_BYTES: Final = 8


@final
class Tape:
    """Implements `World` for its conversation, `Record` for its session, and `SequenceWatcher` for
    the store.

    While `is_past`, nothing is written: what is on the tape is being played.
    """

    def __init__(self, number: bytes) -> None:
        """`number` is the session's."""
        self._number = number
        self._on_fenced: Callable[[], None] = lambda: None
        self._writer: SequenceWriter | None = None
        self._position = 0
        self._bytes = 0
        self.is_past = False
        self._is_fenced = False
        self._connections: list[TapedConnection] = []
        self._tokens = 0
        self._moments = 0
        self._to_come: dict[int, Callable[[], None]] = {}
        self._soon: list[Trigger] = []
        self._chosen: deque[int | float | str] = deque()
        self._late: list[Entry] = []
        self._has_caught_up = False
        self._raised: dict[tuple[int, int], StreamGateError] = {}
        self._digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        self._said: deque[KeptResult] = deque()
        self._said_last = 0
        self._said_late: list[tuple[int, bytes, Callable[[], None]]] = []
        self.differs = ""

    # -- how it begins

    def watch(self, on_fenced: Callable[[], None]) -> None:
        """`on_fenced` is called when the session goes on in another process."""
        self._on_fenced = on_fenced

    def begin(self, writer: SequenceWriter) -> None:
        """A new session."""
        self._writer = writer

    def take(self, writer: SequenceWriter, kept: KeptSequence, entries: Sequence[Entry]) -> None:
        """A session that was kept, with these entries: it is in its past."""
        self._writer = writer
        self.is_past = True
        self._position = kept.next_position
        self._bytes = sum(len(step.data) for step in kept.steps)
        self._said.extend(kept.results)
        self._said_last = kept.results[-1].position if kept.results else kept.results_dropped
        for entry in entries:
            if isinstance(entry, Chosen):
                self._chosen.append(entry.value)
            elif isinstance(entry, Raised):
                self._raised[entry.connection, entry.call] = error_of(entry)

    @property
    def said_last(self) -> int:
        """The number of the last event of the past that was stored."""
        return self._said_last

    # -- what is written

    @property
    def world(self) -> World:
        return self

    @property
    def connections(self) -> Sequence[TapedConnection]:
        return self._connections

    def write(self, entry: Entry) -> None:
        writer = self._writer
        if self.is_past:
            if self._has_caught_up:
                self._late.append(entry)
            return
        if writer is None:
            return
        try:
            data = encode_entry(entry)
        except CodecError as error:
            self.give_up(str(error))
            return
        self._bytes += len(data)
        if self._bytes > TAPE_BYTES:
            self.give_up(f"what it was told outgrew {TAPE_BYTES} bytes")
            return
        writer.append(self._position, data)
        self._position += 1

    def give_up(self, why: str) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            log.warning("a session is %s: %s", KEPT_NO_MORE, why)
            writer.end(f"{KEPT_NO_MORE}: {why}")

    def let_go(self) -> None:
        """Write no more."""
        self._writer = None

    # -- for the session

    def within(self) -> AbstractContextManager[None]:
        return within(self)

    def admitted(self) -> None:
        self.write(Admitted())

    def heard(self, message: Message) -> None:
        self.write(Heard(message))

    def settled(self) -> None:
        self.write(Settled())

    def said(self, number: int, message: Message, on_stored: Callable[[], None]) -> bool:
        data = _bytes_of(message)
        self._digest.update(len(data).to_bytes(8, "big") + data)
        stored = self._digest.digest() + data
        if self.is_past:
            if number > self._said_last:
                self._said_late.append((number, stored, on_stored))
                return True
            self._compare(number, stored)
            return False
        if self._is_fenced:
            return True
        if self._writer is None:
            return False
        self._writer.put_result(number, 0, stored, on_stored)
        return True

    def dropped(self, count: int) -> None:
        if self._writer is not None and not self.is_past:
            self._writer.drop_results(count)

    def end(self, why: str) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.end(why)

    # -- for the store

    def on_fenced(self) -> None:
        self._writer = None
        self._is_fenced = True
        self._on_fenced()

    def on_unkept(self, why: str) -> None:
        self._writer = None
        log.warning("a session is %s: %s", KEPT_NO_MORE, why)

    # -- the world

    def connect(
        self, gateway: Gateway, on_sequence_end: EndSink | None, on_idle_warning: IdleSink | None
    ) -> TapedConnection:
        number = len(self._connections)
        connection = TapedConnection(self, number, gateway, on_sequence_end, on_idle_warning)
        self._connections.append(connection)
        return connection

    def owe(self, gateway: Gateway, size_bytes: int) -> float:
        return 0.0 if self.is_past else gateway.owe(size_bytes)

    def moment(self, do: Callable[[], None]) -> Trigger:
        number = self._moments
        self._moments += 1
        self._to_come[number] = do

        def trigger() -> bool:
            if self.is_past:
                return False
            if number in self._to_come:
                self.write(Came(number))
                self.come(number)
            return True

        return trigger

    def soon(self, do: Callable[[], None]) -> None:
        trigger = self.moment(do)
        if self.is_past:
            self._soon.append(trigger)
        else:
            asyncio.get_running_loop().call_soon(trigger)

    def token_bytes(self, size: int) -> bytes:
        self._tokens += 1
        text = self._tokens.to_bytes(8, "big")
        return hashlib.blake2b(text, key=self._number, digest_size=size).digest()

    def chosen(self, choose: Callable[[], ChoiceT]) -> ChoiceT:
        if self._chosen:
            return cast("ChoiceT", self._chosen.popleft())
        value = choose()
        if self.is_past:
            # What came of it was not stored: it is chosen anew.
            self._late.append(Chosen(value))
        else:
            self.write(Chosen(value))
        return value

    # -- the past

    def raised(self, connection: int, call: int) -> StreamGateError | None:
        return self._raised.get((connection, call))

    def knows(self, moment: int) -> bool:
        """Whether the conversation has asked for it yet."""
        return moment < self._moments

    def come(self, moment: int) -> None:
        """A moment comes."""
        do = self._to_come.pop(moment, None)
        if do is not None:
            with within(self):
                do()

    def catch_up(self) -> None:
        """What comes from now on was not told before."""
        self._has_caught_up = True

    def live(self, owner: str, *, is_settled: bool) -> None:
        """The past is over: it goes on in this process. `is_settled`: what the last message had to
        wait for is done, but was not when it was lost."""
        self.is_past = False
        self._raised.clear()
        late, self._late = self._late, []
        for entry in late:
            self.write(entry)
        if is_settled:
            self.write(Settled())
        self.write(Taken(owner))
        for number, stored, on_stored in self._said_late:
            if self._writer is not None:
                self._writer.put_result(number, 0, stored, on_stored)
        self._said_late.clear()
        soon, self._soon = self._soon, []
        for trigger in soon:
            asyncio.get_running_loop().call_soon(trigger)

    def _compare(self, number: int, stored: bytes) -> None:
        """What is said again must be what was said."""
        if self._said and self._said[0].position == number:
            before = self._said.popleft()
            if before.data != stored and not self.differs:
                self.differs = f"event {number} is another than it was"


def _bytes_of(message: Message) -> bytes:
    if isinstance(message, str):
        return b"t" + message.encode("utf-8", "surrogatepass")
    return b"b" + message
