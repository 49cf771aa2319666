"""Random clients, models that fail and get lost, and time, over the whole engine."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from streamgate.model.config import (
    ControlKind,
    DirectStrategy,
    Durability,
    Execution,
    ModelConfig,
    OldestStrategy,
    SequenceBatching,
)
from streamgate.model.request import SequenceKey
from tests.backend.fake_models import (
    CONTROLS,
    COUNT_STATE,
    HASH_STATE,
    fake_config,
    request_config,
)
from tests.simulation.house_audit import HouseAudit
from tests.simulation.moving_house import MovingHouse
from tests.simulation.simulated_house import RESTARTS, SimulatedHouse
from tests.simulation.simulated_house import instances as instances_of
from tests.simulation.watched_model import Trouble

CONNECTIONS = 3
NUMBERS = (1, 2, 3, 2**64 - 1)
MIXED = (1, 2, "1", "a")


@dataclass(frozen=True)
class Plot:
    """The kind of house in which a story takes place."""

    config: ModelConfig
    keys: tuple[SequenceKey, ...]
    later: bool


def plot(
    direct: bool,
    tensors: bool,
    slots: int,
    batches: bool,
    instances: int,
    delay_ns: int,
    backlog: int,
    pending: int,
    inline: bool,
    mixed: bool,
    answers: str,
    lifetime_ns: int,
    warning_ns: int,
    end_on_error: bool,
    grows: bool,
) -> Plot:
    strategy = (
        DirectStrategy(delay_ns, 0.5)
        if direct
        else OldestStrategy(slots, (2,) if batches else (), delay_ns)
    )
    controls = tuple(each for each in CONTROLS if not (mixed and each.kind is ControlKind.CORRID))
    decoupled = not tensors and answers == "decoupled"
    make = fake_config if tensors else request_config
    config = make(
        scheduling=SequenceBatching(
            strategy,
            slots,
            max_idle_ns=100,
            max_backlog=backlog,
            max_pending=pending,
            max_lifetime_ns=lifetime_ns,
            idle_warning_ns=warning_ns,
            end_on_error=end_on_error,
            state_canary=tensors,
        ),
        max_batch_size=(slots if direct else 3) if batches else 0,
        instances=instances_of(instances),
        execution=Execution.INLINE if inline else Execution.THREAD,
        controls=controls,
        decoupled=decoupled,
        **({} if tensors else {"parameters": {"responses": "2"}}),
    )
    if tensors and grows:
        growing = replace(HASH_STATE, shape=(-1,))
        config = replace(config, states=(growing, COUNT_STATE))
    later = not tensors and answers != "at once"
    return Plot(config, MIXED if mixed else NUMBERS, later)


plots = st.builds(
    plot,
    direct=st.booleans(),
    tensors=st.booleans(),
    slots=st.sampled_from((1, 2, 3, 3)),
    batches=st.sampled_from((True, True, False)),
    instances=st.sampled_from((1, 1, 2, 3)),
    delay_ns=st.sampled_from((0, 0, 20)),
    backlog=st.sampled_from((0, 0, 1, 2)),
    pending=st.sampled_from((0, 2)),
    inline=st.sampled_from((False, False, False, True)),
    mixed=st.booleans(),
    answers=st.sampled_from(("at once", "later", "decoupled")),
    lifetime_ns=st.sampled_from((0, 0, 150)),
    warning_ns=st.sampled_from((0, 0, 40)),
    end_on_error=st.sampled_from((False, False, True)),
    grows=st.booleans(),
)


@dataclass(frozen=True)
class Ask:
    """A request to send; `key` and `connection` are places. `manner`: a step or an END, preceded by
    a START where none is known to live; a START in any case; or neither, come what may."""

    connection: int
    key: int
    manner: str
    samples: int
    timeout_us: int


asks = st.builds(
    Ask,
    st.integers(0, CONNECTIONS - 1),
    st.integers(0, 3),
    st.sampled_from(("step", "step", "step", "step", "end", "end", "start", "both", "stray")),
    st.sampled_from((1, 1, 1, 2)),
    st.sampled_from((0, 0, 0, 0, 0, 0, 1)),
)


class HouseMachine(RuleBasedStateMachine):
    """Few IDs, few slots and short limits, so that everything meets everything.

    `settles`: whether the loop gets its turn before the next thing happens. `sound` is false once
    something went wrong, after which nothing that follows means anything.
    """

    new_house: Callable[..., SimulatedHouse] = SimulatedHouse
    moves = False

    @initialize(plot=plots, lateness_ns=st.sampled_from((0, 0, 5)))
    def set_up(self, plot: Plot, lateness_ns: int) -> None:
        self.plot = plot
        self.house = self.new_house(plot.config, lateness_ns=lateness_ns, later=plot.later)
        self.started: set[int] = set()
        for _ in range(CONNECTIONS):
            self.house.connect()
        self.sound = True

    @rule(requests=st.lists(asks, min_size=1, max_size=4), settles=st.booleans())
    def ask(self, requests: list[Ask], settles: bool) -> None:
        self.sound = False
        for each in requests:
            self.send(each)
        self.settle(settles)

    @rule(connection=st.integers(0, CONNECTIONS - 1), settles=st.booleans())
    def ask_for_all(self, connection: int, settles: bool) -> None:
        """A step of each sequence, so that there is something to batch."""
        self.sound = False
        for key in range(len(self.plot.keys)):
            self.send(Ask(connection, key, "step", 1, 0))
        self.settle(settles)

    def send(self, ask: Ask) -> None:
        key, manner = ask.key, ask.manner
        start = manner in ("start", "both") or (manner != "stray" and key not in self.started)
        end = manner in ("end", "both")
        self.started.add(key)
        if end:
            self.started.discard(key)
        self.house.ask(
            ask.connection,
            self.plot.keys[key],
            start=start,
            end=end,
            samples=ask.samples,
            timeout_us=ask.timeout_us,
        )

    @precondition(lambda self: self.house.workers)
    @rule(picks=st.lists(st.integers(0, 2), min_size=1, max_size=4), settles=st.booleans())
    def work(self, picks: list[int], settles: bool) -> None:
        """Instances do what they have to do, in any order."""
        self.sound = False
        for pick in picks:
            workers = self.house.workers
            if workers:
                workers[pick % len(workers)].do_one()
        self.settle(settles)

    @precondition(lambda self: self.house.desk.promises)
    @rule(pick=st.integers(0, 5), settles=st.booleans())
    def keep_promise(self, pick: int, settles: bool) -> None:
        self.sound = False
        self.house.keep_promise(pick)
        self.settle(settles)

    @rule(duration_ns=st.sampled_from((0, 1, 20, 20, 60, 101, 1_000)))
    def wait(self, duration_ns: int) -> None:
        self.sound = False
        self.house.host.pass_time(duration_ns)
        self.sound = True

    @precondition(lambda self: self.house.asked)
    @rule(back=st.integers(0, 6), settles=st.booleans())
    def cancel(self, back: int, settles: bool) -> None:
        self.sound = False
        self.house.cancel(max(1, self.house.asked - back))
        self.settle(settles)

    @rule(
        what=st.sampled_from(("abort", "close", "end", "pause", "pause", "resume", "resume")),
        connection=st.integers(0, CONNECTIONS - 1),
        key=st.integers(0, 3),
        settles=st.booleans(),
    )
    def disturb(self, what: str, connection: int, key: int, settles: bool) -> None:
        """What clients do seldom."""
        house = self.house
        self.sound = False
        match what:
            case "abort" | "close":
                house.hang_up(connection, abort=what == "abort")
            case "end":
                house.end_sequence(connection, self.plot.keys[key])
                self.started.discard(key)
            case _:
                house.pause(connection, paused=what == "pause")
        self.settle(settles)

    @rule(
        trouble=st.sampled_from((*Trouble, None)),
        instance=st.integers(0, 2),
        failing_loads=st.sampled_from((0, 0, 1, 4)),
        steps_survive=st.booleans(),
        settles=st.booleans(),
    )
    def make_trouble(
        self,
        trouble: Trouble | None,
        instance: int,
        failing_loads: int,
        steps_survive: bool,
        settles: bool,
    ) -> None:
        """An instance's next step goes wrong, or it is lost between two."""
        house = self.house
        self.sound = False
        house.failing_loads = failing_loads
        if trouble is not None:
            house.desk.troubles[instance] = trouble
        elif house.desk.open:
            house.lose(instance, steps_survive=steps_survive)
        self.settle(settles)

    @rule(quick=st.booleans())
    def change_pace(self, quick: bool) -> None:
        """Steps are over at once from now on, or take their time."""
        self.house.host.quick = quick

    @rule(count=st.integers(1, 3), failing_loads=st.sampled_from((0, 0, 0, 1)))
    def resize(self, count: int, failing_loads: int) -> None:
        self.sound = False
        self.house.failing_loads = failing_loads
        self.house.resize(count)
        self.sound = True

    @precondition(lambda self: self.house.asked > 15)
    @rule(closes=st.booleans())
    def stop(self, closes: bool) -> None:
        self.sound = False
        if closes:
            self.house.close()
        else:
            self.house.drain()
        self.sound = True

    def settle(self, settles: bool) -> None:
        if settles:
            self.house.turn()
        self.sound = True

    def teardown(self) -> None:
        if not hasattr(self, "house"):
            return
        try:
            if self.sound:
                self.check()
        finally:
            self.house.discard()

    def check(self) -> None:
        house = self.house
        house.come_to_rest()
        house.check_free()
        audit = HouseAudit(
            self.plot.config,
            RESTARTS.patience_ns,
            lateness_ns=house.host.lateness_ns,
            later=self.plot.later,
            moves=self.moves,
        )
        audit.read(house.diary)
        audit.check_counts(house.statistics())
        house.close()
        house.check_free()


class MovingHouseMachine(HouseMachine):
    """The same where sequences go and come back all the time, each on its own or because others
    want its slot, in a house of one instance whose clients only send."""

    new_house = MovingHouse
    moves = True

    def set_up(self, plot: Plot, lateness_ns: int) -> None:
        raise NotImplementedError

    @initialize(
        plot=plots,
        lateness_ns=st.sampled_from((0, 0, 5)),
        hibernate_ns=st.sampled_from((0, 20)),
        steps=st.sampled_from((0, 2)),
    )
    def set_up_moving(self, plot: Plot, lateness_ns: int, hibernate_ns: int, steps: int) -> None:
        rules = plot.config.sequences
        assert rules is not None
        rules = replace(rules, max_lifetime_ns=0, idle_warning_ns=0)
        durability = Durability(
            hibernate_ns=hibernate_ns, snapshot_steps=steps, snapshot_ns=30 * steps
        )
        config = replace(
            plot.config, scheduling=rules, instances=instances_of(1), durability=durability
        )
        HouseMachine.set_up(self, replace(plot, config=config), lateness_ns)

    @rule(keys=st.lists(st.integers(0, 3), min_size=1, max_size=3), settles=st.booleans())
    def move(self, keys: list[int], settles: bool) -> None:
        self.sound = False
        house = self.house
        assert isinstance(house, MovingHouse)
        for key in keys:
            house.mover.move(self.plot.keys[key])
        self.settle(settles)

    # What is cancelled, ended or let go while its sequence is nowhere is another matter.

    def cancel(self, back: int, settles: bool) -> None:
        raise NotImplementedError

    def disturb(self, what: str, connection: int, key: int, settles: bool) -> None:
        raise NotImplementedError

    def resize(self, count: int, failing_loads: int) -> None:
        raise NotImplementedError

    def stop(self, closes: bool) -> None:
        raise NotImplementedError


class ReservingHouseMachine(HouseMachine):
    """The same with clients that ask for a slot before they have anything to send. Apart, as the
    seeded bugs of the other are found with the luck of the rules that it has."""

    @rule(
        connection=st.integers(0, CONNECTIONS - 1),
        keys=st.lists(st.integers(0, 3), min_size=1, max_size=4),
        settles=st.booleans(),
    )
    def reserve(self, connection: int, keys: list[int], settles: bool) -> None:
        self.sound = False
        for key in keys:
            self.house.reserve(connection, self.plot.keys[key])
        self.settle(settles)
