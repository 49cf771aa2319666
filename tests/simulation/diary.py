"""What happened in a simulated house, in order: what clients did, what the model saw, what came.

Nothing here knows the engine. Requests are named by the number that is their payload.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from streamgate.core.ids import Ns
from streamgate.errors import EndReason, Failure
from streamgate.model.request import Response, SequenceKey


@dataclass(eq=False)
class Entry:
    """Something that happened: when, and in which place of the diary."""

    at: Ns = field(init=False)
    place: int = field(init=False)


@dataclass(eq=False)
class Asked(Entry):
    """A client sent a request."""

    number: int
    key: SequenceKey
    start: bool
    end: bool
    payload: bytes
    timeout_ns: int
    connection: int


@dataclass(eq=False)
class SlotAsked(Entry):
    """A client asked for a slot for a sequence to come. Numbered apart from requests."""

    number: int
    key: SequenceKey
    connection: int


@dataclass(eq=False)
class SlotAnswered(Entry):
    """It was granted, or refused: `at_once`, if the engine was not asked."""

    number: int
    failure: Failure | None
    at_once: bool


@dataclass(eq=False)
class Cancelled(Entry):
    """A client gave up a request."""

    number: int


@dataclass(eq=False)
class HungUp(Entry):
    """A connection was lost (`abort`), or closed in good order."""

    connection: int
    abort: bool


@dataclass(eq=False)
class Paused(Entry):
    """A connection does not read its responses for a while, or reads them again."""

    connection: int
    paused: bool


@dataclass(eq=False)
class EndAsked(Entry):
    """A client ended a sequence without a request."""

    key: SequenceKey


@dataclass(eq=False)
class Draining(Entry):
    """The server accepts no new sequences; with `closes`, nothing at all."""

    closes: bool


@dataclass(eq=False)
class Dispatched(Entry):
    """The engine gave a step to an instance. A row is a request's number and its two flags."""

    instance: int
    rows: tuple[tuple[int, bool, bool], ...]


@dataclass(eq=False)
class Ran(Entry):
    """The model saw these rows, and failed all or one of them if `failures` says so.

    `odd`: what it saw that no model should ever see. `lost`: its session was lost with the step.
    """

    instance: int
    rows: tuple[tuple[int, bool, bool], ...]
    failures: dict[int, Failure] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    lost: bool = False


@dataclass(eq=False)
class Lost(Entry):
    """An instance's session was lost."""

    instance: int
    failure: Failure


@dataclass(eq=False)
class Resized(Entry):
    """The model has so many instances from now on; what is left on others has `grace_ns`."""

    count: int
    grace_ns: int


@dataclass(eq=False)
class Gone(Entry):
    """An instance is closed for good."""

    instance: int


@dataclass(eq=False)
class Loaded(Entry):
    """An instance has a new session."""

    instance: int


@dataclass(eq=False)
class Heard(Entry):
    """The model was told that a sequence ended."""

    instance: int
    key: SequenceKey
    reason: EndReason


@dataclass(eq=False)
class Answered(Entry):
    """A client got a response."""

    number: int
    response: Response


@dataclass(eq=False)
class Ended(Entry):
    """A sequence ended, behind so many `older` ones of its ID, or UNSTARTED; these connections were
    `told`."""

    key: SequenceKey
    reason: EndReason
    older: int
    told: list[tuple[int, SequenceKey, EndReason]] = field(default_factory=list)


@dataclass(eq=False)
class Moved(Entry):
    """A sequence went and came back, or could not."""

    key: SequenceKey


@dataclass(eq=False)
class Warned(Entry):
    """A connection was told that its sequence will end as idle."""

    connection: int
    key: SequenceKey
    left_ns: int


class Diary:
    """All entries, oldest first."""

    def __init__(self, now: Callable[[], Ns]) -> None:
        self.entries: list[Entry] = []
        self._now = now

    def note(self, entry: Entry) -> None:
        entry.at = self._now()
        entry.place = len(self.entries)
        self.entries.append(entry)
