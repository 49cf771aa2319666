"""Where a tape can be cut: what matters of all that was told before."""

from collections.abc import Sequence
from dataclasses import dataclass

from streamgate.model.request import SequenceKey


@dataclass(frozen=True, slots=True)
class KeptLife:
    """A sequence that lives: the position of its next step, and of the newest one that was
    answered (-1 for none), with its request as bytes."""

    model: str
    sequence: SequenceKey
    next_position: int
    is_reserved: bool
    answered_position: int
    answered: bytes


@dataclass(frozen=True, slots=True)
class KeptConnection:
    """A connection to the gateway, none of whose calls is open."""

    calls: int
    reservations: int
    is_closed: bool
    sequences: Sequence[KeptLife]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A session between two entries of its tape.

    `beginning` are the entries up to where its handshake was accepted. `conversation`, `messages`,
    `size_bytes` and `events` are its session's state, `digest` is of all events up to the last one,
    `owner` is the process whose token its client had. Then: what of its world was asked for, and
    its connections.
    """

    beginning: Sequence[bytes]
    conversation: bytes
    messages: int
    size_bytes: int
    events: int
    digest: bytes
    owner: str
    tokens: int
    moments: int
    connections: Sequence[KeptConnection]
