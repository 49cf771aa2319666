"""Streams over gRPC with Triton's own client: many sequences interleaved on one stream."""

import threading
import time

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from streams import MODEL, PATIENCE_SECONDS, DemoError, Pace, Stream


def run(address: str, streams: list[Stream], pace: Pace) -> None:
    """Sends every stream at the given pace over one bidirectional call; waits for all answers."""
    answers = _Answers(streams)
    client = triton.InferenceServerClient(address)
    try:
        client.start_stream(answers.receive)
        for step in range(max(len(stream.recording.chunks) for stream in streams)):
            time.sleep(pace.due_in(step))
            for stream in streams:
                if step < len(stream.recording.chunks):
                    _send(client, stream, step)
            answers.check()
        answers.wait()
        client.stop_stream()
    finally:
        client.close()


def _send(client: triton.InferenceServerClient, stream: Stream, step: int) -> None:
    chunk = stream.recording.chunks[step]
    audio = triton.InferInput("AUDIO", chunk.shape, "FP32")
    audio.set_data_from_numpy(chunk)
    stream.sending()
    client.async_stream_infer(
        MODEL,
        [audio],
        request_id=f"{step}:{stream.name}",
        sequence_id=f"grpc-{stream.name}",
        sequence_start=step == 0,
        sequence_end=step == len(stream.recording.chunks) - 1,
    )


class _Answers:
    """Takes the answers on the client's thread and keeps the first failure for ours."""

    def __init__(self, streams: list[Stream]) -> None:
        self._streams = {stream.name: stream for stream in streams}
        self._done = threading.Event()
        self._failure: Exception | None = None

    def receive(
        self, result: triton.InferResult | None, error: InferenceServerException | None
    ) -> None:
        try:
            if result is None:
                raise DemoError(f"grpc: the gateway says {error}")
            step, _, name = result.get_response().id.partition(":")
            code = int(result.as_numpy("SPEECH_EVENT").item())
            seconds = float(result.as_numpy("EVENT_TIME").item())
            self._streams[name].answered(int(step), code, seconds)
        except Exception as failure:  # noqa: BLE001 - the client would swallow it; check() raises it
            self._failure = self._failure or failure
            self._done.set()
        if all(stream.complete for stream in self._streams.values()):
            self._done.set()

    def check(self) -> None:
        """Raises what went wrong on the client's thread, if something did."""
        if self._failure is not None:
            raise self._failure

    def wait(self) -> None:
        """Waits until every chunk has its answer."""
        if not self._done.wait(PATIENCE_SECONDS):
            missing = [stream.name for stream in self._streams.values() if not stream.complete]
            raise DemoError(f"grpc: no answer for {PATIENCE_SECONDS:.0f} s to {missing}")
        self.check()
