"""When an utterance ends: Kaldi's rules over trailing silence and length, and a gate for VAD.

Time is counted in frames, so that a year of audio ends where its rules say.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class EndpointRule:
    """Ends an utterance when it has all of these; times in seconds."""

    needs_speech: bool
    trailing_silence_s: float
    utterance_s: float = 0.0


DEFAULT_RULES = (
    EndpointRule(needs_speech=False, trailing_silence_s=2.4),
    EndpointRule(needs_speech=True, trailing_silence_s=1.2),
    EndpointRule(needs_speech=False, trailing_silence_s=0.0, utterance_s=20.0),
)
"""sherpa-onnx's: silence without speech, silence after speech, and however much speech."""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """Frames of the utterance so far, of them the silent ones at its end, and whether one spoke."""

    frames: int = 0
    silent: int = 0
    spoke: bool = False


@dataclass(frozen=True, slots=True)
class Endpointer:
    """Applies rules frame by frame; `frame_seconds` lie between two frames."""

    frame_seconds: float
    rules: tuple[EndpointRule, ...] = DEFAULT_RULES

    def feed(self, state: EndpointState, speech: Iterable[bool]) -> tuple[EndpointState, list[int]]:
        """Take whether each further frame is speech (for a search: whether it brought a token).

        Gives after how many of these frames an utterance ended, for each that did; the next one
        begins there.
        """
        ends = []
        for count, speaks in enumerate(speech, start=1):
            state = self.observe(state, (speaks,))
            if self.ended(state) is not None:
                ends.append(count)
                state = EndpointState()
        return state, ends

    def observe(self, state: EndpointState, speech: Iterable[bool]) -> EndpointState:
        """Take further frames of one utterance, whatever the rules say; ask `ended` afterwards."""
        for speaks in speech:
            state = EndpointState(
                state.frames + 1, 0 if speaks else state.silent + 1, state.spoke or speaks
            )
        return state

    def ended(self, state: EndpointState) -> int | None:
        """Which rule ends the utterance here, by its position; None where none does."""
        for position, rule in enumerate(self.rules):
            if (
                (state.spoke or not rule.needs_speech)
                and state.silent >= self._frames(rule.trailing_silence_s)
                and state.frames >= self._frames(rule.utterance_s)
            ):
                return position
        return None

    def _frames(self, seconds: float) -> int:
        # Rounded first: 1.2 / 0.04 is a little more than 30.
        return math.ceil(round(seconds / self.frame_seconds, 6))


@dataclass(frozen=True, slots=True)
class SpeechEdge:
    """Speech begins or ends; `frame` counts from the start of the stream."""

    begins: bool
    frame: int


@dataclass(frozen=True, slots=True)
class GateState:
    """Whether there is speech, since how many frames the probability says otherwise, and the count
    of all frames."""

    speaking: bool = False
    against: int = 0
    frames: int = 0


@dataclass(frozen=True, slots=True)
class SpeechGate:
    """From probabilities of speech to whether there is speech, with hysteresis (as Silero's VAD).

    Speech begins after `begin_frames` in a row of at least `on`, and ends after `end_frames` in a
    row below `off`. What lies between the two thresholds goes on as it was.
    """

    on: float = 0.5
    off: float = 0.35
    begin_frames: int = 1
    end_frames: int = 3

    def __post_init__(self) -> None:
        if self.off > self.on or min(self.begin_frames, self.end_frames) < 1:
            raise ValueError(
                "expected thresholds with off <= on and frames of at least 1, found "
                f"on {self.on}, off {self.off}, {self.begin_frames} and {self.end_frames} frames"
            )

    def feed(
        self, state: GateState, probabilities: Iterable[float]
    ) -> tuple[GateState, list[bool], list[SpeechEdge]]:
        """Take further probabilities; give for each whether there is speech, and the edges.

        An edge lies where the run of frames began that made it.
        """
        flags = []
        edges = []
        for probability in probabilities:
            against = probability < self.off if state.speaking else probability >= self.on
            run = state.against + 1 if against else 0
            needed = self.end_frames if state.speaking else self.begin_frames
            if run >= needed:
                edges.append(SpeechEdge(not state.speaking, state.frames + 1 - run))
                state = GateState(not state.speaking, 0, state.frames + 1)
            else:
                state = replace(state, against=run, frames=state.frames + 1)
            flags.append(state.speaking)
        return state, flags, edges
