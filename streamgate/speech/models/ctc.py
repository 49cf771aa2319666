"""CTC scores to text, greedy or by a beam with a bonus for phrases."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from streamgate.model.tensor import Array
from streamgate.speech.ctc import BeamState, CtcBeamSearch, CtcGreedy, GreedyState
from streamgate.speech.models.settings import Settings
from streamgate.speech.models.streams import Key, Streams
from streamgate.speech.models.texting import (
    TextEvent,
    Texting,
    TextState,
    declare,
    failure_of,
    length_of,
    response_of,
    span_of,
)
from streamgate.speech.phrases import PhraseBonus
from streamgate.speech.tokens import Token, Vocabulary

SEARCHES = ("greedy", "beam")


@dataclass(frozen=True, slots=True)
class Stream:
    """A sequence: the state of the search that the model uses, and its text."""

    greedy: GreedyState
    beam: BeamState
    text: TextState


class CtcText:
    """`SCORES`, `SPAN` and `LAST` to the speech contract's outputs. Parameters are on
    docs/bring-your-own-model.md."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        return declare(config, "SCORES", [-1, -1])

    def initialize(self, args: dict[str, str]) -> None:
        settings = Settings.of(args)
        self._texting = Texting(settings)
        vocabulary = self._texting.vocabulary
        penalty = settings.number("blank_penalty", 0.0)
        self._greedy = CtcGreedy(vocabulary.blank, penalty)
        self._beam: CtcBeamSearch | None = None
        if settings.text("search", "greedy", SEARCHES) == "beam":
            self._beam = CtcBeamSearch(
                vocabulary.blank,
                settings.whole("beam_width", 8, 1, 1000),
                settings.whole("beam_tokens", 20, 0),
                _bonus(settings, vocabulary),
            )
        settings.check_all_known()
        self._streams = Streams(Stream, self._start)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        responses = []
        for request in requests:
            try:
                responses.append(response_of(self._step(request)))
            except ValueError as error:
                responses.append(failure_of(error))
        return responses

    def on_sequence_end(self, correlation_id: Key, reason: str) -> None:
        self._streams.end(correlation_id)

    def get_state(self, correlation_id: Key) -> bytes:
        return self._streams.packed(correlation_id)

    def set_state(self, correlation_id: Key, state: bytes) -> None:
        self._streams.restore(correlation_id, state)

    def _start(self) -> Stream:
        return Stream(GreedyState(), BeamState(), self._texting.start())

    def _step(self, request: Any) -> TextEvent:
        stream = self._streams.enter(request)
        scores = pb_utils.get_input_tensor_by_name(request, "SCORES").as_numpy()[0]
        tokens = len(self._texting.vocabulary.texts)
        if scores.shape[-1] != tokens:
            raise ValueError(
                f"SCORES has {scores.shape[-1]} tokens a frame, but the vocabulary has {tokens}"
            )
        span = span_of(request)
        self._texting.check(len(scores), span)
        scores = scores[: length_of(request, len(scores))]
        # Whether someone speaks is the greedy path's to say, also beside a beam.
        first = stream.greedy.frames
        greedy, best = self._greedy.feed(stream.greedy, scores)
        heard = range(first, greedy.frames)
        text = self._texting.ends(stream.text, best, heard, span)
        final = self._texting.is_end(text, span)
        beam, sure, tail = self._searched(stream.beam, scores, best, final=final)
        text, event = self._texting.event(text, sure, tail, span, final=final)
        self._streams.leave(request, Stream(greedy, beam, text))
        return event

    def _searched(
        self, state: BeamState, scores: Array, best: list[Token], *, final: bool
    ) -> tuple[BeamState, list[Token], Sequence[Token]]:
        """What is sure now, and what may still change."""
        if self._beam is None:
            return state, best, ()
        state, sure = self._beam.feed(state, scores)
        if final:
            state, rest = self._beam.finish(state)
            return state, sure + rest, ()
        return state, sure, state.tail


def _bonus(settings: Settings, vocabulary: Vocabulary) -> PhraseBonus:
    """The phrases of a file: one a line, as tokens with blanks between, a tab and a bonus a token
    (1.5 without)."""
    if not settings.has("phrases"):
        return PhraseBonus()
    return read_phrases(settings.file("phrases", ""), vocabulary)


def read_phrases(path: Path, vocabulary: Vocabulary) -> PhraseBonus:
    """Read a phrase file. Raises ValueError with the line for tokens that the vocabulary lacks."""
    numbers = {text: number for number, text in enumerate(vocabulary.texts)}
    phrases = []
    for place, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text, _, bonus = line.partition("\t")
        unknown = [token for token in text.split() if token not in numbers]
        if unknown:
            raise ValueError(f"{path}, line {place}: the vocabulary has no token '{unknown[0]}'")
        try:
            weight = float(bonus) if bonus.strip() else 1.5
        except ValueError:
            raise ValueError(f"{path}, line {place}: '{bonus}' is no bonus") from None
        if text.split():
            phrases.append(([numbers[token] for token in text.split()], weight))
    return PhraseBonus.of(phrases)
