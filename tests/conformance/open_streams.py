"""Streams that stay open through a case: messages go out and come in as the steps ask for them.

Sends what tritonclient would send, but reads the messages themselves, which hold more than
tritonclient shows: the id and the parameters of an error.
"""

from __future__ import annotations

import queue
import threading
from typing import Any, Final

import grpc
from tritonclient.grpc import service_pb2

from tests.conformance.answers import Answer, grpc_failure, stream_response

METHOD: Final = "/inference.GRPCInferenceService/ModelStreamInfer"


class OpenStream:
    """One ModelStreamInfer call and what has come back on it."""

    def __init__(self, channel: grpc.Channel, limit_seconds: float) -> None:
        self._limit_seconds = limit_seconds
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._messages: list[Answer] = []
        self._end: Answer = None
        method = channel.stream_stream(
            METHOD,
            request_serializer=bytes,
            response_deserializer=service_pb2.ModelStreamInferResponse.FromString,
        )
        self._call: Any = method(iter(self._outgoing.get, None))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def exchange(self, messages: list[bytes], responses: int) -> list[Answer]:
        """Send `messages`, wait for `responses` and take all that has come since the last time."""
        for message in messages:
            self._outgoing.put(message)
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._messages) >= responses or self._end is not None,
                self._limit_seconds,
            )
            return self._taken()

    def hang_up(self, *, cancel: bool) -> list[Answer]:
        """What had not been taken yet, and how the call ended: half-closed or cancelled by us."""
        if cancel:
            self._call.cancel()
        self._outgoing.put(None)
        self._reader.join(self._limit_seconds)
        with self._changed:
            return [*self._taken(), self._end]

    def _taken(self) -> list[Answer]:
        taken, self._messages = self._messages, []
        return taken

    def _read(self) -> None:
        end: Answer = {"status": "OK"}
        try:
            for response in self._call:
                with self._changed:
                    self._messages.append(stream_response(response))
                    self._changed.notify_all()
        except grpc.RpcError as error:
            end = grpc_failure(error.code().name, error.details())
        with self._changed:
            self._end = end
            self._changed.notify_all()
