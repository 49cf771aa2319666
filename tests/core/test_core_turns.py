"""Slots that change hands: who goes, who stays, and that nobody waits without bound."""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.core.commands import (
    Command,
    Evict,
    HandOverRefused,
    Leave,
    Reject,
    Rejection,
    RestoreRefused,
    Run,
    SequenceEnded,
    SequenceLeft,
    SequenceParked,
    SequenceStays,
    SlotTaken,
)
from streamgate.core.events import (
    Arrived,
    Cancel,
    Completed,
    Copied,
    EndSequence,
    Event,
    HandOver,
    Hibernate,
    NotCopied,
    Restore,
    Submit,
    Touch,
)
from streamgate.core.factory import create_scheduler
from streamgate.core.ids import (
    NO_REQUEST,
    Generation,
    InstanceIndex,
    Ns,
    OwnerNumber,
    RequestNumber,
    SlotIndex,
)
from streamgate.core.turns import longest_wait_ns
from streamgate.errors import EndReason
from streamgate.model.config import SequenceBatching
from streamgate.model.request import SequenceKey
from tests.core.listening import ended, requests, taken
from tests.core.play import MS, Play, direct, oldest
from tests.model.settings import LONG, MODEL

IDLE, TURN = 20 * MS, 100 * MS


def of(kind: type, said: list[Command]) -> list[Any]:
    return [command for command in said if isinstance(command, kind)]


class Table(Play):
    """A scheduler whose slots change hands, and whose states are copied when the test says so."""

    def __init__(self, scheduling: SequenceBatching, rows: int = 4, instances: int = 1) -> None:
        super().__init__(scheduling, rows, instances)
        self.tell(Hibernate(IDLE, TURN))

    def handle(self, command: Evict | Leave) -> tuple[InstanceIndex, SlotIndex, Generation]:
        return command.instance, command.slot, command.generation

    def restore(self, sequence: SequenceKey, owner: int = 0) -> RequestNumber:
        self.requests += 1
        number = RequestNumber(self.requests)
        self.tell(Restore(number, sequence, OwnerNumber(owner)))
        return number

    def copied(self, command: Evict | Leave) -> list[Command]:
        self.requests += 1
        self.tell(Copied(*self.handle(command), RequestNumber(self.requests)))
        return self.poll()

    def arrived(self, number: RequestNumber, *, failed: bool = False) -> list[Command]:
        self.tell(Arrived(number, failed))
        return self.poll()

    def hand_over(self, sequence: SequenceKey) -> list[Command]:
        self.requests += 1
        self.tell(HandOver(RequestNumber(self.requests), sequence))
        return self.poll()

    def seat(self, *sequences: SequenceKey) -> None:
        """Sequences that have had their START, one after another."""
        for sequence in sequences:
            self.submit(sequence, "S")
            self.poll()
            self.complete()
            self.wait(MS)


class TestHibernation:
    def test_nobody_goes_while_nobody_waits(self) -> None:
        table = Table(oldest(2))
        table.seat(1, 2)
        table.wait(900 * MS)
        assert of(Evict, [command for _, command in table.heard]) == []

    def test_who_was_idle_longest_goes_first_and_no_more_than_wait(self) -> None:
        table = Table(oldest(3))
        table.seat(1, 2, 3)
        table.submit(1)
        table.poll()
        table.complete()
        table.wait(IDLE)
        table.submit(4, "S")
        (evict,) = of(Evict, table.poll())
        assert evict.sequence == 2
        said = table.copied(evict)
        assert of(SequenceLeft, said) == [SequenceLeft(NO_REQUEST, 2, *table.handle(evict))]
        assert [key for key, *_ in taken(said)] == [4]
        assert ended(said) == []

    def test_nobody_goes_before_it_was_idle_for_long_enough(self) -> None:
        table = Table(oldest(1))
        table.seat(1)
        table.submit(2, "S")
        assert table.poll() == []
        table.wait(IDLE - 2 * MS)
        assert of(Evict, [command for _, command in table.heard]) == []
        table.wait(MS)
        (evict,) = of(Evict, [command for _, command in table.heard])
        assert evict.sequence == 1

    def test_a_step_that_comes_keeps_a_sequence_where_it_is(self) -> None:
        table = Table(oldest(1))
        table.seat(1)
        table.wait(IDLE)
        table.submit(2, "S")
        (evict,) = of(Evict, table.poll())
        table.submit(1)
        assert requests(table.poll()) == [[3]]
        assert table.copied(evict) == [SequenceStays(*table.handle(evict))]
        table.complete()
        table.wait(IDLE)
        assert len(of(Evict, [command for _, command in table.heard])) == 2

    def test_a_sign_of_life_does_so_too(self) -> None:
        table = Table(oldest(1))
        table.seat(1)
        table.wait(IDLE)
        table.submit(2, "S")
        (evict,) = of(Evict, table.poll())
        table.tell(Touch(1))
        assert table.copied(evict) == [SequenceStays(*table.handle(evict))]

    def test_who_can_not_be_moved_is_not_asked_again(self) -> None:
        table = Table(oldest(1, max_idle_ns=10_000 * MS))
        table.seat(1)
        table.wait(IDLE)
        table.submit(2, "S")
        (evict,) = of(Evict, table.poll())
        table.tell(NotCopied(*table.handle(evict), for_ever=True))
        table.wait(2_000 * MS)
        assert len(of(Evict, [command for _, command in table.heard])) == 1

    def test_a_slot_of_an_instance_that_is_away_is_of_no_use(self) -> None:
        table = Table(oldest(1), instances=2)
        table.seat(1, 2)
        table.wait(IDLE)
        table.lose(0, patience_ns=900 * MS)
        table.submit(3, "S")
        assert [each.sequence for each in of(Evict, table.poll())] == [2]

    def test_what_is_reserved_is_not_given_to_others(self) -> None:
        table = Table(oldest(1))
        table.reserve(1)
        table.submit(2, "S")
        table.wait(500 * MS)
        assert of(Evict, [command for _, command in table.heard]) == []


class TestTurns:
    def test_who_is_busy_goes_between_two_steps_and_comes_back(self) -> None:
        table = Table(oldest(1))
        table.seat(1)
        table.wait(TURN - 50 * MS)
        table.submit(2, "S")
        for _ in range(4):
            table.submit(1)
        table.poll()
        # Its turn is over, but who waits has not waited for long enough.
        table.wait(70 * MS)
        said = table.complete()
        assert of(Evict, said) == []
        table.wait(40 * MS)
        (evict,) = of(Evict, table.complete())
        assert of(Run, table.poll()) == [], "it ran while its state was copied"
        said = table.copied(evict)
        assert of(SequenceParked, said) == [SequenceParked(1, *table.handle(evict))]
        assert [key for key, *_ in taken(said)] == [2]
        assert requests(said) == [[2]]
        said = table.complete()
        # Two have one slot: they take turns from now on.
        table.wait(IDLE)
        (evict,) = of(Evict, [command for _, command in table.heard if table.now])[-1:]
        assert evict.sequence == 2
        said = table.copied(evict)
        (back,) = of(SlotTaken, said)
        assert back.sequence == 1
        assert back.restores != NO_REQUEST
        assert requests(said) == []
        assert requests(table.arrived(back.restores)) == [[5]]

    def test_nobody_goes_before_it_had_a_step(self) -> None:
        """It came for that: with long steps of others it would go round for ever."""
        table = Table(oldest(2), 1)  # one row at a time
        table.seat(1)
        number = table.restore(2)
        table.submit(2)
        table.submit(1)
        table.poll()
        table.arrived(number)
        table.submit(3, "S")
        table.wait(5 * TURN)
        said = table.complete()
        assert {each.sequence for each in of(Evict, said)} == {1}

    def test_nobody_goes_when_nobody_waits_any_more(self) -> None:
        table = Table(oldest(1))
        table.seat(1)
        table.submit(1)
        table.submit(1)
        waiting = table.submit(2, "S")
        table.wait(TURN + 10 * MS)
        table.tell(Cancel(waiting))
        said = table.complete()
        assert of(Evict, said) == []
        assert requests(said) == [[3]]

    def test_who_is_parked_ends_as_others_do(self) -> None:
        table = Table(oldest(1))
        table.seat(1)
        for _ in range(3):
            table.submit(1)
        table.poll()
        table.submit(2, "S")
        table.wait(TURN + 10 * MS)
        (evict,) = of(Evict, table.complete())
        table.copied(evict)
        table.tell(EndSequence(1, EndReason.CLIENT_ABORT, drain=False))
        said = table.poll()
        (over,) = of(SequenceEnded, said)
        assert (over.sequence, over.slot) == (1, -1)
        assert over.restores == table.requests


class TestComingAndGoing:
    @pytest.mark.parametrize("rules", [oldest(2), direct(2)], ids=["oldest", "direct"])
    def test_who_leaves_does_so_after_what_it_has_queued(self, rules: SequenceBatching) -> None:
        table = Table(rules, 2)
        table.seat(1)
        table.submit(1)
        table.submit(1)
        table.poll()
        assert table.hand_over(1) == []
        assert of(Leave, table.complete()) == []
        (leave,) = of(Leave, table.complete())
        said = table.copied(leave)
        assert said == [SequenceLeft(leave.request, 1, *table.handle(leave))]
        assert table.scheduler.statistics().active_sequences == 0

    def test_a_request_that_comes_then_is_told_that_it_moves(self) -> None:
        table = Table(oldest(2))
        table.seat(1)
        (leave,) = of(Leave, table.hand_over(1))
        table.submit(1)
        (reject,) = of(Reject, table.poll())
        assert (reject.reason, reject.admitted) == (Rejection.MOVED, False)
        table.tell(NotCopied(*table.handle(leave), for_ever=False))
        table.submit(1)
        assert len(requests(table.poll())) == 1

    def test_who_is_being_copied_is_not_let_go_on_by_a_hand_over(self) -> None:
        """Else a step would run behind its copy."""
        table = Table(oldest(1))
        table.seat(1)
        table.submit(1)
        table.poll()
        table.submit(2, "S")
        table.wait(TURN + 10 * MS)
        (evict,) = of(Evict, table.complete())
        table.submit(1)
        said = table.hand_over(1)
        assert of(Run, said) == []
        assert of(SequenceParked, table.copied(evict)) != []

    def test_one_that_ends_first_does_not_leave(self) -> None:
        table = Table(oldest(2))
        table.seat(1)
        table.submit(1, "")
        table.poll()
        table.hand_over(1)
        table.tell(EndSequence(1, EndReason.DRAINED))
        said = table.complete()
        assert ended(said) == [(1, 0, EndReason.DRAINED)]
        assert of(HandOverRefused, said) == [HandOverRefused(RequestNumber(table.requests))]

    def test_a_pace_refuses_nobody_who_comes_back(self) -> None:
        """It was promised already; it waits, where a START is refused."""
        table = Table(oldest(4, pace_ns=10 * MS))
        for sequence in (1, 2):
            table.submit(sequence, "S")
        for _ in range(40):
            table.poll()
            table.wait(8 * MS)
            table.complete()
            table.submit(1)
            table.submit(2)
        table.submit(3, "S")
        table.restore(4)
        said = table.poll()
        assert [each.reason for each in of(Reject, said)] == [Rejection.NO_HEADROOM]
        assert of(RestoreRefused, said) == []
        assert table.scheduler.statistics().backlog_sequences == 1

    def test_a_full_backlog_refuses_nobody_who_comes_back(self) -> None:
        table = Table(oldest(1, max_backlog=1))
        table.seat(1)
        table.submit(2, "S")
        table.restore(3)
        assert of(RestoreRefused, table.poll()) == []
        assert table.scheduler.statistics().backlog_sequences == 2

    def test_one_whose_state_can_not_come_is_over(self) -> None:
        table = Table(oldest(1))
        number = table.restore(1)
        table.submit(1)
        table.poll()
        said = table.arrived(number, failed=True)
        assert [each.reason for each in of(Reject, said)] == [Rejection.RESTORE_FAILED]
        (over,) = of(SequenceEnded, said)
        assert (over.reason, over.restores) == (EndReason.ENGINE_LOST, number)


@dataclass
class Client:
    """Sends a step when the last one is answered and `pause_ns` have passed, `ahead` at a time."""

    key: int
    pause_ns: int
    ahead: int
    left: int
    lives: bool = False
    is_here: bool = False
    since: int | None = None
    before: int = 0


@dataclass
class Hall:
    """Many clients, few slots, one instance, in simulated time: how long each waits for a slot."""

    slots: int
    step_ns: int
    copy_ns: int
    clients: list[Client]
    now: int = 0
    waits: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        rules = oldest(self.slots, max_idle_ns=10**12)
        self.scheduler = create_scheduler(rules, self.slots, 1)
        self.queue: list[tuple[int, int, Any]] = []
        self.count = 0
        self.by_key = {client.key: client for client in self.clients}
        self.owners: dict[RequestNumber, Client] = {}
        self.done: Counter[int] = Counter()
        self.tell(Hibernate(IDLE, TURN))

    def at(self, when: int, what: Any) -> None:
        self.count += 1
        heapq.heappush(self.queue, (when, self.count, what))

    def number(self) -> RequestNumber:
        self.count += 1
        return RequestNumber(self.count)

    def tell(self, event: Event) -> None:
        self.scheduler.receive(event, Ns(self.now))

    def send(self, client: Client) -> None:
        for _ in range(min(client.ahead, client.left)):
            client.left -= 1
            start, number = not client.lives, self.number()
            if client.lives and not client.is_here:
                self.wait_from_now(client)
                self.tell(Restore(self.number(), client.key))
            elif start:
                self.wait_from_now(client)
            client.lives = client.is_here = True
            self.owners[number] = client
            self.tell(Submit(number, client.key, start, client.left == 0))

    def wait_from_now(self, client: Client) -> None:
        client.since = self.now
        client.before = self.scheduler.statistics().backlog_sequences

    def run(self) -> None:
        for client in self.clients:
            self.at(1 + client.key % 7, client)
        while True:
            for command in self.scheduler.poll(Ns(self.now)):
                self.hear(command)
            wake_at = self.scheduler.wake_at()
            times = [at for at in (wake_at, self.queue[0][0] if self.queue else None) if at]
            if not self.queue and all(client.left == 0 for client in self.clients):
                return
            assert times, "everybody waits for nothing"
            self.now = max(self.now, min(times))
            while self.queue and self.queue[0][0] <= self.now:
                _, _, what = heapq.heappop(self.queue)
                if isinstance(what, Client):
                    self.send(what)
                else:
                    self.tell(what)

    def hear(self, command: Command) -> None:
        match command:
            case Run(step):
                self.at(self.now + self.step_ns, Completed(step.number))
                for row in step.rows:
                    client = self.owners.pop(row.request)
                    self.done[client.key] += 1
                    if client.left and not any(each is client for each in self.owners.values()):
                        self.at(self.now + self.step_ns + client.pause_ns, client)
            case SlotTaken(sequence, restores=restores):
                client = self.by_key[int(sequence)]
                assert client.since is not None
                self.waits.append((self.now - client.since, client.before))
                client.since = None
                if restores != NO_REQUEST:
                    # The one thread that copies may be busy with a step.
                    self.at(self.now + self.step_ns + self.copy_ns, Arrived(restores))
            case Evict(_, instance, slot, generation):
                copied = Copied(instance, slot, generation, self.number())
                self.at(self.now + self.step_ns + self.copy_ns, copied)
            case SequenceLeft(_, sequence):
                self.by_key[int(sequence)].is_here = False
            case SequenceParked(sequence):
                self.wait_from_now(self.by_key[int(sequence)])
            case _:
                assert isinstance(command, SequenceStays | SequenceEnded), command


clients = st.lists(
    st.builds(
        lambda pause_ns, ahead: (pause_ns, ahead),
        st.sampled_from((0, 0, MS, 30 * MS, 400 * MS)),
        st.sampled_from((1, 1, 5)),
    ),
    min_size=2,
    max_size=12,
)


@pytest.mark.timeout(900 if LONG else 120)
@settings(MODEL, max_examples=2_000 if LONG else 60)
@given(
    slots=st.integers(1, 4),
    step_ns=st.sampled_from((MS // 10, 5 * MS, 150 * MS)),
    copy_ns=st.sampled_from((MS // 100, 2 * MS, 60 * MS)),
    wishes=clients,
)
def test_nobody_waits_longer_than_is_said_however_busy_others_are(
    slots: int, step_ns: int, copy_ns: int, wishes: list[tuple[int, int]]
) -> None:
    """And everybody has all its steps, one after another."""
    total = max(10, min(120, 1_000 * MS // step_ns))
    hall = Hall(
        slots,
        step_ns,
        copy_ns,
        [Client(key, *wish, total) for key, wish in enumerate(wishes, 1)],
    )
    hall.run()
    assert hall.done == Counter(dict.fromkeys(hall.by_key, total))
    for waited, before in hall.waits:
        assert waited <= longest_wait_ns(TURN, step_ns, copy_ns, before, slots)


def test_without_turns_somebody_would_wait_until_others_end() -> None:
    """Else the bound would show nothing."""
    hall = Hall(1, 5 * MS, MS, [Client(1, 0, 5, 400), Client(2, 0, 5, 400)])
    hall.run()
    assert max(waited for waited, _ in hall.waits) < 400 * 5 * MS / 4
    assert len(hall.waits) > 10
