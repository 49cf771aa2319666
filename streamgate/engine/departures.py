"""What an instance does when a sequence of it is over: the model is told, the slot is left."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from streamgate.backend.contract import SequenceListener
from streamgate.core.commands import Row
from streamgate.core.ids import NO_REQUEST, Generation, SlotIndex
from streamgate.errors import EndReason
from streamgate.model.config import ControlKind, ModelConfig
from streamgate.model.request import SequenceKey

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Departure:
    """A sequence that is over, of which the instance has run at least one step. `has_seen_end`: one
    of them had END."""

    sequence: SequenceKey
    slot: SlotIndex
    generation: Generation
    reason: EndReason
    has_seen_end: bool


def farewell_rows(departure: Departure, *, is_positional: bool) -> list[Row]:
    """The rows of the step with which a model is told of an end that it has not seen: the last one
    has the sequence, END and no request, and stands in its slot's place where places count."""
    slot, generation = departure.slot, departure.generation
    before = range(slot) if is_positional else ()
    rows = [Row(NO_REQUEST, SlotIndex(index)) for index in before]
    rows.append(Row(NO_REQUEST, slot, generation, departure.sequence, end=True))
    return rows


def says_farewell(config: ModelConfig) -> bool:
    """Whether the model has a control that says how a sequence ended."""
    return any(control.kind is ControlKind.END_REASON for control in config.controls)


def hears_ends(session: object) -> bool:
    """Whether the session wants to be told how sequences end."""
    return isinstance(session, SequenceListener) and session.hears_sequence_ends


def tell(session: object, departure: Departure) -> None:
    """Tell a session that wants to know. Raises what the session raises."""
    assert isinstance(session, SequenceListener)
    session.on_sequence_end(departure.sequence, departure.reason)


@contextmanager
def logged(instance: str, departure: Departure) -> Iterator[None]:
    """What is raised inside is logged: nobody waits for an answer."""
    try:
        yield
    except Exception:
        log.exception(
            "model instance '%s' failed when it was told of the end of sequence %s (%s)",
            instance,
            departure.sequence,
            departure.reason.value,
        )
