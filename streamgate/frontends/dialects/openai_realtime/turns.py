"""What was heard, sorted into items.

audio --> SpeechStream --> events --> the first item that waits
commit --> flush(item) --> the item is completed once all in front of the flush is answered
a final event --> the open item is committed and completed, where the server detects turns
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

from streamgate.errors import EndReason, Failure, StreamGateError
from streamgate.frontends.dialects.openai.errors import END_CODES, SERVER, error_object
from streamgate.frontends.dialects.openai.messages import server_event
from streamgate.frontends.dialects.openai_realtime.items import Item, ItemState
from streamgate.frontends.dialects.openai_realtime.session import SEGMENTS, Session
from streamgate.frontends.sockets.contract import Outlet
from streamgate.frontends.speech import TextEvent, Utterance
from streamgate.frontends.speech.events import Word

ITEMS_MAX: Final = 64
"""Items that may wait for their transcripts before no more is read."""


@dataclass(frozen=True, slots=True)
class UtteranceState:
    """The fields of an `Utterance`."""

    number: int
    stable: str
    tail: str
    words: Sequence[Word]
    start_seconds: float
    end_seconds: float
    is_final: bool


@dataclass(frozen=True, slots=True)
class TurnsState:
    """Turns, of which none but the open one waits."""

    item: ItemState
    previous_item_id: str | None
    utterance: UtteranceState


@final
class Turns:
    """The `SpeechSink` of a session. The last of its items is the open one."""

    def __init__(self, outlet: Outlet, session: Callable[[], Session]) -> None:
        self._outlet = outlet
        self._session = session
        self._items = deque([Item(0.0)])
        self._previous_item_id: str | None = None
        self._utterance = Utterance()

    @property
    def has_room(self) -> bool:
        return len(self._items) < ITEMS_MAX

    @property
    def open_since_seconds(self) -> float:
        """Where the audio of the open item begins."""
        return self._items[-1].start_seconds

    def commit(self, end_seconds: float) -> Item:
        """The client ends the open item here. It is completed when a flush with it is answered."""
        item = self._items[-1]
        self._commit(item, end_seconds)
        return item

    def clear(self, end_seconds: float) -> Item:
        """The client gives the open item up. What was heard in it is dropped, up to the answer to
        a flush with it."""
        item = self._items[-1]
        item.is_cleared = True
        self._items.append(Item(end_seconds))
        return item

    def state(self) -> TurnsState | None:
        """What `restore` goes on from; None while items wait for their transcripts."""
        if len(self._items) > 1:
            return None
        heard = self._utterance
        utterance = UtteranceState(
            heard.number,
            heard.stable,
            heard.tail,
            tuple(heard.words),
            heard.start_seconds,
            heard.end_seconds,
            heard.is_final,
        )
        return TurnsState(self._items[0].state, self._previous_item_id, utterance)

    def restore(self, state: TurnsState) -> None:
        """Go on from there."""
        self._items = deque([Item.of(state.item)])
        self._previous_item_id = state.previous_item_id
        heard = state.utterance
        self._utterance = Utterance(
            heard.number,
            heard.stable,
            heard.tail,
            list(heard.words),
            heard.start_seconds,
            heard.end_seconds,
            heard.is_final,
        )

    def on_text(self, event: TextEvent) -> None:
        item = self._items[0]
        if item.is_cleared:
            return
        session = self._session()
        self._utterance.take(event)
        if session.turn_detection is not None:
            self._tell_start(item, event, session.turn_detection.prefix_padding_ms / 1000)
        fragment = item.passage.add(event)
        if fragment:
            self._outlet.emit(item.delta(fragment))
        if event.final and SEGMENTS in session.include and self._utterance.text:
            heard = self._utterance
            self._outlet.emit(item.segment(heard.text, heard.start_seconds, heard.end_seconds))
        if session.turn_detection is not None:
            self._tell_stop(item, event)

    def on_flushed(self, marker: object) -> None:
        assert marker is self._items[0]
        item = self._items.popleft()
        if item.is_committed:
            self._outlet.emit(item.completed())
        else:
            self._utterance = Utterance()
        self._outlet.room()

    def on_room(self) -> None:
        self._outlet.room()

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        text = failure.message if failure is not None else f"the session is over: {reason.value}"
        kind, word, close_code = END_CODES.get(reason, (SERVER, reason.value, 1011))
        if failure is not None and reason not in END_CODES:
            told = error_object(StreamGateError(failure.code, failure.message))
            for item in self._items:
                if item.is_committed or item.passage.text:
                    self._outlet.emit(item.failed(told))
        error = {"message": text, "type": kind, "param": None, "code": word, "event_id": None}
        self._outlet.emit(server_event("error", error=error))
        self._outlet.close(close_code, word)

    def _tell_start(self, item: Item, event: TextEvent, padding_seconds: float) -> None:
        """Speech begins where the model says so or, as not all do, with the first text."""
        if item.is_speaking:
            return
        if event.speech is not None and event.speech.began:
            at_seconds = event.speech.at_seconds
        elif event.words:
            at_seconds = event.words[0].start_seconds
        elif event.stable or event.tail:
            at_seconds = self._utterance.start_seconds
        else:
            return
        start_seconds = max(item.start_seconds, at_seconds - padding_seconds)
        self._outlet.emit(item.speech_started(start_seconds))

    def _tell_stop(self, item: Item, event: TextEvent) -> None:
        """A turn ends with the utterance, if it has begun."""
        has_ended = event.speech is not None and not event.speech.began
        if item.is_speaking and (event.final or has_ended):
            at_seconds = self._utterance.end_seconds
            if event.speech is not None and has_ended:
                at_seconds = event.speech.at_seconds
            self._outlet.emit(item.speech_stopped(at_seconds))
        if event.final and not item.is_closed and item.has_spoken:
            self._commit(item, event.audio_seconds)
            self._items.popleft()
            self._outlet.emit(item.completed())

    def _commit(self, item: Item, end_seconds: float) -> None:
        for message in item.committed(self._previous_item_id, end_seconds):
            self._outlet.emit(message)
        self._previous_item_id = item.id
        self._items.append(Item(end_seconds))
