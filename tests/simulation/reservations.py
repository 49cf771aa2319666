"""Which refusals of reservations a history permits."""

import re
from collections.abc import Iterable

from streamgate.errors import Code
from tests.simulation.cases import Facts
from tests.simulation.diary import SlotAnswered, SlotAsked

TAKEN = re.compile(r"all ([0-9]+) slots of model 'fake' are taken")


def check_slot_refusal(
    facts: Facts, asked: SlotAsked, answered: SlotAnswered, others: Iterable[SlotAsked]
) -> None:
    """A slot was asked for and refused; `others` were asked for and not answered yet."""
    failure = answered.failure
    assert failure is not None
    taken = TAKEN.fullmatch(failure.message)
    if taken is not None:
        held = sum(len(key.lives) for key in facts.keys.values())
        assert 1 <= int(taken[1]) <= held, f"a slot is free: {asked}"
    elif failure.code is Code.ALREADY_EXISTS:
        starts = any(
            case.asked.key == asked.key and case.asked.start and not case.is_answered
            for case in facts.cases.values()
        )
        lives = facts.keys[asked.key].lives or any(each.key == asked.key for each in others)
        assert lives or starts, f"nothing of it lives: {asked}"
    elif "has stopped accepting" in failure.message:
        assert facts.draining, f"nobody stops: {asked}"
    else:
        assert "was lost and is not back yet" in failure.message, failure
        assert facts.losses, f"no instance was lost: {asked}"
