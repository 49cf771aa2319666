"""From text events to Deepgram's `Results` of one channel.

A result covers `[start, start + duration]` seconds of the audio. Interim ones are replaced by the
next until one `is_final`; `speech_final` says that the speaker has paused. Long utterances come in
several final pieces.
"""

from collections.abc import Iterator, Mapping
from typing import Any, final

from streamgate.frontends.dialects.deepgram.options import ListenOptions
from streamgate.frontends.dialects.words import all_words, stable_words
from streamgate.frontends.speech import TextEvent, Utterance, Word

PIECE_SECONDS_MAX = 5.0
"""After so much audio, what is stable is sent as final although the utterance goes on."""

SECONDS_DIGITS = 3


@final
class ChannelResults:
    """One channel's results. `metadata` is that of each of them."""

    def __init__(
        self, options: ListenOptions, index: tuple[int, int], metadata: Mapping[str, Any]
    ) -> None:
        self._options = options
        self._index = index
        self._metadata = metadata
        self._piece = Utterance()
        self._start_seconds = 0.0
        self._now_seconds = 0.0
        self._last_text = ""
        self._last_word_end = 0.0
        self._gap_is_open = False

    def of(self, event: TextEvent) -> Iterator[dict[str, Any]]:
        """The messages that this event leads to."""
        options = self._options
        if event.speech is not None and event.speech.began and options.vad_events:
            yield {
                "type": "SpeechStarted",
                "channel": list(self._index),
                "timestamp": round(event.speech.at_seconds, SECONDS_DIGITS),
            }
        if self._is_long and event.stable.startswith(" "):
            yield self._final(speech_final=False)
        self._now_seconds = event.audio_seconds
        self._piece.take(event)
        if event.words:
            self._last_word_end = event.words[-1].end_seconds
        elif event.stable.strip():
            self._last_word_end = event.audio_seconds
        if event.stable.strip():
            self._gap_is_open = True
        if event.final:
            if self._piece.stable_text:
                yield self._final(speech_final=options.endpointing)
            else:
                self._begin_piece()
        elif options.interim_results and self._piece.text != self._last_text:
            self._last_text = self._piece.text
            yield self._result(
                self._piece.text, all_words(self._piece), self._piece.confidence, is_final=False
            )
        yield from self._utterance_end()

    def so_far(self) -> dict[str, Any]:
        """What is stable of the piece, perhaps nothing, as final: the answer to a `Finalize` that
        came when no final result was due."""
        return self._final(speech_final=False)

    def rest(self) -> Iterator[dict[str, Any]]:
        """What is left at the end of the stream."""
        if self._piece.stable_text:
            yield self._final(speech_final=False)

    @property
    def _is_long(self) -> bool:
        piece = self._piece
        return (
            bool(piece.stable_text) and self._now_seconds - self._start_seconds > PIECE_SECONDS_MAX
        )

    def _utterance_end(self) -> Iterator[dict[str, Any]]:
        """A gap behind the last word, by the words' times."""
        gap = self._options.utterance_end_seconds
        if gap is None or not self._gap_is_open or self._piece.tail:
            return
        if self._now_seconds - self._last_word_end >= gap:
            self._gap_is_open = False
            yield {
                "type": "UtteranceEnd",
                "channel": list(self._index),
                "last_word_end": round(self._last_word_end, SECONDS_DIGITS),
            }

    def _final(self, *, speech_final: bool) -> dict[str, Any]:
        piece = self._piece
        result = self._result(
            piece.stable_text,
            list(stable_words(piece)),
            piece.confidence,
            is_final=True,
            speech_final=speech_final,
        )
        self._begin_piece()
        return result

    def _begin_piece(self) -> None:
        now = self._now_seconds
        self._piece = Utterance(start_seconds=now, end_seconds=now)
        self._start_seconds = now
        self._last_text = ""

    def _result(
        self,
        text: str,
        words: list[Word],
        confidence: float,
        *,
        is_final: bool,
        speech_final: bool = False,
    ) -> dict[str, Any]:
        alternative = {
            "transcript": text,
            "confidence": confidence,
            "words": [self._word(word) for word in words],
        }
        duration = max(0.0, self._now_seconds - self._start_seconds)
        return {
            "type": "Results",
            "channel_index": list(self._index),
            "duration": round(duration, SECONDS_DIGITS),
            "start": round(self._start_seconds, SECONDS_DIGITS),
            "is_final": is_final,
            "speech_final": speech_final,
            "channel": {"alternatives": [alternative]},
            "metadata": self._metadata,
            "from_finalize": False,
        }

    def _word(self, word: Word) -> dict[str, Any]:
        return word_entry(word, punctuated=self._options.punctuate)


def word_entry(word: Word, *, punctuated: bool) -> dict[str, Any]:
    """A word as Deepgram writes it: bare, and with its punctuation if that is wanted."""
    entry: dict[str, Any] = {
        "word": bare(word.text) if punctuated else word.text,
        "start": round(word.start_seconds, SECONDS_DIGITS),
        "end": round(word.end_seconds, SECONDS_DIGITS),
        "confidence": round(word.confidence, 4),
    }
    if punctuated:
        entry["punctuated_word"] = word.text
    return entry


def bare(text: str) -> str:
    """A word without its punctuation, in lower case."""
    return text.strip(".,;:!?\"'()[]").lower() or text
