"""The link that records stands in the simulated house: the audit notices nothing, and what was
recorded is what the house did."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from streamgate.errors import Code, StreamGateError
from streamgate.link.contract import ModelLink, ModelRoute
from streamgate.recording.options import RecordingOptions
from streamgate.recording.values import End, Entry, Header, Result, Step
from streamgate.recording.writer import Recording
from streamgate.session.recorded import REFUSED, RecordedLink, Recorder
from tests.model.settings import LONG, MODEL
from tests.simulation.diary import Asked, Ended
from tests.simulation.house_machine import HouseMachine, ReservingHouseMachine
from tests.simulation.simulated_house import SimulatedHouse

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800 if LONG else 120)]

FEWER = settings(MODEL, max_examples=2_000 if LONG else 60)


class Shelf:
    """Implements what a recorder asks of a `BundleWriter`: keeps the entries."""

    def __init__(self) -> None:
        self.bundles: list[tuple[Recording, list[Entry]]] = []
        self._kept: dict[Recording, list[Entry]] = {}

    def begin(self, header: Header) -> Recording:
        recording = Recording("")
        self._kept[recording] = []
        self.bundles.append((recording, self._kept[recording]))
        return recording

    def put(self, recording: Recording, entry: Entry) -> None:
        assert not recording.is_over
        self._kept[recording].append(entry)

    def finish(self, recording: Recording) -> None:
        assert not recording.is_over
        recording.is_over = True

    def cut(self, recording: Recording, why: str) -> None:
        raise AssertionError(why)


def no_route(name: str, version: str) -> ModelRoute:
    raise StreamGateError(Code.NOT_FOUND, name)


def check_bundle(entries: list[Entry]) -> str:
    """A whole sequence; returns its end."""
    *others, end = entries
    assert isinstance(end, End)
    steps = [entry for entry in others if isinstance(entry, Step)]
    assert [step.number for step in steps] == list(range(len(steps)))
    assert [step.position for step in steps] == list(range(len(steps)))
    assert [step.start for step in steps] == [True] + [False] * (len(steps) - 1)
    results = [entry for entry in others if isinstance(entry, Result)]
    finals = Counter(result.step for result in results if result.final)
    assert finals == Counter(range(len(steps)))
    if end.reason == REFUSED:
        assert [result.admitted for result in results if not result.step] == [False]
    return end.reason


@pytest.mark.parametrize("machine", [HouseMachine, ReservingHouseMachine])
def test_whatever_happens_is_recorded(
    machine: type[HouseMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelves: list[tuple[Shelf, RecordedLink]] = []
    seen: Counter[str] = Counter()

    def front(link: ModelLink) -> ModelLink:
        shelf: Any = Shelf()
        recorder = Recorder(RecordingOptions(directory=None), shelf, "", no_route)  # type: ignore[arg-type]
        shelves.append((shelf, RecordedLink(link, recorder)))
        return shelves[-1][1]

    teardown = machine.teardown

    def check(self: HouseMachine) -> None:
        is_whole = hasattr(self, "house") and self.sound
        teardown(self)
        if not is_whole:
            return
        shelf, link = shelves.pop()
        assert not link._live
        assert all(recording.is_over for recording, _ in shelf.bundles)
        ends = Counter(check_bundle(entries) for _, entries in shelf.bundles)
        seen.update(ends)
        del ends[REFUSED]
        notes = self.house.diary.entries
        assert ends == Counter(
            note.reason.value for note in notes if isinstance(note, Ended) and note.older >= 0
        )
        asked = sum(isinstance(note, Asked) for note in notes)
        assert sum(isinstance(e, Step) for _, kept in shelf.bundles for e in kept) <= asked

    monkeypatch.setattr(SimulatedHouse, "front", staticmethod(front))
    monkeypatch.setattr(machine, "teardown", check)
    run_state_machine_as_test(machine, settings=FEWER)
    assert {"client_end", "client_abort", "superseded"} <= set(seen)
