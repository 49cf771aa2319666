"""How far results are behind the audio, in seconds of audio: a clock that only the audio moves."""

import bisect
from collections.abc import Mapping
from typing import Final, final

from streamgate.model.statistics import Histogram

LAG_SECONDS: Final = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)


@final
class AudioLags:
    """The audio that a model's streams had been given and that had no result yet, noted with each
    result."""

    def __init__(self) -> None:
        self._counts = [0] * (len(LAG_SECONDS) + 1)
        self._total = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect.bisect_left(LAG_SECONDS, seconds)] += 1
        self._total += seconds

    def read(self) -> Histogram:
        return Histogram(LAG_SECONDS, tuple(self._counts), self._total)


@final
class LagsOfModels:
    """Those of each speech model that there was, by its name."""

    def __init__(self) -> None:
        self._of: dict[str, AudioLags] = {}

    def of(self, model: str) -> AudioLags:
        return self._of.setdefault(model, AudioLags())

    def read(self) -> Mapping[str, Histogram]:
        return {model: lags.read() for model, lags in self._of.items()}
