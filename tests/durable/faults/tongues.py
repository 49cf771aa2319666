"""Clients of running hashes, one sequence each, over each protocol: what they send is answered in
order, or they fail. None of them comes back, tries again or is patient in another way."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

import aiohttp
import grpc
import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from streamgate._proto import grpc_service_pb2 as pb

ANSWER_SECONDS = 60.0
Key = Mapping[str, str]
"""The header in which the client's API key stands; none for a client that has none."""
SERVICE = "/inference.GRPCInferenceService/"


class Talk(Protocol):
    """One sequence of a model."""

    async def step(self, value: int, *, start: bool = False, end: bool = False) -> int:
        """The output of the next step."""


class Tongue(Protocol):
    """A protocol. `model` and `key` are those of the sequence."""

    def __call__(self, model: str, key: int) -> Talk: ...


class GrpcUnary:
    def __init__(self, channel: grpc.aio.Channel, model: str, key: int, whose: Key) -> None:
        self._metadata = list(whose.items())
        self._infer = channel.unary_unary(
            f"{SERVICE}ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        self._model, self._key = model, key

    async def step(self, value: int, *, start: bool = False, end: bool = False) -> int:
        request = grpc_request(self._model, self._key, value, start, end)
        return output_of(
            await self._infer(request, timeout=ANSWER_SECONDS, metadata=self._metadata)
        )


class GrpcStream:
    def __init__(self, channel: grpc.aio.Channel, model: str, key: int, whose: Key) -> None:
        self._call = channel.stream_stream(
            f"{SERVICE}ModelStreamInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )(metadata=list(whose.items()))
        self._model, self._key = model, key

    async def step(self, value: int, *, start: bool = False, end: bool = False) -> int:
        await self._call.write(grpc_request(self._model, self._key, value, start, end))
        async with asyncio.timeout(ANSWER_SECONDS):
            answer = await self._call.read()
        assert isinstance(answer, pb.ModelStreamInferResponse), "the stream has ended"
        assert not answer.error_message, answer.error_message
        if end:
            await self._call.done_writing()
        return output_of(answer.infer_response)


class HttpUnary:
    def __init__(self, session: aiohttp.ClientSession, address: str, model: str, key: int) -> None:
        self._session = session
        self._url = f"http://{address}/v2/models/{model}/infer"
        self._key = key

    async def step(self, value: int, *, start: bool = False, end: bool = False) -> int:
        flags = {"sequence_id": self._key, "sequence_start": start, "sequence_end": end}
        tensor = {"name": "IN", "datatype": "INT64", "shape": [1, 1], "data": [value]}
        body = {"inputs": [tensor], "parameters": flags}
        async with self._session.post(self._url, json=body) as answer:
            told = await answer.json(content_type=None)
        assert answer.status == 200, (answer.status, told)
        return int(told["outputs"][0]["data"][0])


class WebSocket:
    """Its positions, and the numbers of its messages, must be without gap, too."""

    def __init__(self, address: str, model: str, closing: AsyncExitStack, whose: Key) -> None:
        self._url = f"ws://{address}/v1/sequence?resume=off"
        self._model, self._whose = model, whose
        self._closing = closing
        self._position = 0
        self._socket: ClientConnection | None = None

    async def step(self, value: int, *, start: bool = False, end: bool = False) -> int:
        if start:
            opening = connect(self._url, ping_timeout=None, additional_headers=self._whose)
            self._socket = await self._closing.enter_async_context(opening)
            await self._socket.send(json.dumps({"type": "open", "model": self._model}))
            opened = await self._hear()
            assert opened["type"] == "opened", opened
        assert self._socket is not None
        tensor = {"name": "IN", "datatype": "INT64", "shape": [1, 1], "data": [value]}
        await self._socket.send(json.dumps({"type": "step", "inputs": [tensor], "last": end}))
        heard = await self._hear()
        assert (heard["type"], heard.get("position")) == ("response", self._position), heard
        assert (heard["index"], heard["final"]) == (0, True), heard
        self._position += 1
        if end:
            ended = await self._hear()
            assert (ended["type"], ended["reason"]) == ("ended", "client_end"), ended
        return int(heard["outputs"][0]["data"][0])

    async def _hear(self) -> dict[str, Any]:
        assert self._socket is not None
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                message: dict[str, Any] = json.loads(await self._socket.recv())
                if message["type"] != "drain_warning":
                    return message


def grpc_request(model: str, key: int, value: int, start: bool, end: bool) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model)
    request.parameters["sequence_id"].int64_param = key
    request.parameters["sequence_start"].bool_param = start
    request.parameters["sequence_end"].bool_param = end
    request.inputs.add(name="IN", datatype="INT64", shape=[1, 1])
    request.raw_input_contents.append(np.int64(value).tobytes())
    return request


def output_of(answer: pb.ModelInferResponse) -> int:
    return int(np.frombuffer(answer.raw_output_contents[0], np.int64)[0])


@asynccontextmanager
async def tongues(
    addresses: Mapping[str, str], api_key: str = ""
) -> AsyncIterator[dict[str, Tongue]]:
    """All protocols by name, on a server's addresses. What they have open is closed at the end."""
    whose = {"x-api-key": api_key} if api_key else {}
    async with AsyncExitStack() as closing:
        channel = await closing.enter_async_context(
            grpc.aio.insecure_channel(addresses["grpc"], [("grpc.use_local_subchannel_pool", 1)])
        )
        session = await closing.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
                headers=whose,
            )
        )
        websocket = addresses["websocket"]
        yield {
            "gRPC stream": lambda model, key: GrpcStream(channel, model, key, whose),
            "gRPC unary": lambda model, key: GrpcUnary(channel, model, key, whose),
            "HTTP unary": lambda model, key: HttpUnary(session, addresses["http"], model, key),
            "WebSocket": lambda model, _: WebSocket(websocket, model, closing, whose),
        }
