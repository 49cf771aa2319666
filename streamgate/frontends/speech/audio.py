"""What a client says about its audio, and the reader that makes a model's samples of its bytes."""

from dataclasses import dataclass

from streamgate.errors import Code, StreamGateError
from streamgate.speech.audio import AudioFormat, AudioReader, Encoding


@dataclass(frozen=True, slots=True)
class Declared:
    """The client's declaration, in words that dialects share.

    `encoding` is `auto` (a file that says itself what it is: WAV, FLAC, Ogg, MP3), or raw: a value
    of `streamgate.speech.audio.Encoding` such as `s16le`, `f32le`, `mulaw`, `alaw`. Raw audio
    without a rate has the model's. `channel` is the one to hear; None mixes all of them.
    """

    encoding: str = "auto"
    sample_rate_hz: int | None = None
    channels: int = 1
    channel: int | None = None


def audio_source(declared: Declared, target_rate_hz: int) -> AudioReader:
    """A reader of such audio. Raises StreamGateError (INVALID_ARG) for a declaration that can't be
    served."""
    known = [encoding.value for encoding in Encoding]
    if declared.encoding not in known:
        raise StreamGateError(
            Code.INVALID_ARG,
            f"audio encoding '{declared.encoding}', expected one of {', '.join(known)}",
        )
    encoding = Encoding(declared.encoding)
    rate_hz = declared.sample_rate_hz
    if rate_hz is None and encoding is not Encoding.AUTO:
        rate_hz = target_rate_hz
    return AudioReader(
        AudioFormat(encoding, rate_hz, declared.channels, declared.channel), target_rate_hz
    )
