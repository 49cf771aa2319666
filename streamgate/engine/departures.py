"""What an instance does when a sequence of it is over: the model is told, the slot is left."""

import logging
from dataclasses import dataclass

from streamgate.backend.contract import SequenceListener
from streamgate.core.ids import Generation, SlotIndex
from streamgate.errors import EndReason
from streamgate.model.request import SequenceKey

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Departure:
    """A sequence that is over, of which the instance has run at least one step."""

    sequence: SequenceKey
    slot: SlotIndex
    generation: Generation
    reason: EndReason


def hears_ends(session: object) -> bool:
    """Whether the session wants to be told how sequences end."""
    return isinstance(session, SequenceListener) and session.hears_sequence_ends


def tell(instance: str, session: object, departure: Departure) -> None:
    """Tell a session that wants to know. What it raises is logged: nobody waits for an answer."""
    assert isinstance(session, SequenceListener)
    try:
        session.on_sequence_end(departure.sequence, departure.reason)
    except Exception:
        log.exception(
            "model instance '%s' failed when it was told of the end of sequence %s (%s)",
            instance,
            departure.sequence,
            departure.reason.value,
        )
