"""The unmodified tritonclient, in the server's own process: blocking, asyncio, both streams."""

from __future__ import annotations

import queue
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as tritongrpc
import tritonclient.grpc.aio as tritongrpc_aio
from tritonclient.utils import InferenceServerException

from tests.frontends.conftest import GrpcService


@pytest.fixture
def client(service: GrpcService) -> Iterator[Any]:
    with tritongrpc.InferenceServerClient(service.address) as client:
        yield client


def tensor(*values: float, dtype: str = "FP32", name: str = "IN") -> Any:
    numpy_type = {"FP32": np.float32, "INT32": np.int32}[dtype]
    found = tritongrpc.InferInput(name, [len(values)], dtype)
    found.set_data_from_numpy(np.array(values, numpy_type))
    return found


def test_control_calls(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("identity")
    assert not client.is_model_ready("nope")
    assert client.get_server_metadata().name == "streamgate"
    assert client.get_model_metadata("batched", as_json=True)["inputs"][0]["shape"] == ["-1", "-1"]
    assert client.get_model_config("batched").config.max_batch_size == 8
    statistics = client.get_inference_statistics("identity").model_stats[0]
    assert statistics.inference_stats.success.ns == 100
    assert [model.name for model in client.get_model_repository_index().models] == [
        "identity",
        "broken",
        "never",
    ]
    client.load_model("m", config="{}", files={"file:1/model.py": b"x"})
    client.unload_model("m", unload_dependents=True)
    assert not client.get_system_shared_memory_status().regions
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory()
    with pytest.raises(InferenceServerException, match="Client shared memory is disabled"):
        client.register_system_shared_memory("r", "/r", 4)
    with pytest.raises(InferenceServerException, match="UNIMPLEMENTED"):
        client.get_trace_settings()
    with pytest.raises(InferenceServerException, match="UNIMPLEMENTED"):
        client.get_log_settings()


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_infer(client: Any, compression: str | None) -> None:
    result = client.infer(
        "identity",
        [tensor(1.0, 2.0)],
        request_id="r",
        outputs=[tritongrpc.InferRequestedOutput("OUT")],
        compression_algorithm=compression,
        parameters={"max_tokens": 3},
    )
    assert result.as_numpy("OUT").tolist() == [1.0, 2.0]
    assert result.get_response().id == "r"


def test_bytes_and_classes(client: Any) -> None:
    text = tritongrpc.InferInput("IN", [2], "BYTES")
    text.set_data_from_numpy(np.array([b"one", b""], np.object_))
    assert client.infer("identity_BYTES", [text]).as_numpy("OUT").tolist() == [b"one", b""]
    output = tritongrpc.InferRequestedOutput("OUT", class_count=2)
    batch = tritongrpc.InferInput("IN", [1, 2], "FP32")
    batch.set_data_from_numpy(np.array([[1.0, 3.0]], np.float32))
    classes = client.infer("batched", [batch], outputs=[output]).as_numpy("OUT")
    assert classes.tolist() == [[b"3.000000:1:dog", b"1.000000:0:cat"]]


def test_callbacks(client: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.async_infer(
        "identity", [tensor(5.0)], lambda result, error: answers.put((result, error))
    )
    result, error = answers.get(timeout=20)
    assert error is None
    assert result.as_numpy("OUT").tolist() == [5.0]


def test_a_client_timeout(service: GrpcService, client: Any) -> None:
    with pytest.raises(InferenceServerException, match="Deadline Exceeded"):
        client.infer("manual", [tensor(1.0)], client_timeout=0.2, request_id="late")
    service.thread.wait_until(lambda: service.gateway.cancelled == ["late"])


def test_a_cancelled_call(service: GrpcService, client: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    call = client.async_infer(
        "manual",
        [tensor(1.0)],
        lambda result, error: answers.put((result, error)),
        request_id="c",
    )
    service.waiting("c")
    call.cancel()
    assert "Locally cancelled" in str(answers.get(timeout=20)[1])
    service.thread.wait_until(lambda: service.gateway.cancelled == ["c"])


def test_sequences_on_a_stream(client: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for sequence in (7, "seven"):
        for value in range(1, 4):
            client.async_stream_infer(
                "accumulate",
                [tensor(value, dtype="INT32")],
                request_id=f"{sequence}/{value}",
                sequence_id=sequence,
                sequence_start=value == 1,
                sequence_end=value == 3,
                priority=1,
                timeout=10_000_000,
            )
    totals: dict[str, int] = {}
    for _ in range(6):
        result, error = answers.get(timeout=20)
        assert error is None
        response = result.get_response()
        assert response.parameters["triton_final_response"].bool_param
        totals[response.id] = result.as_numpy("OUT").tolist()[0]
    client.stop_stream()
    for sequence in (7, "seven"):
        assert [totals[f"{sequence}/{value}"] for value in (1, 2, 3)] == [1, 3, 6]


def test_a_decoupled_model_on_a_stream(client: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    client.async_stream_infer(
        "counting", [tensor(-2, dtype="INT32")], enable_empty_final_response=True
    )
    results, errors = [], []
    while True:
        result, error = answers.get(timeout=20)
        if error is not None:
            errors.append(str(error))
            continue
        if result.get_response().parameters["triton_final_response"].bool_param:
            break
        results.append(int(result.as_numpy("OUT")[0]))
    client.stop_stream()
    assert results == [0, 1]
    assert errors == ["boom 1"]


def test_a_stream_that_asked_for_status_codes(client: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(
        lambda result, error: answers.put((result, error)), headers={"triton_grpc_error": "true"}
    )
    client.async_stream_infer("failing", [tensor(1.0)])
    _, error = answers.get(timeout=20)
    assert error.status() == "StatusCode.INVALID_ARGUMENT"
    assert error.message() == "boom"
    client.stop_stream()


def test_stopping_a_stream_waits_for_its_answers(client: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(200):
        client.async_stream_infer("identity", [tensor(number)], request_id=str(number))
    client.stop_stream()
    ids = [answers.get_nowait()[0].get_response().id for _ in range(200)]
    assert ids == [str(number) for number in range(200)]


def test_stopping_a_stream_by_cancelling_it(service: GrpcService, client: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    client.async_stream_infer("manual", [tensor(1.0)], request_id="m")
    service.waiting("m")
    client.stop_stream(cancel_requests=True)
    service.thread.wait_until(lambda: service.gateway.cancelled == ["m"])


def test_the_asyncio_client(service: GrpcService) -> None:
    async def use() -> None:
        async with tritongrpc_aio.InferenceServerClient(service.address) as client:
            assert await client.is_server_ready()
            result = await client.infer("identity", [tensor(3.0)], request_id="a")
            assert result.as_numpy("OUT").tolist() == [3.0]
            with pytest.raises(InferenceServerException, match="unknown model: 'nope'"):
                await client.infer("nope", [tensor(3.0)])

    service.thread.run(use())


def test_the_asyncio_stream(service: GrpcService) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for value in (1, 2, 3):
            yield {
                "model_name": "accumulate",
                "inputs": [tensor(value, dtype="INT32")],
                "request_id": str(value),
                "sequence_id": 3,
                "sequence_start": value == 1,
                "sequence_end": value == 3,
            }
        yield {"model_name": "nope", "inputs": [tensor(1.0)], "request_id": "x"}

    async def use() -> list[str]:
        found = []
        async with tritongrpc_aio.InferenceServerClient(service.address) as client:
            async for result, error in client.stream_infer(requests()):
                found.append(str(error) if error else str(result.as_numpy("OUT").tolist()[0]))
        return found

    found = service.thread.run(use())
    assert [text for text in found if text.isdigit()] == ["1", "3", "6"]
    # Outside the sequence, it may come before the sequence's last answer.
    assert [text for text in found if not text.isdigit()] == [
        "Request for unknown model: 'nope' is not found"
    ]


def test_a_20_megabyte_tensor(client: Any) -> None:
    values = np.random.default_rng(2).random(5_000_000, np.float32)
    large = tritongrpc.InferInput("IN", [len(values)], "FP32")
    large.set_data_from_numpy(values)
    assert np.array_equal(client.infer("identity", [large]).as_numpy("OUT"), values)
