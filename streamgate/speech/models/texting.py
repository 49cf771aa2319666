"""What a search finds, as the speech contract has it: stable text, a tail, words, ends.

A word is stable when the next one has begun, or the utterance ends: then its text, its times and
its confidence are complete. What there is of it before is the tail.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from streamgate.model.tensor import Array
from streamgate.speech.endpoint import Endpointer, EndpointRule, EndpointState
from streamgate.speech.models.settings import Settings
from streamgate.speech.text import spaced
from streamgate.speech.tokens import Token, Vocabulary
from streamgate.speech.words import KINDS, Word, WordJoiner, WordState

OUTPUTS = (
    ("STABLE", "TYPE_STRING", [1]),
    ("TAIL", "TYPE_STRING", [1]),
    ("FINAL", "TYPE_BOOL", [1]),
    ("AUDIO_PROCESSED", "TYPE_FP64", [1]),
    ("WORDS", "TYPE_STRING", [-1]),
    ("WORD_TIMES", "TYPE_FP32", [-1, 2]),
    ("WORD_CONFIDENCES", "TYPE_FP32", [-1]),
)
INPUTS = (("SPAN", "TYPE_INT64", [3]), ("LAST", "TYPE_BOOL", [1]))


@dataclass(frozen=True, slots=True)
class Span:
    """The samples that a chunk stands for, how many a whole one has, whether an utterance ends."""

    start: int
    end: int
    step: int
    last: bool


@dataclass(frozen=True, slots=True)
class TextState:
    """A stream's text.

    The search's frame `frame` began at sample `sample` (None: the next chunk says where). `last`:
    the utterance's last stable word, empty where it has none.
    """

    words: WordState
    endpoint: EndpointState
    frame: int
    sample: int | None
    last: str


@dataclass(frozen=True, slots=True)
class TextEvent:
    """One event of the speech contract. `processed` in seconds."""

    stable: str
    tail: str
    final: bool
    processed: float
    words: tuple[Word, ...]


class Texting:
    """Tokens to events, for one model.

    `frame_ms` is the time from one of the encoder's output frames to the next.
    """

    def __init__(self, settings: Settings) -> None:
        self.vocabulary = Vocabulary.read(settings.file("tokens", "tokens.txt"))
        self._rate = settings.whole("sample_rate", 16000, 8000)
        self._frame = round(settings.number("frame_ms", 40.0, 1.0) * self._rate / 1000)
        self._joiner = WordJoiner(
            self.vocabulary,
            1 / self._rate,
            settings.text("token_kind", "pieces", KINDS),
            silent=frozenset((*settings.text("silent_tokens", "<unk> <sos/eos>").split(), "<blk>")),
            frame_width=self._frame,
        )
        self._endpointer = Endpointer(self._frame / self._rate, _rules(settings))

    def start(self) -> TextState:
        """The state of a fresh stream."""
        return TextState(WordState(), EndpointState(), 0, None, "")

    def check(self, frames: int, span: Span) -> None:
        """Raise ValueError where frames of a chunk can't be `frame_ms` apart."""
        if frames * self._frame != span.step:
            raise ValueError(
                f"a chunk of {span.step} samples has {frames} frames, and frame_ms says that they "
                f"are {self._frame} samples apart: expected "
                f"{span.step * 1000 / self._rate / max(frames, 1):g} for frame_ms"
            )

    def ends(
        self, state: TextState, found: Sequence[Token], frames: range, span: Span
    ) -> TextState:
        """The state with a chunk's frames observed: `endpoint` is then ready for `is_end`."""
        spoken = {token.frame for token in found}
        endpoint = self._endpointer.observe(state.endpoint, (each in spoken for each in frames))
        if state.sample is None:
            state = replace(state, frame=frames.start, sample=span.start)
        return replace(state, endpoint=endpoint)

    def is_end(self, state: TextState, span: Span) -> bool:
        """Whether the utterance ends behind this chunk."""
        return span.last or self._endpointer.ended(state.endpoint) is not None

    def event(
        self,
        state: TextState,
        sure: Sequence[Token],
        tail: Sequence[Token],
        span: Span,
        *,
        final: bool,
    ) -> tuple[TextState, TextEvent]:
        """The event of a chunk: its sure tokens, and those that may still change (none, when
        `final`)."""
        words, complete = self._joiner.feed(state.words, self._timed(state, sure))
        if final:
            words, more = self._joiner.finish(words)
            complete += more
        complete = [_within(word, span.end / self._rate) for word in complete]
        last = complete[-1].text if complete else state.last
        pending = self._joiner.words((*words.open, *self._timed(state, tail)))
        event = TextEvent(
            spaced([word.text for word in complete], after=state.last),
            spaced([word.text for word in pending], after=last),
            final and bool(last),
            span.end / self._rate,
            tuple(complete),
        )
        if final:
            kept = state.sample if not span.last else None
            return replace(self.start(), frame=state.frame, sample=kept), event
        return replace(state, words=words, last=last), event

    def _timed(self, state: TextState, tokens: Sequence[Token]) -> list[Token]:
        """The tokens with samples in place of frames."""
        base = state.sample or 0
        return [
            Token(each.id, base + (each.frame - state.frame) * self._frame, each.confidence)
            for each in tokens
        ]


def _within(word: Word, end: float) -> Word:
    """A word found in the silence behind the audio ends with the audio."""
    return replace(word, start=min(word.start, end), end=min(word.end, end))


def _rules(settings: Settings) -> tuple[EndpointRule, ...]:
    """sherpa-onnx's three rules; 0 seconds switch one off."""
    after_nothing = settings.number("endpoint_silence_s", 2.4)
    after_speech = settings.number("endpoint_silence_after_speech_s", 1.2)
    longest = settings.number("endpoint_utterance_s", 20.0)
    rules = []
    if after_nothing:
        rules.append(EndpointRule(needs_speech=False, trailing_silence_s=after_nothing))
    if after_speech:
        rules.append(EndpointRule(needs_speech=True, trailing_silence_s=after_speech))
    if longest:
        rules.append(EndpointRule(needs_speech=False, trailing_silence_s=0, utterance_s=longest))
    return tuple(rules)


def span_of(request: Any) -> Span:
    """The span that came with a request."""
    start, end, step = _input(request, "SPAN").reshape(-1).tolist()
    return Span(start, end, step, bool(_input(request, "LAST").any()))


def _input(request: Any, name: str) -> Array:
    array: Array = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
    return array


def response_of(event: TextEvent) -> Any:
    """The event as the contract's tensors."""
    times = np.array([[word.start, word.end] for word in event.words], np.float32)
    confidences = np.array([word.confidence for word in event.words], np.float32)
    return pb_utils.InferenceResponse(
        [
            pb_utils.Tensor("STABLE", _texts([event.stable])),
            pb_utils.Tensor("TAIL", _texts([event.tail])),
            pb_utils.Tensor("FINAL", np.array([[event.final]])),
            pb_utils.Tensor("AUDIO_PROCESSED", np.array([[event.processed]])),
            pb_utils.Tensor("WORDS", _texts([word.text for word in event.words])),
            pb_utils.Tensor("WORD_TIMES", times.reshape(1, -1, 2)),
            pb_utils.Tensor("WORD_CONFIDENCES", confidences.reshape(1, -1)),
        ]
    )


def failure_of(error: ValueError) -> Any:
    """A response that says what was wrong."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))


def _texts(texts: Sequence[str]) -> Array:
    array = np.empty((1, len(texts)), np.object_)
    array[0] = [text.encode() for text in texts]
    return array


def declare(config: Any, scores: str, dims: list[int]) -> Any:
    """Complete a configuration with the tensors of a text model."""
    config.add_input({"name": scores, "data_type": "TYPE_FP32", "dims": dims})
    for name, kind, shape in INPUTS:
        config.add_input({"name": name, "data_type": kind, "dims": shape})
    length = {"name": "LENGTH", "data_type": "TYPE_INT64", "dims": [1], "optional": True}
    config.add_input(length)
    for name, kind, shape in OUTPUTS:
        config.add_output({"name": name, "data_type": kind, "dims": shape})
    return config


def length_of(request: Any, frames: int) -> int:
    """How many of these frames are true, for encoders that say so."""
    tensor = pb_utils.get_input_tensor_by_name(request, "LENGTH")
    return frames if tensor is None else min(frames, int(tensor.as_numpy().ravel()[0]))
