"""A client of KServe's gRPC streams that comes back, as `docs/resume.md` says, and checks all that
it hears: each answer once, in order, none missing."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc

from streamgate._proto import grpc_service_pb2 as pb
from tests.durable.faults.tongues import SERVICE, output_of

BACKOFF_SECONDS = 0.05
SILENCE_SECONDS = 20.0
"""After so long without a word, it believes that its call is dead."""

ELSEWHERE_MAX = 60
"""So often in a row it may reach a front end that does not have its stream: which of them it
reaches is chance."""

OTHER_SEQUENCES = 10**12
"""So far from their IDs are those of the sequences with which it begins anew."""

BROKEN = "Internal error from Core"
"""What grpcio says of a message that it could not send any more."""

Call = Any
"""grpc.aio has no types."""


@dataclass
class ResumingStream:
    """Says `requests`, each answered by one message, through whatever fails. Their IDs say to which
    sequence they belong. `pause_seconds` is between them."""

    address: str
    requests: list[pb.ModelInferRequest]
    resume_seconds: int
    pause_seconds: float
    seconds: float
    answers: dict[str, list[int]] = field(default_factory=dict)
    token: str = ""
    last_event: int = 0
    elsewhere: int = 0

    async def run(self) -> dict[str, list[int]]:
        """All outputs, by sequence."""
        async with asyncio.timeout(self.seconds):
            while self._heard < len(self.requests):
                async with grpc.aio.insecure_channel(
                    self.address, [("grpc.use_local_subchannel_pool", 1)]
                ) as channel:
                    await self._once(channel)
        return self.answers

    @property
    def _heard(self) -> int:
        return sum(map(len, self.answers.values()))

    async def _once(self, channel: grpc.aio.Channel) -> None:
        """One call, up to its end."""
        metadata = [("streamgate-resume-seconds", str(self.resume_seconds))]
        if not self.token:
            # The stream that it knows no token of may still be there, with these sequences.
            for request in self.requests:
                request.parameters["sequence_id"].int64_param += OTHER_SEQUENCES
        else:
            metadata = [
                ("streamgate-resume", self.token),
                ("streamgate-last-event", str(self.last_event)),
            ]
        call: Call = channel.stream_stream(
            f"{SERVICE}ModelStreamInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )(metadata=metadata)
        try:
            await self._converse(call)
        except TimeoutError:
            call.cancel()
        except grpc.aio.AioRpcError as error:
            is_elsewhere = error.code() is grpc.StatusCode.NOT_FOUND and bool(self.token)
            self.elsewhere = self.elsewhere + 1 if is_elsewhere else 0
            is_lost = error.code() is grpc.StatusCode.UNAVAILABLE or BROKEN in str(error.details())
            may_go_on = is_elsewhere or is_lost
            if not may_go_on or self.elsewhere > ELSEWHERE_MAX:
                raise
            await asyncio.sleep(BACKOFF_SECONDS)

    async def _converse(self, call: Call) -> None:
        said = 0
        if self.token:
            greeting = await self._hear(call)
            said = greeting.infer_response.parameters["streamgate_received"].int64_param
            self._keep_token(greeting)
        saying = asyncio.create_task(self._say(call, said))
        try:
            while self._heard < len(self.requests):
                self._take(await self._hear(call))
            await saying
        finally:
            saying.cancel()
            with suppress(asyncio.CancelledError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await saying

    def _keep_token(self, message: pb.ModelStreamInferResponse) -> None:
        parameters = message.infer_response.parameters
        if "streamgate_resume" in parameters:
            self.token = parameters["streamgate_resume"].string_param

    def _take(self, message: pb.ModelStreamInferResponse) -> None:
        assert not message.error_message, message.error_message
        self._keep_token(message)
        response = message.infer_response
        self.last_event += 1
        assert response.parameters["streamgate_event"].int64_param == self.last_event
        answers = self.answers.setdefault(response.id, [])
        assert response.parameters["streamgate_position"].int64_param == len(answers)
        answers.append(output_of(response))

    async def _hear(self, call: Call) -> pb.ModelStreamInferResponse:
        async with asyncio.timeout(SILENCE_SECONDS):
            message = await call.read()
        assert isinstance(message, pb.ModelStreamInferResponse), "the server has ended the call"
        return message

    async def _say(self, call: Call, said: int) -> None:
        for request in self.requests[said:]:
            await call.write(request)
            await asyncio.sleep(self.pause_seconds)
        await call.done_writing()
