import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgate.speech.endpoint import (
    Endpointer,
    EndpointRule,
    EndpointState,
    GateState,
    SpeechEdge,
    SpeechGate,
)
from streamgate.speech.states import pack, unpack


def ends(flags: list[bool], endpointer: Endpointer, step: int = 1000) -> list[int]:
    state, found = EndpointState(), []
    for at in range(0, len(flags), step):
        state, more = endpointer.feed(state, flags[at : at + step])
        state = unpack(EndpointState, pack(state))
        found += [at + count for count in more]
    return found


FORTY_MS = Endpointer(0.04)


def test_silence_after_speech_ends_an_utterance() -> None:
    assert ends([True] * 10 + [False] * 30, FORTY_MS) == [40]
    assert ends([True] * 10 + [False] * 29, FORTY_MS) == []


def test_silence_without_speech_takes_longer() -> None:
    assert ends([False] * 130, FORTY_MS) == [60, 120]


def test_no_utterance_lasts_for_ever() -> None:
    assert ends([True] * 1100, FORTY_MS) == [500, 1000]


def test_which_rule_it_was() -> None:
    assert FORTY_MS.ended(EndpointState(frames=60, silent=60)) == 0
    assert FORTY_MS.ended(EndpointState(frames=100, silent=30, spoke=True)) == 1
    assert FORTY_MS.ended(EndpointState(frames=500, spoke=True)) == 2
    assert FORTY_MS.ended(EndpointState(frames=99, silent=29, spoke=True)) is None


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 7))
def test_cuts_do_not_matter(flags: list[bool], step: int) -> None:
    rules = (EndpointRule(True, 0.02), EndpointRule(False, 0.05), EndpointRule(False, 0, 0.2))
    endpointer = Endpointer(0.01, rules)
    assert ends(flags, endpointer, step) == ends(flags, endpointer)


def test_a_gate_has_hysteresis() -> None:
    gate = SpeechGate(on=0.6, off=0.3, begin_frames=2, end_frames=2)
    odds = [0.7, 0.1, 0.7, 0.7, 0.4, 0.2, 0.4, 0.2, 0.1, 0.5]
    state, flags, edges = gate.feed(GateState(), odds)
    assert flags == [False] * 3 + [True] * 5 + [False] * 2
    assert edges == [SpeechEdge(True, 2), SpeechEdge(False, 7)]
    assert state == GateState(False, 0, 10)


@given(st.lists(st.floats(0, 1), max_size=40), st.integers(1, 5))
def test_a_gate_does_not_mind_cuts(odds: list[float], step: int) -> None:
    gate = SpeechGate(begin_frames=2)
    state, flags, edges = GateState(), [], []
    for at in range(0, len(odds), step):
        state, more_flags, more_edges = gate.feed(state, odds[at : at + step])
        flags += more_flags
        edges += more_edges
    assert (state, flags, edges) == gate.feed(GateState(), odds)
    assert [edge.begins for edge in edges] == [place % 2 == 0 for place in range(len(edges))]


def test_thresholds_the_wrong_way_round() -> None:
    with pytest.raises(ValueError, match="off <= on"):
        SpeechGate(on=0.2, off=0.5)
