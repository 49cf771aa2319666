"""Text events of one language in, those of another out: a sequence on a translation model.

What a `SpeechStream` says can be handed on as it comes: stable text is translated once, a tail is
shown to models that want it. Runs on the event loop's thread.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, final

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.correlation import correlation_id
from streamgate.frontends.speech.ending import UNTOLD, Ending
from streamgate.frontends.speech.events import TextEvent
from streamgate.frontends.speech.models import TranslationModel
from streamgate.frontends.speech.tensors import text_event, translation_inputs
from streamgate.frontends.world import soon
from streamgate.model.request import ParameterValue, Request, Response, SequenceKey
from streamgate.session.gateway import Gateway

log = logging.getLogger(__name__)

STEPS_IN_FLIGHT = 2
"""Steps of one stream that are with the engine. What comes meanwhile becomes one step: a slow
translator is asked less often, not later."""
UTTERANCES_WAITING = 8
"""Utterances that may wait for the translator before no more speech should be read."""
UTTERANCES_WAITING_MAX = 1000
"""Beyond, the stream fails: nobody heeded `has_room`."""


class TranslationSink(Protocol):
    """Who hears of the translation; a `SpeechSink` is one. Called on the event loop's thread, never
    from within a call of the stream's methods."""

    def on_text(self, event: TextEvent) -> None:
        """Translated text. `audio_seconds` is how far the source was heard whose translation this
        is; `words` are none, as a translation has no times of its own."""

    def on_room(self) -> None:
        """There is room again, after `has_room` was false."""

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        """The sequence is over, the last call."""


@dataclass(slots=True)
class _Piece:
    """Source text that waits for its step."""

    stable: str
    tail: str
    final: bool
    audio_seconds: float


@dataclass(frozen=True, slots=True)
class TranslationState:
    """A stream when nothing is under way: into which language, what was shown last, how far it has
    come."""

    target: str
    last_tail: str
    audio_seconds: float
    positions: int
    started: bool
    is_open: bool


@final
class TranslationStream:
    """A growing text that one model translates.

    `open` it first, then `take` each event of the source; `finish` after the last. `close` whenever
    the client is gone.
    """

    def __init__(
        self,
        gateway: Gateway,
        model: TranslationModel,
        target: str,
        sink: TranslationSink,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        """`target` is the language to translate into, however the client spells it ("fr-CA");
        `parameters` go to the model with each step."""
        self.model = model
        self._target = model.target_of(target)
        self._sink = sink
        self._parameters = dict(parameters or {})
        self._connection = gateway.connect(self._on_sequence_end)
        self._key: SequenceKey = correlation_id("", model.config)
        self._waiting: deque[_Piece] = deque()
        self._in_flight: deque[float] = deque()
        self._last_tail = ""
        self._audio_seconds = 0.0
        self._positions = 0
        self._started = False
        self._is_open = False
        self._finishing = False
        self._ending = False
        self._fate = Ending(self._connection, sink.on_end, self._in_flight)
        self._was_full = False

    @property
    def key(self) -> SequenceKey:
        """The sequence's correlation ID."""
        return self._key

    @property
    def has_room(self) -> bool:
        """Whether the source should be heard further now; if not, `on_room` follows."""
        if self._fate.is_over or len(self._waiting) < UTTERANCES_WAITING:
            return True
        self._was_full = True
        return False

    def state(self) -> TranslationState | None:
        """What `restore` goes on from; None while anything of it waits, or once its end is in
        sight."""
        if self._waiting or self._in_flight or self._finishing or self._fate.is_in_sight:
            return None
        return TranslationState(
            self._target,
            self._last_tail,
            self._audio_seconds,
            self._positions,
            self._started,
            self._is_open,
        )

    def restore(self, state: TranslationState) -> None:
        """Go on from there, with the sequence and its slot that it was opened with."""
        self._target = state.target
        self._last_tail = state.last_tail
        self._audio_seconds = state.audio_seconds
        self._positions = state.positions
        self._started = state.started
        self._is_open = state.is_open

    @property
    def is_over(self) -> bool:
        return self._fate.is_over

    async def open(self) -> None:
        """Take a slot. Raises StreamGateError: UNAVAILABLE when there is none, or no model."""
        await self._connection.reserve(self.model.name, self.model.version, self._key)

    def take(self, event: TextEvent) -> None:
        """An event of the source. One that says nothing new costs no step."""
        if self._fate.is_over or self._finishing:
            return
        tail = "" if event.final or not self.model.takes_tail else event.tail
        is_news = bool(event.stable) or event.final or tail != self._last_tail
        self._last_tail = tail
        self._audio_seconds = event.audio_seconds
        if not is_news:
            # The source hears silence: its translation is not forgotten.
            self._connection.keep(self.model.name, self.model.version, self._key)
            return
        last = self._waiting[-1] if self._waiting else None
        if last is None or last.final:
            self._waiting.append(_Piece(event.stable, tail, event.final, event.audio_seconds))
        else:
            last.stable += event.stable
            last.tail = tail
            last.final = event.final
            last.audio_seconds = event.audio_seconds
        if len(self._waiting) > UTTERANCES_WAITING_MAX:
            text = f"{UTTERANCES_WAITING_MAX} utterances wait for model '{self.model.name}'"
            self._fate.fail(Failure(Code.UNAVAILABLE, text))
            return
        self._pump()

    def keep(self) -> None:
        """The client is there, though nothing comes: its sequence is idle from now on only."""
        if not self._fate.is_over:
            self._connection.keep(self.model.name, self.model.version, self._key)

    def turn_to(self, target: str) -> None:
        """Translate into another of the model's languages from the next step on."""
        self._target = self.model.target_of(target)

    @property
    def target(self) -> str:
        """The language that is being translated into, as the model spells it."""
        return self._target

    def finish(self) -> None:
        """No more text comes. `on_end` follows the last translation."""
        if not self._fate.is_over and not self._finishing:
            self._finishing = True
            self._pump()

    def close(self) -> None:
        """The client is gone, or wants nothing more: give everything up. Nothing is called after
        this. Idempotent."""
        self._fate.abandon()

    def pause(self) -> None:
        """The client reads more slowly than results come."""
        self._connection.pause()

    def resume(self) -> None:
        """It has caught up."""
        self._connection.resume()

    def _pump(self) -> None:
        while (
            not self._ending
            and not self._fate.has_failed
            and len(self._in_flight) < STEPS_IN_FLIGHT
        ):
            if self._waiting:
                piece = self._waiting.popleft()
                self._submit(piece, end=self._finishing and not self._waiting)
            elif self._finishing and self._started:
                # An utterance that is over is not ended once more.
                self._submit(_Piece("", "", self._is_open, self._audio_seconds), end=True)
            elif self._finishing:
                # No text ever came: the slot is given back without a step.
                self._ending = True
                self._connection.end_sequence(self.model.name, self.model.version, self._key)
                soon(self._fate.end, EndReason.CLIENT_END)
            else:
                return

    def _submit(self, piece: _Piece, *, end: bool) -> None:
        model = self.model
        request = Request(
            model.name,
            model.version,
            inputs=translation_inputs(
                model, piece.stable, piece.tail, self._target, flush=piece.final
            ),
            parameters=self._parameters,
            sequence=self._key,
            start=not self._started,
            end=end,
        )
        position = self._positions
        self._positions += 1
        self._started = True
        self._ending = end
        self._is_open = not piece.final and (self._is_open or bool(piece.stable or piece.tail))
        self._in_flight.append(piece.audio_seconds)
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
            try:
                event = text_event(response, position, self._in_flight[0])
            except StreamGateError as error:
                self._fate.fail(error.failure)
            else:
                self._tell(event)
        if response.final and not self._fate.is_over:
            self._in_flight.popleft()
            self._fate.finish_if_done()
            self._go_on()

    def _tell(self, event: TextEvent) -> None:
        """A dialect that fails at a result must not leave its client waiting for it."""
        try:
            self._sink.on_text(event)
        except Exception:
            log.exception("a result of model '%s' could not be told", self.model.name)
            self._fate.fail(UNTOLD)

    def _go_on(self) -> None:
        if self._fate.is_over or self._fate.has_failed:
            return
        self._pump()
        if self._was_full and self.has_room:
            self._was_full = False
            self._sink.on_room()

    def _on_sequence_end(self, model: str, key: SequenceKey, reason: EndReason) -> None:
        if key == self._key:
            self._fate.sequence_ended(reason)


async def translated(gateway: Gateway, model: TranslationModel, target: str, text: str) -> str:
    """The translation of a whole text, as a sequence of one utterance.

    Raises StreamGateError: UNAVAILABLE when no slot is free, or what the model failed with.
    """
    gathering = _Gathering()
    stream = TranslationStream(gateway, model, target, gathering)
    try:
        await stream.open()
        stream.take(TextEvent(text, "", True, 0.0))
        stream.finish()
        failure = await gathering.ended
    finally:
        stream.close()
    if failure is not None:
        raise StreamGateError(failure.code, failure.message)
    return "".join(gathering.parts).strip()


@final
class _Gathering:
    """All that a translation has said, one utterance behind the other."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.ended: asyncio.Future[Failure | None] = asyncio.get_running_loop().create_future()
        self._is_final = False

    def on_text(self, event: TextEvent) -> None:
        if self._is_final and event.stable:
            self.parts.append(" ")
        self.parts.append(event.stable)
        self._is_final = event.final or (self._is_final and not event.stable)

    def on_room(self) -> None:
        """Nothing waits for it."""

    def on_end(self, _reason: EndReason, failure: Failure | None) -> None:
        if not self.ended.done():
            self.ended.set_result(failure)
