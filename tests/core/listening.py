"""What a scheduler said, in the words of a test."""

from streamgate.core.commands import (
    Command,
    Reject,
    Rejection,
    ReservationRefused,
    Row,
    Run,
    SequenceEnded,
    SlotTaken,
)
from streamgate.core.ids import Generation, InstanceIndex, Ns, SlotIndex
from streamgate.errors import EndReason
from streamgate.model.request import SequenceKey
from tests.core.play import Play


def rows(commands: list[Command]) -> list[list[Row]]:
    return [list(command.step.rows) for command in commands if isinstance(command, Run)]


def requests(commands: list[Command]) -> list[list[int]]:
    return [[row.request for row in step] for step in rows(commands)]


def rejects(commands: list[Command]) -> list[tuple[int, Rejection]]:
    """Admitted requests that will not run."""
    return [
        (command.request, command.reason)
        for command in commands
        if isinstance(command, Reject) and command.admitted
    ]


def refusals(commands: list[Command]) -> list[Rejection]:
    return [
        command.reason
        for command in commands
        if isinstance(command, Reject) and not command.admitted
    ]


def not_reserved(commands: list[Command]) -> list[tuple[Rejection, int]]:
    """Reservations that were refused, each with how many slots are said to be taken."""
    return [
        (command.reason, command.slots)
        for command in commands
        if isinstance(command, ReservationRefused)
    ]


def taken(commands: list[Command]) -> list[tuple[SequenceKey, int, int, int]]:
    return [
        (command.sequence, command.instance, command.slot, command.generation)
        for command in commands
        if isinstance(command, SlotTaken)
    ]


def ended(commands: list[Command]) -> list[tuple[SequenceKey, int, EndReason]]:
    return [
        (command.sequence, command.slot, command.reason)
        for command in commands
        if isinstance(command, SequenceEnded)
    ]


def heard(play: Play, kind: type[Command]) -> list[tuple[Ns, Command]]:
    return [(now, command) for now, command in play.heard if isinstance(command, kind)]


def first_slot(generation: int = 1) -> tuple[InstanceIndex, SlotIndex, Generation]:
    """Slot 0 of instance 0, as commands name it."""
    return InstanceIndex(0), SlotIndex(0), Generation(generation)
