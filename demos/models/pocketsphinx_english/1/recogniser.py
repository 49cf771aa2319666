"""One stream of speech through a pocketsphinx decoder: utterances found by voice activity.

Audio goes to the decoder only while somebody speaks, from a little before. While an utterance
lasts, its words may all still change, so they are tail; at its end the decoder searches once more
with all it knows, and that is stable.
"""

import re
from dataclasses import dataclass, field

import numpy as np
import pocketsphinx

from streamgate.speech.endpoint import GateState, SpeechGate
from streamgate.speech.words import Word

_RATE = 16_000
_FRAME = 480  # 30 ms, the longest that pocketsphinx's own voice activity takes
_FRAMES_A_SECOND = 100  # of the decoder
_BEFORE_S = 0.3  # a word's quiet beginning, which is not taken for speech
_BEGIN_S = 0.09
_UTTERANCE_S_MAX = (
    20.0  # what a decoder remembers, and how long its last search takes, grow with it
)

# A narrower search than by default: on clear voices it errs as often, in half the time.
_SEARCH = {"topn": 2, "maxhmmpf": 5000, "maxwpf": 20}

_NO_WORD = re.compile(r"<.*>|\[.*\]|\+\+.*\+\+")
_PRONUNCIATION = re.compile(r"\(\d+\)$")

NONE, BEGAN, ENDED = 0, 1, 2


class AudioError(ValueError):
    """Inputs that don't fit each other; the text says how."""


@dataclass(frozen=True)
class Event:
    """What one response says. `speech_at_s` is -1 without a change of speech; `probability` is the
    highest of the chunk."""

    processed_s: float
    probability: float
    stable: str = ""
    tail: str = ""
    final: bool = False
    words: list[Word] = field(default_factory=list)
    speech: int = NONE
    speech_at_s: float = -1.0


class Decoders:
    """Decoders that nobody uses. One takes half a second and 92 MB to make, so they are kept."""

    def __init__(self) -> None:
        self._free = [self._new()]
        self._means = self._free[0].get_cmn(False)

    def lend(self) -> pocketsphinx.Decoder:
        """A decoder that knows nothing of who used it before."""
        decoder = self._free.pop() if self._free else self._new()
        decoder.set_cmn(self._means)
        return decoder

    def take_back(self, decoder: pocketsphinx.Decoder) -> None:
        self._free.append(decoder)

    @staticmethod
    def _new() -> pocketsphinx.Decoder:
        return pocketsphinx.Decoder(samprate=_RATE, loglevel="FATAL", **_SEARCH)


class Recogniser:
    """Hears one stream. After `close`, its decoder may serve another."""

    def __init__(self, decoder: pocketsphinx.Decoder, end_silence_s: float) -> None:
        self.decoder = decoder
        self._end_silence_s = end_silence_s
        self._activity = pocketsphinx.Vad(pocketsphinx.Vad.LOOSE, _RATE, _FRAME / _RATE)
        self._gate = GateState()
        self._rest = np.zeros(0, np.float32)  # less than a frame
        self._before = np.zeros(0, np.float32)  # heard lately, and not given to the decoder
        self._heard = 0  # samples, all in all
        self._framed = 0  # samples that came through the gate
        self._utterance: int | None = None  # the sample with which the open one begins
        self._tail = ""
        self._probability = 0.0

    def hear(self, audio: np.ndarray, probabilities: np.ndarray | None, *, flush: bool) -> list:
        """Takes audio [n] and, from elsewhere, probabilities of speech in equal parts of it.

        Raises AudioError when the parts are no equal ones.
        """
        if probabilities is not None and (
            not len(probabilities) or len(audio) % len(probabilities)
        ):
            raise AudioError(
                f"AUDIO has {len(audio)} samples and SPEECH_PROBABILITIES {len(probabilities)} "
                "values, expected a probability for each of equal parts"
            )
        self._heard += len(audio)
        frames, probabilities = self._frames(audio, probabilities, flush)
        self._probability = float(max(probabilities, default=0.0))
        events = self._through_gate(frames, probabilities)
        if flush:
            events += self._end(NONE, -1.0)
        elif self._utterance is not None:
            tail = self._text(self.decoder.hyp())
            if tail != self._tail:
                self._tail = tail
                events.append(Event(self._processed_s, self._probability, tail=tail))
        return events

    def close(self) -> None:
        """Leaves the decoder without an open utterance."""
        if self._utterance is not None:
            self.decoder.end_utt()
            self._utterance = None

    @property
    def _processed_s(self) -> float:
        return self._heard / _RATE

    def _frames(self, audio, probabilities, flush):
        """Audio as [frames, samples], and a probability of speech for each frame."""
        if probabilities is not None:
            return audio.reshape(len(probabilities), -1), probabilities
        audio = np.concatenate((self._rest, audio))
        if flush:
            audio = np.pad(audio, (0, -len(audio) % _FRAME))
        count = len(audio) // _FRAME
        self._rest = audio[count * _FRAME :]
        frames = audio[: count * _FRAME].reshape(-1, _FRAME)
        return frames, [float(self._activity.is_speech(_pcm(frame))) for frame in frames]

    def _through_gate(self, frames, probabilities):
        if not len(frames):
            return []
        frame_s = frames.shape[1] / _RATE
        gate = SpeechGate(
            begin_frames=max(1, round(_BEGIN_S / frame_s)),
            end_frames=max(1, round(self._end_silence_s / frame_s)),
        )
        events = []
        for frame, probability in zip(frames, probabilities, strict=True):
            self._gate, _, edges = gate.feed(self._gate, [probability])
            self._framed += len(frame)
            self._before = np.concatenate((self._before, frame))
            for edge in edges:
                at_s = edge.frame * frame_s
                if edge.begins:
                    events.append(
                        Event(
                            self._processed_s,
                            self._probability,
                            tail=self._tail,
                            speech=BEGAN,
                            speech_at_s=at_s,
                        )
                    )
                else:
                    self._feed()
                    events += self._end(ENDED, at_s)
            if self._gate.speaking:
                self._feed()
                if self._framed - self._utterance >= _UTTERANCE_S_MAX * _RATE:
                    events += self._end(NONE, -1.0)
            else:
                self._before = self._before[-int(_BEFORE_S * _RATE) :]
        return events

    def _feed(self) -> None:
        """Gives the decoder what it has not heard; where no utterance is open, one begins."""
        if self._utterance is None:
            self._utterance = self._framed - len(self._before)
            self.decoder.start_utt()
        self.decoder.process_raw(_pcm(self._before), False, False)
        self._before = self._before[:0]

    def _end(self, speech: int, at_s: float) -> list[Event]:
        """Ends the open utterance, if there is one: its words, and what else there is to tell."""
        words = []
        if self._utterance is not None:
            self.decoder.end_utt()
            words = self._words()
            self._utterance = None
        final = bool(words or self._tail)
        self._tail = ""
        if not final and speech == NONE:
            return []
        text = " ".join(word.text for word in words)
        return [Event(self._processed_s, self._probability, text, "", final, words, speech, at_s)]

    def _words(self) -> list[Word]:
        start_s = self._utterance / _RATE
        return [
            Word(
                _PRONUNCIATION.sub("", each.word),
                start_s + each.start_frame / _FRAMES_A_SECOND,
                start_s + (each.end_frame + 1) / _FRAMES_A_SECOND,
                min(1.0, max(0.0, each.prob)),
            )
            for each in self.decoder.seg() or ()
            if not _NO_WORD.fullmatch(each.word)
        ]

    @staticmethod
    def _text(hypothesis: pocketsphinx.Hypothesis | None) -> str:
        return hypothesis.hypstr if hypothesis is not None else ""


def _pcm(samples: np.ndarray) -> bytes:
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
