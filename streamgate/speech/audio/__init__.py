"""Audio in: bytes from clients to float32 mono samples at a model's rate.

Knows formats of audio, and neither models, nor dialects, nor a clock or a loop: calls return at
once. soundfile and soxr (the extra `speech`) are imported where a stream first needs them.

    bytes -> sniffing -> a source (pcm, wav, flac, ogg, mp3) -> channel -> resampler -> samples
"""

from streamgate.speech.audio.decoder import StreamingDecoder
from streamgate.speech.audio.faults import AudioError
from streamgate.speech.audio.format import RATE_HZ_MAX, RATE_HZ_MIN, AudioFormat, Encoding
from streamgate.speech.audio.reader import AudioReader, Position
from streamgate.speech.audio.resampler import StreamingResampler

__all__ = [
    "RATE_HZ_MAX",
    "RATE_HZ_MIN",
    "AudioError",
    "AudioFormat",
    "AudioReader",
    "Encoding",
    "Position",
    "StreamingDecoder",
    "StreamingResampler",
]
