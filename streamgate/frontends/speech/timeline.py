"""Times of a model's audio and times of its client's: silence was put in between."""

from collections.abc import Sequence
from typing import final


@final
class Timeline:
    """Maps times of the sequence's audio, as the model heard it, to those of the client's audio.

    The two differ by the padding that was appended in front of each forced end of an utterance.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate_hz = sample_rate_hz
        self._paddings: list[tuple[int, int]] = []

    def pad(self, at_samples: int, count: int) -> None:
        """So many samples were put in at this place of the model's audio, behind all others."""
        if count > 0:
            self._paddings.append((at_samples, count))

    @property
    def paddings(self) -> Sequence[tuple[int, int]]:
        """All that was put in: where, and how many samples."""
        return self._paddings

    def client_seconds(self, model_seconds: float) -> float:
        """The client's time; within a padding, that of its beginning."""
        samples = model_seconds * self._rate_hz
        shift = 0.0
        for at, count in self._paddings:
            if samples <= at:
                break
            shift += min(count, samples - at)
        return max(0.0, (samples - shift) / self._rate_hz)

    def forget_before(self, model_seconds: float) -> None:
        """No time before this one will be asked for: keep what came before as one sum."""
        samples = model_seconds * self._rate_hz
        past = [each for each in self._paddings if each[0] + each[1] <= samples]
        if len(past) > 1:
            count = sum(each[1] for each in past)
            end = past[-1][0] + past[-1][1]
            self._paddings[: len(past)] = [(end - count, count)]
