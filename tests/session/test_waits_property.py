"""Random models that call each other, at random times: whatever they do, all requests end."""

from collections import deque
from dataclasses import dataclass, field
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from streamgate.link.contract import Holder, Needs
from streamgate.session.waits import Waits
from tests.session.fake_link import FakeLink

Program = tuple[tuple["Call", ...], ...]
"""What a request does: groups of calls, one group after the other, the calls of one at a time."""


@dataclass(frozen=True)
class Call:
    """A request to the model of this number, and what it does there."""

    model: int
    program: Program = ()


def programs(models: int, *, upwards_only: bool) -> st.SearchStrategy[Call]:
    """Trees of calls; `upwards_only`, from each model to models of higher numbers only."""

    def grown(children: st.SearchStrategy[Call]) -> st.SearchStrategy[Call]:
        group = st.lists(children, min_size=1, max_size=2).map(tuple)
        return st.builds(Call, st.integers(0, models - 1), st.lists(group, max_size=2).map(tuple))

    trees = st.recursive(st.builds(Call, st.integers(0, models - 1)), grown, max_leaves=8)
    return trees.map(_rising) if upwards_only else trees


def _rising(call: Call, above: int = -1) -> Call:
    model = max(call.model, above + 1)
    return Call(
        model, tuple(tuple(_rising(each, model) for each in group) for group in call.program)
    )


@dataclass(eq=False)
class Run:
    """A request on an instance, or waiting for one. Also what its caller waits for."""

    world: "World"
    call: Call
    caller: "Run | None" = None
    on: Holder | None = None
    group: int = 0
    open: int = 0

    def needs(self) -> Needs:
        return [[self.on] if self.on is not None else self.world.holders(self.call.model)]


@dataclass
class World:
    """Models with instances and queues, by the number of the model."""

    instances: list[int]
    random: Random
    refused: int = 0
    ended: int = 0
    running: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.links = [FakeLink() for _ in self.instances]
        self.queues: list[deque[Run]] = [deque() for _ in self.instances]
        self.waits = Waits()

    def holders(self, model: int) -> list[Holder]:
        return [(self.links[model], str(number)) for number in range(self.instances[model])]

    def submit(self, call: Call) -> None:
        self.queues[call.model].append(Run(self, call))

    def steps(self) -> list[tuple[Run, Holder | None]]:
        """Everything that can go on: what runs and waits for nothing, and what finds room."""
        steps: list[tuple[Run, Holder | None]] = [
            (run, None) for run in self.running if not run.open
        ]
        busy = {run.on for run in self.running}
        for number, queue in enumerate(self.queues):
            if queue:
                free = [holder for holder in self.holders(number) if holder not in busy]
                steps += [(queue[0], holder) for holder in free]
        return steps

    def do(self, run: Run, room: Holder | None) -> None:
        if room is not None:
            self.queues[run.call.model].popleft()
            run.on = room
            self.running.append(run)
        elif run.group < len(run.call.program):
            group = run.call.program[run.group]
            run.group += 1
            for call in group:
                self.begin(Run(self, call, run))
        else:
            self.running.remove(run)
            self.ended += 1
            if run.caller is not None:
                assert run.caller.on is not None
                run.caller.open -= 1
                self.waits.end(run.caller.on, run)

    def begin(self, run: Run) -> None:
        assert run.caller is not None
        assert run.caller.on is not None
        if self.waits.begin(run.caller.on, run):
            run.caller.open += 1
            self.queues[run.call.model].append(run)
        else:
            self.refused += 1


def play(instances: list[int], requests: list[Call], seed: int) -> World:
    """Until nothing can go on. Everything must have ended then."""
    world = World(instances, Random(seed))
    for request in requests:
        world.submit(request)
    while steps := world.steps():
        world.do(*world.random.choice(steps))
    assert not world.running, "a circle"
    assert not any(world.queues)
    assert len(world.waits) == 0
    assert world.ended >= len(requests)
    return world


MODELS = 4
COUNTS = st.lists(st.integers(1, 3), min_size=MODELS, max_size=MODELS)


@given(
    COUNTS,
    st.lists(programs(MODELS, upwards_only=False), min_size=1, max_size=6),
    st.integers(0, 2**32),
)
def test_nobody_waits_for_ever(instances: list[int], requests: list[Call], seed: int) -> None:
    play(instances, requests, seed)


@given(
    COUNTS.map(lambda counts: counts * 3),
    st.lists(programs(MODELS, upwards_only=True), min_size=1, max_size=6),
    st.integers(0, 2**32),
)
def test_where_there_are_no_circles_nothing_is_refused(
    instances: list[int], requests: list[Call], seed: int
) -> None:
    assert play(instances, requests, seed).refused == 0
