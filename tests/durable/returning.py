"""A client of gRPC calls that comes back by metadata, as `docs/resume.md` says: raw messages, a
connection of its own for each call, and every answer of the server's checked."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any

import grpc

SECONDS = 120.0
CALL_SECONDS = 60.0
BACKOFF_SECONDS = 0.02
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
_RAW = {"request_serializer": bytes, "response_deserializer": bytes}


@dataclass
class ReturningCaller:
    """Says `requests`, the first of which is the configuration, through whatever fails. Blocking:
    one thread runs it. `repeats` is whether it begins each call with the configuration, as client
    libraries do."""

    address: str
    method: str
    requests: Sequence[bytes]
    audio_bytes: Sequence[int]
    """Of each request."""
    repeats: bool = False
    silence_seconds: float = 60.0
    """After so long without a word it believes that its wire is dead."""
    pause_seconds: float = 0.002
    heard: list[bytes] = field(default_factory=list)
    token: str = ""
    said: int = 0
    """How many requests its gRPC has taken, over all calls."""
    resumes: int = 0
    calls: int = 0

    def run(self) -> list[bytes]:
        """All that it heard, up to the end of a call that ended well."""
        limit = time.monotonic() + SECONDS
        while not self._once():
            assert time.monotonic() < limit, f"{len(self.heard)} heard, {self.said} said"
            time.sleep(BACKOFF_SECONDS)
        return self.heard

    def _once(self) -> bool:
        """One call. Whether it was the last."""
        self.calls += 1
        place: Future[int] = Future()
        wishes = [("streamgate-resume-seconds", "60")]
        if self.token:
            wishes = [
                ("streamgate-resume", self.token),
                ("streamgate-last-event", str(len(self.heard))),
            ]
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self.address, options=options) as channel:
            call = channel.stream_stream(self.method, **_RAW)(
                self._say(place), metadata=tuple(wishes), timeout=CALL_SECONDS
            )
            watch = _Watch(call, self.silence_seconds)
            try:
                self._begin(dict(call.initial_metadata() or ()), place)
                watch.look()
                for message in call:
                    watch.look()
                    self.heard.append(message)
            except grpc.RpcError as error:
                self._check(error, watch)
                if watch.has_cancelled:
                    self.silence_seconds *= 1.5  # the machine may be slow, and nothing dead
                return False
            finally:
                place.cancel()
                watch.stop()
        return True

    def _begin(self, initial: dict[str, Any], place: "Future[int]") -> None:
        """Where to go on, if the call got so far."""
        if "streamgate-resume" not in initial:
            return
        if self.token:
            self.resumes += 1
            received = int(initial["streamgate-received"])
            assert received <= self.said
            heard_bytes = int(initial["streamgate-received-bytes"])
            assert heard_bytes == sum(self.audio_bytes[:received])
        else:
            # One that was begun before, whose token was lost, is nobody's: it runs out.
            received = self.said = 0
            assert not self.heard
        self.token = initial["streamgate-resume"]
        place.set_result(received)

    def _say(self, place: "Future[int]") -> Iterator[bytes]:
        """What has not been received yet, at its pace."""
        try:
            received = place.result()
        except CancelledError:
            return
        if received and self.repeats:
            yield self.requests[0]
        for number, request in enumerate(self.requests[received:], received + 1):
            self.said = max(self.said, number)
            yield request
            time.sleep(self.pause_seconds)

    def _check(self, error: grpc.RpcError, watch: "_Watch") -> None:
        """A call that failed must have lost its wire."""
        told = (error.code(), error.details(), len(self.heard), self.said)
        assert error.code() in _LOST or watch.has_cancelled, told
        assert "streamgate-last-event" not in dict(error.trailing_metadata() or ()), told


class _Watch:
    """Breaks a call off that says nothing for too long."""

    def __init__(self, call: Any, seconds: float) -> None:
        self._call = call
        self._seconds = seconds
        self.has_cancelled = False
        self._timer = threading.Timer(seconds, self._cancel)
        self._timer.start()

    def look(self) -> None:
        """It has said something."""
        self._timer.cancel()
        self._timer = threading.Timer(self._seconds, self._cancel)
        self._timer.start()

    def stop(self) -> None:
        self._timer.cancel()

    def _cancel(self) -> None:
        self.has_cancelled = True
        self._call.cancel()
