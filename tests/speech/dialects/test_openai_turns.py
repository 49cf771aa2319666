"""Turns of models that tell less than the tone transcriber does: no words, no speech events."""

import json
from typing import Any

from streamgate.frontends.dialects.openai.passage import Passage
from streamgate.frontends.dialects.openai_realtime.session import Session
from streamgate.frontends.dialects.openai_realtime.turns import ITEMS_MAX, Turns
from streamgate.frontends.speech import SpeechChange, TextEvent


class Heard:
    """An `Outlet` that keeps what goes into it."""

    grant = None
    next_event = 1

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.rooms = 0

    def emit(self, message: str | bytes) -> None:
        self.messages.append(json.loads(message))

    def close(self, code: int, reason: str) -> None:
        raise AssertionError

    def room(self) -> None:
        self.rooms += 1

    def kinds(self) -> list[str]:
        return [message["type"].rpartition(".")[2] for message in self.messages]


def event(stable: str, tail: str, seconds: float, *, final: bool = False) -> TextEvent:
    return TextEvent(stable, tail, final, seconds)


def test_speech_starts_with_the_first_text_and_stops_with_the_utterance() -> None:
    heard = Heard()
    turns = Turns(heard, Session)
    turns.on_text(event("", "", 1.0))
    turns.on_text(event("", "one", 2.0))
    turns.on_text(event("one", " two", 3.0))
    turns.on_text(event(" two", "", 4.0, final=True))
    turns.on_text(event("", "", 5.0, final=True))
    assert heard.kinds() == [
        "speech_started",
        "delta",
        "delta",
        "speech_stopped",
        "committed",
        "added",
        "done",
        "completed",
    ]
    assert heard.messages[-1]["transcript"] == "one two"
    assert heard.messages[-1]["usage"]["seconds"] == 4.0
    turns.on_text(event("three", "", 6.0, final=True))
    assert heard.kinds()[8:10] == ["speech_started", "delta"]
    committed = [each for each in heard.messages if each["type"].endswith("committed")]
    assert committed[1]["previous_item_id"] == committed[0]["item_id"]


def test_a_turn_that_was_told_of_ends_without_text_as_well() -> None:
    heard = Heard()
    turns = Turns(heard, Session)
    turns.on_text(TextEvent("", "", False, 1.0, speech=SpeechChange(True, 0.5)))
    turns.on_text(TextEvent("", "", True, 2.0, speech=SpeechChange(False, 1.5)))
    assert heard.kinds() == [
        "speech_started",
        "speech_stopped",
        "committed",
        "added",
        "done",
        "completed",
    ]
    assert heard.messages[0]["audio_start_ms"] == 200
    assert heard.messages[1]["audio_end_ms"] == 1500
    assert heard.messages[-1]["transcript"] == ""


def test_items_that_wait_are_bounded() -> None:
    heard = Heard()
    turns = Turns(heard, lambda: Session(turn_detection=None))
    items = [turns.commit(float(number + 1)) for number in range(ITEMS_MAX)]
    rooms = [turns.has_room]
    for item in items[:2]:
        turns.on_flushed(item)
        rooms.append(turns.has_room)
    assert rooms == [False, False, True]
    assert heard.rooms == 2


def test_fragments_are_the_text() -> None:
    passage = Passage()
    events = [
        event(" one", "", 1),
        event(" two", "", 2, final=True),
        event("", "", 3, final=True),
        event("three", "", 4),
        event("", "", 5, final=True),
        event(" four", "", 6),
    ]
    fragments = [passage.add(each) for each in events]
    assert fragments == ["one", " two", "", " three", "", " four"]
    assert passage.text == "".join(fragments) == "one two three four"
