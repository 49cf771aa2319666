"""One session's tape: what its conversation is told is written to the session store, in order, and
what it says; and the world that the conversation lives in, which is the same each time."""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol, cast, final

from streamgate.errors import StreamGateError
from streamgate.frontends.sockets.contract import Message
from streamgate.frontends.sockets.session import SessionState
from streamgate.frontends.sockets.taped.checkpoints import Checkpoint
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
from streamgate.session.gateway import EndSink, Gateway, WarningSink
from streamgate.snapshot.codec import CodecError, encode_value
from streamgate.snapshot.contract import KeptResult, KeptSequence, SequenceWriter

log = logging.getLogger(__name__)

TAPE_BYTES: Final = 16 * 2**20
"""What is written of one session at most. One that outgrows it is kept no more."""

CUT_BYTES: Final = 512 * 2**10
"""After so much, what was told before is forgotten, where the conversation is one that can do
without."""

CUT_AGAIN_BYTES: Final = 16 * 2**10
"""So much later it is tried again."""

STORED_SECONDS: Final = 5.0
"""How long a client that comes back waits for the store, which holds nobody up."""

KEPT_NO_MORE: Final = "kept no more"

_DIGEST_BYTES: Final = 8


class Taped(Protocol):
    """The session whose tape it is."""

    def supersede(self) -> None:
        """It goes on in another process."""

    def state(self) -> SessionState | None:
        """What it can go on from; None for nothing just now."""


@final
class Tape:
    """Implements `World` for its conversation, `Record` for its session, and `SequenceWatcher` for
    the store.

    While `is_past`, nothing is written: what is on the tape is being played.
    """

    def __init__(self, number: bytes) -> None:
        """`number` is the session's."""
        self._number = number
        self._session: Taped | None = None
        self._owner = ""
        self._beginning: list[bytes] = []
        self._is_admitted = False
        self._cut_at = CUT_BYTES
        self._is_cutting = False
        self._soon_waiting = 0
        self._connections_admitted = 0
        self._waiting: set[asyncio.Future[None]] = set()
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
        self._digest = bytes(_DIGEST_BYTES)
        self._said: deque[KeptResult] = deque()
        self._said_last = 0
        self._said_late: list[tuple[int, bytes, Callable[[], None]]] = []
        self.differs = ""

    # -- how it begins

    def attach(self, session: "Taped") -> None:
        """Whose tape it is."""
        self._session = session

    def begin(self, writer: SequenceWriter, owner: str) -> None:
        """A new session, in the process of this name."""
        self._writer = writer
        self._owner = owner

    def take(
        self,
        writer: SequenceWriter,
        kept: KeptSequence,
        beginning: Sequence[bytes],
        entries: Sequence[Entry],
    ) -> None:
        """A session that was kept, with these entries, some of which are its `beginning`: it is in
        its past."""
        self._writer = writer
        self._beginning.extend(beginning)
        self._is_admitted = any(isinstance(entry, Admitted) for entry in entries)
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
        if not self._is_admitted:
            self._beginning.append(data)
            self._is_admitted = isinstance(entry, Admitted)
        writer.append(self._position, data)
        self._position += 1
        if self._bytes > self._cut_at and not self._is_cutting and self._is_admitted:
            self._is_cutting = True
            asyncio.get_running_loop().call_soon(self._cut)

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
        self._connections_admitted = len(self._connections)
        self.write(Admitted())

    def heard(self, message: Message) -> None:
        self.write(Heard(message))

    def settled(self) -> None:
        self.write(Settled())

    def said(self, number: int, message: Message, on_stored: Callable[[], None]) -> bool:
        data = _bytes_of(message)
        self._digest = hashlib.blake2b(self._digest + data, digest_size=_DIGEST_BYTES).digest()
        stored = self._digest + data
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

    async def stored(self) -> None:
        if self._writer is None or self.is_past:
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        self._writer.when_stored(lambda: None if waiting.done() else waiting.set_result(None))
        try:
            await asyncio.wait((waiting,), timeout=STORED_SECONDS)
        finally:
            self._waiting.discard(waiting)

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
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        if self._session is not None:
            self._session.supersede()

    def on_unkept(self, why: str) -> None:
        self._writer = None
        log.warning("a session is %s: %s", KEPT_NO_MORE, why)

    # -- the world

    def connect(
        self, gateway: Gateway, on_sequence_end: EndSink | None, on_warning: WarningSink | None
    ) -> TapedConnection:
        number = len(self._connections)
        connection = TapedConnection(self, number, gateway, on_sequence_end, on_warning)
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
        def done() -> None:
            self._soon_waiting -= 1
            do()

        self._soon_waiting += 1
        trigger = self.moment(done)
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
            if isinstance(entry, Chosen):
                self.write(entry)
        if not self._is_admitted:
            self.write(Admitted())
        for entry in late:
            if not isinstance(entry, Chosen):
                self.write(entry)
        if is_settled:
            self.write(Settled())
        self._owner = owner
        self.write(Taken(owner))
        for number, stored, on_stored in self._said_late:
            if self._writer is not None:
                self._writer.put_result(number, 0, stored, on_stored)
        self._said_late.clear()
        soon, self._soon = self._soon, []
        for trigger in soon:
            asyncio.get_running_loop().call_soon(trigger)

    # -- where it is cut

    def _cut(self) -> None:
        """Forget what was told before now, if the conversation can do without."""
        self._is_cutting = False
        writer = self._writer
        if writer is None or self.is_past:
            return
        self._cut_at = self._bytes + CUT_AGAIN_BYTES
        try:
            checkpoint = self._checkpoint()
            if checkpoint is None:
                return
            data = encode_value(checkpoint)
        except CodecError as error:
            log.warning("a session's state can't be written: %s", error)
            return
        writer.put_snapshot(self._position - 1, data)
        self._bytes = 0
        self._cut_at = CUT_BYTES

    def _checkpoint(self) -> Checkpoint | None:
        """None while something is under way. Raises CodecError."""
        assert self._session is not None
        if self._soon_waiting or len(self._connections) != self._connections_admitted:
            return None
        connections = []
        for connection in self._connections:
            kept = connection.kept()
            if kept is None:
                return None
            connections.append(kept)
        state = self._session.state()
        if state is None:
            return None
        return Checkpoint(
            self._beginning,
            state.conversation,
            state.messages,
            state.bytes,
            state.events,
            self._digest,
            self._owner,
            self._tokens,
            self._moments,
            connections,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """The conversation was made again, up to where its handshake was accepted: go on from the
        checkpoint. Raises CodecError."""
        if len(checkpoint.connections) != len(self._connections):
            raise CodecError(
                f"it has {len(self._connections)} connections, expected "
                f"{len(checkpoint.connections)}"
            )
        for connection, kept in zip(self._connections, checkpoint.connections, strict=True):
            connection.restore(kept)
        self._digest = checkpoint.digest
        self._tokens, self._moments = checkpoint.tokens, checkpoint.moments
        while self._said and self._said[0].position <= checkpoint.events:
            self._said.popleft()

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


def message_of(result: KeptResult) -> Message:
    """What was said. Raises CodecError."""
    kind, data = result.data[_DIGEST_BYTES : _DIGEST_BYTES + 1], result.data[_DIGEST_BYTES + 1 :]
    if kind == b"b":
        return data
    if kind != b"t":
        raise CodecError(f"an event of kind {kind!r}, expected 'b' or 't'")
    return data.decode("utf-8", "surrogatepass")
