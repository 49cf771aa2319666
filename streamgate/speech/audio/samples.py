"""Bytes of bare samples to float32 in [-1, 1), exactly as libsndfile scales them."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamgate.speech.audio.format import Encoding

Samples = NDArray[np.float32]


def mulaw_table() -> Samples:
    """The 256 values of mu-law: ITU-T G.711, table 2, as a fraction of the 16-bit range.

    A code is inverted for the line. Then: sign, 3 bits of segment, 4 bits of step; on the 14-bit
    scale a step's middle is (2 step + 33) * 2^segment - 33.
    """
    code = np.arange(256, dtype=np.int32) ^ 0xFF
    magnitude = ((2 * (code & 15) + 33) << ((code >> 4) & 7)) - 33
    return _scaled(np.where(code & 0x80, -magnitude, magnitude) * 4)


def alaw_table() -> Samples:
    """The 256 values of A-law: ITU-T G.711, table 1, as a fraction of the 16-bit range.

    Every other bit is inverted for the line, and a set sign bit means positive. On the 13-bit
    scale the two lowest segments are linear, the others double in step.
    """
    code = np.arange(256, dtype=np.int32) ^ 0x55
    step, segment = code & 15, (code >> 4) & 7
    magnitude = np.where(segment == 0, 2 * step + 1, (2 * step + 33) << np.maximum(segment - 1, 0))
    return _scaled(np.where(code & 0x80, magnitude, -magnitude) * 8)


def _scaled(values: NDArray[np.int32]) -> Samples:
    return (values / 32768).astype(np.float32)


_TABLES: Final = {Encoding.MULAW: mulaw_table(), Encoding.ALAW: alaw_table()}


def to_float(encoding: Encoding, data: bytes | bytearray | memoryview) -> Samples:
    """float32 [n] of `data`, whose length is a multiple of the encoding's sample size.

    Integers are divided by 2^(bits - 1). Floats are taken as they are, also beyond [-1, 1] and
    where they are not numbers: that is for the caller to see.
    """
    match encoding:
        case Encoding.S16LE | Encoding.S16BE:
            order = "<i2" if encoding is Encoding.S16LE else ">i2"
            return np.frombuffer(data, order).astype(np.float32) * np.float32(2**-15)
        case Encoding.MULAW | Encoding.ALAW:
            return _TABLES[encoding][np.frombuffer(data, np.uint8)]
        case Encoding.U8:
            return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) * np.float32(2**-7)
        case Encoding.S24LE:
            # As the upper three bytes of 32: the lowest is zero, so float32 holds it exactly.
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            return wide.view("<i4").reshape(-1).astype(np.float32) * np.float32(2**-31)
        case Encoding.S32LE:
            return np.frombuffer(data, "<i4").astype(np.float32) * np.float32(2**-31)
        case Encoding.F32LE:
            return np.frombuffer(data, "<f4").astype(np.float32)
        case Encoding.F64LE:
            with np.errstate(over="ignore", invalid="ignore"):  # becomes infinite, and is seen
                return np.frombuffer(data, "<f8").astype(np.float32)
        case Encoding.AUTO:
            raise AssertionError("a file is no bare samples")


def mono(frames: Samples, channel: int | None) -> Samples:
    """float32 [n] of frames [n, channels]: one channel, or the mean of all.

    The mean is summed channel by channel, so that a frame's value never depends on how many
    frames came with it.
    """
    if frames.shape[1] == 1:
        return np.ascontiguousarray(frames[:, 0])
    if channel is not None:
        return np.ascontiguousarray(frames[:, channel])
    total = frames[:, 0].copy()
    for index in range(1, frames.shape[1]):
        total += frames[:, index]
    return total * np.float32(1 / frames.shape[1])
