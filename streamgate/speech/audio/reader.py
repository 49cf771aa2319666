"""Audio in: whatever a client sends, as the samples that a model takes."""

from dataclasses import dataclass

import numpy as np

from streamgate.speech.audio.decoder import StreamingDecoder
from streamgate.speech.audio.faults import NO_SAMPLES, AudioError
from streamgate.speech.audio.format import AudioFormat
from streamgate.speech.audio.resampler import StreamingResampler
from streamgate.speech.audio.samples import Samples
from streamgate.speech.audio.snapshot import State, pack, unpack


@dataclass(frozen=True, slots=True)
class Position:
    """How far a reader has come: bytes of the stream taken, samples at the target rate given."""

    bytes_in: int
    samples_out: int


class AudioReader:
    """Bytes of any audio stream in any split -> float32 mono samples at `target_rate_hz`.

        reader = AudioReader(AudioFormat(), 16_000)
        for chunk in chunks:
            samples = reader.feed(chunk)
        samples = reader.finish()

    The samples depend on the stream's bytes alone, not on how they were split nor on whether
    they went through one reader or through several, each restored from the last one's snapshot.
    `feed` and `finish` raise AudioError, with the samples before the damage in its `samples`;
    the same error comes again from every later call. Not for use by two threads at once.
    """

    def __init__(self, declared: AudioFormat, target_rate_hz: int) -> None:
        self.target_rate_hz = target_rate_hz
        self._decoder = StreamingDecoder(declared)
        self._resampler: StreamingResampler | None = None
        self._is_finished = False
        self._is_broken = False

    @property
    def source_rate_hz(self) -> int | None:
        """The stream's own sample rate; None until its header has come."""
        return self._decoder.source_rate_hz

    @property
    def name(self) -> str | None:
        """What the stream was found to be: "WAV (s16le)"; None until that is known."""
        return self._decoder.name

    @property
    def position(self) -> Position:
        out = self._resampler.samples_out if self._resampler else 0
        return Position(self._decoder.bytes_in, out)

    @property
    def latency_seconds(self) -> float:
        """How far the resampler is behind its input at most; 0 while the rate is unknown."""
        return self._resampler.latency_seconds if self._resampler else 0.0

    def feed(self, data: bytes | bytearray | memoryview) -> Samples:
        """float32 [n]: the samples that the stream's next bytes complete."""
        assert not self._is_finished, "the stream was finished"
        try:
            return self._resampled(self._decoder.feed(data))
        except AudioError as error:
            raise self._with_all(error) from None

    def finish(self) -> Samples:
        """float32 [n]: everything held back; the stream ends here."""
        assert not self._is_finished, "the stream was finished"
        try:
            samples = self._resampled(self._decoder.finish())
        except AudioError as error:
            raise self._with_all(error) from None
        self._is_finished = True
        return self._joined(samples, self._flushed())

    def snapshot(self) -> bytes:
        """The reader's state between two calls: `restore` goes on with the very same samples.

        Some KiB for bare samples and WAV (the resampler's last window), up to 10 s of the
        compressed stream for Ogg, 3 s for MP3, and a frame for FLAC. Raises the stream's
        AudioError, if it had one.
        """
        assert not self._is_finished, "the stream was finished"
        state: State = {
            "target": self.target_rate_hz,
            "decoder": self._decoder.state(),
            "resampler": self._resampler.state() if self._resampler else None,
        }
        return pack(state)

    @classmethod
    def restore(cls, snapshot: bytes) -> "AudioReader":
        """A reader that takes the stream's bytes from `position.bytes_in` on.

        Raises StreamGateError (INVALID_ARG) for what is no snapshot, or one of another version.
        """
        state = unpack(snapshot)
        decoder = StreamingDecoder.restored(state.inner("decoder"))
        reader = cls(decoder.declared, state.integer("target"))
        reader._decoder = decoder
        if resampler := state.optional_inner("resampler"):
            reader._resampler = StreamingResampler.restored(resampler)
        return reader

    def _resampled(self, samples: Samples) -> Samples:
        rate_hz = self._decoder.source_rate_hz
        if self._resampler is None:
            if rate_hz is None:
                return NO_SAMPLES
            self._resampler = StreamingResampler(rate_hz, self.target_rate_hz)
        return self._resampler.feed(samples)

    def _flushed(self) -> Samples:
        return self._resampler.finish() if self._resampler else NO_SAMPLES

    def _with_all(self, error: AudioError) -> AudioError:
        """The error with everything that came before the damage, at the target rate."""
        if not self._is_broken:
            self._is_broken = True
            error.samples = self._joined(self._resampled(error.samples), self._flushed())
        return error

    @staticmethod
    def _joined(first: Samples, second: Samples) -> Samples:
        return np.concatenate([first, second]) if len(second) else first
