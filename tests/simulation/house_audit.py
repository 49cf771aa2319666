"""What must hold of a whole house, whatever happened in it: read from its diary, front to back.

The audit knows the rules, not the engine. It follows each correlation ID through its sequences,
says for itself what each step's running hash must be, and which failures and ends the history
permits. Where a cancellation or the like leaves open what is still alive, it waits (`unsure`)
until nothing of the ID lives any more; hashes and orders are exact all the same.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from streamgate.backend.fake.hashing import Step, mix, scramble
from streamgate.core.commands import Rejection
from streamgate.engine.rejections import failure_for
from streamgate.errors import Code, EndReason, Failure
from streamgate.model.config import ControlKind, ModelConfig
from streamgate.model.request import Response, SequenceKey
from streamgate.model.statistics import ModelStatistics
from tests.simulation.diary import (
    Answered,
    Asked,
    Cancelled,
    Diary,
    Dispatched,
    Draining,
    EndAsked,
    Ended,
    HungUp,
    Lost,
    Ran,
)

EXITING = Failure(Code.UNAVAILABLE, "Server exiting")
UNWANTED = Failure(Code.CANCELLED, "")


@dataclass(eq=False)
class Life:
    """One sequence, from a START that was let in to its end. `state` and `steps` are what the
    model keeps of it; `asked` counts its requests, refused ones too. `listeners` may be told of its
    end: the connection of its newest request, or of one that was refused since."""

    cases: list["Case"] = field(default_factory=list)
    open: bool = True
    asked: int = 0
    listeners: set[int] = field(default_factory=set)
    begun: bool = False
    instance: int | None = None
    active_at: int = 0
    state: int = 0
    steps: int = 0
    answered: int = 0

    @property
    def is_settled(self) -> bool:
        return all(case.is_answered for case in self.cases)


@dataclass(eq=False)
class Case:
    """One request. `final` is known from the start, `is_answered` says whether it has come."""

    asked: Asked
    final: Response
    final_at: int
    life: Life | None = None
    positions: range = range(0)
    responses: int = 0
    is_answered: bool = False
    unwanted_from: int | None = None
    dispatched: Dispatched | None = None
    ran: Ran | None = None
    expected: tuple[int, int] | None = None

    @property
    def is_refused(self) -> bool:
        return self.final.failure is not None and not self.final.admitted

    @property
    def is_unwanted(self) -> bool:
        return self.unwanted_from is not None

    @property
    def is_waiting(self) -> bool:
        return self.dispatched is None and not self.is_answered


@dataclass(eq=False)
class Key:
    """One correlation ID: its sequences that live, oldest first, and all its requests."""

    lives: list[Life] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    unsure: bool = False
    listeners: set[int] = field(default_factory=set)


class HouseAudit:
    def __init__(self, config: ModelConfig, *, later: bool) -> None:
        assert config.sequences is not None
        self.rules = config.sequences
        self.takes_key = any(each.kind is ControlKind.CORRID for each in config.controls)
        self.keeps_states = bool(config.states)
        self.decoupled = config.decoupled
        self.later = later
        self.cases: dict[int, Case] = {}
        self.keys: dict[SequenceKey, Key] = defaultdict(Key)
        self.under_way: dict[int, list[tuple[int, bool, bool]]] = defaultdict(list)
        self.losses: list[Lost] = []
        self.closed_connections: set[int] = set()
        self.lost_connections: set[int] = set()
        self.draining = self.closing = False
        self.begun = 0
        self.let_in = 0
        self.counts: Counter[str] = Counter()
        self.ends: Counter[EndReason] = Counter()

    def read(self, diary: Diary) -> None:
        """Check everything that is in the diary of a house that has come to rest."""
        finals: dict[int, Answered] = {}
        for entry in diary.entries:
            if isinstance(entry, Answered) and entry.response.final:
                assert entry.number not in finals, "two final responses"
                finals[entry.number] = entry
        for entry in diary.entries:
            match entry:
                case Asked():
                    assert entry.number in finals, f"no final response: {entry}"
                    final = finals[entry.number]
                    self.saw_asked(Case(entry, final.response, final.at))
                case Cancelled():
                    self.saw_cancelled(self.cases[entry.number], entry)
                case HungUp():
                    self.saw_hung_up(entry)
                case EndAsked():
                    self.keys[entry.key].unsure = bool(self.keys[entry.key].lives)
                case Draining():
                    self.draining = True
                    if entry.closes:
                        self.closing = True
                        self.muddle()
                case Lost():
                    self.losses.append(entry)
                    self.muddle()
                case Dispatched():
                    self.saw_dispatched(entry)
                case Ran():
                    self.saw_ran(entry)
                case Answered():
                    self.saw_answered(entry)
                case Ended():
                    self.saw_ended(entry)
        for name, key in self.keys.items():
            assert not key.lives, f"a sequence {name!r} never ended"
        assert not any(self.under_way.values()), "a step that never ran"

    # -- what clients do

    def saw_asked(self, case: Case) -> None:
        asked = case.asked
        self.cases[asked.number] = case
        key = self.keys[asked.key]
        expected = None if key.unsure else self.expected_refusal(asked, key)
        if case.is_refused:
            self.check_refusal(case, key, expected)
            if asked.start or not key.lives:
                return
            life = key.lives[-1]
        else:
            assert expected is None, f"let in: {asked}, expected {expected}"
            if asked.start:
                self.let_in += 1
                key.lives.append(Life())
            assert key.lives, f"let in without a sequence: {asked}"
            life = key.lives[-1]
            assert life.open or key.unsure, f"let in behind its END: {asked}"
            positions = [each.final.position for each in (*life.cases[-1:], case)]
            assert positions == sorted(set(positions)), f"positions {positions}: {asked}"
            life.cases.append(case)
            life.active_at = asked.at
            # A refused request may have had a position.
            case.life, case.positions = life, range(len(life.cases) - 1, life.asked + 1)
            life.listeners.clear()
            key.cases.append(case)
            if asked.end:
                life.open = False
        life.asked += 1
        life.listeners.add(asked.connection)
        key.listeners.add(asked.connection)

    def expected_refusal(self, asked: Asked, key: Key) -> Rejection | None:
        if self.closing or (self.draining and asked.start):
            return Rejection.STOPPING
        if not asked.start and not (key.lives and key.lives[-1].open):
            return Rejection.MISSING_START
        return None

    def check_refusal(self, case: Case, key: Key, expected: Rejection | None) -> None:
        asked = case.asked
        reason = self.rejection(case)
        assert reason is not None, f"refused with {case.final.failure}"
        if expected is not None:
            assert reason is expected, f"refused with {reason}, expected {expected}: {asked}"
            return
        match reason:
            case Rejection.MISSING_START:
                assert key.unsure
                assert not asked.start
            case Rejection.STOPPING:
                assert self.closing or (self.draining and asked.start)
            case Rejection.BACKLOG_FULL:
                assert asked.start
                assert self.rules.max_backlog
            case Rejection.QUEUE_FULL:
                waiting = sum(each.is_waiting for each in key.cases)
                assert waiting >= self.rules.max_pending > 0, f"{waiting} wait"
            case Rejection.INSTANCE_AWAY:
                assert asked.start
                assert self.losses
            case _:
                raise AssertionError(f"refused with {reason}: {asked}")

    def saw_cancelled(self, case: Case, entry: Cancelled) -> None:
        self.give_up(case, entry.place)
        if not case.is_answered:
            self.keys[case.asked.key].unsure = True

    def saw_hung_up(self, entry: HungUp) -> None:
        self.closed_connections.add(entry.connection)
        if not entry.abort:
            return
        self.lost_connections.add(entry.connection)
        for case in self.cases.values():
            if case.asked.connection == entry.connection:
                self.give_up(case, entry.place)
                key = self.keys[case.asked.key]
                key.unsure = bool(key.lives)

    def give_up(self, case: Case, place: int) -> None:
        if not case.is_answered and case.unwanted_from is None:
            case.unwanted_from = place

    def muddle(self) -> None:
        for key in self.keys.values():
            key.unsure = bool(key.lives)

    # -- what models see

    def saw_dispatched(self, entry: Dispatched) -> None:
        assert not self.under_way[entry.instance], "two steps at once on one instance"
        self.under_way[entry.instance] = list(entry.rows)
        for number, start, end in entry.rows:
            case = self.cases[number]
            life, asked = case.life, case.asked
            assert life is not None, f"a refused request ran: {asked}"
            assert case.dispatched is None, f"ran twice: {asked}"
            assert not case.is_answered, f"ran though answered: {asked}"
            assert (start, end) == (asked.start, asked.end), f"wrong flags: {asked}"
            for other in self.keys[asked.key].cases:
                if other is case:
                    break
                if other.is_waiting:
                    # Steps start before refusals are told: this one goes, too, but is told later.
                    goes = other.final.failure is not None and other.final_at == entry.at
                    assert goes, f"{asked} overtook {other.asked}"
                assert other.dispatched is None or other.ran is not None, f"not yet back: {other}"
            assert life.instance in (None, entry.instance), "moved to another instance"
            life.instance = entry.instance
            self.begun += not life.begun
            life.begun = True
            case.dispatched = entry

    def saw_ran(self, entry: Ran) -> None:
        assert not entry.odd, entry.odd
        self.counts["steps"] += 1
        for row in entry.rows:
            assert row in self.under_way[entry.instance], f"{row} was not given to the model"
            self.under_way[entry.instance].remove(row)
            case = self.cases[row[0]]
            life, asked = case.life, case.asked
            assert life is not None
            case.ran = entry
            life.active_at = entry.at
            if row[0] in entry.failures:
                continue
            self.counts["rows"] += 1
            key = asked.key if self.takes_key else None
            life.state = mix(life.state, Step([asked.payload], asked.start, asked.end, key))
            life.steps += 1
            case.expected = life.state, life.steps

    # -- what comes back

    def saw_answered(self, entry: Answered) -> None:
        case, response = self.cases[entry.number], entry.response
        asked, failure, life = case.asked, response.failure, case.life
        assert not case.is_answered, f"a response after the final one: {asked}"
        assert response.index == case.responses, f"out of order: {asked}"
        case.responses += 1
        if life is not None:
            position = response.position
            assert position in case.positions, f"{asked} has position {position}"
            if case.dispatched is None:
                life.active_at = entry.at
        case.is_answered = response.final
        if failure is None:
            self.check_answer(case, response)
        elif response.admitted:
            assert response.final
            self.counts["failures"] += 1
            self.check_failure(case, failure, entry)
        if response.final and failure is None:
            self.counts["successes"] += 1

    def check_answer(self, case: Case, response: Response) -> None:
        asked, life = case.asked, case.life
        assert life is not None
        assert case.ran is not None, f"an answer though it never ran: {asked}"
        assert case.expected is not None, f"an answer though it failed: {asked}"
        # It may have been on its way already.
        unwanted_from = case.unwanted_from
        late = unwanted_from is not None and unwanted_from < case.ran.place
        assert not late, f"an answer though cancelled: {asked}"
        if response.empty:
            assert self.decoupled
            assert response.final
            return
        assert response.final != self.decoupled
        expected, count = case.expected
        if response.index:
            expected = scramble(expected + response.index)
        found = {tensor.name: tensor.array.ravel()[0] for tensor in response.outputs}
        assert int(found["HASH"]) == expected, f"a wrong state: {asked}"
        assert int(found["COUNT"]) == count
        if not self.later:
            assert life.answered < asked.number, f"answers out of order: {asked}"
            life.answered = asked.number

    def check_failure(self, case: Case, failure: Failure, entry: Answered) -> None:
        asked, life, ran = case.asked, case.life, case.ran
        assert life is not None
        if ran is not None and failure == ran.failures.get(asked.number):
            return
        if failure == UNWANTED:
            assert case.is_unwanted, f"nobody cancelled {asked}"
            return
        if failure == EXITING:
            assert self.closing
            return
        if ran is not None:
            # Its step was over, its answer was not, and now its instance is gone.
            assert self.later, f"{failure} for {asked}"
            assert case.dispatched is not None
            since = case.dispatched.at
            assert any(
                (each.failure, each.instance) == (failure, ran.instance) and each.at >= since
                for each in self.losses
            ), f"{failure} for {asked}"
            return
        assert case.dispatched is None, f"{failure} for {asked}, which runs"
        key = self.keys[asked.key]
        match self.rejection(case):
            case Rejection.SEQUENCE_ENDED:
                assert key.unsure, f"taken along: {asked}"
            case Rejection.SEQUENCE_TIMEOUT:
                key.unsure = True
                assert not life.begun
                assert any(
                    0 < other.asked.timeout_ns <= entry.at - other.asked.at for other in key.cases
                ), f"too early: {asked}"
            case Rejection.STOPPING:
                assert self.closing
            case Rejection.INSTANCE_LOST:
                assert self.losses
                assert not self.keeps_states
                assert life.begun
            case Rejection.INSTANCE_AWAY:
                assert self.losses
            case _:
                raise AssertionError(f"{failure} for {asked}")

    def saw_ended(self, entry: Ended) -> None:
        key = self.keys[entry.key]
        self.ends[entry.reason] += 1
        assert key.lives, f"ended twice: {entry}"
        # Where it is not known which of several has ended, it is one that has nothing left.
        settled = (each for each in key.lives if each.is_settled)
        life = next(settled, key.lives[0]) if key.unsure else key.lives[0]
        self.check_reason(life, key, entry)
        assert life.is_settled or self.later, f"ended before its last response: {entry}"
        # A START that is given up behind another one of its ID swaps reasons with it.
        listeners = key.listeners if key.unsure else life.listeners
        if entry.told:
            ((told, name, reason),) = entry.told
            assert (name, reason) == (entry.key, entry.reason)
            assert told in listeners - self.closed_connections, f"{told} was told: {entry}"
        else:
            assert self.closed_connections & listeners, f"nobody was told: {entry}"
        key.lives.remove(life)
        if not key.lives:
            key.unsure = False
            key.listeners.clear()

    def check_reason(self, life: Life, key: Key, entry: Ended) -> None:
        match entry.reason:
            case EndReason.IDLE:
                waits = [case for case in life.cases if case.is_waiting]
                runs = [case for case in life.cases if case.dispatched and not case.ran]
                assert not waits
                assert not runs, "idle while it runs"
                assert entry.at - life.active_at >= self.rules.max_idle_ns, f"too early: {entry}"
            case EndReason.CLIENT_END:
                ran = any(case.asked.end and case.ran for case in life.cases)
                assert ran or key.unsure, f"ended before its END ran: {entry}"
            case EndReason.SUPERSEDED:
                assert life is not key.lives[-1] or key.unsure, f"superseded by nobody: {entry}"
            case EndReason.CLIENT_ABORT:
                assert key.unsure or any(case.asked.timeout_ns for case in key.cases)
            case EndReason.DRAINED:
                assert self.closing
            case EndReason.ENGINE_LOST:
                assert self.losses
            case _:
                raise AssertionError(f"ended for no reason: {entry}")

    def rejection(self, case: Case) -> Rejection | None:
        """The scheduler's reason of a request that failed without the model."""
        request = case.final.request
        for reason in Rejection:
            for end in EndReason:
                if failure_for(reason, request, end) == case.final.failure:
                    return reason
        return None

    # -- what is counted

    def check_counts(self, statistics: ModelStatistics) -> None:
        """The statistics of a house that has come to rest and whose diary was read."""
        assert statistics.success.count == self.counts["successes"]
        assert statistics.fail.count == self.counts["failures"]
        assert sum(statistics.failures.values()) == self.counts["failures"]
        assert statistics.pending == 0
        assert statistics.instances.losses <= len(self.losses)
        if not self.later and not self.decoupled:
            assert statistics.inference_count == self.counts["rows"]
        sequences = statistics.sequences
        assert sequences is not None
        assert sequences.active == sequences.backlog == 0
        assert self.begun <= sequences.started <= self.let_in
        assert {reason: count for reason, count in sequences.ended.items() if count} == self.ends
        assert sum(self.ends.values()) == self.let_in
