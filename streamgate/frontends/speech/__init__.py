"""What all speech dialects share: audio in, text events out, whatever the wire.

A dialect reads its own messages, opens a `SpeechStream` on a model that `SpeechModels` chose, feeds
it bytes and writes what comes back in its own words.
"""

from streamgate.frontends.api_keys import bearer
from streamgate.frontends.speech.access import Access
from streamgate.frontends.speech.audio import Declared
from streamgate.frontends.speech.context import SpeechContext
from streamgate.frontends.speech.events import SpeechChange, TextEvent, Utterance, Word
from streamgate.frontends.speech.models import SpeechModel, SpeechModels, TranslationModel
from streamgate.frontends.speech.stream import SpeechSink, SpeechStream
from streamgate.frontends.speech.translation import TranslationSink, TranslationStream, translated

__all__ = [
    "Access",
    "Declared",
    "SpeechChange",
    "SpeechContext",
    "SpeechModel",
    "SpeechModels",
    "SpeechSink",
    "SpeechStream",
    "TextEvent",
    "TranslationModel",
    "TranslationSink",
    "TranslationStream",
    "Utterance",
    "Word",
    "bearer",
    "translated",
]
