"""A microphone as a source of audio, through sounddevice (PortAudio)."""

import asyncio
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any, Final

import numpy as np

from streamgate.errors import Code, StreamGateError
from streamgate.transcribe.audio import PIECE_SECONDS, RATE_HZ, Samples

EXTRA: Final = "streamgate-server[mic]"
QUEUE_PIECES: Final = 300
"""Half a minute that the network may lag behind; what is spoken after that is lost, and said so."""


class MicrophoneAudio:
    """What is spoken until `stop`. Raises StreamGateError where there is no device or library."""

    def __init__(self, device: str = "") -> None:
        self.seconds: float | None = None
        self.lost_pieces = 0
        self._library = _sounddevice()
        self._device: int | str | None = int(device) if device.isdigit() else device or None
        self._queue: asyncio.Queue[Samples | None] = asyncio.Queue(QUEUE_PIECES)

    def stop(self) -> None:
        """No more: what was spoken so far is still sent."""
        if self._queue.full():
            self._queue.get_nowait()
            self.lost_pieces += 1
        self._queue.put_nowait(None)

    async def pieces(self) -> AsyncIterator[Samples]:
        loop = asyncio.get_running_loop()

        def heard(data: Any, frames: int, when: object, status: object) -> None:
            del frames, when, status
            samples: Samples = np.frombuffer(bytes(data), "<i2") * np.float32(2**-15)
            loop.call_soon_threadsafe(self._take, samples)

        try:
            stream = self._library.RawInputStream(
                samplerate=RATE_HZ,
                blocksize=round(PIECE_SECONDS * RATE_HZ),
                channels=1,
                dtype="int16",
                device=self._device,
                callback=heard,
            )
        except (self._library.PortAudioError, ValueError) as error:
            raise StreamGateError(
                Code.UNAVAILABLE, f"no microphone can be opened: {error}; {self._known()}"
            ) from None
        with stream:
            while (piece := await self._queue.get()) is not None:
                yield piece

    def _take(self, samples: Samples) -> None:
        if self._queue.full():
            self.lost_pieces += 1
        else:
            self._queue.put_nowait(samples)

    def _known(self) -> str:
        names = [
            f"{index} ({device['name']})"
            for index, device in enumerate(self._library.query_devices())
            if device["max_input_channels"] > 0
        ]
        return f"--device can be {', '.join(names)}" if names else "there is no input device"


def _sounddevice() -> ModuleType:
    try:
        import sounddevice as module
    except ImportError as error:
        reason = f"pip install '{EXTRA}' ({error})"
        raise StreamGateError(
            Code.UNSUPPORTED, f"a microphone needs sounddevice: {reason}"
        ) from None
    except OSError as error:  # the library is there, PortAudio is not
        reason = f"install PortAudio, such as the package libportaudio2 ({error})"
        raise StreamGateError(Code.UNSUPPORTED, f"a microphone needs PortAudio: {reason}") from None
    found: ModuleType = module
    return found
