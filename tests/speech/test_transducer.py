"""The batched search against a loop over one stream, frame by frame, without any batching."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.model.tensor import Array
from streamgate.speech.states import pack, unpack
from streamgate.speech.transducer import (
    JointNetwork,
    SplitNetwork,
    TransducerGreedy,
    TransducerNetwork,
    TransducerState,
)

DIM, TOKENS, BLANK, HIDDEN = 4, 5, 0, 3
RNG = np.random.default_rng(11)
EMBEDDING = RNG.integers(-8, 9, (2, TOKENS, DIM)).astype(np.float64)
OUT = RNG.integers(-4, 5, (DIM, TOKENS)).astype(np.float64)
RECURRENT = RNG.integers(-2, 3, (HIDDEN, HIDDEN)).astype(np.float64)
INTO = RNG.integers(-3, 4, (HIDDEN, DIM)).astype(np.float64)


def stateless(contexts: Array, memory: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
    assert memory == ()
    return EMBEDDING[0, contexts[:, 0]] + EMBEDDING[1, contexts[:, 1]], ()


def recurrent(contexts: Array, memory: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
    (hidden,) = memory
    # Small whole numbers: sums have one value in any order.
    after = (hidden @ RECURRENT + EMBEDDING[0, contexts[:, 0], :HIDDEN]) % 7
    return after @ INTO, (after,)


def joiner(frames: Array, outputs: Array) -> Array:
    logits: Array = (frames + outputs) % 11 @ OUT
    return logits


def joint(frames: Array, last: Array, memory: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
    outputs, after = recurrent(last, memory)
    return joiner(frames, outputs), after


STATELESS = SplitNetwork(stateless, joiner, context_size=2, blank=BLANK)
RECURRENT_SPLIT = SplitNetwork(recurrent, joiner, 1, BLANK, (np.zeros(HIDDEN),))
RECURRENT_JOINT = JointNetwork(joint, BLANK, (np.zeros(HIDDEN),))


@dataclass
class Plain:
    """One stream, as a textbook has it."""

    with_memory: bool
    symbols_max: int

    def search(self, frames: Array) -> list[tuple[int, int]]:
        hidden = np.zeros(HIDDEN)
        history, found = [BLANK, BLANK], []
        for at, frame in enumerate(frames):
            for _ in range(self.symbols_max):
                if self.with_memory:
                    after = (hidden @ RECURRENT + EMBEDDING[0, history[-1], :HIDDEN]) % 7
                    output = after @ INTO
                else:
                    output = EMBEDDING[0, history[-2]] + EMBEDDING[1, history[-1]]
                best = int(np.argmax((frame + output) % 11 @ OUT))
                if best == BLANK:
                    break
                found.append((best, at))
                history.append(best)
                if self.with_memory:
                    hidden = after
        return found


streams = st.lists(st.integers(0, 6), min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("network", "with_memory"),
    [(STATELESS, False), (RECURRENT_SPLIT, True), (RECURRENT_JOINT, True)],
    ids=["stateless", "recurrent, split", "recurrent, joint"],
)
@settings(max_examples=40, deadline=None)
@given(
    lengths=streams,
    step=st.integers(1, 4),
    symbols_max=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)
def test_rows_together_find_what_each_finds_alone(
    network: TransducerNetwork,
    with_memory: bool,
    lengths: list[int],
    step: int,
    symbols_max: int,
    seed: int,
) -> None:
    frames = np.random.default_rng(seed).integers(-9, 10, (len(lengths), max(lengths), DIM)) * 1.0
    greedy = TransducerGreedy(network, BLANK, symbols_max)
    states = [greedy.start() for _ in lengths]
    found: list[list[tuple[int, int]]] = [[] for _ in lengths]
    for at in range(0, max(lengths), step):
        part = frames[:, at : at + step]
        true = [min(max(0, length - at), part.shape[1]) for length in lengths]
        states, tokens = greedy.feed(states, part, true)
        states = [unpack(TransducerState, pack(state)) for state in states]
        for row, more in enumerate(tokens):
            found[row] += [(token.id, token.frame) for token in more]
            assert all(0 < token.confidence <= 1 for token in more)
    plain = Plain(with_memory, symbols_max)
    assert found == [plain.search(frames[row, :length]) for row, length in enumerate(lengths)]
    assert [state.frames for state in states] == lengths


def test_each_symbol_takes_one_call_for_all_rows() -> None:
    calls: list[tuple[str, int]] = []

    def counted_joiner(frames: Array, outputs: Array) -> Array:
        calls.append(("join", len(frames)))
        return joiner(frames, outputs)

    def counted_predict(
        contexts: Array, memory: tuple[Array, ...]
    ) -> tuple[Array, tuple[Array, ...]]:
        calls.append(("predict", len(contexts)))
        return stateless(contexts, memory)

    network = replace(STATELESS, predict=counted_predict, joiner=counted_joiner)
    greedy = TransducerGreedy(network, BLANK)
    states = [greedy.start() for _ in range(8)]
    calls.clear()
    frames = np.random.default_rng(1).integers(-9, 10, (8, 5, DIM)) * 1.0
    _, found = greedy.feed(states, frames, [5] * 8)
    assert [each for each in calls if each[0] == "join"] == [("join", 8)] * 5
    assert len([each for each in calls if each[0] == "predict"]) <= 5
    assert sum(count for name, count in calls if name == "predict") == sum(map(len, found))


def test_a_new_utterance_forgets_what_was_said_but_not_the_time() -> None:
    greedy = TransducerGreedy(RECURRENT_SPLIT, BLANK)
    frames = np.random.default_rng(2).integers(-9, 10, (1, 6, DIM)) * 1.0
    (state,), _ = greedy.feed([greedy.start()], frames, [6])
    (_,), (again,) = greedy.feed([greedy.restart(state)], frames, [6])
    (_,), (first,) = greedy.feed([greedy.start()], frames, [6])
    assert [(each.id, each.frame) for each in again] == [
        (each.id, each.frame + 6) for each in first
    ]


def test_a_penalty_for_blanks_finds_more() -> None:
    frames = np.random.default_rng(3).integers(-9, 10, (1, 20, DIM)) * 1.0
    counts = [
        len(search.feed([search.start()], frames, [20])[1][0])
        for search in (
            TransducerGreedy(STATELESS, BLANK),
            TransducerGreedy(STATELESS, BLANK, blank_penalty=1e6),
        )
    ]
    assert counts[0] < counts[1] == 20


def test_frames_that_do_not_fit_the_rows() -> None:
    greedy = TransducerGreedy(STATELESS, BLANK)
    with pytest.raises(ValueError, match=r"expected frames \[rows, frames, dim\] for 1 states"):
        greedy.feed([greedy.start()], np.zeros((2, 3, DIM)), [3])
