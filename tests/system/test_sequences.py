"""Sequences on a whole server, over both gRPC transports and HTTP: several on one stream, one over
several connections, ENDs before their predecessors have run, ids of both kinds."""

from collections.abc import Iterator
from contextlib import ExitStack, closing

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from streamgate.server.settings import GrpcTransport
from tests.frontends.grpc_client import Stub, infer_request
from tests.system.running_server import WAIT_SECONDS, RunningServer, running
from tests.system.tally import TallyCalls, TallyHttp, TallyStream, flags_of, write_tally
from tests.waiting import wait

MODELS = ("tally", "positional")


@pytest.fixture(scope="module", params=GrpcTransport)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("models")
    write_tally(directory, "tally")
    write_tally(directory, "positional", strategy="direct")
    with running(directory, request.param) as server:
        yield server


@pytest.fixture
def stream(server: RunningServer) -> Iterator[TallyStream]:
    stream = TallyStream(server.grpc)
    yield stream
    stream.leave()


@pytest.mark.parametrize("model", MODELS)
def test_many_sequences_on_one_stream(server: RunningServer, model: str) -> None:
    """Five times as many as slots, step by step in turn. Each gets its own sums, in order."""
    keys, steps = range(1, 21), 5
    with Stub(server.grpc) as stub:
        stream = stub.stream()
        for step in range(steps):
            for key in keys:
                flags = {0: "S", steps - 1: "E"}.get(step, "")
                request = infer_request(
                    model,
                    key,
                    dtype="INT32",
                    tensor="VALUE",
                    id=str(key),
                    sequence_id=key,
                    **flags_of(flags),
                )
                request.inputs[0].shape[:] = [1, 1]
                stream.send(request)
        stream.half_close()
        sums: dict[int, list[int]] = {key: [] for key in keys}
        for message in stream.rest():
            assert not message.error_message
            raw = message.infer_response.raw_output_contents[0]
            sums[int(message.infer_response.id)] += np.frombuffer(raw, np.int32).tolist()
    assert sums == {key: [key * step for step in range(1, steps + 1)] for key in keys}
    server.assert_at_rest(model)


def test_sequences_of_one_stream_do_not_wait_for_each_other(
    server: RunningServer, stream: TallyStream
) -> None:
    server.gates.close("step 31")
    stream.ask(31, 1, "S")
    stream.ask(31, 1, "E")
    assert server.gates.is_entered("step 31", WAIT_SECONDS)
    other = TallyStream(server.grpc, "positional")
    for model_stream, key in ((other, 32), (stream, 33)):
        model_stream.ask(key, 7, "SE")
    # Another model goes on at once, and the same model as soon as its step is over.
    assert other.total() == 7
    other.leave()
    wait(lambda: server.pending("tally") == 2)
    server.gates.open("step 31")
    assert sorted(stream.total() for _ in range(3)) == [1, 2, 7]
    server.assert_at_rest("tally")


def test_one_sequence_over_several_connections(server: RunningServer, stream: TallyStream) -> None:
    with ExitStack() as stack:
        calls = stack.enter_context(closing(TallyCalls(server.grpc)))
        http = stack.enter_context(closing(TallyHttp(server.http)))
        stream.ask(41, 1, "S")
        assert stream.total() == 1
        assert calls.total(41, 10) == 11
        assert http.total(41, 100) == 111
        other = TallyStream(server.grpc)
        other.ask(41, 1000)
        assert other.total() == 1111
        other.leave()
        stream.ask(41, 10_000, "E")
        assert stream.total() == 11_111
    server.assert_at_rest("tally")


@pytest.mark.parametrize("model", MODELS)
def test_an_end_that_arrives_before_its_predecessors_have_run(
    server: RunningServer, model: str
) -> None:
    server.gates.close("step 51")
    stream = TallyStream(server.grpc, model)
    for flags in ("S", "", "", "E"):
        stream.ask(51, 1, flags)
    wait(lambda: server.pending(model) == 3)
    server.gates.open("step 51")
    assert [stream.total() for _ in range(4)] == [1, 2, 3, 4]
    stream.ask(51, 1)
    assert "must specify the START flag" in stream.error()
    stream.leave()
    server.assert_at_rest(model)


def test_a_sequence_of_one_step_and_an_end_of_nothing(
    server: RunningServer, stream: TallyStream
) -> None:
    stream.ask(61, 5, "SE")
    assert stream.total() == 5
    stream.ask(61, 5, "E")
    assert "must specify the START flag" in stream.error()
    stream.ask(0, 5, "SE")
    assert "must specify a non-zero or non-empty correlation ID" in stream.error()
    server.assert_at_rest("tally")


def test_ids_of_both_kinds_and_of_any_size(server: RunningServer, stream: TallyStream) -> None:
    keys: list[int | str] = [7, "7", 2**63 - 1, "a" * 128]
    for value, key in enumerate(keys, 1):
        stream.ask(key, value, "S")
    for value, key in enumerate(keys, 1):
        stream.ask(key, 10 * value, "E")
    assert sorted(stream.total() for _ in range(8)) == sorted([1, 2, 3, 4, 11, 22, 33, 44])
    server.assert_at_rest("tally")


def test_a_batch_in_a_sequence_is_refused_and_loses_nothing(server: RunningServer) -> None:
    with Stub(server.grpc) as stub, closing(TallyCalls(server.grpc)) as calls:
        assert calls.total(71, 1, "S") == 1
        request = infer_request("tally", 1, 2, dtype="INT32", tensor="VALUE", sequence_id=71)
        request.inputs[0].shape[:] = [2, 1]
        _, text = stub.refusal("ModelInfer", request)
        assert "must specify batch-size 1 due to requirements of sequence batcher" in text
        assert calls.total(71, 1, "E") == 2
    server.assert_at_rest("tally")


def test_a_step_that_fails_leaves_its_sequence_as_it_was(server: RunningServer) -> None:
    with closing(TallyCalls(server.grpc)) as calls:
        assert calls.total(81, 1, "S") == 1
        with pytest.raises(InferenceServerException, match="less than nothing"):
            calls.total(81, -1)
        assert calls.total(81, 1, "E") == 2
    server.assert_at_rest("tally")
