"""What must hold of a whole house, whatever happened in it: read from its diary, front to back.

The audit knows the rules, not the engine. It follows each correlation ID through its sequences,
says for itself what each step's running hash must be, and which failures and ends the history
permits. Where a cancellation or the like leaves open what is still alive, it waits (`unsure`)
until nothing of the ID lives any more; hashes and orders are exact all the same.
"""

from streamgate.backend.fake.hashing import scramble
from streamgate.errors import EndReason
from streamgate.link.contract import UNSTARTED
from streamgate.model.config import ModelConfig
from streamgate.model.request import Response
from streamgate.model.statistics import ModelStatistics
from tests.simulation.cases import Case, Facts, Key, Life
from tests.simulation.diary import (
    Answered,
    Asked,
    Cancelled,
    Diary,
    Draining,
    EndAsked,
    Ended,
    Entry,
    HungUp,
    Moved,
    Resized,
    SlotAnswered,
    SlotAsked,
    Warned,
)
from tests.simulation.model_audit import ModelAudit
from tests.simulation.permitted import check_end, check_failure, check_refusal, expected_refusal
from tests.simulation.reservations import check_slot_refusal


class HouseAudit:
    """See `Facts` for the arguments."""

    def __init__(
        self,
        config: ModelConfig,
        patience_ns: int,
        *,
        lateness_ns: int,
        later: bool,
        moves: bool = False,
    ) -> None:
        self.facts = Facts(config, patience_ns, lateness_ns=lateness_ns, later=later, moves=moves)
        self.models = ModelAudit(self.facts)
        self.slots: dict[int, SlotAnswered] = {}
        self.asking: dict[int, SlotAsked] = {}

    def read(self, diary: Diary) -> None:
        """Check everything that is in the diary of a house that has come to rest."""
        finals: dict[int, Answered] = {}
        for entry in diary.entries:
            if isinstance(entry, Answered) and entry.response.final:
                assert entry.number not in finals, "two final responses"
                finals[entry.number] = entry
            if isinstance(entry, SlotAnswered):
                assert entry.number not in self.slots, "answered twice"
                self.slots[entry.number] = entry
        for entry in diary.entries:
            if isinstance(entry, Asked):
                assert entry.number in finals, f"no final response: {entry}"
                final = finals[entry.number]
                self.saw_asked(Case(entry, final.response, final.at))
            elif not self.models.saw(entry):
                self.saw(entry)
        self.models.check_rest()
        assert not self.asking, "neither granted nor refused"
        for name, key in self.facts.keys.items():
            assert not key.lives, f"a sequence {name!r} never ended"

    def saw(self, entry: Entry) -> None:
        facts = self.facts
        match entry:
            case SlotAsked():
                self.saw_slot_asked(entry)
            case SlotAnswered():
                asked = self.asking.pop(entry.number)
                facts.counts["granted" if entry.failure is None else "refused"] += not entry.at_once
                if entry.failure is not None:
                    check_slot_refusal(facts, asked, entry, self.asking.values())
            case Cancelled():
                case = facts.cases[entry.number]
                self.give_up(case, entry.place)
                if not case.is_answered:
                    facts.keys[case.asked.key].unsure = True
            case HungUp():
                self.saw_hung_up(entry)
            case EndAsked():
                facts.keys[entry.key].unsure = bool(facts.keys[entry.key].lives)
            case Draining():
                facts.draining = True
                if entry.closes:
                    facts.closing = True
                    facts.muddle()
            case Resized():
                facts.resizes.append(entry)
            case Moved():
                for life in facts.keys[entry.key].lives:
                    life.active_at = entry.at
            case Answered():
                self.saw_answered(entry)
            case Warned():
                self.saw_warned(entry)
            case Ended():
                self.saw_ended(entry)

    # -- what clients do

    def saw_asked(self, case: Case) -> None:
        facts, asked = self.facts, case.asked
        facts.cases[asked.number] = case
        key = facts.keys[asked.key]
        if any(facts.is_aged(life, asked.at) for life in key.lives):
            key.unsure = True
        expected = expected_refusal(facts, asked, key)
        if case.is_refused:
            check_refusal(facts, case, key, expected)
            if not key.lives or key.lives[-1].reserved is not None:
                return
            if asked.start:
                # What was sent behind it is not for the sequence that it was to replace.
                key.lives[-1].replaced = True
                key.lives[-1].open = False
                return
        else:
            assert expected is None, f"let in: {asked}, expected {expected}"
            self.let_in(case, key)
        life = key.lives[-1]
        life.asked += 1
        life.listeners.add(asked.connection)

    def let_in(self, case: Case, key: Key) -> None:
        asked = case.asked
        if asked.start and key.lives and key.lives[-1].reserved is not None:
            key.lives[-1].reserved = None
            key.lives[-1].open = True
        elif asked.start:
            self.facts.counts["lives"] += 1
            key.lives.append(Life(asked.at))
        assert key.lives, f"let in without a sequence: {asked}"
        life = key.lives[-1]
        assert life.open or key.unsure, f"let in behind its END: {asked}"
        positions = [each.final.position for each in (*life.cases[-1:], case)]
        assert positions == sorted(set(positions)), f"positions {positions}: {asked}"
        life.cases.append(case)
        life.active_at = asked.at
        life.listeners.clear()
        # A refused request may have had a position.
        case.life, case.positions = life, range(len(life.cases) - 1, life.asked + 1)
        key.cases.append(case)
        if asked.end:
            life.open = False

    def saw_slot_asked(self, entry: SlotAsked) -> None:
        """One that will be granted lives from now on; nothing but a START is let in to it."""
        self.asking[entry.number] = entry
        assert entry.number in self.slots, f"no answer: {entry}"
        if self.slots[entry.number].failure is not None:
            return
        key = self.facts.keys[entry.key]
        assert not self.facts.draining, f"promised while draining: {entry}"
        assert not key.lives, f"its ID lives: {entry}"
        self.facts.counts["lives"] += 1
        life = Life(entry.at, entry, open=False, listeners={entry.connection}, active_at=entry.at)
        key.lives.append(life)

    def saw_hung_up(self, entry: HungUp) -> None:
        self.facts.closed_connections.add(entry.connection)
        if not entry.abort:
            return
        for key in self.facts.keys.values():
            for life in key.lives:
                life.abandoned = life.abandoned or life.owner == entry.connection
                key.unsure = key.unsure or (life.abandoned and life.reserved is not None)
            for case in key.cases:
                if case.asked.connection == entry.connection:
                    self.give_up(case, entry.place)
                    key.unsure = bool(key.lives)

    def give_up(self, case: Case, place: int) -> None:
        if not case.is_answered and case.unwanted_from is None:
            case.unwanted_from = place

    # -- what comes back

    def saw_answered(self, entry: Answered) -> None:
        facts, response = self.facts, entry.response
        case = facts.cases[entry.number]
        asked, failure, life = case.asked, response.failure, case.life
        assert not case.is_answered, f"a response after the final one: {asked}"
        assert response.index == case.responses, f"out of order: {asked}"
        case.responses += 1
        if life is not None:
            assert response.position in case.positions, f"position {response.position}: {asked}"
            if case.dispatched is None or (case.ran is not None and not case.is_unwanted):
                life.active_at = entry.at
        case.is_answered = response.final
        if failure is None:
            self.check_answer(case, response)
            facts.counts["successes"] += response.final
        elif response.admitted:
            assert response.final
            facts.counts["failures"] += 1
            check_failure(facts, case, failure, entry)

    def check_answer(self, case: Case, response: Response) -> None:
        asked, life, decoupled = case.asked, case.life, self.facts.config.decoupled
        assert life is not None
        assert case.ran is not None, f"an answer though it never ran: {asked}"
        assert case.expected is not None, f"an answer though it failed: {asked}"
        # It may have been on its way already.
        late = case.unwanted_from is not None and case.unwanted_from < case.ran.place
        assert not late, f"an answer though cancelled: {asked}"
        if response.empty:
            assert decoupled
            assert response.final
            return
        assert response.final != decoupled
        expected, count = case.expected
        if response.index:
            expected = scramble(expected + response.index)
        found = {tensor.name: tensor.array.ravel()[0] for tensor in response.outputs}
        assert int(found["HASH"]) == expected, f"a wrong state: {asked}"
        assert int(found["COUNT"]) == count
        if not self.facts.later:
            assert life.answered < asked.number, f"answers out of order: {asked}"
            life.answered = asked.number

    def saw_warned(self, entry: Warned) -> None:
        rules, key = self.facts.rules, self.facts.keys[entry.key]
        assert rules.idle_warning_ns, "warned for nothing"
        assert key.lives, f"nothing lives: {entry}"
        if key.unsure:
            return
        life = key.lives[0]
        assert not any(case.is_waiting for case in life.cases)
        assert entry.connection in life.listeners
        assert entry.at + entry.left_ns == life.active_at + rules.max_idle_ns

    def saw_ended(self, entry: Ended) -> None:
        facts, key = self.facts, self.facts.keys[entry.key]
        facts.ends[entry.reason] += 1
        assert entry.older < len(key.lives), f"ended twice: {entry}"
        life = key.lives[max(0, entry.older)]
        assert entry.older <= 0 or not life.begun, f"an older one has the slot: {entry}"
        is_reserved = life.reserved is not None
        assert (entry.older == UNSTARTED) == is_reserved, f"its START came, or did not: {entry}"
        check_end(facts, life, key, entry)
        assert life.is_settled or facts.later, f"ended before its last response: {entry}"
        listeners = life.listeners
        if entry.told:
            ((told, name, reason),) = entry.told
            assert (name, reason) == (entry.key, entry.reason)
            # What is held back has a listener before it is passed on.
            is_one = told in listeners - facts.closed_connections
            assert is_one or facts.moves, f"{told} was told: {entry}"
        else:
            assert facts.closed_connections & listeners, f"nobody was told: {entry}"
        if life.begun and life.instance is not None:
            key.told[life.instance, entry.reason] += 1
        key.lives.remove(life)
        key.unsure = key.unsure and bool(key.lives)

    # -- what is counted

    def check_counts(self, statistics: ModelStatistics) -> None:
        """The statistics of a house that has come to rest and whose diary was read."""
        facts, counts = self.facts, self.facts.counts
        assert statistics.success.count == counts["successes"]
        assert statistics.fail.count == counts["failures"]
        assert sum(statistics.failures.values()) == counts["failures"]
        assert statistics.pending == 0
        assert statistics.instances.losses <= len(facts.losses)
        if not facts.later and not facts.config.decoupled:
            assert statistics.inference_count == counts["rows"]
        sequences = statistics.sequences
        assert sequences is not None
        assert sequences.active == sequences.backlog == 0
        assert counts["begun"] <= sequences.started <= counts["lives"]
        ended = {reason: count for reason, count in sequences.ended.items() if count}
        if facts.moves:
            # Those that were lost on their way are no matter of the engine any more.
            assert ended.pop(EndReason.ENGINE_LOST, 0) <= facts.ends.pop(EndReason.ENGINE_LOST, 0)
            counts["lives"] = sum(facts.ends.values())
        assert ended == facts.ends
        assert sum(facts.ends.values()) == counts["lives"]
        assert statistics.reservations.granted == counts["granted"]
        assert sum(statistics.reservations.refused.values()) == counts["refused"]
