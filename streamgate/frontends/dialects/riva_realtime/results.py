"""What was heard, in this dialect's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from streamgate.errors import EndReason, Failure
from streamgate.frontends.dialects.openai.errors import END_CODES, SERVER
from streamgate.frontends.dialects.openai.messages import new_id, server_event
from streamgate.frontends.dialects.openai.passage import Passage
from streamgate.frontends.dialects.riva_realtime.session import Session
from streamgate.frontends.sockets.contract import Outlet
from streamgate.frontends.speech import TextEvent, Utterance, Word

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


@final
class Results:
    """A `SpeechSink`. A delta is the whole text of the utterance so far and replaces the last; a
    `completed` ends each utterance. The very last one, with `is_last_result`, has the text of the
    whole stream: it is the one that NVIDIA's client keeps."""

    def __init__(self, outlet: Outlet, session: Callable[[], Session]) -> None:
        self._outlet = outlet
        self._session = session
        self._utterance = Utterance()
        self._whole = Passage()
        self._told = ""
        self._item_id = new_id("item")

    def on_text(self, event: TextEvent) -> None:
        utterance = self._utterance
        utterance.take(event)
        self._whole.add(event)
        if event.final:
            if utterance.text:
                self._complete(utterance.text, utterance.words, event.audio_seconds, is_last=False)
            self._item_id = new_id("item")
            self._told = ""
        elif utterance.text != self._told:
            self._told = utterance.text
            self._say("delta", delta=self._told)

    def on_flushed(self, marker: object) -> None:
        """The utterance's end has said so."""

    def on_room(self) -> None:
        self._outlet.room()

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        if reason is EndReason.CLIENT_END and failure is None:
            self._complete(self._whole.text, [], self._utterance.end_seconds, is_last=True)
            self._outlet.close(1000, "the last result is out")
            return
        text = failure.message if failure is not None else f"the session is over: {reason.value}"
        kind, word, close_code = END_CODES.get(reason, (SERVER, reason.value, 1011))
        error = {"message": text, "type": kind, "param": None, "code": word}
        self._outlet.emit(server_event("error", error=error))
        self._outlet.close(close_code, word)

    def _complete(self, text: str, words: list[Word], seconds: float, *, is_last: bool) -> None:
        shown = words if self._session().has_word_times else []
        self._say(
            "completed",
            transcript=text,
            is_last_result=is_last,
            words_info={"words": [_shown(word) for word in shown]},
            usage={"type": "duration", "seconds": round(seconds, 3)},
        )

    def _say(self, what: str, **fields: Any) -> None:
        self._outlet.emit(
            server_event(
                f"{_TRANSCRIPTION}.{what}", item_id=self._item_id, content_index=0, **fields
            )
        )


def _shown(word: Word) -> dict[str, Any]:
    """Times are milliseconds; speakers are not told apart."""
    return {
        "word": word.text,
        "start_time": round(word.start_seconds * 1000),
        "end_time": round(word.end_seconds * 1000),
        "confidence": round(word.confidence, 4),
        "speaker_tag": 0,
    }
