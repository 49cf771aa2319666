"""What must hold for slots that are reserved before a START comes, beside all else."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from streamgate.core.commands import (
    Command,
    Reject,
    Rejection,
    ReservationRefused,
    Reserved,
    SequenceEnded,
    SlotTaken,
)
from streamgate.core.events import Close, EndSequence, Event, HangUp, Reserve, Submit
from streamgate.core.ids import Ns, RequestNumber
from streamgate.core.scheduler import SchedulerStatistics
from streamgate.errors import EndReason
from streamgate.model.request import SequenceKey
from tests.model.records import Asked, Seen, Tenancy
from tests.model.sequence_audit import SequenceAudit


@dataclass
class Broken:
    """Somebody ended what is reserved: all of it, that of an owner, or that of an ID."""

    event: HangUp | EndSequence | Close

    def concerns(self, asked: Asked) -> bool:
        match self.event:
            case HangUp(owner):
                return asked.event.owner == owner
            case EndSequence(sequence):
                return asked.event.sequence == sequence
            case Close():
                return True

    @property
    def reason(self) -> EndReason:
        return EndReason.CLIENT_ABORT if isinstance(self.event, HangUp) else self.event.reason


class ReservingAudit(SequenceAudit):
    """Knows for each reservation whether it must be granted, and until when it holds.

    `order` is what came since the last poll; `live` are the granted ones whose START has not come.
    """

    def __init__(self, *rest: Any) -> None:
        super().__init__(*rest)
        self.order: list[object] = []
        self.asked: dict[RequestNumber, Asked] = {}
        self.live: dict[SequenceKey, Asked] = {}
        self.grants: dict[int, Asked] = {}

    def saw_event(self, event: Event, now: Ns) -> None:
        match event:
            case Reserve():
                away = not any(self.roll.takes(index) for index in self.roll.present)
                asked = Asked(event, self.stopping, self.roll.is_deserted, away)
                self.asked[event.request] = asked
                self.order.append(asked)
                return
            case HangUp() | EndSequence() | Close():
                self.order.append(Broken(event))
            case _:
                pass
        super().saw_event(event, now)
        if isinstance(event, Submit):
            self.order.append(self.fresh[-1])

    def admit(self, commands: list[Command], now: Ns) -> None:
        granted = {each.request for each in commands if isinstance(each, Reserved)}
        refused = {
            command.request: command.reason
            for command in commands
            if isinstance(command, Reject) and not command.admitted
        }
        for entry in self.order:
            match entry:
                case Seen():
                    reserved = self.live.get(entry.key) if entry.event.start else None
                    entry.promised = reserved is not None
                    reason = refused.pop(entry.event.request, None)
                    self.admit_one(entry, reason, now)
                    if reserved is not None and reason is None:
                        self.begin(reserved, entry)
                    entry.promised = entry.promised and reason is None
                case Asked(event) if event.request in granted:
                    assert event.sequence not in self.live, "one ID is reserved twice"
                    self.live[event.sequence] = entry
                case Broken():
                    for asked in [each for each in self.live.values() if entry.concerns(each)]:
                        asked.ended = entry.reason
                        del self.live[asked.event.sequence]
                case Asked():
                    pass
                case _:
                    self.admit_other(entry, commands, now)
        assert not refused, "refused twice or never submitted"
        self.order.clear()
        self.fresh.clear()

    def admit_other(self, entry: object, commands: list[Command], now: Ns) -> None:
        """Something else came that may have let somebody in."""
        raise AssertionError(f"nothing is known of {entry!r}")

    def begin(self, asked: Asked, start: Seen) -> None:
        """Its START came."""
        asked.begun = start
        del self.live[asked.event.sequence]
        if asked.tenancy is not None:
            asked.tenancy.start = start

    def saw_commands(self, commands: list[Command], now: Ns) -> None:
        for taken, said in pairwise(commands):
            if isinstance(said, Reserved):
                assert isinstance(taken, SlotTaken), "promised without a slot"
                self.grants[id(taken)] = self.asked[said.request]
        super().saw_commands(commands, now)
        self.grants.clear()
        for asked in self.asked.values():
            assert asked.granted is not None, "neither granted nor refused"
            over = asked.tenancy is None or asked.tenancy.over
            assert asked.ended is None or over, "it outlived its end"

    def saw_reservation(self, command: Reserved | ReservationRefused) -> None:
        asked = self.asked[command.request]
        assert asked.granted is None, "answered twice"
        asked.granted = isinstance(command, Reserved)
        if isinstance(command, Reserved):
            assert asked.tenancy is not None, "promised a slot that is another's"
            return
        assert command.reason is self.reason_against(asked), "refused for another reason"
        assert command.slots == self.told_slots(command.reason)

    def told_slots(self, reason: Rejection) -> int:
        room = sum(self.roll.takes(index) for index, _ in self.seats)
        return room if reason is Rejection.SLOTS_TAKEN else 0

    def reason_against(self, asked: Asked) -> Rejection | None:
        """Why it can't be had as things are; None if it can."""
        key = asked.event.sequence
        checks = (
            (self.batching.iterative, Rejection.NOTHING_TO_RESERVE),
            (not key, Rejection.NO_CORRELATION_ID),
            (asked.stopping, Rejection.STOPPING),
            (asked.deserted, Rejection.INSTANCE_AWAY),
            (self.lives(key, asked.event.request), Rejection.SEQUENCE_LIVES),
            (asked.away, Rejection.INSTANCE_AWAY),
            (not self.has_room(), Rejection.SLOTS_TAKEN),
        )
        return next((reason for holds, reason in checks if holds), None)

    def lives(self, key: SequenceKey, before: RequestNumber) -> bool:
        """Whether an ID has a sequence, or had one when this number was given."""
        seated = any(each is not None and each.key == key for each in self.seats.values())
        waits = any(
            seen.key == key and seen.event.request < before for seen in self.waiting_starts()
        )
        return seated or waits

    def saw_taken(self, taken: SlotTaken, now: Ns) -> None:
        asked = self.grants.get(id(taken))
        if asked is None:
            super().saw_taken(taken, now)
            return
        key = asked.event.sequence
        assert taken.sequence == key
        assert taken.waited_ns == 0
        assert self.reason_against(asked) is None, "promised what could not be had"
        waiting = [each for each in self.next_starts() if each.event.request < asked.event.request]
        assert not waiting, "it overtook those who wait"
        seat = taken.instance, taken.slot
        assert taken.generation == self.generations[seat] + 1
        self.generations[seat] = taken.generation
        self.starts += 1
        self.keys[key].starts += 1
        nobody = Seen(Submit(asked.event.request, key, start=True), key, True, now, "reserved")
        start = asked.begun or nobody
        asked.tenancy = Tenancy(key, seat, taken.generation, start, now, now, now, now)
        self.seats[seat] = asked.tenancy

    def saw_ended(self, ended: SequenceEnded, now: Ns) -> None:
        tenancy = self.seats.get((ended.instance, ended.slot))
        asked = next((each for each in self.asked.values() if each.tenancy is tenancy), None)
        if tenancy is None or asked is None:
            assert not ended.reserved
            super().saw_ended(ended, now)
            return
        waits = asked.begun is None
        assert ended.reserved == waits, "its START came, or did not"
        super().saw_ended(ended, now)
        if waits and ended.reason in {EndReason.CLIENT_ABORT, EndReason.DRAINED}:
            assert asked.ended is ended.reason, "nobody ended it"
        elif waits:
            assert asked.ended is None
            del self.live[asked.event.sequence]

    def check_rest(self, statistics: SchedulerStatistics) -> None:
        super().check_rest(statistics)
        assert not self.live
