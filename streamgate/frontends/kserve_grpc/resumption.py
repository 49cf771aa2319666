"""ModelStreamInfer streams that clients come back to: what their messages say of it.

Numbers, tokens and counts are parameters of the messages, for clients that do not show their
callers a call's metadata. Those that are not resumable say nothing of it.
"""

from collections.abc import Callable, Sequence
from typing import Final, final

from streamgate.frontends.grpc_resumption import Beginning, ResumableStream
from streamgate.frontends.kserve_grpc import encode
from streamgate.frontends.kserve_grpc.stream import InferStream, StreamTransport

KIND: Final = "inference.GRPCInferenceService/ModelStreamInfer"

TOKEN_PARAMETER: Final = "streamgate_resume"  # noqa: S105, the name of a parameter
EVENT_PARAMETER: Final = "streamgate_event"
RECEIVED_PARAMETER: Final = "streamgate_received"

BeginStream = Callable[[StreamTransport, bool], InferStream]
"""Makes a call's `InferStream` over a transport; whether its messages say their places."""


def infer_beginning(transport: StreamTransport, begin: BeginStream) -> Beginning:
    """How a ModelStreamInfer call over this transport begins."""

    def resumable(stream: ResumableStream) -> tuple[InferStream, "InferWords"]:
        return begin(stream, True), InferWords()

    return Beginning(KIND, lambda: begin(transport, False), resumable)


@final
class InferWords:
    """The `Words` of a stream."""

    def numbered(self, message: bytes, event: int, token: str) -> bytes:
        parameters: dict[str, int | str] = {EVENT_PARAMETER: event}
        if event == 1:
            parameters[TOKEN_PARAMETER] = token
        return encode.with_parameters(message, parameters)

    def greeting(self, token: str, received: int, last_event: int) -> bytes | None:
        return encode.stream_greeting(
            {TOKEN_PARAMETER: token, RECEIVED_PARAMETER: received, EVENT_PARAMETER: last_event}
        )

    def repeats(self, data: bytes) -> bool:
        """Each request stands for itself."""
        del data
        return False

    def received(self) -> Sequence[tuple[str, str]]:
        return ()
