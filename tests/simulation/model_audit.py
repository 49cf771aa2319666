"""What models must see: each step once, in order, with its own flags, between load and loss."""

from collections import defaultdict
from collections.abc import Mapping

from streamgate.backend.fake.hashing import Step, mix
from streamgate.errors import EndReason
from streamgate.model.config import ControlKind
from tests.simulation.cases import Case, Facts
from tests.simulation.diary import Dispatched, Entry, Gone, Heard, HungUp, Loaded, Lost, Paused, Ran


class ModelAudit:
    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.takes_key = any(each.kind is ControlKind.CORRID for each in facts.config.controls)
        self.under_way: dict[int, list[tuple[int, bool, bool]]] = defaultdict(list)
        self.down: set[int] = set()
        self.gone: set[int] = set()
        self.paused: set[int] = set()

    def saw(self, entry: Entry) -> bool:
        """Returns whether this was for models to see."""
        match entry:
            case Dispatched():
                self.saw_dispatched(entry)
            case Ran():
                self.saw_ran(entry)
            case Heard():
                key = self.facts.keys[entry.key]
                key.heard[entry.instance] += 1
                key.heard_reasons[entry.instance, entry.reason] += 1
            case Lost():
                self.facts.losses.append(entry)
                if entry.instance not in self.gone:
                    self.facts.away.setdefault(entry.instance, entry)
                self.facts.muddle()
            case Loaded():
                self.facts.away.pop(entry.instance, None)
                self.down.discard(entry.instance)
            case Paused():
                (self.paused.add if entry.paused else self.paused.discard)(entry.connection)
            case Gone():
                assert not self.under_way[entry.instance], "gone in the middle of a step"
                self.gone.add(entry.instance)
                self.facts.away.pop(entry.instance, None)
            case HungUp():
                self.paused.discard(entry.connection)
                return False
            case _:
                return False
        return True

    def saw_dispatched(self, entry: Dispatched) -> None:
        assert not self.under_way[entry.instance], "two steps at once on one instance"
        assert entry.instance not in self.down, "a step for a lost instance"
        assert entry.instance not in self.gone, "a step for an instance that has gone"
        self.under_way[entry.instance] = list(entry.rows)
        for number, start, end in entry.rows:
            case = self.facts.cases[number]
            life, asked = case.life, case.asked
            assert life is not None, f"a refused request ran: {asked}"
            assert case.dispatched is None, f"ran twice: {asked}"
            assert not case.is_answered, f"ran though answered: {asked}"
            assert (start, end) == (asked.start, asked.end), f"wrong flags: {asked}"
            assert asked.connection not in self.paused, f"ran though paused: {asked}"
            self.check_turn(case, entry)
            assert life.instance in (None, entry.instance), "moved to another instance"
            life.instance = entry.instance
            self.facts.counts["begun"] += not life.begun
            life.begun = True
            case.dispatched = entry

    def check_turn(self, case: Case, entry: Dispatched) -> None:
        """All before it are done with."""
        for other in self.facts.keys[case.asked.key].cases:
            if other is case:
                break
            if other.is_waiting:
                # Steps start before refusals are told: this one goes, too, but is told later.
                goes = other.final.failure is not None and other.final_at == entry.at
                assert goes, f"{case.asked} overtook {other.asked}"
            assert other.dispatched is None or other.ran is not None, f"not yet back: {other}"

    def saw_ran(self, entry: Ran) -> None:
        assert not entry.odd, entry.odd
        if entry.lost:
            self.down.add(entry.instance)
        for row in entry.rows:
            assert row in self.under_way[entry.instance], f"{row} was not given to the model"
            self.under_way[entry.instance].remove(row)
            case = self.facts.cases[row[0]]
            life, asked = case.life, case.asked
            assert life is not None
            case.ran = entry
            life.active_at = entry.at
            if asked.start:
                self.check_heard(case, entry)
            if row[0] in entry.failures:
                life.failed = True
                continue
            self.facts.counts["rows"] += 1
            key = asked.key if self.takes_key else None
            life.state = mix(life.state, Step([asked.payload], asked.start, asked.end, key))
            life.steps += 1
            case.expected = life.state, life.steps

    def check_heard(self, case: Case, entry: Ran) -> None:
        """Before a sequence begins, the model has heard of the end of the one before."""
        key = self.facts.keys[case.asked.key]
        if not self.facts.was_lost(entry.instance):
            heard, begun = key.heard[entry.instance], key.begun[entry.instance]
            assert heard == begun, f"the model heard of {heard} of {begun} ends: {case.asked}"
        key.begun[entry.instance] += 1

    def check_rest(self) -> None:
        """At rest, everything has run, and the models have heard of every end."""
        assert not any(self.under_way.values()), "a step that never ran"
        for name, key in self.facts.keys.items():
            for instance, begun in key.begun.items():
                heard = key.heard[instance]
                if self.facts.was_lost(instance):
                    assert heard <= begun
                    continue
                assert heard == begun, f"the model heard of {heard} of {begun} ends of {name!r}"
                assert _of(key.heard_reasons, instance) == _of(key.told, instance)


def _of(counts: Mapping[tuple[int, EndReason], int], instance: int) -> dict[EndReason, int]:
    return {reason: count for (each, reason), count in counts.items() if each == instance}
