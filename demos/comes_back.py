"""A client of Riva's, or of Google's, that comes back when its connection is lost.

    python demos/comes_back.py speech.wav --server localhost:8001

`ComesBack` is an interceptor for a channel of gRPC's Python. Streaming calls over the channel then
go on over another connection where the last one broke, as `docs/resume.md` says; who made them
hears nothing of it. It knows no service: what it needs is in metadata.

A connection may go dead without a word. Whether it has is found out by the channel, if it is told
to: `("grpc.keepalive_time_ms", 10_000)` among its options.
"""

import argparse
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any, NamedTuple

import grpc

LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
"""How gRPC calls it when a connection breaks."""
PAUSE_SECONDS = 0.05
PAUSE_SECONDS_MAX = 1.0
REQUESTS_KEPT = 4096
"""The last of what was sent, to be sent again if it did not arrive."""


class ComesBack(grpc.StreamStreamClientInterceptor):  # type: ignore[misc]  # no types
    """For as long as `seconds` each time, a call that was lost is sought again.

    `on_return` is told how many responses had come whenever one is there again.
    """

    def __init__(
        self, seconds: float = 30.0, on_return: Callable[[int], None] = lambda _: None
    ) -> None:
        self._seconds = seconds
        self._on_return = on_return

    def intercept_stream_stream(
        self, continuation: Any, client_call_details: Any, request_iterator: Iterable[Any]
    ) -> Iterator[Any]:
        call = _LastingCall(continuation, client_call_details, request_iterator, self._seconds)
        return call.responses(self._on_return)


class _Details(NamedTuple):
    """What gRPC's `ClientCallDetails` has."""

    method: str
    timeout: float | None
    metadata: list[tuple[str, str | bytes]]
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _LastingCall:
    """One call to who makes it, over as many as it takes."""

    def __init__(
        self, continuation: Any, details: Any, requests: Iterable[Any], seconds: float
    ) -> None:
        self._continuation = continuation
        self._details = details
        self._seconds = seconds
        self._requests = _Requests(requests)
        self._began = time.monotonic()
        self._heard = 0
        self._token = ""

    def responses(self, on_return: Callable[[int], None]) -> Iterator[Any]:
        """Each once and in order. Raises grpc.RpcError for what coming back does not help
        against."""
        lost_at = None
        pause_seconds = PAUSE_SECONDS
        while True:
            is_return = bool(self._token)
            place: Future[int] = Future()
            call = self._continuation(self._own_details(), self._requests.behind(place))
            try:
                if self._has_begun(call, place) and is_return:
                    on_return(self._heard)
                    lost_at, pause_seconds = None, PAUSE_SECONDS
                for response in call:
                    self._heard += 1
                    yield response
                return
            except grpc.RpcError as error:
                now = time.monotonic()
                lost_at = lost_at or now
                if not self._may_return(error) or now - lost_at > self._seconds:
                    raise
            finally:
                place.cancel()
                call.cancel()
            time.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, PAUSE_SECONDS_MAX)

    def _has_begun(self, call: Any, place: "Future[int]") -> bool:
        """Whether the server has taken it; where to go on with the requests, is said to them."""
        if not self._token:
            # Servers that keep nothing may say nothing before they have heard something.
            place.set_result(0)
        initial = dict(call.initial_metadata() or ())
        # The token is the last of it: of a connection that broke, only a part may have come.
        if "streamgate-resume" not in initial:
            return False
        if self._token:
            place.set_result(int(initial["streamgate-received"]))
        self._token = initial["streamgate-resume"]
        return True

    def _own_details(self) -> _Details:
        details = self._details
        if self._token:
            ours = [
                ("streamgate-resume", self._token),
                ("streamgate-last-event", str(self._heard)),
            ]
        else:
            ours = [("streamgate-resume-seconds", f"{self._seconds:g}")]
        timeout = details.timeout
        if timeout is not None:
            timeout = max(0.0, timeout - (time.monotonic() - self._began))
        return _Details(
            details.method,
            timeout,
            [*(details.metadata or ()), *ours],
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )

    def _may_return(self, error: Any) -> bool:
        """Whether the call was lost, and the server has not ended it; and whether there is a way
        back. Before its token was there it may begin anew, if nothing has been heard."""
        if error.code() not in LOST:
            return False
        if "streamgate-last-event" in dict(error.trailing_metadata() or ()):
            return False
        return bool(self._token) or not (self._heard or self._requests.are_forgotten)


class _Requests:
    """What the caller says, for one call after the other."""

    def __init__(self, requests: Iterable[Any]) -> None:
        self._source = iter(requests)
        self._kept: deque[Any] = deque()
        self._forgotten = 0
        self._lock = threading.Lock()

    @property
    def are_forgotten(self) -> bool:
        """Whether the first ones are not kept any more."""
        return self._forgotten > 0

    def behind(self, place: "Future[int]") -> Iterator[Any]:
        """All but the first so many, as soon as it is known how many."""
        try:
            number = place.result()
        except CancelledError:
            return
        while True:
            # A call that was lost may still be waiting for the next one: it gets it, in vain, and
            # it is kept for this one.
            with self._lock:
                if number < self._forgotten:
                    raise RuntimeError(f"request {number} is not kept any more")
                if number - self._forgotten == len(self._kept) and not self._take():
                    return
                request = self._kept[number - self._forgotten]
            number += 1
            yield request

    def _take(self) -> bool:
        """One more of the caller's; False if that was all."""
        for request in self._source:
            self._kept.append(request)
            if len(self._kept) > REQUESTS_KEPT:
                self._kept.popleft()
                self._forgotten += 1
            return True
        return False


def main() -> None:
    import riva.client  # type: ignore[import-not-found]  # only this program needs it

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", help="a WAV file")
    parser.add_argument("--server", default="localhost:8001")
    options = parser.parse_args()

    auth = riva.client.Auth(uri=options.server, options=[("grpc.keepalive_time_ms", 10_000)])
    back = ComesBack(on_return=lambda heard: print(f"(came back after {heard} responses)"))
    auth.channel = grpc.intercept_channel(auth.channel, back)
    service = riva.client.ASRService(auth)
    config = riva.client.StreamingRecognitionConfig(config=riva.client.RecognitionConfig())
    with riva.client.AudioChunkFileIterator(
        options.file, 1600, riva.client.sleep_audio_length
    ) as chunks:
        for response in service.streaming_response_generator(chunks, config):
            for result in response.results:
                print(result.alternatives[0].transcript)


if __name__ == "__main__":
    main()
