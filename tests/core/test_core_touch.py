"""A sequence for which somebody is at work elsewhere is not idle."""

import dataclasses

from streamgate.core.commands import IdleWarning, SequenceEnded
from streamgate.core.events import EndSequence, Touch
from streamgate.errors import EndReason
from streamgate.model.request import SequenceKey
from tests.core.listening import heard
from tests.core.play import Play, direct, oldest

IDLE = 1_000


def ended(play: Play) -> list[tuple[SequenceKey, EndReason]]:
    commands = [command for _, command in heard(play, SequenceEnded)]
    return [
        (command.sequence, command.reason)
        for command in commands
        if isinstance(command, SequenceEnded)
    ]


def idle_play(warning_ns: int = 0) -> Play:
    """One sequence, 1, whose START has run at 0."""
    rules = dataclasses.replace(direct(2, max_idle_ns=IDLE), idle_warning_ns=warning_ns)
    play = Play(rules, 2)
    play.submit(1, "S")
    play.run(0)
    return play


def test_idleness_begins_anew() -> None:
    play = idle_play()
    play.wait(900)
    play.tell(Touch(1))
    play.poll()
    play.wait(900)
    assert ended(play) == []
    play.wait(100)
    assert ended(play) == [(1, EndReason.IDLE)]


def test_one_that_was_warned_has_its_whole_time_again() -> None:
    play = idle_play(warning_ns=300)
    play.wait(800)
    assert len(heard(play, IdleWarning)) == 1
    play.tell(Touch(1))
    play.poll()
    play.wait(600)
    assert len(heard(play, IdleWarning)) == 1
    play.wait(100)
    assert len(heard(play, IdleWarning)) == 2
    assert ended(play) == []
    play.wait(300)
    assert ended(play) == [(1, EndReason.IDLE)]


def test_who_is_not_idle_is_not_touched() -> None:
    play = Play(oldest(1, max_idle_ns=IDLE), 1)
    play.tell(Touch(1))
    play.submit(1, "S")
    play.tell(Touch(1))
    play.poll()
    play.tell(Touch(1))
    play.submit(2, "S")
    play.tell(Touch(2))
    play.complete()
    play.tell(EndSequence(1, EndReason.CLIENT_END, drain=True))
    play.tell(Touch(1))
    play.poll()
    play.complete()
    play.wait(IDLE)
    assert ended(play) == [(1, EndReason.CLIENT_END), (2, EndReason.IDLE)]
