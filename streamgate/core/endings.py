"""How requests and sequences come to an early end: cancelled, given up, timed out, shut down.

Knows no steps: a running request is never taken back, and what follows from its end waits for it.
"""

from collections.abc import Collection
from typing import final

from streamgate.core.commands import Command, Reject, Rejection
from streamgate.core.events import EndSequence
from streamgate.core.ids import NO_OWNER, NO_REQUEST, Ns, OwnerNumber, RequestNumber
from streamgate.core.sequence import Pending, Sequence
from streamgate.core.tenancies import Tenancies
from streamgate.errors import EndReason


@final
class Endings:
    """Takes requests out of queues and sequences out of slots.

    `requests` are all requests that are queued or running. Commands go to `out`.
    """

    def __init__(
        self,
        tenancies: Tenancies,
        requests: dict[RequestNumber, Pending],
        out: list[Command],
        *,
        iterative: bool,
    ) -> None:
        self._tenancies = tenancies
        self._requests = requests
        self._out = out
        self._iterative = iterative

    def cancel(self, request: RequestNumber, now: Ns) -> None:
        """The client no longer wants this request. One that runs goes on, but only once."""
        pending = self._requests.get(request)
        if pending is None:
            return
        if pending.sequence.running is pending:
            pending.revoked = Rejection.CANCELLED
        else:
            self._strike(pending.sequence, (pending,), now)

    def hang_up(self, owner: OwnerNumber, now: Ns) -> None:
        """Cancel what the connection asked for and end the sequences that were last used by it."""
        self._tenancies.hold()
        for sequence in self._tenancies.roster.pop_owned(owner):
            if sequence.running is not None and sequence.running.event.owner == owner:
                sequence.running.revoked = Rejection.CANCELLED
            owned = {pending for pending in sequence.queue if pending.event.owner == owner}
            if owned:
                self._strike(sequence, owned, now)
            if sequence.owner == owner and not sequence.over:
                self.abort(sequence, EndReason.CLIENT_ABORT, Rejection.SEQUENCE_ENDED, now)
        self._tenancies.fill(now)

    def end_sequence(self, event: EndSequence, now: Ns) -> None:
        """End the oldest sequence of this ID, at once or after what it has queued."""
        sequence = self._tenancies.roster.oldest(event.sequence)
        if sequence is None:
            return
        if not event.drain and sequence.running is None:
            # A new START that waits behind it is another sequence's.
            self._tenancies.withdraw(sequence)
            self.finish(sequence, event.reason, Rejection.SEQUENCE_ENDED, now)
        elif not event.drain:
            self.abort(sequence, event.reason, Rejection.SEQUENCE_ENDED, now)
        elif sequence.open or sequence.hand_over != NO_REQUEST:
            self.shut(sequence, event.reason, now)

    def shut(self, sequence: Sequence, reason: EndReason, now: Ns) -> None:
        """End an open sequence after what it has queued."""
        sequence.open = False
        sequence.closing = reason
        if not sequence.queue and sequence.running is None:
            self._tenancies.end(sequence, reason, now)

    def close(self, reason: EndReason, now: Ns) -> None:
        """End all sequences; nobody gets a slot any more."""
        self._tenancies.hold()
        for sequence in tuple(self._tenancies.roster):
            self.abort(sequence, reason, Rejection.STOPPING, now)

    def time_out(self, sequence: Sequence, now: Ns) -> None:
        """The sequence has waited too long for a slot, as its client sees it."""
        self.abort(sequence, EndReason.CLIENT_ABORT, Rejection.SEQUENCE_TIMEOUT, now)

    def abort(self, sequence: Sequence, reason: EndReason, rejection: Rejection, now: Ns) -> None:
        """End a sequence at once, or when its running request is back."""
        self._tenancies.withdraw(sequence)
        for pending in sequence.queue:
            self._reject(pending, rejection, reason)
        sequence.queue.clear()
        self._tenancies.drop_later_starts(sequence, [1] * sequence.later_starts, reason)
        sequence.later_starts = 0
        sequence.open = False
        sequence.closing = reason
        if sequence.running is None:
            self._tenancies.end(sequence, reason, now)
        elif sequence.running.revoked is None:
            sequence.running.revoked = rejection

    def finish(self, sequence: Sequence, reason: EndReason, rejection: Rejection, now: Ns) -> None:
        """End a sequence of which nothing runs and that is in no line-up: what it has queued can't
        run any more, up to a new START."""
        tenancies = self._tenancies
        queue = sequence.queue
        own = 1 if sequence.fresh and queue else 0
        count = own + next(
            (place for place, pending in enumerate(queue[own:]) if pending.start), len(queue) - own
        )
        for pending in queue[:count]:
            self._reject(pending, rejection, reason)
        del queue[:count]
        if queue:
            tenancies.pass_on(sequence, reason, now)
            if sequence.slot is not None:
                tenancies.settle(sequence, now)
                return
            deadline = sequence.deadline
            tenancies.backlog.set_deadline(sequence, deadline)
            if deadline is not None and deadline <= now:
                # Who was restored had no deadline, nor had a START behind it.
                self.time_out(sequence, now)
        else:
            tenancies.end(sequence, reason, now)

    def outlive(self, sequence: Sequence, now: Ns) -> None:
        """A sequence of which nothing runs has lived for as long as it may."""
        self._tenancies.withdraw(sequence)
        self.finish(sequence, EndReason.LIFETIME, Rejection.SEQUENCE_ENDED, now)

    def refuse_again(self, pending: Pending) -> None:
        """The model wants to run a request again that nobody waits for any more."""
        assert pending.revoked is not None
        self._reject(pending, pending.revoked, pending.sequence.closing)

    def rest(self, sequence: Sequence, reason: EndReason, now: Ns) -> None:
        """A request of the sequence is done with. An iterative sequence is over when nothing else
        waits; others when the client or the model says so."""
        if self._iterative and not sequence.queue:
            self._tenancies.end(sequence, sequence.closing or reason, now)
        else:
            self._tenancies.settle(sequence, now)

    def _reject(self, pending: Pending, reason: Rejection, end: EndReason | None = None) -> None:
        del self._requests[pending.event.request]
        self._out.append(Reject(pending.event.request, reason, admitted=True, end=end))

    def _strike(self, sequence: Sequence, requests: Collection[Pending], now: Ns) -> None:
        """Take cancelled requests out of a queue; their neighbours stay, unless they can't."""
        tenancies = self._tenancies
        tenancies.withdraw(sequence)
        struck = sequence.strike(requests)
        for pending in struck.cancelled:
            self._reject(pending, Rejection.CANCELLED)
        for pending in struck.orphaned:
            self._reject(pending, Rejection.SEQUENCE_ENDED, EndReason.CLIENT_ABORT)
        if struck.own_start and sequence.queue:
            tenancies.pass_on(sequence, EndReason.CLIENT_ABORT, now)
        elif struck.own_start:
            tenancies.end(sequence, EndReason.CLIENT_ABORT, now)
        tenancies.drop_later_starts(sequence, struck.later_starts, EndReason.CLIENT_ABORT)
        if sequence.over:
            return
        if struck.newest:
            # What came before it was to make way for it, and nobody can add to that any more.
            sequence.open = False
            sequence.closing = sequence.closing or EndReason.SUPERSEDED
            sequence.owner = sequence.queue[-1].event.owner if sequence.queue else NO_OWNER
        elif struck.end and sequence.closing is None:
            # Without its END the sequence lives on, unless what may come belongs to a new one.
            sequence.open = not sequence.followed
            sequence.closing = None if sequence.open else EndReason.SUPERSEDED
        if sequence.slot is None:
            tenancies.backlog.set_deadline(sequence, sequence.deadline)
        elif sequence.running is None:
            self.rest(sequence, EndReason.CLIENT_ABORT, now)
