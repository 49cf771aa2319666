"""Without the extra, bare samples and WAV are read, and what needs it is said."""

import sys

import numpy as np
import pytest

from streamgate.errors import StreamGateError
from streamgate.speech.audio import AudioFormat, AudioReader
from tests.speech.audio_files import Kind, fed, made, soundfile_reads

HINT = r"pip install 'streamgate-server\[speech\]'"


@pytest.fixture(autouse=True)
def without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("soundfile", "soxr"):
        monkeypatch.setitem(sys.modules, module, None)


def test_wav_at_the_models_rate_needs_nothing() -> None:
    data = made(Kind("WAV", "PCM_16", 16_000), 0.3)
    samples = fed(AudioReader(AudioFormat(), 16_000), data, [500])
    np.testing.assert_array_equal(samples, soundfile_reads(data))


@pytest.mark.parametrize("name", ["FLAC", "OGG", "MP3"])
def test_compressed_audio_names_the_extra(name: str) -> None:
    subtype = {"FLAC": "PCM_16", "OGG": "OPUS", "MP3": "MPEG_LAYER_III"}[name]
    with pytest.raises(StreamGateError, match=f"need soundfile: {HINT}"):
        fed(AudioReader(AudioFormat(), 16_000), made(Kind(name, subtype, 16_000), 0.3), [500])


def test_so_does_another_rate() -> None:
    with pytest.raises(StreamGateError, match=f"needs soxr: {HINT}"):
        fed(AudioReader(AudioFormat(), 16_000), made(Kind("WAV", "PCM_16", 8_000), 0.3), [500])
