"""Raw gRPC calls for tests: our messages under the service's public name, no client library."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from google.protobuf.message import Message

from streamgate._proto import grpc_service_pb2 as pb

SERVICE = "/inference.GRPCInferenceService/"
WAIT_SECONDS = 20.0
Metadata = Sequence[tuple[str, str]]


def infer_request(
    model: str,
    *values: float,
    id: str = "",
    dtype: str = "FP32",
    tensor: str = "IN",
    **parameters: bool | int | str,
) -> pb.ModelInferRequest:
    """A request with one input, in raw form; ints are sent as int64_param."""
    numpy_type = {"FP32": np.float32, "INT32": np.int32}[dtype]
    request = pb.ModelInferRequest(model_name=model, id=id)
    request.inputs.add(name=tensor, datatype=dtype, shape=[len(values)])
    request.raw_input_contents.append(np.array(values, numpy_type).tobytes())
    for key, value in parameters.items():
        if isinstance(value, bool):
            request.parameters[key].bool_param = value
        elif isinstance(value, int):
            request.parameters[key].int64_param = value
        else:
            request.parameters[key].string_param = value
    return request


def values_of(response: pb.ModelInferResponse, dtype: str = "float32") -> list[float]:
    """The first output's values."""
    return list(np.frombuffer(response.raw_output_contents[0], dtype).tolist())


class Stub:
    """A blocking client of the service; a context manager."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
            ],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.channel.close()

    def call(self, method: str, request: Message | bytes, metadata: Metadata = ()) -> Any:
        """The response of a unary RPC, of the type that its name implies."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        answer = self.channel.unary_unary(SERVICE + method)(
            data, timeout=WAIT_SECONDS, metadata=metadata
        )
        return getattr(pb, f"{method}Response").FromString(answer)

    def infer(self, request: Message | bytes, metadata: Metadata = ()) -> pb.ModelInferResponse:
        response: pb.ModelInferResponse = self.call("ModelInfer", request, metadata)
        return response

    def refusal(self, method: str, request: Message | bytes, metadata: Metadata = ()) -> Any:
        """Status and text of a unary RPC that must fail."""
        try:
            response = self.call(method, request, metadata)
        except grpc.RpcError as error:
            return error.code(), error.details()
        raise AssertionError(f"{method} succeeded: {response}")

    def stream(self, metadata: Metadata = ()) -> Stream:
        return Stream(self.channel, metadata)


class Stream:
    """One ModelStreamInfer call, driven message by message."""

    def __init__(self, channel: grpc.Channel, metadata: Metadata = ()) -> None:
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.call = channel.stream_stream(SERVICE + "ModelStreamInfer")(
            self._outgoing(), timeout=WAIT_SECONDS, metadata=metadata
        )

    def send(self, *requests: Message | bytes) -> None:
        for request in requests:
            data = request if isinstance(request, bytes) else request.SerializeToString()
            self._requests.put(data)

    def half_close(self) -> None:
        self._requests.put(None)

    def receive(self) -> pb.ModelStreamInferResponse:
        return pb.ModelStreamInferResponse.FromString(next(self.call))

    def ids(self, count: int) -> list[str]:
        """The ids of the next messages."""
        return [self.receive().infer_response.id for _ in range(count)]

    def rest(self) -> list[pb.ModelStreamInferResponse]:
        """All messages until the call ends with OK."""
        return [pb.ModelStreamInferResponse.FromString(data) for data in self.call]

    def end(self) -> tuple[grpc.StatusCode, str]:
        """How the call ends; reads what is left."""
        with contextlib.suppress(grpc.RpcError):
            self.rest()
        return self.call.code(), self.call.details()

    def _outgoing(self) -> Iterator[bytes]:
        while (data := self._requests.get()) is not None:
            yield data
