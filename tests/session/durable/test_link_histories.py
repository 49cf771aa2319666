"""A durable link against all that may happen behind and in front of it."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from streamgate.core.ids import OwnerNumber
from streamgate.errors import EndReason
from tests.session.durable.house import DurableHouse

KEYS = st.sampled_from([7, "seven", 3])
VALUES = st.integers(0, 8)


class LinkHistory(RuleBasedStateMachine):
    """Losses, moves, sleep, ends, cancels and hang-ups, in any order: each request has one final
    response, each sequence one end, and what came is what an undisturbed engine gives."""

    @initialize(places=st.integers(1, 3))
    def open(self, places: int) -> None:
        self.house = DurableHouse(places, log_bytes=0, log_ns=0)

    @rule(key=KEYS, value=VALUES, end=st.booleans(), owner=st.integers(1, 2))
    def start(self, key: int | str, value: int, end: bool, owner: int) -> None:
        self.house.send(key, value, start=True, end=end, owner=owner)

    @rule(key=KEYS, values=st.lists(VALUES, min_size=1, max_size=4), owner=st.integers(1, 2))
    def step(self, key: int | str, values: list[int], owner: int) -> None:
        for value in values:
            self.house.send(key, value, owner=owner)

    @rule(key=KEYS, value=VALUES)
    def end(self, key: int | str, value: int) -> None:
        self.house.send(key, value, end=True)

    @rule()
    def settle(self) -> None:
        self.house.host.settle()

    @rule(place=st.integers(0), key=st.integers(0), turns=st.integers(1, 6))
    def work(self, place: int, key: int, turns: int) -> None:
        engine = self.house.places[place % len(self.house.places)]
        # What was refused is told before what comes behind it begins.
        self.house.host.settle()
        for _ in range(turns):
            ready = engine.ready()
            if ready:
                engine.work(ready[key % len(ready)])

    @rule(place=st.integers(0))
    def lose(self, place: int) -> None:
        self.house.places[place % len(self.house.places)].lose()

    @rule(place=st.integers(0), away=st.booleans())
    def go_away(self, place: int, away: bool) -> None:
        engine = self.house.places[place % len(self.house.places)]
        if away and not engine.is_away:
            engine.lose()
        engine.is_away = away

    @rule(milliseconds=st.sampled_from([5, 30, 1000]))
    def wait(self, milliseconds: int) -> None:
        self.house.host.sleep(milliseconds * 1_000_000)

    @rule(place=st.integers(0), key=KEYS)
    def lose_a_step(self, place: int, key: int | str) -> None:
        engine = self.house.places[place % len(self.house.places)]
        if key in engine.ready():
            engine.lose_step(key)
            # Nothing runs there before it is back.
            self.house.host.sleep(30_000_000)

    @rule(place=st.integers(0), key=KEYS)
    def snapshot(self, place: int, key: int | str) -> None:
        engine = self.house.places[place % len(self.house.places)]
        if key in engine.lives and engine.lives[key][0].position >= 0:
            engine.snapshot(key)

    @rule(place=st.integers(0), key=KEYS)
    def hibernate(self, place: int, key: int | str) -> None:
        engine = self.house.places[place % len(self.house.places)]
        if key in engine.lives and engine.lives[key][0].position >= 0:
            engine.hibernate(key)

    @rule(key=KEYS)
    def move(self, key: int | str) -> None:
        lane = self.house.link._sequences.lanes.get(key)
        if lane is not None:
            self.house.link._moves.leave(lane)

    @rule(key=KEYS)
    def recover(self, key: int | str) -> None:
        self.house.link.recover(key)

    @rule(key=KEYS, drain=st.booleans())
    def end_sequence(self, key: int | str, drain: bool) -> None:
        self.house.link.end_sequence(key, EndReason.PREEMPTED, drain=drain)

    @rule(owner=st.integers(1, 2))
    def hang_up(self, owner: int) -> None:
        self.house.link.hang_up(OwnerNumber(owner))

    @precondition(lambda self: self.house.all)
    @rule(tenancy=st.integers(0), step=st.integers(0))
    def cancel(self, tenancy: int, step: int) -> None:
        sent = self.house.all[tenancy % len(self.house.all)].sent
        self.house.link.cancel(sent[step % len(sent)].number)

    @precondition(lambda self: self.house.all)
    @rule(tenancy=st.integers(0), step=st.integers(0), paused=st.booleans())
    def pause(self, tenancy: int, step: int, paused: bool) -> None:
        sent = self.house.all[tenancy % len(self.house.all)].sent
        numbers = (sent[step % len(sent)].number,)
        (self.house.link.pause if paused else self.house.link.resume)(numbers)

    @invariant()
    def what_came_is_right(self) -> None:
        for tenancy in self.house.all if hasattr(self, "house") else ():
            tenancy.check()

    def teardown(self) -> None:
        if not hasattr(self, "house"):
            return
        house = self.house
        house.link.resume([sent.number for tenancy in house.all for sent in tenancy.sent])
        house.come_to_rest()


def test_whatever_happens_each_sequence_is_whole() -> None:
    run_state_machine_as_test(
        LinkHistory, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )
