"""Streams over StreamGate's WebSocket: one connection a stream, one binary frame a chunk."""

import asyncio
import json
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from streams import MODEL, PATIENCE_SECONDS, DemoError, Pace, Stream

_OPEN = {
    "type": "open",
    "model": MODEL,
    "input": {"name": "AUDIO", "datatype": "FP32", "shape": [1, 512]},
    "output_format": "json",
}


async def run(address: str, streams: list[Stream], pace: Pace) -> None:
    """Sends every stream at the given pace and reads its answers until all have ended."""
    async with asyncio.TaskGroup() as group:
        for stream in streams:
            group.create_task(_run_one(f"ws://{address}/v1/sequence", stream, pace))


async def _run_one(url: str, stream: Stream, pace: Pace) -> None:
    async with connect(url) as socket:
        await socket.send(json.dumps({**_OPEN, "sequence_id": f"ws-{stream.name}"}))
        opened = await _receive(socket, stream)
        if opened["type"] != "opened":
            raise DemoError(f"websocket {stream.name}: expected 'opened', got {opened}")
        sender = asyncio.create_task(_send(socket, stream, pace))
        try:
            await _read_answers(socket, stream)
            await sender
        finally:
            sender.cancel()


async def _send(socket: ClientConnection, stream: Stream, pace: Pace) -> None:
    for step, chunk in enumerate(stream.recording.chunks):
        await asyncio.sleep(pace.due_in(step))
        stream.sending()
        await socket.send(chunk.tobytes())
    await socket.send(json.dumps({"type": "end"}))


async def _read_answers(socket: ClientConnection, stream: Stream) -> None:
    """Reads until the gateway says, after the last answer, that the sequence has ended."""
    while True:
        message = await _receive(socket, stream)
        match message["type"]:
            case "response":
                values = {output["name"]: output["data"][0] for output in message["outputs"]}
                code, seconds = values["SPEECH_EVENT"], values["EVENT_TIME"]
                stream.answered(message["position"], code, seconds)
            case "ended":
                if message["reason"] != "client_end":
                    raise DemoError(f"websocket {stream.name}: ended early: {message}")
                return
            case _:
                raise DemoError(f"websocket {stream.name}: the gateway says {message}")


async def _receive(socket: ClientConnection, stream: Stream) -> dict[str, Any]:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            text = await socket.recv()
    except TimeoutError:
        raise DemoError(
            f"websocket {stream.name}: no message for {PATIENCE_SECONDS:.0f} s"
        ) from None
    message: dict[str, Any] = json.loads(text)
    return message
