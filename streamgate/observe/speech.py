"""How far results are behind the audio, in Prometheus' text format."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from streamgate.model.statistics import Histogram
from streamgate.observe.exposition import render_registry
from streamgate.observe.histograms import histogram_family


class SpeechCollector(Collector):
    """The families of speech models. `lags` are seconds of audio, by model."""

    def __init__(self, lags: Mapping[str, Histogram]) -> None:
        self._lags = lags

    def collect(self) -> Iterable[Metric]:
        yield histogram_family(
            "streamgate_speech_lag_seconds",
            "Seconds of audio that had come and had no result yet, at each result",
            (({"model": model}, lags) for model, lags in self._lags.items()),
        )


def render_speech(lags: Mapping[str, Histogram]) -> bytes:
    """The families; nothing where nothing was heard."""
    registry = CollectorRegistry()
    registry.register(SpeechCollector(lags))
    return render_registry(registry) if lags else b""
