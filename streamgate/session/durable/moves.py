"""Sequences that leave a place on purpose: handed over with their state, and restored elsewhere."""

import logging
from dataclasses import replace
from functools import partial
from typing import Final

from streamgate.core.ids import Ns
from streamgate.engine.host import Host
from streamgate.errors import Code, Failure
from streamgate.link.contract import OnHandOver
from streamgate.model.snapshot import Snapshot
from streamgate.session.durable.arrivals import Arrivals
from streamgate.session.durable.lane import Lane, Place, Tenancy
from streamgate.session.durable.places import Places
from streamgate.session.durable.recovery import Recovery
from streamgate.session.durable.sequences import Sequences

log = logging.getLogger(__name__)

HAND_OVER_NS: Final = 10_000_000_000
"""How long a place may take to hand a sequence over. Then it goes on from its log."""


class Moves:
    """Clients see a pause: what comes meanwhile waits and follows."""

    def __init__(
        self,
        sequences: Sequences,
        places: Places,
        arrivals: Arrivals,
        recovery: Recovery,
        host: Host,
    ) -> None:
        self._sequences = sequences
        self._places = places
        self._arrivals = arrivals
        self._recovery = recovery
        self._host = host

    def leave(self, lane: Lane) -> None:
        """Move a lane to another place, if there is one and it can be moved just now."""
        place = lane.place
        if place is None or lane.is_pinned or lane.is_recovering or lane.is_restoring:
            return
        if not lane.flows or lane.in_flight or len(lane.tenancies) != 1:
            return
        if self._places.for_sequence(lane.key, {place}) is None:
            return
        lane.is_moving = True
        tenancy = lane.tenancies[0]
        if tenancy.awaits_start:
            lane.refused_by.add(place)
            self._recovery.recover(lane)
            return
        self._ask(lane, place, tenancy, partial(self._move, lane, place))

    def hand_over(self, lane: Lane, on_answer: OnHandOver) -> None:
        """Give the lane's sequence to whoever asks: it is not ours any more then."""
        place = lane.place
        tenancy = lane.tenancies[0]
        snapshot = tenancy.log.snapshot
        if lane.hibernated_bytes and snapshot is not None:
            self._host.call_soon(partial(self._give, tenancy, on_answer, snapshot))
        elif place is None or not lane.flows or len(lane.tenancies) != 1 or tenancy.awaits_start:
            text = f"sequence {lane.key} can't be handed over just now: try again"
            self._host.call_soon(partial(on_answer, Failure(Code.UNAVAILABLE, text)))
        else:
            self._ask(lane, place, tenancy, partial(self._give, tenancy, on_answer))

    def _ask(self, lane: Lane, place: Place, tenancy: Tenancy, on_answer: OnHandOver) -> None:
        epoch = tenancy.log.epoch
        lane.is_leaving = True
        self._sequences.held[lane] = None
        due = Ns(self._host.now() + HAND_OVER_NS)
        text = f"sequence {lane.key} was not handed over within {HAND_OVER_NS / 1e9:g} s"
        late = partial(self._answered, tenancy, epoch, on_answer, Failure(Code.UNAVAILABLE, text))
        lane.set_timer(self._host.call_at(due, late))
        place.link.hand_over(lane.key, partial(self._answered, tenancy, epoch, on_answer))

    def _answered(
        self, tenancy: Tenancy, epoch: int, on_answer: OnHandOver, answer: Snapshot | Failure
    ) -> None:
        lane = tenancy.lane
        if tenancy.log.epoch != epoch or tenancy.is_over or not lane.is_leaving:
            # It was lost on its way, or has ended, and that has been seen to.
            if not isinstance(answer, Snapshot):
                return
            log.warning("sequence %s was handed over too late: it goes on already", lane.key)
            return
        lane.set_timer(None)
        if isinstance(answer, Snapshot):
            tenancy.is_attached = False
            if not tenancy.log.cut(epoch, answer):
                text = (
                    f"sequence {lane.key} was handed over at position {answer.position}, which is "
                    "not where it is"
                )
                log.error("%s", text)
                self._recovery.recover(lane)
                answer = Failure(Code.INTERNAL, text)
        else:
            lane.is_leaving = False
        on_answer(answer)

    def _move(self, lane: Lane, place: Place, answer: Snapshot | Failure) -> None:
        if isinstance(answer, Snapshot):
            self._arrivals.begin_clock(lane)
            self._arrivals.detach(lane)
            lane.refused_by.add(place)
            self._arrivals.attach(lane)
            return
        lane.is_moving = False
        if lane.place is None:
            return
        if answer.code is Code.UNSUPPORTED:
            lane.is_pinned = True
        elif lane.tenancies[0].log.is_recoverable:
            log.warning("a sequence is moved without its place: %s", answer.message)
            lane.is_moving = True
            lane.refused_by.add(place)
            self._recovery.recover(lane)
            return
        self._arrivals.pump(lane)

    def _give(self, tenancy: Tenancy, on_answer: OnHandOver, answer: Snapshot | Failure) -> None:
        lane = tenancy.lane
        if isinstance(answer, Snapshot):
            answer = replace(answer, age_ns=self._host.now() - tenancy.began_ns)
            if not tenancy.is_over:
                self._sequences.hand_back(tenancy, None)
        elif lane.place is not None:
            self._arrivals.pump(lane)
        on_answer(answer)
