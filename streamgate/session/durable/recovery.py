"""What is done about the loss of engines: which sequences go on, and which have come to their end.

A lane that was lost is nowhere; its epoch has risen, so that nothing of what it was counts any
more. `Trials` decide when it may go on, `Arrivals` see to how.
"""

import logging
from functools import partial
from typing import Final

from streamgate.core.commands import Rejection
from streamgate.core.ids import Ns
from streamgate.engine.host import Host
from streamgate.engine.rejections import failure_for
from streamgate.errors import Code, EndReason, Failure
from streamgate.link.losses import Cause, Loss
from streamgate.model.request import Response
from streamgate.session.durable.arrivals import Arrivals
from streamgate.session.durable.counters import DurabilityCounters
from streamgate.session.durable.lane import Lane, Step, Tenancy
from streamgate.session.durable.sequences import Sequences
from streamgate.session.durable.trials import Trials

log = logging.getLogger(__name__)

END_NS: Final = 20_000_000
"""How long the end of a sequence may be behind the lost answer to one of its requests."""


class Recovery:
    """Implements `streamgate.session.durable.sequences.Troubles`."""

    def __init__(
        self,
        sequences: Sequences,
        arrivals: Arrivals,
        trials: Trials,
        host: Host,
        counters: DurabilityCounters,
    ) -> None:
        self._sequences = sequences
        self._arrivals = arrivals
        self._trials = trials
        self._host = host
        self._counters = counters
        self._lost: dict[Lane, None] = {}
        self._loss = Loss(Cause.ITS_OWN)

    def on_lost(self, step: Step, response: Response) -> None:
        tenancy = step.tenancy
        lane = tenancy.lane
        if step.request.start and not response.admitted:
            # It was to begin at an engine that has no room for it, or is away.
            self.on_refused(step, response)
            return
        step.lost = response
        if not lane.is_shaken:
            lane.is_shaken = True
            due = Ns(self._host.now() + END_NS)
            epoch = tenancy.log.epoch
            self._host.call_at(due, partial(self._end_it, lane, tenancy, epoch))

    def _end_it(self, lane: Lane, tenancy: Tenancy, epoch: int) -> None:
        """A request was lost, and no end of its sequence was told: it seems to live on, without
        this step. So it is given up where it is, and goes on from its log."""
        if tenancy.log.epoch != epoch or tenancy.is_over:
            return
        lane.is_shaken = False
        if tenancy.log.is_recoverable:
            self.recover(lane)
            return
        for step in tenancy.log.open_entries():
            if step.lost is not None and step.sent == epoch:
                self._sequences.answer(step, step.lost)

    def on_engine_lost(self, lane: Lane, tenancy: Tenancy) -> None:
        """A place has told that this sequence ended there because its state is lost."""
        tenancy.is_attached = False
        self.recover(lane)

    def on_wrong(self, step: Step, why: str) -> None:
        self._condemn(step, f"request at position {step.position} of its sequence {why}")

    def recover(self, lane: Lane, blamed: Step | None = None, loss: Loss | None = None) -> None:
        """Begin anew from the log, whatever the lane is doing just now. `blamed` is a step that
        gives no answer: that counts as the loss of an engine. `loss` is that of its place: of what
        it was given there, nothing was answered as lost yet."""
        self._arrivals.begin_clock(lane)
        step = blamed or _under_way(lane, is_told=loss is None)
        self._trials.note_loss(lane, loss or self._loss, step)
        lane.avoided = lane.place
        self._arrivals.detach(lane)
        if not self._lost:
            # Those that were lost together are looked at together.
            self._host.call_soon(self._go_on_with_the_lost)
        self._lost[lane] = None

    def _go_on_with_the_lost(self) -> None:
        lost = [lane for lane in self._lost if lane.tenancies and lane.place is None]
        self._lost.clear()
        self._loss = Loss(Cause.ITS_OWN)
        for lane in lost:
            self._settle_ends(lane)
        lost = [lane for lane in lost if lane.tenancies and not self._waits_for_word(lane)]
        verdict = self._trials.judge(lost, self._arrivals.begin_trial)
        for lane in verdict.guilty:
            assert lane.suspect is not None
            self._counters.quarantined += 1
            self._condemn(
                lane.suspect,
                f"an engine was lost or stuck {len(lane.suspect.losses)} times with the request at "
                f"position {lane.suspect.position} of sequence {lane.key}: it is not run again",
            )
        for lane in verdict.free:
            self._arrivals.attach(lane)

    def _waits_for_word(self, lane: Lane) -> bool:
        """Whether it has to be told first why an engine was lost. That comes at once, or soon."""
        unexplained = self._trials.unexplained(lane)
        for loss in unexplained[:1]:
            loss.when_explained(partial(self._judge_again, lane, lane.suspect))
        return bool(unexplained)

    def _judge_again(self, lane: Lane, suspect: Step | None) -> None:
        if lane.suspect is suspect and lane.place is None and lane.tenancies:
            if not self._lost:
                self._host.call_soon(self._go_on_with_the_lost)
            self._lost[lane] = None

    def _settle_ends(self, lane: Lane) -> None:
        """End what is over already, and what can't go on."""
        while lane.tenancies:
            tenancy = lane.tenancies[0]
            reason = tenancy.is_ended_by
            if reason is None and tenancy.ending is not None and not tenancy.log.open_entries():
                reason = tenancy.ending
            if reason is None and not tenancy.log.is_recoverable:
                reason = EndReason.ENGINE_LOST
                log.warning(
                    "sequence %s of model '%s' can't be recovered: %s",
                    lane.key,
                    self._sequences.name,
                    tenancy.log.why_lost,
                )
                self._counters.lost += 1
            if reason is None:
                break
            self._sequences.finish(tenancy, reason)
        for step in list(lane.pending):
            if step.is_cancelled and not step.is_done:
                self.cancel_pending(step)

    def _condemn(self, step: Step, why: str) -> None:
        """The sequence of a step ends with an error, and so does the step."""
        tenancy = step.tenancy
        if tenancy.is_over:
            return
        lane = tenancy.lane
        log.error("model '%s': %s", self._sequences.name, why)
        self._arrivals.detach(lane)
        failure = Failure(Code.INTERNAL, why)
        for each in tenancy.log.open_entries():
            each.lost = each.failed(failure) if each is step else None
        if step.is_done or step not in tenancy.log.open_entries():
            # The first that waits is told why.
            waiting = next(iter(tenancy.log.open_entries()), None)
            if waiting is not None:
                waiting.lost = waiting.failed(failure)
        self._sequences.finish(tenancy, EndReason.ERROR)
        self._after_end(lane)
        if lane.tenancies:
            self._arrivals.attach(lane)

    def on_refused(self, step: Step, response: Response) -> None:
        tenancy = step.tenancy
        lane = tenancy.lane
        if lane.is_recovering and (step.request.start or step.is_windowed):
            # Not what a replay may come to: the next attempt may.
            lane.avoided = lane.place
            self._arrivals.detach(lane)
            if tenancy.ending is None:
                self._arrivals.try_later(lane)
            else:
                # It was to end anyway, where nothing begins any more.
                self.end_now(lane, tenancy, tenancy.ending)
            return
        assert response.failure is not None
        if step.request.start and self._arrivals.try_elsewhere(lane, tenancy, response.failure):
            return
        tenancy.log.drop(step)
        if step.request.start:
            self._sequences.withdraw(tenancy)
        self._sequences.answer(step, response)
        self._arrivals.sent_one(lane, step)

    def queue(self, lane: Lane, step: Step) -> None:
        """A step came whose lane does not flow."""
        lane.pending.append(step)
        if lane.place is not None:
            self._arrivals.pump(lane)

    def cancel_pending(self, step: Step) -> None:
        """Its client no longer wants a step that is not under way."""
        tenancy = step.tenancy
        log_ = tenancy.log
        later = any(entry.delivered for entry in log_ if entry.position > step.position)
        has_run = bool(step.sent and (step.delivered or later))
        answer = step.failed(failure_for(Rejection.CANCELLED, step.request), ran=has_run)
        if has_run:
            # Others stand on what it did: it is run again, and nobody is told.
            step.has_failed = True
            self._sequences.answer(step, answer)
            return
        log_.drop(step)
        if step in tenancy.lane.pending:
            tenancy.lane.pending.remove(step)
        self._sequences.answer(step, answer)
        if step.request.start and not tenancy.is_over:
            self._arrivals.detach(tenancy.lane)
            self._sequences.finish(tenancy, EndReason.CLIENT_ABORT)
            if tenancy.lane.tenancies:
                self._arrivals.try_later(tenancy.lane)

    def close(self) -> None:
        """End what is nowhere, and recover nothing any more."""
        self._arrivals.is_closed = True
        for lane in list(self._sequences.held):
            if lane.place is None:
                for tenancy in list(lane.tenancies):
                    self._sequences.finish(tenancy, EndReason.DRAINED)

    def on_end(self, lane: Lane, tenancy: Tenancy, reason: EndReason) -> None:
        """A sequence ended at its place, for a reason that is no loss."""
        if reason is EndReason.CLIENT_END and any(
            step.lost is not None for step in tenancy.log.open_entries()
        ):
            # Its END was under way when the engine was lost, so it is not over.
            self.on_engine_lost(lane, tenancy)
            return
        self._sequences.finish(tenancy, reason)
        self._after_end(lane)

    def end_now(self, lane: Lane, tenancy: Tenancy, reason: EndReason) -> None:
        """End a sequence that does not flow: what of it waits is cancelled."""
        self._arrivals.detach(lane)
        self._sequences.finish(tenancy, reason)
        self._after_end(lane)
        if lane.tenancies:
            self._arrivals.attach(lane)

    def _after_end(self, lane: Lane) -> None:
        if lane.suspect is not None:
            lane.suspect = None
            self._trials.leave(lane)

    def on_gone(self, lane: Lane) -> None:
        self._trials.leave(lane)

    def on_progress(self, step: Step, *, final: bool) -> None:
        self._arrivals.on_progress(step, final=final)


def _under_way(lane: Lane, *, is_told: bool) -> Step | None:
    """The step that an engine ran when it was lost, as it seems. `is_told`: those that it had were
    answered as lost, and with it whether they ran: it is the oldest. Otherwise it may have run any,
    and lost its answers to the first: if the one that is suspected was there, it is that."""
    sent = [
        step
        for tenancy in lane.tenancies
        for step in tenancy.log
        if step.sent == tenancy.log.epoch and step.answered != step.sent
    ]
    if not sent:
        return None
    oldest = sent[0]
    if is_told:
        return oldest if oldest.lost is not None and oldest.lost.ran else None
    return lane.suspect if lane.suspect in sent else oldest
