"""How a client says that its audio is coded."""

import enum
from dataclasses import dataclass
from typing import Final

from streamgate.speech.audio.faults import AudioError, unsupported

RATE_HZ_MIN: Final = 8_000
RATE_HZ_MAX: Final = 192_000
CHANNELS_MAX: Final = 32


class Encoding(enum.Enum):
    """AUTO is a file or stream that says itself what it is; all others are bare samples."""

    AUTO = "auto"
    U8 = "u8"
    S16LE = "s16le"
    S16BE = "s16be"
    S24LE = "s24le"
    S32LE = "s32le"
    F32LE = "f32le"
    F64LE = "f64le"
    MULAW = "mulaw"
    ALAW = "alaw"

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample of one channel; 0 for AUTO."""
        return _SAMPLE_BYTES[self]


_SAMPLE_BYTES: Final = {
    Encoding.AUTO: 0,
    Encoding.U8: 1,
    Encoding.S16LE: 2,
    Encoding.S16BE: 2,
    Encoding.S24LE: 3,
    Encoding.S32LE: 4,
    Encoding.F32LE: 4,
    Encoding.F64LE: 8,
    Encoding.MULAW: 1,
    Encoding.ALAW: 1,
}


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """Audio as declared.

    `sample_rate_hz` and `channels` hold for bare samples; a file says its own, which win, and so
    does a WAV header that comes where bare samples were declared. `channel` picks one channel
    (0 is the first); None mixes all of them down to their mean.
    """

    encoding: Encoding = Encoding.AUTO
    sample_rate_hz: int | None = None
    channels: int = 1
    channel: int | None = None

    def __post_init__(self) -> None:
        if self.sample_rate_hz is not None:
            check_rate(self.sample_rate_hz)
        elif self.encoding is not Encoding.AUTO:
            raise AudioError(
                f"{self.encoding.value} audio comes without a sample rate; expected one from "
                f"{RATE_HZ_MIN} to {RATE_HZ_MAX} Hz"
            )
        check_channels(self.channels, self.channel if self.encoding is not Encoding.AUTO else None)
        if self.channel is not None and self.channel < 0:
            raise AudioError(f"channel {self.channel} was chosen; channels count from 0")


def check_rate(rate_hz: int, where: str = "audio") -> None:
    """Raises AudioError unless a model can be served from that rate."""
    if not RATE_HZ_MIN <= rate_hz <= RATE_HZ_MAX:
        raise AudioError(
            f"{where} has a sample rate of {rate_hz} Hz; expected {RATE_HZ_MIN} to {RATE_HZ_MAX} Hz"
        )


def check_channels(channels: int, channel: int | None, where: str = "audio") -> None:
    """Raises AudioError unless there are so many channels, and the chosen one among them."""
    if channels < 1:
        raise AudioError(f"{where} has {channels} channels; expected 1 to {CHANNELS_MAX}")
    if channels > CHANNELS_MAX:
        raise unsupported(f"{where} has {channels} channels; expected 1 to {CHANNELS_MAX}")
    if channel is not None and channel >= channels:
        raise AudioError(
            f"channel {channel} was chosen and {where} has {channels}; expected 0 to {channels - 1}"
        )
