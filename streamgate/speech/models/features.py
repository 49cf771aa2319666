"""Audio to windows of features, as an encoder wants them: the first step of a recogniser.

Decoupled: a step answers with as many windows as its audio completes, none or several. With END,
and with FLUSH, the rest is filled up with silence and there is at least one window; the last of
them has LAST, which tells the steps behind that the utterance ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from streamgate.model.tensor import Array
from streamgate.speech.chunking import Chunking, ChunkState, Window
from streamgate.speech.features import PRESETS, Fbank, FbankState
from streamgate.speech.models.settings import Settings
from streamgate.speech.models.streams import END, Key, Streams

LAYOUTS = ("time_first", "time_last")


@dataclass(frozen=True, slots=True)
class FeatureStream:
    """A sequence: its features and windows since `origin`, the sample at which they began (anew,
    after a FLUSH), of `heard` in all."""

    features: FbankState
    windows: ChunkState
    origin: int
    heard: int


@dataclass(frozen=True, slots=True)
class Heard:
    """A window, the samples of the sequence for which its step stands, and whether an utterance
    ends with it. `step` is how many a whole step has."""

    rows: Array
    start: int
    end: int
    step: int
    last: bool


class WindowedFeatures:
    """The pure part: samples to windows."""

    def __init__(self, fbank: Fbank, chunking: Chunking, padding_frames: int) -> None:
        self._fbank = fbank
        self._chunking = chunking
        self._padding = padding_frames
        self._silence = fbank.frames_of_silence(1)

    def start(self) -> FeatureStream:
        """The state before the first sample."""
        return FeatureStream(self._fbank.start(), self._chunking.start(), 0, 0)

    def feed(
        self, stream: FeatureStream, samples: Array, *, ends: bool
    ) -> tuple[FeatureStream, list[Heard]]:
        """Take samples [n], and with `ends` give all windows that they are in, at least one."""
        heard = stream.heard + len(samples)
        features, frames = self._fbank.feed(stream.features, samples)
        windows, found = self._chunking.feed(stream.windows, frames)
        if not ends:
            after = FeatureStream(features, windows, stream.origin, heard)
            return after, [self._heard(each, stream.origin, heard) for each in found]
        found += self._end(features, windows, lonely=not found)
        answers = [self._heard(each, stream.origin, heard) for each in found]
        final = answers[-1]
        answers[-1] = Heard(final.rows, final.start, heard, final.step, last=True)
        # What the next utterance has on its left is what came last.
        step, left = self._chunking.step, self._chunking.left
        before = ChunkState(final.rows[step : step + left].copy(), 0)
        return FeatureStream(self._fbank.start(), before, heard, heard), answers

    def _end(self, features: FbankState, windows: ChunkState, *, lonely: bool) -> list[Window]:
        """The windows that are left, with silence behind; `lonely`: at least one is needed."""
        chunking = self._chunking
        _, frames = self._fbank.finish(features)
        windows, found = chunking.feed(windows, frames)
        nothing = lonely and not found and len(windows.rows) == chunking.left
        count = max(self._padding, 1 if nothing else 0)
        windows, more = chunking.feed(windows, np.tile(self._silence, (count, 1)))
        found += more
        _, more = chunking.finish(windows, self._silence)
        found += more
        return found

    def _heard(self, window: Window, origin: int, heard: int) -> Heard:
        shift, step = self._fbank.shift, self._chunking.step
        start = min(heard, origin + window.start * shift)
        end = min(heard, origin + (window.start + step) * shift)
        return Heard(window.rows, start, end, step * shift, last=False)


class FbankFeatures:
    """`AUDIO` to `FEATURES`, and beside them `FRAMES` (how many), `SPAN` (the samples from, to, and
    in a step) and `LAST`. Parameters are on docs/bring-your-own-model.md."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        given = config.as_dict()
        settings = Settings.of_config(given, Path())
        layout = settings.text("layout", "time_first", LAYOUTS)
        bins = settings.whole("bins", 80, 1)
        frames = _chunking(settings, bins).size
        dims = [frames, bins] if layout == "time_first" else [bins, frames]
        config.add_input({"name": "AUDIO", "data_type": "TYPE_FP32", "dims": [-1]})
        flush = {"name": "FLUSH", "data_type": "TYPE_BOOL", "dims": [1], "optional": True}
        config.add_input(flush)
        for name, kind, shape in (
            ("FEATURES", "TYPE_FP32", dims),
            ("FRAMES", "TYPE_INT64", [1]),
            ("SPAN", "TYPE_INT64", [3]),
            ("LAST", "TYPE_BOOL", [1]),
        ):
            config.add_output({"name": name, "data_type": kind, "dims": shape})
        config.set_model_transaction_policy({"decoupled": True})
        return config

    def initialize(self, args: dict[str, str]) -> None:
        settings = Settings.of(args)
        preset = PRESETS[settings.text("preset", "icefall", PRESETS)]
        rate = settings.whole("sample_rate", preset.sample_rate, 8000)
        bins = settings.whole("bins", preset.bins, 1)
        self._time_last = settings.text("layout", "time_first", LAYOUTS) == "time_last"
        chunking = _chunking(settings, bins)
        padding_ms = settings.number("tail_padding_ms", 0.0)
        settings.check_all_known()
        fbank = Fbank(replace(preset, sample_rate=rate, bins=bins))
        padding = round(padding_ms / 1000 / fbank.frame_seconds)
        self._windowed = WindowedFeatures(fbank, chunking, padding)
        self._streams = Streams(FeatureStream, self._windowed.start)

    def execute(self, requests: Sequence[Any]) -> None:
        for request in requests:
            sender = request.get_response_sender()
            try:
                answers = self._step(request)
            except ValueError as error:
                failure = pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
                sender.send(failure, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
                continue
            if not answers:
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            for place, answer in enumerate(answers, start=1):
                is_final = place == len(answers)
                flags = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if is_final else 0
                sender.send(self._response(answer), flags=flags)

    def on_sequence_end(self, correlation_id: Key, reason: str) -> None:
        self._streams.end(correlation_id)

    def get_state(self, correlation_id: Key) -> bytes:
        return self._streams.packed(correlation_id)

    def set_state(self, correlation_id: Key, state: bytes) -> None:
        self._streams.restore(correlation_id, state)

    def _step(self, request: Any) -> list[Heard]:
        stream = self._streams.enter(request)
        audio = pb_utils.get_input_tensor_by_name(request, "AUDIO").as_numpy()
        flush = pb_utils.get_input_tensor_by_name(request, "FLUSH")
        ends = bool(request.flags() & END) or (flush is not None and flush.as_numpy().any())
        stream, answers = self._windowed.feed(stream, audio.reshape(-1), ends=bool(ends))
        self._streams.leave(request, stream)
        return answers

    def _response(self, answer: Heard) -> Any:
        rows = answer.rows.T if self._time_last else answer.rows
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("FEATURES", np.ascontiguousarray(rows[None])),
                pb_utils.Tensor("FRAMES", np.array([[len(answer.rows)]], np.int64)),
                pb_utils.Tensor(
                    "SPAN", np.array([[answer.start, answer.end, answer.step]], np.int64)
                ),
                pb_utils.Tensor("LAST", np.array([[answer.last]])),
            ]
        )


def _chunking(settings: Settings, bins: int) -> Chunking:
    return Chunking(
        settings.whole("window_step", None, 1),
        settings.whole("right_context", 0),
        settings.whole("left_context", 0),
        (bins,),
    )
