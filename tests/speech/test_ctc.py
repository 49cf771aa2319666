import math
from collections import defaultdict
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.model.tensor import Array
from streamgate.speech.ctc import BeamState, CtcBeamSearch, CtcGreedy, GreedyState
from streamgate.speech.phrases import ROOT, PhraseBonus
from streamgate.speech.states import pack, unpack
from streamgate.speech.tokens import Token, log_softmax

TOKENS = 3
ALL = 10**6


@st.composite
def matrices(draw: st.DrawFn, frames_max: int = 5) -> Array:
    frames = draw(st.integers(1, frames_max))
    numbers = st.floats(-4, 4, width=32)
    values = draw(st.lists(numbers, min_size=frames * TOKENS, max_size=frames * TOKENS))
    return np.array(values, np.float32).reshape(frames, TOKENS)


phrases = st.lists(
    st.tuples(st.lists(st.integers(1, TOKENS - 1), min_size=1, max_size=3), st.floats(0.1, 2.0)),
    max_size=3,
)


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    kept = [token for at, token in enumerate(path) if at == 0 or token != path[at - 1]]
    return tuple(token for token in kept if token != 0)


def earned(bonus: PhraseBonus, tokens: tuple[int, ...]) -> float:
    node, total = ROOT, 0.0
    for token in tokens:
        node, more = bonus.step(node, token)
        total += more
    return total + bonus.leave(node)


def every_path(scores: Array, bonus: PhraseBonus) -> dict[tuple[int, ...], float]:
    """What each hypothesis has, by going through all paths."""
    logs = log_softmax(scores)
    totals: dict[tuple[int, ...], list[float]] = defaultdict(list)
    for path in product(range(TOKENS), repeat=len(scores)):
        totals[collapsed(path)].append(sum(logs[at, token] for at, token in enumerate(path)))
    return {
        tokens: math.log(sum(map(math.exp, parts))) + earned(bonus, tokens)
        for tokens, parts in totals.items()
    }


def beam_searched(
    search: CtcBeamSearch, scores: Array, step: int
) -> tuple[list[Token], list[list[Token]]]:
    state, found, tails = BeamState(), [], []
    for at in range(0, len(scores), step):
        state, tokens = search.feed(state, scores[at : at + step])
        state = unpack(BeamState, pack(state))
        found += tokens
        tails.append([*found, *state.tail])
    return found + search.finish(state)[1], tails


@settings(max_examples=60, deadline=None)
@given(matrices(), phrases, st.integers(1, 5))
def test_the_beam_finds_what_going_through_all_paths_finds(
    scores: Array, boosted: list[tuple[list[int], float]], step: int
) -> None:
    bonus = PhraseBonus.of(boosted)
    search = CtcBeamSearch(blank=0, width=ALL, tokens_per_frame=0, bonus=bonus)
    wanted = every_path(scores, bonus)
    found, _ = beam_searched(search, scores, step)
    best = max(wanted.values())
    assert wanted[tuple(token.id for token in found)] == pytest.approx(best, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(matrices(8), st.integers(1, 5), st.integers(1, 5))
def test_a_cut_changes_nothing_and_nothing_sure_is_taken_back(
    scores: Array, width: int, step: int
) -> None:
    search = CtcBeamSearch(blank=0, width=width, tokens_per_frame=2)
    cut, tails = beam_searched(search, scores, step)
    whole, _ = beam_searched(search, scores, len(scores))
    assert [(each.id, each.frame) for each in cut] == [(each.id, each.frame) for each in whole]
    sure = 0
    state = BeamState()
    for at, tail in zip(range(0, len(scores), step), tails, strict=True):
        state, tokens = search.feed(state, scores[at : at + step])
        sure += len(tokens)
        assert [each.id for each in tail[:sure]] == [each.id for each in cut[:sure]]


@given(matrices(8), st.integers(1, 4))
def test_greedy_collapses_across_cuts(scores: Array, step: int) -> None:
    greedy = CtcGreedy(blank=0)
    state, found = GreedyState(), []
    for at in range(0, len(scores), step):
        state, tokens = greedy.feed(state, scores[at : at + step])
        state = unpack(GreedyState, pack(state))
        found += tokens
    path = tuple(int(token) for token in scores.argmax(axis=1))
    assert tuple(token.id for token in found) == collapsed(path)
    for token in found:
        assert path[token.frame] == token.id
        assert token.confidence == pytest.approx(
            math.exp(log_softmax(scores[token.frame])[token.id])
        )
    assert state.frames == len(scores)


def test_a_beam_of_width_one_is_not_greedy_about_paths() -> None:
    # The likeliest path is all blanks; the likeliest hypothesis is the token.
    scores = np.log(np.array([[0.4, 0.35, 0.25]] * 2, np.float32))
    assert CtcGreedy(blank=0).feed(GreedyState(), scores)[1] == []
    found, _ = beam_searched(CtcBeamSearch(blank=0, width=4), scores, 1)
    assert [token.id for token in found] == [1]


def test_a_penalty_for_blanks() -> None:
    scores = np.array([[1.0, 0.5, 0.0]], np.float32)
    assert CtcGreedy(blank=0).feed(GreedyState(), scores)[1] == []
    (token,) = CtcGreedy(blank=0, blank_penalty=1.0).feed(GreedyState(), scores)[1]
    assert token.id == 1
    assert scores[0, 0] == 1.0


def test_a_bonus_turns_a_close_decision() -> None:
    scores = np.array([[0, 5, 0], [5, 0, 0], [0, 3.0, 2.9], [5, 0, 0]], np.float32)
    plain, _ = beam_searched(CtcBeamSearch(blank=0), scores, 1)
    boosted = CtcBeamSearch(blank=0, bonus=PhraseBonus.of([([1, 2], 1.0)]))
    favoured, _ = beam_searched(boosted, scores, 1)
    assert [token.id for token in plain] == [1, 1]
    assert [token.id for token in favoured] == [1, 2]


def test_the_state_of_a_long_stream_stays_small() -> None:
    rng = np.random.default_rng(3)
    search = CtcBeamSearch(blank=0, width=4)
    state = BeamState()
    for _ in range(50):
        state, _ = search.feed(state, rng.standard_normal((20, TOKENS)).astype(np.float32) * 4)
    assert len(pack(state)) < 20_000
    assert state.frames == 1000


def test_scores_of_another_shape_are_refused() -> None:
    wrong = np.zeros((1, 2, 3), np.float32)
    with pytest.raises(ValueError, match=r"expected scores of shape \[frames, tokens\]"):
        CtcGreedy(blank=0).feed(GreedyState(), wrong)
    with pytest.raises(ValueError, match=r"found \[1, 2, 3\]"):
        CtcBeamSearch(blank=0).feed(BeamState(), wrong)
