"""What a telephone sends: G.711 mu-law."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def mulaw(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of samples from -1 to 1."""
    scaled = np.clip(np.round(samples * 32768), -32635, 32635).astype(np.int64)
    magnitude = np.abs(scaled) + 0x84
    exponent = np.maximum(np.floor(np.log2(magnitude)).astype(np.int64) - 7, 0)
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    sign = np.where(scaled < 0, 0x80, 0)
    codes: NDArray[np.int64] = ~(sign | exponent << 4 | mantissa) & 0xFF
    return codes.astype(np.uint8)
