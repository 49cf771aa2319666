"""Tenants on a whole server: each wire knows whose client it is, and refuses in its own words."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
import tritonclient.grpc as tritongrpc
from tritonclient.utils import InferenceServerException
from websockets.sync.client import connect

from streamgate.server.settings import GrpcTransport
from streamgate.session.tenant import Rate, Tenant
from streamgate.session.tenants import hash_of
from tests.system.running_server import RunningServer, running
from tests.system.tally import TallyStream, setting, total_of, value_tensor, write_tally
from tests.waiting import wait

TENANTS = (
    Tenant("small", (hash_of("small-key"),), streams_max=1),
    Tenant("rated", (hash_of("rated-key"),), requests=Rate(0.25, 2)),
    Tenant("slow", (hash_of("slow-key"),), bytes=Rate(1000, 1)),
    Tenant("", streams_max_by_model={"tally": 2}),
)
SMALL = {"authorization": "Bearer small-key"}
RATED = {"x-api-key": "rated-key"}
SLOW = {"x-api-key": "slow-key"}


@pytest.fixture(params=list(GrpcTransport), ids=lambda transport: transport.value)
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    write_tally(tmp_path, slots=8)
    write_tally(tmp_path, "narrow", slots=8, rest=setting("max_streams", "1"))
    with running(tmp_path, request.param, tenants=TENANTS) as server:
        yield server


def tenant_metric(server: RunningServer, name: str, tenant: str, extra: str = "") -> float:
    for line in server.metrics().splitlines():
        is_it = line.startswith(f"streamgate_tenant_{name}{{") and f'tenant="{tenant}"' in line
        if is_it and extra in line:
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no {name} of {tenant}")


def posted(server: RunningServer, key: int, flags: str, **headers: str) -> tuple[int, Any, Any]:
    """Status, body and headers of a step over HTTP."""
    parameters = {
        "sequence_id": key,
        "sequence_start": "S" in flags,
        "sequence_end": "E" in flags,
    }
    tensor = {"name": "VALUE", "datatype": "INT32", "shape": [1, 1], "data": [3]}
    body = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
    url = f"http://{server.http}/v2/models/tally/infer"
    question = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(question, timeout=30) as answer:
            return answer.status, json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error), error.headers


def test_http_and_unary_grpc(server: RunningServer) -> None:
    assert posted(server, 1, "S", **SMALL)[0] == 200
    status, body, headers = posted(server, 2, "S", **SMALL)
    assert (status, headers["Retry-After"]) == (429, "1")
    assert body == {"error": "tenant 'small' has all its 1 streams; try again later"}
    with closing(tritongrpc.InferenceServerClient(server.grpc)) as client:

        def step(key: int, flags: str, headers: dict[str, str]) -> int:
            start, end = "S" in flags, "E" in flags
            inputs = [value_tensor(3)]
            return total_of(
                client.infer(
                    "tally",
                    inputs,
                    sequence_id=key,
                    sequence_start=start,
                    sequence_end=end,
                    headers=headers,
                )
            )

        with pytest.raises(InferenceServerException, match="all its 1 streams") as refusal:
            step(2, "S", SMALL)
        assert refusal.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
        # Its own sequence goes on, may be superseded by itself, and makes room when it ends.
        assert step(1, "", SMALL) == 6
        assert step(1, "S", SMALL) == 3
        wait(lambda: tenant_metric(server, "streams", "small") == 1)
        assert step(1, "E", SMALL) == 6
        wait(lambda: tenant_metric(server, "streams", "small") == 0)
        assert step(2, "SE", SMALL) == 3
        # Others are not concerned, but by their own limits.
        assert step(3, "S", {}) == step(4, "S", {"x-api-key": "unknown"}) == 3
        with pytest.raises(InferenceServerException, match="no known API key has all its 2"):
            step(5, "S", {})
        step(3, "E", {})
        step(4, "E", {})
    assert tenant_metric(server, "refused_total", "small", 'limit="streams"') == 2
    assert tenant_metric(server, "refused_total", "", 'limit="streams_of_model"') == 1
    assert "small-key" not in server.metrics()


def test_a_refusal_says_when_to_come_again(server: RunningServer) -> None:
    assert posted(server, 1, "S", **RATED)[0] == 200
    assert posted(server, 1, "E", **RATED)[0] == 200
    assert posted(server, 2, "SE", **RATED)[0] == 200
    status, body, headers = posted(server, 3, "S", **RATED)
    assert (status, "more than 0.25 requests a second" in body["error"]) == (429, True)
    assert 1 <= int(headers["Retry-After"]) <= 4
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        message = tritongrpc.service_pb2.ModelInferRequest(model_name="tally")
        message.inputs.add(name="VALUE", datatype="INT32", shape=[1, 1])
        message.raw_input_contents.append(b"\1\0\0\0")
        message.parameters["sequence_id"].int64_param = 3
        message.parameters["sequence_start"].bool_param = True
        with pytest.raises(grpc.RpcError) as refusal:
            call(message.SerializeToString(), metadata=tuple(RATED.items()), timeout=30)
        told = dict(refusal.value.trailing_metadata())
        assert 1 <= int(told["retry-after"]) <= 4
        assert 0 < int(told["grpc-retry-pushback-ms"]) <= 4000


def test_a_stream_goes_on_and_a_lost_one_makes_room(server: RunningServer) -> None:
    stream = TallyStream(server.grpc, **SMALL)
    stream.ask(1, 3, "S")
    assert stream.total() == 3
    stream.ask(2, 3, "S")
    assert "all its 1 streams" in stream.error()
    stream.ask(1, 4)
    assert stream.total() == 7
    assert tenant_metric(server, "streams", "small") == 1
    stream.client.stop_stream(cancel_requests=True)
    stream.client.close()
    wait(lambda: tenant_metric(server, "streams", "small") == 0)


def test_a_websocket_with_a_reservation(server: RunningServer) -> None:
    with connect(server.websocket, additional_headers=SMALL) as first:
        first.send('{"type":"open","model":"tally","reserve":true}')
        assert json.loads(first.recv(30))["reserved"] is True
        with connect(f"{server.websocket}?key=small-key") as second:
            second.send('{"type":"open","model":"tally","reserve":true}')
            told = json.loads(second.recv(30))
            assert (told["type"], told["code"], told["retry_seconds"]) == (
                "error",
                "UNAVAILABLE",
                1.0,
            )
            # What is reserved is one stream, and so it is when its START has come.
            first.send(b"\1\0\0\0")
            assert json.loads(first.recv(30))["outputs"][0]["data"] == [1]
            assert tenant_metric(server, "streams", "small") == 1
            first.close()
            wait(lambda: tenant_metric(server, "streams", "small") == 0)
            second.send('{"type":"open","model":"tally","reserve":true}')
            assert json.loads(second.recv(30))["type"] == "opened"


def test_a_model_has_a_limit_for_all_together(server: RunningServer) -> None:
    one, other = TallyStream(server.grpc, "narrow"), TallyStream(server.grpc, "narrow", **SMALL)
    assert server.metric("streamgate_streams_headroom", "narrow") == 1
    with closing(one.client), closing(other.client):
        one.ask(1, 3, "S")
        assert one.total() == 3
        # Seven of its slots are free.
        assert server.metric("streamgate_streams_headroom", "narrow") == 0
        other.ask(2, 3, "S")
        assert "model 'narrow' has all its 1 streams; try again later" in other.error()
        one.ask(1, 3, "E")
        assert one.total() == 6
        wait(lambda: tenant_metric(server, "streams", "") == 0)
        other.ask(2, 3, "SE")
        assert other.total() == 3


def test_who_sends_too_much_is_read_more_slowly_and_loses_nothing(server: RunningServer) -> None:
    """Each message has more than 50 bytes, so 20 of them are more than a second's worth."""
    stream = TallyStream(server.grpc, **SLOW)
    begin = time.monotonic()
    with closing(stream.client):
        for n in range(20):
            stream.ask(1, 1, "S" if not n else "E" if n == 19 else "")
        assert [stream.total() for _ in range(20)] == list(range(1, 21))
        # The last pause is not waited for.
        received = tenant_metric(server, "received_bytes_total", "slow")
        assert received > 1000
        assert time.monotonic() - begin >= (received * 19 / 20 - 100) / 1000
    assert tenant_metric(server, "pauses_total", "slow") >= 19
    begin = time.monotonic()
    assert posted(server, 2, "SE", **SLOW)[0] == 200
    assert time.monotonic() - begin > 0.1
