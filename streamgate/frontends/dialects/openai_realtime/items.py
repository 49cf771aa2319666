"""Items: pieces of audio that were committed, or will be, with their transcripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from streamgate.frontends.dialects.openai.messages import new_id, server_event
from streamgate.frontends.dialects.openai.passage import Passage

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


@dataclass(frozen=True, slots=True)
class ItemState:
    """An open item."""

    id: str
    start_seconds: float
    text: str
    is_between: bool
    is_speaking: bool
    has_spoken: bool


@final
class Item:
    """A turn's audio, from `start_seconds` on, and what was heard in it.

    It is open until it is committed, by the client or at its turn's end, or cleared away; what
    comes from then on belongs to the next. `is_speaking`: the client was told that speech started
    and not that it stopped; `has_spoken`: that it started.
    """

    def __init__(self, start_seconds: float) -> None:
        self.id = new_id("item")
        self.start_seconds = start_seconds
        self.end_seconds = start_seconds
        self.passage = Passage()
        self.is_committed = False
        self.is_cleared = False
        self.is_speaking = False
        self.has_spoken = False

    @property
    def state(self) -> ItemState:
        """What `of` makes it again from, while it is open."""
        return ItemState(
            self.id,
            self.start_seconds,
            self.passage.text,
            self.passage.is_between,
            self.is_speaking,
            self.has_spoken,
        )

    @classmethod
    def of(cls, state: ItemState) -> Item:
        """An open one."""
        item = cls(state.start_seconds)
        item.id = state.id
        item.passage = Passage.of(state.text, is_between=state.is_between)
        item.is_speaking, item.has_spoken = state.is_speaking, state.has_spoken
        return item

    @property
    def is_closed(self) -> bool:
        return self.is_committed or self.is_cleared

    def speech_started(self, at_seconds: float) -> str:
        self.is_speaking = self.has_spoken = True
        return server_event(
            "input_audio_buffer.speech_started", item_id=self.id, audio_start_ms=_ms(at_seconds)
        )

    def speech_stopped(self, at_seconds: float) -> str:
        self.is_speaking = False
        return server_event(
            "input_audio_buffer.speech_stopped", item_id=self.id, audio_end_ms=_ms(at_seconds)
        )

    def committed(self, previous_item_id: str | None, end_seconds: float) -> list[str]:
        """It is closed, and part of the conversation."""
        self.is_committed = True
        self.end_seconds = end_seconds
        content = {"type": "input_audio", "transcript": None}
        item = {
            "id": self.id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [content],
        }
        place = {"previous_item_id": previous_item_id}
        return [
            server_event("input_audio_buffer.committed", item_id=self.id, **place),
            server_event("conversation.item.added", item=item, **place),
            server_event("conversation.item.done", item=item, **place),
        ]

    def delta(self, fragment: str) -> str:
        return self._event("delta", delta=fragment)

    def segment(self, text: str, start_seconds: float, end_seconds: float) -> str:
        """One utterance; no speaker is told apart."""
        return self._event(
            "segment",
            id=new_id("seg"),
            text=text,
            speaker="",
            start=round(start_seconds, 3),
            end=round(end_seconds, 3),
        )

    def completed(self) -> str:
        seconds = max(0.0, self.end_seconds - self.start_seconds)
        return self._event(
            "completed",
            transcript=self.passage.text,
            usage={"type": "duration", "seconds": round(seconds, 3)},
        )

    def failed(self, error: dict[str, Any]) -> str:
        return self._event("failed", error=error)

    def _event(self, what: str, **fields: Any) -> str:
        return server_event(f"{_TRANSCRIPTION}.{what}", item_id=self.id, content_index=0, **fields)


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
