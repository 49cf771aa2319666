"""Audio files of every kind, made in memory, and what soundfile reads in them."""

import io
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from streamgate.speech.audio import AudioError, AudioFormat, AudioReader, StreamingDecoder
from streamgate.speech.audio.samples import Samples

RECORDINGS = Path(__file__).resolve().parents[2] / "demos" / "audio"


@dataclass(frozen=True)
class Kind:
    """A container, what it holds, its rate and its channels."""

    format: str
    subtype: str
    rate_hz: int
    channels: int = 1

    @property
    def is_exact(self) -> bool:
        """Whether our samples are soundfile's to the last bit.

        MPEG-2's are not: libmpg123 drops the frames of the encoder's delay undecoded, so that its
        filter bank is at another phase and adds in another order.
        """
        return self.format != "MP3" or self.rate_hz >= 32_000

    def __str__(self) -> str:
        return f"{self.format}-{self.subtype}-{self.rate_hz}-{self.channels}"


LOSSLESS = (
    Kind("WAV", "PCM_U8", 8_000),
    Kind("WAV", "PCM_16", 16_000),
    Kind("WAV", "PCM_24", 44_100, 2),
    Kind("WAV", "PCM_32", 22_050),
    Kind("WAV", "FLOAT", 16_000),
    Kind("WAV", "DOUBLE", 48_000, 2),
    Kind("WAV", "ULAW", 8_000),
    Kind("WAV", "ALAW", 8_000, 2),
    Kind("WAVEX", "PCM_16", 48_000, 3),
    Kind("WAVEX", "FLOAT", 16_000),
    Kind("RF64", "PCM_16", 11_025),
    Kind("FLAC", "PCM_16", 16_000),
    Kind("FLAC", "PCM_24", 48_000, 2),
    Kind("FLAC", "PCM_S8", 8_000),
)
LOSSY = (
    Kind("OGG", "OPUS", 48_000, 2),
    Kind("OGG", "OPUS", 16_000),
    Kind("OGG", "OPUS", 8_000),
    Kind("OGG", "VORBIS", 44_100, 2),
    Kind("OGG", "VORBIS", 16_000),
    Kind("MP3", "MPEG_LAYER_III", 44_100, 2),
    Kind("MP3", "MPEG_LAYER_III", 48_000),
    Kind("MP3", "MPEG_LAYER_III", 22_050),
    Kind("MP3", "MPEG_LAYER_III", 8_000),
)
ALL = LOSSLESS + LOSSY


@cache
def speech(seconds: float, rate_hz: int, channels: int = 1) -> Samples:
    """float32 [n, channels]: a recorded dialogue, each channel later and softer."""
    dialogue, rate = soundfile.read(RECORDINGS / "dialogue_16k.wav", dtype="float32")
    count = round(seconds * rate)
    part = np.tile(dialogue, 1 + count // len(dialogue))[:count]
    part = soxr.resample(part, rate, rate_hz)
    return np.stack([np.roll(part, 100 * i) / (i + 1) for i in range(channels)], axis=1)


def encoded(frames: Samples, kind: Kind) -> bytes:
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", kind.rate_hz, kind.channels, format=kind.format, subtype=kind.subtype
    ) as file:
        for begin in range(0, len(frames), 4096):  # libvorbis crashes on a minute at once
            file.write(frames[begin : begin + 4096])
    return buffer.getvalue()


@cache
def made(kind: Kind, seconds: float) -> bytes:
    return encoded(speech(seconds, kind.rate_hz, kind.channels), kind)


def soundfile_reads(data: bytes) -> Samples:
    """float32 [n]: the mean of the channels, as soundfile reads the whole file."""
    frames, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    total = frames[:, 0].copy()
    for channel in range(1, frames.shape[1]):
        total += frames[:, channel]
    mean: Samples = total * np.float32(1 / frames.shape[1])
    return mean


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` cut into pieces of these sizes in turn, over and over."""
    out, at, turn = [], 0, 0
    while at < len(data):
        out.append(data[at : at + sizes[turn % len(sizes)]])
        at += len(out[-1])
        turn += 1
    return out


def fed(reader: StreamingDecoder | AudioReader, data: bytes, sizes: list[int]) -> Samples:
    return np.concatenate([*map(reader.feed, pieces(data, sizes)), reader.finish()])


def decoded(data: bytes, size: int | None = None, declared: AudioFormat | None = None) -> Samples:
    return fed(StreamingDecoder(declared or AudioFormat()), data, [size or len(data) or 1])


def failure(data: bytes, declared: AudioFormat | None = None, size: int = 1000) -> AudioError:
    """The error that these bytes end in, with the samples of all calls before it as well."""
    decoder = StreamingDecoder(declared or AudioFormat())
    parts: list[Samples] = []
    try:
        parts.extend(map(decoder.feed, pieces(data, [size])))
        parts.append(decoder.finish())
    except AudioError as error:
        error.samples = np.concatenate([*parts, error.samples])
        return error
    raise AssertionError(f"{sum(map(len, parts))} samples were read without an error")


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    """A RIFF chunk, padded to an even length; `size` to state another."""
    stated = len(body) if size is None else size
    return name + struct.pack("<I", stated) + body + bytes(len(body) % 2)


def fmt(
    tag: int = 1,
    channels: int = 1,
    rate_hz: int = 16_000,
    sample_bytes: int = 2,
    extra: bytes = b"",
) -> bytes:
    block = channels * sample_bytes
    head = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * block, block, 8 * sample_bytes)
    return chunk(b"fmt ", head + extra)


def riff(*chunks: bytes, magic: bytes = b"RIFF", size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return magic + struct.pack("<I", len(body) if size is None else size) + body
