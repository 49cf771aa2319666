"""What Google Cloud Speech v1 and v2 have in common: when what is said, as values.

A message holds a final result, or what may still change: first its stable part, then the rest, each
a result of its own. Times are durations from the beginning of the audio.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, final

from google.protobuf.duration_pb2 import Duration

from streamgate.frontends.dialects.over_grpc.hearing import Heard
from streamgate.frontends.dialects.over_grpc.statuses import invalid
from streamgate.frontends.dialects.words import stable_words
from streamgate.frontends.speech import Word

STAND_INS: Final = (
    "chirp",
    "command_and_search",
    "default",
    "latest_",
    "long",
    "medical_",
    "phone_call",
    "short",
    "telephony",
    "video",
)
"""How Google's own models are called, which clients have built in: they mean none."""

STABLE: Final = 0.9
UNSTABLE: Final = 0.1


class Happening(Enum):
    """What a message may tell beside results."""

    SPEECH_BEGAN = "begin"
    SPEECH_ENDED = "end"
    TIMEOUT = "timeout"
    UTTERANCE_ENDED = "utterance"


@dataclass(frozen=True, slots=True)
class Options:
    """What a client wants to be told. Timeouts are seconds of audio; 0 is none."""

    interim: bool = False
    single_utterance: bool = False
    voice_events: bool = False
    start_timeout_seconds: float = 0.0
    end_timeout_seconds: float = 0.0
    word_times: bool = False
    word_confidences: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """One result; `words` are none unless it is final and they were asked for."""

    text: str
    is_final: bool
    end_seconds: float
    stability: float = 0.0
    confidence: float = 0.0
    words: Sequence[Word] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """One message's content."""

    results: Sequence[Result] = ()
    happening: Happening | None = None
    at_seconds: float = 0.0


@final
class Speaking:
    """What is to be said of what was heard."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._last: dict[int, tuple[str, str]] = {}
        self._is_speech = False
        self._has_heard_speech = False
        self._quiet_since_seconds = 0.0
        self.is_done = False

    def of(self, heard: Heard) -> Sequence[Said]:
        """The messages that tell of this. `is_done` may have become true."""
        if self.is_done:
            return ()
        said = []
        speech = heard.event.speech
        if self._options.voice_events and speech is not None:
            kind = Happening.SPEECH_BEGAN if speech.began else Happening.SPEECH_ENDED
            said.append(Said(happening=kind, at_seconds=speech.at_seconds))
        results = self._results(heard)
        if self._options.single_utterance and heard.utterance.is_final and results:
            at_seconds = heard.utterance.end_seconds
            said.append(Said(happening=Happening.UTTERANCE_ENDED, at_seconds=at_seconds))
            self.is_done = True
        if results:
            said.append(Said(results))
        if self._is_timeout(heard) and not self.is_done:
            self.is_done = True
            said.append(Said(happening=Happening.TIMEOUT, at_seconds=heard.event.audio_seconds))
        return said

    def final(self, heard: Heard) -> Result:
        """The utterance as a final result."""
        utterance, options = heard.utterance, self._options
        words = stable_words(utterance) if options.word_times or options.word_confidences else ()
        return Result(
            utterance.text,
            True,
            utterance.end_seconds,
            confidence=utterance.confidence,
            words=tuple(words),
        )

    def _results(self, heard: Heard) -> Sequence[Result]:
        utterance = heard.utterance
        if utterance.is_final:
            self._last.pop(heard.channel, None)
            return [self.final(heard)] if utterance.text else []
        texts = (utterance.stable_text, utterance.tail if utterance.stable else utterance.text)
        if not self._options.interim or texts == self._last.get(heard.channel, ("", "")):
            return []
        self._last[heard.channel] = texts
        end_seconds = heard.event.audio_seconds
        return [
            Result(text, False, end_seconds, stability)
            for text, stability in zip(texts, (STABLE, UNSTABLE), strict=True)
            if text.strip()
        ]

    def _is_timeout(self, heard: Heard) -> bool:
        """Whether nobody has spoken for as long as the client would wait."""
        event, options = heard.event, self._options
        if event.final or (event.speech is not None and not event.speech.began):
            self._is_speech = False
            self._quiet_since_seconds = (
                event.speech.at_seconds if event.speech is not None else heard.utterance.end_seconds
            )
        elif event.stable or event.tail or event.speech is not None:
            self._is_speech = self._has_heard_speech = True
        limit_seconds = (
            options.end_timeout_seconds if self._has_heard_speech else options.start_timeout_seconds
        )
        quiet_seconds = event.audio_seconds - self._quiet_since_seconds
        return not self._is_speech and 0 < limit_seconds <= quiet_seconds


def duration(seconds: float) -> Duration:
    """As whole milliseconds."""
    value = Duration()
    value.FromMilliseconds(round(seconds * 1000))
    return value


def timeout_seconds(name: str, value: Duration) -> float:
    """A timeout. Raises StreamGateError (INVALID_ARG) for a negative one."""
    seconds = value.ToNanoseconds() / 1e9
    if seconds < 0:
        raise invalid(f"{name} is {seconds:g} s, expected a positive duration")
    return seconds


def raw_or_file(
    number: int,
    raw: dict[int, str],
    files: Sequence[int],
    name_of: Callable[[int], str],
) -> str:
    """The encoding as `Declared` calls it. Raises StreamGateError (INVALID_ARG) for one that isn't
    read here."""
    if number in files:
        return "auto"
    if number not in raw:
        known = ", ".join(name_of(each) for each in (*raw, *files))
        try:
            name = name_of(number)
        except ValueError:
            name = str(number)
        raise invalid(f"encoding {name} is not read here, expected one of {known}")
    return raw[number]
