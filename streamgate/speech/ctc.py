"""CTC decoding, frame by frame: greedy, and prefix-beam search with a bonus for phrases.

Both take a model's output for some frames [frames, tokens] (logits or log-probabilities) and a
state, and go on exactly where the state is: a cut between two frames changes nothing, also between
two frames of one token.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from streamgate.model.tensor import Array
from streamgate.speech.phrases import ROOT, PhraseBonus
from streamgate.speech.tokens import Token, log_softmax

_NEVER = -math.inf


def _check(scores: Array) -> None:
    if scores.ndim != 2:
        raise ValueError(f"expected scores of shape [frames, tokens], found {list(scores.shape)}")


@dataclass(frozen=True, slots=True)
class GreedyState:
    """The token of the last frame (None before the first one) and how many frames there were."""

    last: int | None = None
    frames: int = 0


@dataclass(frozen=True, slots=True)
class CtcGreedy:
    """The most likely token of each frame; repetitions and blanks fall away.

    `blank_penalty` is taken from the blank's score first: above 0, fewer tokens are missed.
    """

    blank: int
    blank_penalty: float = 0.0

    def feed(self, state: GreedyState, scores: Array) -> tuple[GreedyState, list[Token]]:
        """Take scores [frames, tokens] and give the tokens that begin in these frames."""
        _check(scores)
        if self.blank_penalty:
            scores = scores.copy()
            scores[:, self.blank] -= self.blank_penalty
        last = state.last
        tokens = []
        for offset, best in enumerate(scores.argmax(axis=1).tolist()):
            if best not in (self.blank, last):
                confidence = math.exp(log_softmax(scores[offset])[best])
                tokens.append(Token(best, state.frames + offset, confidence))
            last = best
        return GreedyState(last, state.frames + len(scores)), tokens


@dataclass(frozen=True, slots=True)
class Beam:
    """One hypothesis: the tokens behind the committed ones, and what it has.

    `blank` and `token` are the log-probabilities of the paths that end in a blank and in its last
    token, `bonus` what its phrases earned, `node` where it stands within them. `last` is its last
    token, committed ones included (None without any).
    """

    tokens: tuple[Token, ...]
    blank: float
    token: float
    bonus: float
    node: int
    last: int | None

    @property
    def score(self) -> float:
        """What beams are ordered by: log-probability and bonus."""
        return _log_add(self.blank, self.token) + self.bonus


@dataclass(frozen=True, slots=True)
class BeamState:
    """The hypotheses, best first, and how many frames there were."""

    beams: tuple[Beam, ...] = (Beam((), 0.0, _NEVER, 0.0, ROOT, None),)
    frames: int = 0

    @property
    def tail(self) -> tuple[Token, ...]:
        """The best hypothesis behind the committed tokens: what may still change."""
        return self.beams[0].tokens


@dataclass(frozen=True, slots=True)
class CtcBeamSearch:
    """Prefix-beam search (Hannun et al. 2014), without a language model.

    `width` hypotheses are kept; of each frame, the `tokens_per_frame` best tokens are tried (all,
    where it is 0). `bonus` favours phrases. What all hypotheses have in common can't change any
    more: it is committed, given once and dropped from the state, so the state stays small.
    """

    blank: int
    width: int = 8
    tokens_per_frame: int = 20
    bonus: PhraseBonus = field(default_factory=PhraseBonus)

    def feed(self, state: BeamState, scores: Array) -> tuple[BeamState, list[Token]]:
        """Take scores [frames, tokens] and give the tokens that are sure now, each of them once."""
        _check(scores)
        beams = state.beams
        for offset, frame in enumerate(log_softmax(scores)):
            beams = self._advance(beams, frame, state.frames + offset)
        beams, committed = _commit(beams)
        return BeamState(beams, state.frames + len(scores)), committed

    def finish(self, state: BeamState) -> tuple[BeamState, list[Token]]:
        """End the utterance: the rest of the best hypothesis, and a fresh state at this frame.

        A phrase that is not complete loses its bonus first.
        """
        best = max(state.beams, key=lambda beam: beam.score + self.bonus.leave(beam.node))
        return replace(BeamState(), frames=state.frames), list(best.tokens)

    def _advance(self, beams: tuple[Beam, ...], frame: Array, at: int) -> tuple[Beam, ...]:
        """The hypotheses after one frame of log-probabilities."""
        grown: dict[tuple[int, ...], Beam] = {}
        candidates = self._candidates(frame)
        for beam in beams:
            name = tuple(token.id for token in beam.tokens)
            total = _log_add(beam.blank, beam.token)
            repeated = _NEVER if beam.last is None else beam.token + float(frame[beam.last])
            _add(grown, name, replace(beam, blank=total + float(frame[self.blank]), token=repeated))
            for token in candidates:
                # After its own repetition a token counts only if a blank came between.
                before = beam.blank if token == beam.last else total
                if before == _NEVER:
                    continue
                node, earned = self.bonus.step(beam.node, token)
                found = Token(token, at, math.exp(float(frame[token])))
                longer = Beam(
                    (*beam.tokens, found),
                    _NEVER,
                    before + float(frame[token]),
                    beam.bonus + earned,
                    node,
                    token,
                )
                _add(grown, (*name, token), longer)
        # Ties are broken by the tokens, so that equal inputs give equal answers everywhere.
        order = sorted(grown.items(), key=lambda item: (-item[1].score, item[0]))
        return tuple(beam for _, beam in order[: self.width])

    def _candidates(self, frame: Array) -> list[int]:
        count = self.tokens_per_frame or len(frame)
        if count < len(frame):
            tokens: Iterable[int] = np.argpartition(-frame, count)[:count].tolist()
        else:
            tokens = range(len(frame))
        return sorted(token for token in tokens if token != self.blank)


def _add(grown: dict[tuple[int, ...], Beam], name: tuple[int, ...], beam: Beam) -> None:
    """Add a way to get to a hypothesis; two ways to the same one are one hypothesis."""
    known = grown.get(name)
    if known is None:
        grown[name] = beam
        return
    # The times are those of the likelier way.
    better = beam if max(beam.blank, beam.token) > max(known.blank, known.token) else known
    grown[name] = replace(
        known,
        tokens=better.tokens,
        blank=_log_add(known.blank, beam.blank),
        token=_log_add(known.token, beam.token),
    )


def _commit(beams: tuple[Beam, ...]) -> tuple[tuple[Beam, ...], list[Token]]:
    """Take what all hypotheses begin with off them, and rescale their scores."""
    best = beams[0]
    shortest = min(len(beam.tokens) for beam in beams)
    count = 0
    while count < shortest and all(
        beam.tokens[count].id == best.tokens[count].id for beam in beams
    ):
        count += 1
    # Only differences count; without this a day of speech would eat up the precision.
    top = _log_add(best.blank, best.token)
    earned = best.bonus
    rest = tuple(
        replace(
            beam,
            tokens=beam.tokens[count:],
            blank=beam.blank - top,
            token=beam.token - top,
            bonus=beam.bonus - earned,
        )
        for beam in beams
    )
    return rest, list(best.tokens[:count])


def _log_add(one: float, other: float) -> float:
    """log(exp(one) + exp(other))."""
    high, low = (one, other) if one > other else (other, one)
    return high if low == _NEVER else high + math.log1p(math.exp(low - high))
