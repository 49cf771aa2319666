"""Encoder output to text by a transducer's greedy search, for all streams of a batch at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from streamgate.model.tensor import Array
from streamgate.speech.models.graphs import Graph, check_tokens, joint_network, split_network
from streamgate.speech.models.settings import Settings
from streamgate.speech.models.streams import Key, Streams
from streamgate.speech.models.texting import (
    Span,
    TextEvent,
    Texting,
    TextState,
    declare,
    failure_of,
    length_of,
    response_of,
    span_of,
)
from streamgate.speech.tokens import Token
from streamgate.speech.transducer import TransducerGreedy, TransducerNetwork, TransducerState

LAYOUTS = ("time_first", "time_last")


@dataclass(frozen=True, slots=True)
class Stream:
    """A sequence: its search and its text."""

    search: TransducerState
    text: TextState


@dataclass(frozen=True, slots=True)
class _Row:
    """One request: where it is to be answered, and what it has."""

    place: int
    request: Any
    stream: Stream
    frames: Array
    span: Span
    length: int


class TransducerText:
    """`ENCODER_OUT`, `SPAN` and `LAST` to the speech contract's outputs. Parameters are on
    docs/bring-your-own-model.md."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        return declare(config, "ENCODER_OUT", [-1, -1])

    def initialize(self, args: dict[str, str]) -> None:
        settings = Settings.of(args)
        self._texting = Texting(settings)
        self._time_last = settings.text("layout", "time_first", LAYOUTS) == "time_last"
        blank = self._texting.vocabulary.blank
        network, most = _network(settings, blank, len(self._texting.vocabulary.texts))
        symbols_max = settings.whole("symbols_max", most, 1)
        penalty = settings.number("blank_penalty", 0.0)
        settings.check_all_known()
        self._search = TransducerGreedy(network, blank, symbols_max, penalty)
        self._streams = Streams(Stream, self._start)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        responses: list[Any] = [None] * len(requests)
        rows = []
        for place, request in enumerate(requests):
            try:
                rows.append(self._row(place, request))
            except ValueError as error:
                responses[place] = failure_of(error)
        # Encoders of one model give frames of one size, but for rows that broke.
        for size in sorted({row.frames.shape for row in rows}):
            group = [row for row in rows if row.frames.shape == size]
            frames = np.stack([row.frames for row in group])
            lengths = [row.length for row in group]
            states, found = self._search.feed([row.stream.search for row in group], frames, lengths)
            for row, state, tokens in zip(group, states, found, strict=True):
                stream, event = self._heard(row, state, tokens)
                self._streams.leave(row.request, stream)
                responses[row.place] = response_of(event)
        return responses

    def on_sequence_end(self, correlation_id: Key, reason: str) -> None:
        self._streams.end(correlation_id)

    def get_state(self, correlation_id: Key) -> bytes:
        return self._streams.packed(correlation_id)

    def set_state(self, correlation_id: Key, state: bytes) -> None:
        self._streams.restore(correlation_id, state)

    def _start(self) -> Stream:
        return Stream(self._search.start(), self._texting.start())

    def _row(self, place: int, request: Any) -> _Row:
        stream = self._streams.enter(request)
        frames = pb_utils.get_input_tensor_by_name(request, "ENCODER_OUT").as_numpy()[0]
        if self._time_last:
            frames = frames.T
        span = span_of(request)
        self._texting.check(len(frames), span)
        return _Row(place, request, stream, frames, span, length_of(request, len(frames)))

    def _heard(
        self, row: _Row, search: TransducerState, tokens: list[Token]
    ) -> tuple[Stream, TextEvent]:
        heard = range(row.stream.search.frames, search.frames)
        text = self._texting.ends(row.stream.text, tokens, heard, row.span)
        final = self._texting.is_end(text, row.span)
        text, event = self._texting.event(text, tokens, (), row.span, final=final)
        return Stream(self._search.restart(search) if final else search, text), event


def _network(settings: Settings, blank: int, tokens: int) -> tuple[TransducerNetwork, int]:
    """The network of the files that there are, and how many symbols its kind takes of a frame."""
    threads = settings.whole("intra_op_thread_count", 1, 0)
    if settings.has("decoder_joint", "decoder_joint.onnx"):
        graph = Graph(settings.file("decoder_joint", "decoder_joint.onnx"), threads)
        network = joint_network(graph, blank)
        check_tokens(network, graph, tokens)
        return network, 10
    decoder = Graph(settings.file("decoder", "decoder.onnx"), threads)
    joiner = Graph(settings.file("joiner", "joiner.onnx"), threads)
    network = split_network(decoder, joiner, blank)
    check_tokens(network, joiner, tokens)
    return network, 1 if len(decoder.inputs) == 1 else 10
