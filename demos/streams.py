"""What a stream is to the demo, whichever transport carries it: its pace, answers and events."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from recordings import CHUNK_SECONDS, Recording

MODEL = "voice_activity"
PATIENCE_SECONDS = 15.0
"""How long an answer may take before the demo gives up."""


class DemoError(Exception):
    """The demo found something that is not as it should be; the text says what."""


@dataclass(frozen=True, slots=True)
class SpeechEvent:
    """Speech started or ended: noticed at chunk `step`, `seconds` into the recording."""

    step: int
    starts: bool
    seconds: float


@dataclass(slots=True)
class Stream:
    """One recording on its way through the gateway, and what came back."""

    transport: str
    recording: Recording
    on_event: Callable[["Stream", SpeechEvent], None]
    events: list[SpeechEvent] = field(default_factory=list)
    sent_at: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.recording.name

    @property
    def complete(self) -> bool:
        return len(self.latencies) == len(self.recording.chunks)

    def sending(self) -> None:
        """Notes that the next chunk is about to be sent."""
        self.sent_at.append(time.monotonic())

    def answered(self, step: int, code: int, seconds: float) -> None:
        """Notes the answer to chunk `step`; answers of a sequence must come in order."""
        if step != len(self.latencies):
            raise DemoError(
                f"{self.transport} {self.name}: got the answer to chunk {step}, "
                f"expected that to chunk {len(self.latencies)}"
            )
        self.latencies.append(time.monotonic() - self.sent_at[step])
        if code:
            event = SpeechEvent(step, starts=code == 1, seconds=round(seconds, 4))
            self.events.append(event)
            self.on_event(self, event)


@dataclass(frozen=True, slots=True)
class Pace:
    """The clock that all streams share: a chunk is sent once it would have been recorded."""

    started_at: float

    def due_in(self, step: int) -> float:
        """Seconds from now until chunk `step` is to be sent, 0 when it is late."""
        due_at = self.started_at + (step + 1) * CHUNK_SECONDS
        return max(0.0, due_at - time.monotonic())
