"""Greedy search of transducers (RNN-T), for many streams at once.

    encoder frames [rows, frames, dim]
          |  for each frame, up to `symbols_max` times:
          |      network.join(frame, predictions) -> logits        one call for all rows
          |      rows whose best token is no blank:
          |      network.advance(predictions, tokens)              one call for all of these
          v
    tokens of each row

`TransducerNetwork` is what a model brings. `SplitNetwork` makes one of a decoder (prediction
network) and a joiner, as k2/icefall and sherpa-onnx export them; `JointNetwork` of one graph for
both, as NeMo exports it. A row's state holds its prediction and is a plain value.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from streamgate.model.tensor import Array
from streamgate.speech.tokens import Token, log_softmax


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a prediction network knows of one stream.

    `context`: its last tokens, as many as the network takes. `output`: what it gave for them, [dim]
    (empty for a network that is one graph with its joiner). `memory`: its recurrent states, each
    without a batch dimension.
    """

    context: tuple[int, ...]
    output: Array
    memory: tuple[Array, ...]


class TransducerNetwork(Protocol):
    """A prediction network and a joiner, for rows of several streams."""

    def start(self) -> Prediction:
        """The prediction before any token."""
        ...

    def join(
        self, frames: Array, predictions: Sequence[Prediction]
    ) -> tuple[Array, Sequence[Prediction]]:
        """Logits [rows, tokens] for one encoder frame of each row [rows, dim], and the predictions
        that `advance` wants for them."""
        ...

    def advance(
        self, predictions: Sequence[Prediction], tokens: Sequence[int]
    ) -> Sequence[Prediction]:
        """The predictions after these rows have found these tokens."""
        ...


Predict = Callable[[Array, tuple[Array, ...]], tuple[Array, tuple[Array, ...]]]
"""Contexts int64 [rows, context] and states [rows, ...] to outputs [rows, dim] and next states."""

Join = Callable[[Array, Array], Array]
"""Encoder frames [rows, dim] and predictions [rows, dim] to logits [rows, tokens]."""

JointStep = Callable[[Array, Array, tuple[Array, ...]], tuple[Array, tuple[Array, ...]]]
"""Encoder frames [rows, dim], last tokens int64 [rows, 1] and states [rows, ...] to logits
[rows, tokens] and next states."""


@dataclass(frozen=True, slots=True)
class SplitNetwork:
    """A decoder and a joiner as two functions.

    `blank` fills the context of a fresh stream; `memory` are the first states, without a batch
    dimension (none for a stateless decoder).
    """

    predict: Predict
    joiner: Join
    context_size: int
    blank: int
    memory: tuple[Array, ...] = ()

    def start(self) -> Prediction:
        fresh = Prediction((self.blank,) * self.context_size, np.zeros(0, np.float32), self.memory)
        return self._predicted([fresh])[0]

    def join(
        self, frames: Array, predictions: Sequence[Prediction]
    ) -> tuple[Array, Sequence[Prediction]]:
        outputs = np.stack([each.output for each in predictions])
        return self.joiner(frames, outputs), predictions

    def advance(
        self, predictions: Sequence[Prediction], tokens: Sequence[int]
    ) -> Sequence[Prediction]:
        pairs = zip(predictions, tokens, strict=True)
        return self._predicted(
            [replace(each, context=(*each.context[1:], token)) for each, token in pairs]
        )

    def _predicted(self, rows: Sequence[Prediction]) -> list[Prediction]:
        contexts = np.array([each.context for each in rows], np.int64)
        outputs, memory = self.predict(contexts, _stacked(rows))
        return [
            Prediction(
                each.context, outputs[row].copy(), tuple(part[row].copy() for part in memory)
            )
            for row, each in enumerate(rows)
        ]


@dataclass(frozen=True, slots=True)
class JointNetwork:
    """Decoder and joiner as one function; its next states count only where a token was found."""

    step: JointStep
    blank: int
    memory: tuple[Array, ...]

    def start(self) -> Prediction:
        return Prediction((self.blank,), np.zeros(0, np.float32), self.memory)

    def join(
        self, frames: Array, predictions: Sequence[Prediction]
    ) -> tuple[Array, Sequence[Prediction]]:
        last = np.array([each.context for each in predictions], np.int64)
        logits, memory = self.step(frames, last, _stacked(predictions))
        candidates = [
            replace(each, memory=tuple(part[row].copy() for part in memory))
            for row, each in enumerate(predictions)
        ]
        return logits, candidates

    def advance(
        self, predictions: Sequence[Prediction], tokens: Sequence[int]
    ) -> Sequence[Prediction]:
        pairs = zip(predictions, tokens, strict=True)
        return [replace(each, context=(token,)) for each, token in pairs]


def _stacked(rows: Sequence[Prediction]) -> tuple[Array, ...]:
    return tuple(np.stack(parts) for parts in zip(*(each.memory for each in rows), strict=True))


@dataclass(frozen=True, slots=True)
class TransducerState:
    """One stream's prediction, and how many encoder frames there were."""

    prediction: Prediction
    frames: int = 0


@dataclass(frozen=True, slots=True)
class TransducerGreedy:
    """Take the best token of each frame until it is a blank, at most `symbols_max` times.

    icefall's and sherpa-onnx's greedy search stop after 1, NeMo's after 10. `blank_penalty` is
    taken from the blank's logit first.
    """

    network: TransducerNetwork
    blank: int
    symbols_max: int = 1
    blank_penalty: float = 0.0

    def start(self) -> TransducerState:
        """The state of a fresh stream."""
        return TransducerState(self.network.start())

    def restart(self, state: TransducerState) -> TransducerState:
        """The state where the stream's next utterance begins: nothing found, time goes on."""
        return TransducerState(self.network.start(), state.frames)

    def feed(
        self, states: Sequence[TransducerState], frames: Array, lengths: Sequence[int]
    ) -> tuple[list[TransducerState], list[list[Token]]]:
        """Take encoder frames [rows, frames, dim], of which each row has `lengths` true ones.

        Gives each row's next state and its tokens. Rows do not touch each other.
        """
        if frames.ndim != 3 or not len(frames) == len(states) == len(lengths):
            raise ValueError(
                f"expected frames [rows, frames, dim] for {len(states)} states and {len(lengths)} "
                f"lengths, found {list(frames.shape)}"
            )
        predictions = [state.prediction for state in states]
        found: list[list[Token]] = [[] for _ in states]
        for at in range(max(lengths, default=0)):
            active = [row for row, length in enumerate(lengths) if at < length]
            for _ in range(self.symbols_max):
                active = self._symbols(active, frames[:, at], predictions, states, found, at)
                if not active:
                    break
        after = [
            TransducerState(prediction, state.frames + length)
            for prediction, state, length in zip(predictions, states, lengths, strict=True)
        ]
        return after, found

    def _symbols(
        self,
        active: list[int],
        frame: Array,
        predictions: list[Prediction],
        states: Sequence[TransducerState],
        found: list[list[Token]],
        at: int,
    ) -> list[int]:
        """One symbol of each active row; the rows that found one."""
        logits, candidates = self.network.join(frame[active], [predictions[row] for row in active])
        if self.blank_penalty:
            logits = logits.copy()
            logits[:, self.blank] -= self.blank_penalty
        best = logits.argmax(axis=1).tolist()
        hits = [place for place, token in enumerate(best) if token != self.blank]
        if not hits:
            return []
        tokens = [best[place] for place in hits]
        advanced = self.network.advance([candidates[place] for place in hits], tokens)
        for place, token, prediction in zip(hits, tokens, advanced, strict=True):
            row = active[place]
            predictions[row] = prediction
            confidence = float(np.exp(log_softmax(logits[place])[token]))
            found[row].append(Token(token, states[row].frames + at, confidence))
        return [active[place] for place in hits]
