"""One client's speech on one model: bytes of audio in, text events out.

Everything that all speech dialects have in common is here: decoding, resampling, cutting into the
model's chunks, the sequence and its slot, padding, pressure, and the client's times. A dialect only
translates. Runs on the event loop's thread.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, final

import numpy as np

from streamgate.errors import EndReason, Failure, StreamGateError
from streamgate.frontends.correlation import correlation_id
from streamgate.frontends.holding import Hold
from streamgate.frontends.speech.audio import Declared, audio_source
from streamgate.frontends.speech.ending import UNTOLD, Ending
from streamgate.frontends.speech.events import TextEvent
from streamgate.frontends.speech.models import SpeechModel
from streamgate.frontends.speech.parameters import checked
from streamgate.frontends.speech.tensors import audio_inputs, text_event
from streamgate.frontends.speech.timeline import Timeline
from streamgate.frontends.world import soon
from streamgate.model.request import ParameterValue, Request, Response, SequenceKey
from streamgate.model.tensor import Array
from streamgate.session.gateway import Gateway, WarningSink
from streamgate.speech.audio import AudioError, AudioReader

log = logging.getLogger(__name__)

STEPS_IN_FLIGHT = 8
"""Chunks of one stream with the engine; more audio waits here, where it is cheap to give up."""
BACKLOG_SECONDS_MAX = 30.0
"""Audio that a client may be ahead of its results, before it is not read for a while. Of a model
with longer chunks, two of them."""
MARKS_WAITING_MAX = 64
"""Ends of utterances that may wait for their answers before no more is read."""
DECODED_BYTES = 4096
"""Bytes that are decoded at once. A few of them may be minutes of audio, as silence packs well:
what comes behind the room that there is waits as it came."""
TIMELINE_SECONDS = 300.0
"""How far back a model's times may lie behind what it has processed."""


class SpeechSink(Protocol):
    """Who hears of the results. Called on the event loop's thread, never from within a call of the
    stream's methods, but for `open`."""

    def on_text(self, event: TextEvent) -> None: ...

    def on_flushed(self, marker: object) -> None:
        """All audio that was fed before this `flush` is answered. In order with `on_text`."""

    def on_room(self) -> None:
        """There is room again, after `has_room` was false."""

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        """The sequence is over, the last call. `failure` says more where the reason is `error`."""


@final
class _Mark:
    """A place in the audio: the end of an utterance, or of the stream."""

    __slots__ = ("is_end", "marker")

    def __init__(self, marker: object, *, is_end: bool = False) -> None:
        self.marker = marker
        self.is_end = is_end


@dataclass(slots=True)
class _Sent:
    """A step with the engine: where its audio ends, and the marks that are reached with it."""

    end_samples: int
    marks: list[_Mark]


@dataclass(frozen=True, slots=True)
class SpeechState:
    """A stream between two steps, when nothing is under way: the reader of its audio, the samples
    (FP32) that fill no chunk yet, how far it has come, and the silence that was put in."""

    audio: bytes
    queued: bytes
    heard_samples: int
    sent_samples: int
    positions: int
    started: bool
    was_fed: bool
    unflushed: bool
    paddings: Sequence[tuple[int, int]]


@final
class SpeechStream:
    """A stream of audio that one model hears.

    `open` it first, then `feed`; `flush` ends the utterance, `finish` the stream. `close` whenever
    the client is gone.
    """

    def __init__(
        self,
        gateway: Gateway,
        model: SpeechModel,
        declared: Declared,
        sink: SpeechSink,
        parameters: Mapping[str, ParameterValue] | None = None,
        on_warning: WarningSink | None = None,
    ) -> None:
        """`parameters` go to the model with each step, `on_warning` hears of an end that will come.

        Raises StreamGateError (INVALID_ARG) for audio that can't be served, and for parameters
        that are too long.
        """
        self.model = model
        self._sink = sink
        self._parameters = checked(parameters)
        self._audio = audio_source(declared, model.sample_rate_hz)
        self._audio_is_broken = False
        self._connection = gateway.connect(self._on_sequence_end, on_warning)
        self._hold = Hold(gateway, self._on_hold_over)
        self._key: SequenceKey = correlation_id("", model.config)
        self._timeline = Timeline(model.sample_rate_hz)
        self._undecoded: deque[memoryview | _Mark] = deque()
        self._queue: deque[Array | _Mark] = deque()
        self._queued_samples = 0
        self._heard_samples = 0
        self._sent_samples = 0
        self._positions = 0
        self._in_flight: deque[_Sent] = deque()
        self._was_fed = False
        self._started = False
        self._unflushed = False
        self._marks_waiting = 0
        self._finishing = False
        self._ending = False
        self._fate = Ending(self._connection, sink.on_end, self._in_flight)
        self._was_full = False

    @property
    def key(self) -> SequenceKey:
        """The sequence's correlation ID."""
        return self._key

    @property
    def heard_seconds(self) -> float:
        """The client's audio that was decoded so far."""
        return self._heard_samples / self.model.sample_rate_hz

    @property
    def backlog_seconds(self) -> float:
        """Audio that waits for its result."""
        waiting = self._queued_samples + len(self._in_flight) * self.model.chunk_samples
        return waiting / self.model.sample_rate_hz

    @property
    def has_room(self) -> bool:
        """Whether more audio should be read now; if not, `on_room` follows."""
        if self._fate.is_over:
            return True
        if self._may_decode and self._marks_waiting < MARKS_WAITING_MAX and not self._hold.is_on:
            return True
        self._was_full = True
        return False

    @property
    def _may_decode(self) -> bool:
        return self.backlog_seconds < max(BACKLOG_SECONDS_MAX, 2 * self.model.chunk_seconds)

    @property
    def is_over(self) -> bool:
        return self._fate.is_over

    async def open(self) -> None:
        """Take a slot. Raises StreamGateError: UNAVAILABLE when there is none, or no model."""
        await self._connection.reserve(self.model.name, self.model.version, self._key)

    def keep(self) -> None:
        """The client says that it is there, though it has no audio: its sequence is idle from now
        on only."""
        if not self._fate.is_over:
            self._connection.keep(self.model.name, self.model.version, self._key)

    def declare(
        self, declared: Declared, parameters: Mapping[str, ParameterValue] | None = None
    ) -> None:
        """Take back what was said of the audio, and to the model. Only before the first `feed`.

        Raises StreamGateError (INVALID_ARG) as the constructor; what was said before holds then.
        """
        assert not self._was_fed, "audio has come already"
        told = checked(parameters)
        self._audio = audio_source(declared, self.model.sample_rate_hz)
        self._parameters = told

    def feed(self, data: bytes) -> None:
        """Audio, in pieces of any size. Raises StreamGateError (INVALID_ARG) for what can't be
        decoded; what came before it is answered all the same. Where a piece is far ahead of its
        results, the same is only found out later, and ends the stream with that failure."""
        if self._fate.is_over or self._finishing:
            return
        self._was_fed = True
        self._hold.receive(len(data))
        self._undecoded.append(memoryview(data))
        try:
            self._decode()
        finally:
            self._pump()

    def flush(self, marker: object = None) -> None:
        """End the utterance behind the audio so far. `on_flushed` follows, at the latest when all
        of it is answered; without new audio since the last one, nothing is asked of the model."""
        if self._fate.is_over or self._finishing:
            return
        self._marks_waiting += 1
        self._put(_Mark(marker))
        self._pump()

    def finish(self) -> None:
        """No more audio comes. `on_end` follows the last result.

        Raises StreamGateError (INVALID_ARG) for audio that is cut off, unless `feed` has raised
        before; the stream ends all the same, and what came whole is answered.
        """
        if self._fate.is_over or self._finishing:
            return
        self._finishing = True
        try:
            if self._undecoded:
                self._undecoded.append(_Mark(None, is_end=True))
            else:
                self._finish_audio()
        finally:
            self._pump()

    def close(self) -> None:
        """The client is gone, or wants nothing more: give everything up. Nothing is called after
        this. Idempotent."""
        self._hold.stop()
        self._fate.abandon()

    def pause(self) -> None:
        """The client reads more slowly than results come."""
        self._connection.pause()

    def resume(self) -> None:
        """It has caught up."""
        self._connection.resume()

    def state(self) -> SpeechState | None:
        """What `restore` goes on from; None while anything of it waits for an answer, or once its
        end is in sight."""
        is_busy = self._undecoded or self._in_flight or self._marks_waiting
        if is_busy or self._finishing or self._fate.is_in_sight or self._audio_is_broken:
            return None
        samples = [each for each in self._queue if not isinstance(each, _Mark)]
        queued = np.concatenate(samples) if samples else np.zeros(0, np.float32)
        return SpeechState(
            self._audio.snapshot(),
            queued.astype("<f4").tobytes(),
            self._heard_samples,
            self._sent_samples,
            self._positions,
            self._started,
            self._was_fed,
            self._unflushed,
            tuple(self._timeline.paddings),
        )

    def restore(self, state: SpeechState) -> None:
        """Go on from there, with the sequence and its slot that it was opened with. Raises
        StreamGateError (INVALID_ARG) for a state that is none."""
        self._audio = AudioReader.restore(state.audio)
        queued = np.frombuffer(state.queued, "<f4").astype(np.float32)
        self._queue = deque([queued] if queued.size else [])
        self._queued_samples = queued.size
        self._heard_samples = state.heard_samples
        self._sent_samples = state.sent_samples
        self._positions = state.positions
        self._started = state.started
        self._was_fed = state.was_fed
        self._unflushed = state.unflushed
        for at, count in state.paddings:
            self._timeline.pad(at, count)

    def _put(self, mark: _Mark) -> None:
        """A mark behind all that has come."""
        (self._undecoded or self._queue).append(mark)

    def _decode(self) -> None:
        """What has come, as far as there is room. Raises AudioError; the rest is dropped then."""
        while self._undecoded and self._may_decode:
            first = self._undecoded.popleft()
            if isinstance(first, _Mark):
                if first.is_end:
                    self._finish_audio()
                else:
                    self._queue.append(first)
                continue
            if len(first) > DECODED_BYTES:
                self._undecoded.appendleft(first[DECODED_BYTES:])
            try:
                self._take(self._audio.feed(first[:DECODED_BYTES]))
            except AudioError as error:
                self._audio_is_broken = True
                self._take(error.samples)
                self._queue.extend(each for each in self._undecoded if isinstance(each, _Mark))
                self._undecoded.clear()
                raise

    def _finish_audio(self) -> None:
        """No more comes to be decoded. Raises AudioError; the end is in the queue all the same."""
        try:
            if not self._audio_is_broken:
                self._take(self._audio.finish())
        except AudioError as error:
            self._take(error.samples)
            raise
        finally:
            self._queue.append(_Mark(None, is_end=True))

    def _decode_late(self) -> None:
        """Go on where there was no room. Nobody is there to raise to: a fault ends the stream, once
        what came before it is answered."""
        try:
            self._decode()
        except AudioError as error:
            self._fate.late_fault = error.failure
            if not self._finishing:
                self._finishing = True
                self._queue.append(_Mark(None, is_end=True))

    def _take(self, samples: Array) -> None:
        if samples.size:
            self._heard_samples += samples.size
            self._queued_samples += samples.size
            self._queue.append(samples)

    def _pump(self) -> None:
        """Send what fills a chunk or reaches a mark, as far as the engine should have it now."""
        model = self.model
        while self._queue and not self._ending and len(self._in_flight) < STEPS_IN_FLIGHT:
            mark = self._mark_within(model.chunk_samples)
            if mark is None and self._queued_samples < model.chunk_samples:
                return
            chunk = self._cut(model.chunk_samples)
            if self._queue and self._queue[0] is mark:
                self._queue.popleft()
                self._reach(mark, chunk)
            else:
                self._unflushed = True
                self._submit(chunk)

    def _mark_within(self, count: int) -> _Mark | None:
        """The first mark in the queue, if at most so many samples are in front of it."""
        for each in self._queue:
            if isinstance(each, _Mark):
                return each
            count -= each.size
            if count < 0:
                return None
        return None

    def _cut(self, count: int) -> Array:
        """At most so many samples from the front of the queue, up to the first mark."""
        parts: list[Array] = []
        while count and self._queue:
            first = self._queue[0]
            if isinstance(first, _Mark):
                break
            if first.size <= count:
                self._queue.popleft()
            else:
                self._queue[0] = first[count:]
                first = first[:count]
            parts.append(first)
            count -= first.size
        chunk: Array = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        self._queued_samples -= chunk.size
        return chunk

    def _reach(self, mark: _Mark, chunk: Array) -> None:
        """All audio before a mark is sent but for this chunk, which may be short or empty."""
        self._unflushed = self._unflushed or chunk.size > 0
        if mark.is_end:
            self._ending = True
            if not self._started and not chunk.size:
                # No audio ever came: the slot is given back without a step.
                self._connection.end_sequence(self.model.name, self.model.version, self._key)
                soon(self._fate.end, EndReason.CLIENT_END)
                return
        elif not self._unflushed:
            if self._in_flight:
                self._in_flight[-1].marks.append(mark)
            else:
                soon(self._tell_flushed, mark)
            return
        for piece in self._padded(chunk):
            self._submit(piece[0], mark if piece[1] else None)
        self._unflushed = False

    def _padded(self, chunk: Array) -> list[tuple[Array, bool]]:
        """The chunk with the silence behind it that the model asks for or that its shape needs, in
        steps; each with whether it is the last."""
        model = self.model
        size = model.chunk_samples
        total = chunk.size + (model.end_padding_samples if self._unflushed else 0)
        if model.is_fixed or not total:
            total = max(1, -(-total // size)) * size
        self._timeline.pad(self._sent_samples + chunk.size, total - chunk.size)
        padded = np.zeros(total, np.float32)
        padded[: chunk.size] = chunk
        return [(padded[at : at + size], at + size >= total) for at in range(0, total, size)]

    def _submit(self, chunk: Array, mark: _Mark | None = None) -> None:
        """One step; with a mark it is the utterance's last, or the sequence's."""
        model = self.model
        request = Request(
            model.name,
            model.version,
            inputs=audio_inputs(model, chunk, flush=mark is not None),
            parameters=self._parameters,
            sequence=self._key,
            start=not self._started,
            end=mark is not None and mark.is_end,
        )
        position = self._positions
        self._sent_samples += chunk.size
        marks = [] if mark is None or mark.is_end else [mark]
        self._in_flight.append(_Sent(self._sent_samples, marks))
        self._started = True
        self._positions += 1
        try:
            self._connection.submit(request, lambda response: self._on_response(position, response))
        except StreamGateError as error:
            self._fate.fail(error.failure)

    def _on_response(self, position: int, response: Response) -> None:
        if self._fate.is_over:
            return
        if response.failure is not None:
            self._fate.fail(response.failure)
        elif response.outputs:
            end_seconds = self._in_flight[0].end_samples / self.model.sample_rate_hz
            try:
                event = text_event(response, position, end_seconds, self._timeline)
            except StreamGateError as error:
                self._fate.fail(error.failure)
            else:
                self._tell(partial(self._sink.on_text, event))
                self._timeline.forget_before(end_seconds - TIMELINE_SECONDS)
        if response.final and not self._fate.is_over:
            answered = self._in_flight.popleft()
            behind = max(0, self._heard_samples - answered.end_samples)
            self.model.lags.add(behind / self.model.sample_rate_hz)
            for mark in answered.marks:
                self._tell_flushed(mark)
            self._fate.finish_if_done()
            self._go_on()

    def _go_on(self) -> None:
        if self._fate.is_over or self._fate.has_failed:
            return
        self._decode_late()
        self._pump()
        self._tell_room()

    def _tell_room(self) -> None:
        if self._was_full and self.has_room:
            self._was_full = False
            self._sink.on_room()

    def _on_hold_over(self) -> None:
        if not self._fate.is_over:
            self._tell_room()

    def _tell_flushed(self, mark: _Mark) -> None:
        if not self._fate.is_over:
            self._marks_waiting -= 1
            self._tell(partial(self._sink.on_flushed, mark.marker))
            self._tell_room()

    def _tell(self, tell: Callable[[], None]) -> None:
        """A dialect that fails at a result must not leave its client waiting for it."""
        try:
            tell()
        except Exception:
            log.exception("a result of model '%s' could not be told", self.model.name)
            self._fate.fail(UNTOLD)

    def _on_sequence_end(self, model: str, key: SequenceKey, reason: EndReason) -> None:
        if key == self._key:
            self._fate.sequence_ended(reason)
