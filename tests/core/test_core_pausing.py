"""Requests whose client does not read: they wait, what is behind them too, and nobody else."""

import pytest

from streamgate.core.commands import Rejection, SequenceEnded
from streamgate.core.events import Cancel, Close, EndSequence, HangUp, Pause, Resume
from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.errors import EndReason
from streamgate.model.config import Scheduling
from tests.core.listening import ended, heard, rejects, requests
from tests.core.play import Play, direct, oldest

A = OwnerNumber(1)


def started(play: Play, *keys: int) -> None:
    """Sequences that have run their START."""
    for key in keys:
        play.submit(key, "S", owner=1)
    play.run(0)


@pytest.mark.parametrize(("scheduling", "null"), [(direct(2), [0]), (oldest(2), [])])
def test_a_paused_request_waits_and_its_neighbour_does_not(
    scheduling: Scheduling, null: list[int]
) -> None:
    play = Play(scheduling, 2)
    started(play, 1, 2)
    play.submit(1)
    play.submit(1)
    play.submit(2)
    play.tell(Pause((RequestNumber(3), RequestNumber(4))))
    assert requests(play.poll()) == [[*null, 5]]
    play.complete()
    assert play.scheduler.statistics().pending == 2
    play.tell(Resume((RequestNumber(3), RequestNumber(4))))
    assert 3 in requests(play.poll())[0]
    assert 4 in requests(play.complete())[0]


def test_what_is_behind_a_paused_request_waits_with_it() -> None:
    play = Play(oldest(1), 1)
    started(play, 1)
    first, second = play.submit(1), play.submit(1)
    play.tell(Pause((first,)))
    assert requests(play.poll()) == []
    play.tell(Resume((first,)))
    assert requests(play.poll()) == [[first]]
    assert requests(play.complete()) == [[second]]


def test_a_pause_behind_the_head_of_the_queue_takes_effect_when_its_turn_comes() -> None:
    play = Play(oldest(1), 1)
    started(play, 1)
    first, second = play.submit(1), play.submit(1)
    play.tell(Pause((second,)))
    assert requests(play.poll()) == [[first]]
    assert requests(play.complete()) == []
    play.tell(Resume((second,)))
    assert requests(play.poll()) == [[second]]


def test_a_request_that_runs_goes_on_but_is_not_run_again_while_paused() -> None:
    play = Play(oldest(1, iterative=True), 1)
    number = play.submit(0)
    play.poll()
    play.tell(Pause((number,)))
    assert requests(play.complete(again=True)) == []
    play.tell(Resume((number,)))
    assert requests(play.poll()) == [[number]]


def test_a_paused_sequence_does_not_idle_out() -> None:
    play = Play(oldest(1, max_idle_ns=1_000), 1)
    started(play, 1)
    number = play.submit(1)
    play.tell(Pause((number,)))
    play.wait(10_000)
    assert heard(play, SequenceEnded) == []
    play.tell(Resume((number,)))
    assert requests(play.poll()) == [[number]]


def test_unknown_requests_are_ignored() -> None:
    play = Play(oldest(1), 1)
    play.tell(Pause((RequestNumber(9),)))
    play.tell(Resume((RequestNumber(9),)))
    number = play.submit(1, "S")
    play.tell(Resume((number,)))
    assert requests(play.poll()) == [[number]]
    assert requests(play.complete()) == []


def test_a_paused_request_can_be_cancelled_and_the_next_one_runs() -> None:
    play = Play(oldest(1), 1)
    started(play, 1)
    first, second = play.submit(1), play.submit(1)
    play.tell(Pause((first,)))
    play.tell(Cancel(first))
    said = play.poll()
    assert rejects(said) == [(first, Rejection.CANCELLED)]
    assert requests(said) == [[second]]
    play.tell(Resume((first, second)))
    play.complete()
    assert play.scheduler.statistics().pending == 0


@pytest.mark.parametrize(
    ("event", "rejection", "reason"),
    [
        (HangUp(A), Rejection.CANCELLED, EndReason.CLIENT_ABORT),
        (Close(), Rejection.STOPPING, EndReason.DRAINED),
        (
            EndSequence(1, EndReason.PREEMPTED, drain=False),
            Rejection.SEQUENCE_ENDED,
            EndReason.PREEMPTED,
        ),
    ],
)
def test_a_paused_sequence_that_ends_frees_its_slot(
    event: HangUp | Close | EndSequence, rejection: Rejection, reason: EndReason
) -> None:
    play = Play(oldest(1), 1)
    started(play, 1)
    number = play.submit(1, owner=1)
    play.tell(Pause((number,)))
    play.tell(event)
    said = play.poll()
    assert rejects(said) == [(number, rejection)]
    assert ended(said) == [(1, 0, reason)]
    assert play.scheduler.statistics().active_sequences == 0
