"""The whole house with each gRPC transport: the flag, a call, a sequence, a stop."""

from pathlib import Path

import grpc.aio
import pytest

from streamgate._proto import grpc_service_pb2 as pb
from streamgate.cli import main
from streamgate.server import main as process
from streamgate.server.server import Server
from streamgate.server.settings import GrpcTransport, Settings
from tests.frontends.grpc_client import SERVICE, infer_request, values_of
from tests.server.model_house import CONFIG, SEQUENCES, Models


@pytest.mark.parametrize("transport", GrpcTransport)
async def test_calls_and_sequences(models: Models, transport: GrpcTransport) -> None:
    models.write("plain", 2, config=CONFIG)
    models.write("sequences", 3, config=SEQUENCES)
    server = Server(
        Settings(
            [models.directory],
            host="127.0.0.1",
            http_port=0,
            grpc_port=0,
            metrics_port=0,
            websocket_port=0,
            grpc_transport=transport,
        )
    )
    ports = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        request = infer_request("plain", 40, dtype="INT32")
        answer = await channel.unary_unary(SERVICE + "ModelInfer")(request.SerializeToString())
        assert values_of(pb.ModelInferResponse.FromString(answer), "int32") == [42]
        stream = channel.stream_stream(SERVICE + "ModelStreamInfer")()
        for value in range(3):
            step = infer_request(
                "sequences",
                value,
                dtype="INT32",
                sequence_id=7,
                sequence_start=value == 0,
                sequence_end=value == 2,
            )
            step.inputs[0].shape[:] = [1, 1]
            await stream.write(step.SerializeToString())
        await stream.done_writing()
        answers = [pb.ModelStreamInferResponse.FromString(data) async for data in stream]
        assert [each.error_message for each in answers] == [""] * 3
        assert [values_of(each.infer_response, "int32") for each in answers] == [[3], [4], [5]]
        await server.stop()


@pytest.mark.parametrize(
    ("flags", "transport"),
    [
        ([], GrpcTransport.GRPCIO),
        (["--grpc-transport=lean"], GrpcTransport.LEAN),
        (["--grpc-transport", "grpcio"], GrpcTransport.GRPCIO),
    ],
)
def test_the_flag(
    flags: list[str],
    transport: GrpcTransport,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    served: list[Settings] = []

    def serve(settings: Settings, _: object) -> int:
        served.append(settings)
        return 0

    monkeypatch.setattr(process, "serve", serve)
    assert main(["serve", "--model-repository", str(tmp_path), *flags]) == 0
    assert served[0].grpc_transport is transport
