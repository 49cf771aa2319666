"""The model tests catch what they are for: each bug put in on purpose makes them fail."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from streamgate.core import queueing
from streamgate.core.backlog import Backlog
from streamgate.core.batching import Prefix
from streamgate.core.crew import Crew
from streamgate.core.direct import DirectLineup
from streamgate.core.endings import Endings
from streamgate.core.events import Completed, InstanceLost, Submit
from streamgate.core.fleet import Fleet, Member
from streamgate.core.ids import InstanceIndex, Ns, StepNumber
from streamgate.core.instance import Instance
from streamgate.core.queueing import Queued, RequestQueue
from streamgate.core.rota import Rota
from streamgate.core.sequence import Pending, Sequence, Struck
from streamgate.core.sequences import SequenceScheduler
from streamgate.core.slots import Slot, SlotPool
from streamgate.core.stateless import StatelessScheduler
from streamgate.core.tenancies import Tenancies
from streamgate.core.timers import Countdown, Timers
from streamgate.errors import EndReason
from tests.model.sequence_machine import PausingMachine, SequenceMachine
from tests.model.settings import CAUGHT, ONLY_LONG, SEEDED
from tests.model.stateless_machine import StatelessMachine

Bug = Callable[[pytest.MonkeyPatch], None]


def nothing(*_: Any) -> None:
    return None


def generation_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Slot, "renew", nothing)


def two_in_flight(patch: pytest.MonkeyPatch) -> None:
    start = SequenceScheduler._start

    def forget_running(self: SequenceScheduler, instance: Instance, now: Ns) -> None:
        start(self, instance, now)
        for _, taken in self._running.values():
            for pending in taken:
                pending.sequence.running = None

    patch.setattr(SequenceScheduler, "_start", forget_running)


def paused_requests_run(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SequenceScheduler, "_pause", nothing)


def resumed_requests_wait_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SequenceScheduler, "_resume", nothing)


def idle_wake_up_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Countdown, "next_at", nothing)


def delay_wake_up_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Timers, "next_at", nothing)


def wakes_too_early(patch: pytest.MonkeyPatch) -> None:
    next_at = Countdown.next_at

    def earlier(self: Countdown[Sequence]) -> Ns | None:
        at = next_at(self)
        return None if at is None else Ns(at - 1)

    patch.setattr(Countdown, "next_at", earlier)


def slot_leaks_when_idle(patch: pytest.MonkeyPatch) -> None:
    end = Tenancies.end

    def leak(self: Tenancies, sequence: Sequence, reason: EndReason, now: Ns) -> None:
        if reason is EndReason.IDLE:
            patch.setattr(SlotPool, "release", nothing)
        end(self, sequence, reason, now)
        patch.setattr(SlotPool, "release", release)

    release = SlotPool.release
    patch.setattr(Tenancies, "end", leak)


def rejections_dropped(patch: pytest.MonkeyPatch) -> None:
    def forget(self: Endings, pending: Pending, *_: object) -> None:
        del self._requests[pending.event.request]

    patch.setattr(Endings, "_reject", forget)


def last_come_first_served(patch: pytest.MonkeyPatch) -> None:
    def admit(self: Backlog, sequence: Sequence) -> None:
        sequence.place = self._eligible.push(-sequence.order, sequence)

    patch.setattr(Backlog, "admit", admit)


def backlog_starves(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tenancies, "_fill", nothing)


def start_overtakes_end(patch: pytest.MonkeyPatch) -> None:
    add = Backlog.add

    def impatient(self: Backlog, sequence: Sequence) -> None:
        held_back = sequence.predecessor is not None
        add(self, sequence)
        if held_back:
            self.admit(sequence)

    patch.setattr(Backlog, "add", impatient)


def cancel_takes_neighbours(patch: pytest.MonkeyPatch) -> None:
    strike = Sequence.strike

    def strike_all(self: Sequence, requests: Collection[Pending]) -> Struck:
        struck = strike(self, requests)
        struck.orphaned += self.queue
        self.queue = []
        return struck

    patch.setattr(Sequence, "strike", strike_all)


def idle_while_running(patch: pytest.MonkeyPatch) -> None:
    start = Countdown.start

    def restart(self: Countdown[Sequence], subject: Sequence, now: Ns) -> None:
        if subject not in self._due:
            start(self, subject, now)

    patch.setattr(Countdown, "start", restart)
    patch.setattr(Countdown, "stop", nothing)


def slot_freed_while_running(patch: pytest.MonkeyPatch) -> None:
    def abort(self: Endings, sequence: Sequence, *rest: Any) -> None:
        self._tenancies.withdraw(sequence)
        for pending in sequence.queue:
            self._reject(pending, rest[1])
        sequence.queue.clear()
        running, sequence.running = sequence.running, None
        self._tenancies.end(sequence, rest[0], rest[2])
        sequence.running = running

    patch.setattr(Endings, "abort", abort)


def null_rows_of_an_old_generation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DirectLineup, "renew", nothing)


def reschedules_at_the_back(patch: pytest.MonkeyPatch) -> None:
    def requeue(self: SequenceScheduler, event: Completed, pending: Pending, now: Ns) -> None:
        pending.start = False
        pending.sequence.queue.append(pending)
        self._tenancies.settle(pending.sequence, now)

    patch.setattr(SequenceScheduler, "_complete_special", requeue)


def superseded_in_silence(patch: pytest.MonkeyPatch) -> None:
    def begin(self: SequenceScheduler, sequence: Sequence, now: Ns) -> None:
        sequence.fresh = False

    patch.setattr(SequenceScheduler, "_begin", begin)


def slots_of_a_lost_instance_handed_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SlotPool, "shut", lambda self, instance: self._shut.setdefault(instance, []))


def steps_on_a_lost_instance(patch: pytest.MonkeyPatch) -> None:
    def lose(self: Fleet, index: InstanceIndex, until: Ns) -> Member | None:
        return self.get(index)

    patch.setattr(Fleet, "lose", lose)


def ends_are_forgotten(reason: EndReason) -> Bug:
    """Sequences live on that should end for this reason."""
    finish = Endings.finish

    def forget(self: Endings, sequence: Sequence, why: EndReason, *rest: Any) -> None:
        if why is reason:
            self._tenancies.settle(sequence, rest[-1])
        else:
            finish(self, sequence, why, *rest)

    def bug(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Endings, "finish", forget)

    bug.__name__ = f"{reason.value}_forgotten"
    return bug


def lifetime_never_ends(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Endings, "outlive", nothing)


def lifetime_goes_on_after_a_step(patch: pytest.MonkeyPatch) -> None:
    class Forgetful(set[Any]):
        def add(self, _: Any) -> None:
            """Not this one."""

    create = SequenceScheduler.__init__

    def forget(self: SequenceScheduler, *rest: Any) -> None:
        create(self, *rest)
        self._overdue = Forgetful()

    patch.setattr(SequenceScheduler, "__init__", forget)


def nobody_is_warned(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tenancies, "_warn", nothing)


def warned_although_busy(patch: pytest.MonkeyPatch) -> None:
    """What comes after the warning does not keep the sequence."""
    submit = SequenceScheduler._submit

    def careless(self: SequenceScheduler, *rest: Any) -> None:
        warned, self._warned = self._warned, None
        submit(self, *rest)
        self._warned = warned

    patch.setattr(SequenceScheduler, "_submit", careless)


def waits_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Crew, "_send_away", nothing)


def leaves_and_never_goes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Crew, "is_gone", nothing)


def preempted_too_early(patch: pytest.MonkeyPatch) -> None:
    dismiss = Fleet.dismiss

    def at_once(self: Fleet, member: Member, until: Ns) -> None:
        dismiss(self, member, Ns(until // 2))

    patch.setattr(Fleet, "dismiss", at_once)


@pytest.mark.parametrize(
    "bug",
    [
        slots_of_a_lost_instance_handed_out,
        steps_on_a_lost_instance,
        ends_are_forgotten(EndReason.ENGINE_LOST),
        ends_are_forgotten(EndReason.ERROR),
        lifetime_never_ends,
        lifetime_goes_on_after_a_step,
        nobody_is_warned,
        waits_for_ever,
        leaves_and_never_goes,
        preempted_too_early,
        generation_stays,
        two_in_flight,
        idle_wake_up_lost,
        delay_wake_up_lost,
        wakes_too_early,
        slot_leaks_when_idle,
        rejections_dropped,
        last_come_first_served,
        backlog_starves,
        start_overtakes_end,
        cancel_takes_neighbours,
        idle_while_running,
        slot_freed_while_running,
        pytest.param(null_rows_of_an_old_generation, marks=ONLY_LONG),
        reschedules_at_the_back,
        superseded_in_silence,
    ],
    ids=lambda bug: bug.__name__,
)
def test_sequence_bug_is_caught(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    assert_caught(SequenceMachine)


def signature_ignored(patch: pytest.MonkeyPatch) -> None:
    extend = Prefix.extend

    def careless(self: Prefix, rows: int, signature: object, since: Ns) -> bool:
        return extend(self, rows, None, since)

    patch.setattr(Prefix, "extend", careless)


def queue_counts_wrongly(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(queueing._Level, "__len__", lambda self: len(self.timely))


def own_timeout_ignored(patch: pytest.MonkeyPatch) -> None:
    put = RequestQueue.put

    def ignore(self: RequestQueue, event: Submit, now: Ns) -> Queued | None:
        return put(self, replace(event, timeout_ns=0), now)

    patch.setattr(RequestQueue, "put", ignore)


def priority_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RequestQueue, "_level_of", lambda self, priority: 1)


def stale_prefix(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RequestQueue, "is_last", lambda self, queued: True)


def timer_outlives_its_request(patch: pytest.MonkeyPatch) -> None:
    put = RequestQueue.put

    def forget(self: RequestQueue, event: Submit, now: Ns) -> Queued | None:
        queued = put(self, event, now)
        if queued is not None:
            queued.timer = None
        return queued

    patch.setattr(RequestQueue, "put", forget)


def instance_never_comes_back(patch: pytest.MonkeyPatch) -> None:
    complete = Rota.complete

    def lose(self: Rota, step: StepNumber) -> None:
        complete(self, step)
        self.idle.clear()

    patch.setattr(Rota, "complete", lose)


def a_lost_instance_gets_steps(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rota, "_take_off", nothing)


def a_lost_step_stays_under_way(patch: pytest.MonkeyPatch) -> None:
    def lose(self: Rota, event: InstanceLost, now: Ns) -> None:
        self._fleet.lose(event.instance, Ns(now + event.patience_ns))
        self._take_off(event.instance)

    patch.setattr(Rota, "lose", lose)


def waits_for_the_given_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StatelessScheduler, "_reject_all", nothing)


def never_goes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rota, "_see_off", nothing)


@pytest.mark.parametrize(
    "bug",
    [
        a_lost_instance_gets_steps,
        a_lost_step_stays_under_way,
        waits_for_the_given_up,
        never_goes,
        signature_ignored,
        queue_counts_wrongly,
        own_timeout_ignored,
        priority_ignored,
        stale_prefix,
        timer_outlives_its_request,
        instance_never_comes_back,
    ],
    ids=lambda bug: bug.__name__,
)
def test_stateless_bug_is_caught(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    assert_caught(StatelessMachine)


@pytest.mark.parametrize(
    "bug", [paused_requests_run, resumed_requests_wait_on], ids=lambda bug: bug.__name__
)
def test_pausing_bug_is_caught(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    assert_caught(PausingMachine)


@ONLY_LONG
@pytest.mark.timeout(240)
def test_a_rare_bug_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows only where a request waits for its step while the time for the warning comes."""
    warned_although_busy(monkeypatch)
    assert_caught(SequenceMachine, settings(SEEDED, max_examples=8 * SEEDED.max_examples))


def assert_caught(machine: type[RuleBasedStateMachine], how: settings = SEEDED) -> None:
    """The machine fails, by one of its own checks or one of the core's assertions."""
    with pytest.raises(CAUGHT):
        run_state_machine_as_test(machine, settings=how)
