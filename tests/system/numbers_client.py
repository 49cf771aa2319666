"""A client of the demo model `numbers` over gRPC: streams recordings, collects the events."""

import queue
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from tritonclient import grpc

RATE = 16_000
CHUNK = 2560
MODEL = "numbers"
RECORDINGS = Path(__file__).resolve().parents[2] / "demos" / "audio" / "numbers"

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Event:
    """One answer of the model."""

    stable: str
    tail: str
    final: bool
    seconds: float
    words: list[str]
    times: list[tuple[float, float]]
    confidences: list[float]


@dataclass
class Heard:
    """What a stream's events add up to."""

    events: list[Event] = field(default_factory=list)

    @property
    def utterances(self) -> list[str]:
        """The text of each utterance; the last may not be over."""
        texts = [""]
        for event in self.events:
            texts[-1] += event.stable
            if event.final:
                texts.append("")
        return texts if texts[-1] else texts[:-1]

    @property
    def words(self) -> list[tuple[str, float, float]]:
        return [
            (word, *times)
            for event in self.events
            for word, times in zip(event.words, event.times, strict=True)
        ]


def recording(name: str) -> Samples:
    """A committed recording at 16 kHz."""
    samples, rate = soundfile.read(RECORDINGS / name, dtype="float32")
    resampled: Samples = soxr.resample(samples, rate, RATE).astype(np.float32)
    return resampled


def chunks(samples: Samples) -> list[Samples]:
    """The steps of a stream; the last is filled up with silence."""
    padded = np.pad(samples, (0, -len(samples) % CHUNK))
    return list(padded.reshape(-1, 1, CHUNK))


class NumbersClient:
    """One gRPC stream, on which several sequences run at once."""

    def __init__(self, address: str, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._answers: queue.Queue[tuple[grpc.InferResult, Exception | None]] = queue.Queue()
        self._client = grpc.InferenceServerClient(address)
        self._client.start_stream(lambda result, error: self._answers.put((result, error)))

    def close(self) -> None:
        self._client.stop_stream(cancel_requests=True)
        self._client.close()

    def hear(self, streams: Sequence[Samples], *, flush_after: int | None = None) -> list[Heard]:
        """Streams recordings at once, chunk by chunk in turn; all chunks may be on their way.

        The chunk at position `flush_after` has FLUSH. The last chunk of each has END.
        """
        all_steps = [chunks(one) for one in streams]
        for position in range(max(map(len, all_steps))):
            for number, steps in enumerate(all_steps):
                if position < len(steps):
                    flush = None if flush_after is None else position == flush_after
                    self._send(number, position, steps, flush)
        heard = [Heard() for _ in streams]
        for _ in range(sum(map(len, all_steps))):
            result, error = self._answers.get(timeout=self._timeout_seconds)
            assert error is None, error
            heard[int(result.get_response().id)].events.append(_event(result))
        return heard

    def _send(self, number: int, position: int, steps: list[Samples], flush: bool | None) -> None:
        audio = grpc.InferInput("AUDIO", [1, CHUNK], "FP32")
        audio.set_data_from_numpy(steps[position])
        inputs = [audio]
        if flush is not None:
            inputs.append(grpc.InferInput("FLUSH", [1, 1], "BOOL"))
            inputs[-1].set_data_from_numpy(np.array([[flush]]))
        self._client.async_stream_infer(
            MODEL,
            inputs,
            request_id=str(number),
            sequence_id=number + 1,
            sequence_start=position == 0,
            sequence_end=position == len(steps) - 1,
        )


def _event(result: grpc.InferResult) -> Event:
    def value(name: str) -> npt.NDArray[np.generic]:
        row: npt.NDArray[np.generic] = result.as_numpy(name)[0]
        return row

    return Event(
        stable=value("STABLE")[0].decode(),
        tail=value("TAIL")[0].decode(),
        final=bool(value("FINAL")[0]),
        seconds=float(value("AUDIO_PROCESSED")[0]),
        words=[word.decode() for word in value("WORDS")],
        times=[(float(start), float(end)) for start, end in value("WORD_TIMES")],
        confidences=value("WORD_CONFIDENCES").tolist(),
    )
