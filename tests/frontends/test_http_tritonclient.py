"""The HTTP front end with tritonclient, unmodified: its blocking client and its asyncio one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.frontends.conftest import HttpService
from tests.frontends.http_client import WAIT_SECONDS


@pytest.fixture
def client(http_service: HttpService) -> Iterator[Any]:
    with triton.InferenceServerClient(
        http_service.address, connection_timeout=WAIT_SECONDS, network_timeout=WAIT_SECONDS
    ) as client:
        yield client


def given(array: Any, name: str = "IN", *, binary: bool = True, module: Any = triton) -> Any:
    tensor = module.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def wanted(name: str = "OUT", *, binary: bool = True, classes: int = 0) -> Any:
    return triton.InferRequestedOutput(name, binary_data=binary, class_count=classes)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("BOOL", np.array([True, False])),
        ("UINT8", np.array([0, 255], np.uint8)),
        ("UINT16", np.array([0, 65535], np.uint16)),
        ("UINT32", np.array([0, 2**32 - 1], np.uint32)),
        ("UINT64", np.array([0, 2**64 - 1], np.uint64)),
        ("INT8", np.array([-128, 127], np.int8)),
        ("INT16", np.array([-(2**15), 1], np.int16)),
        ("INT32", np.array([-(2**31), 1], np.int32)),
        ("INT64", np.array([-(2**63), 1], np.int64)),
        ("FP32", np.array([0.1, -1e38], np.float32)),
        ("FP64", np.array([0.1, 1e308])),
        ("BYTES", np.array(["grün".encode(), b""], np.object_)),
    ],
)
def test_every_type_there_and_back(client: Any, name: str, array: Any, binary: bool) -> None:
    result = client.infer(
        f"identity_{name}", [given(array, binary=binary)], outputs=[wanted(binary=binary)]
    )
    found = result.as_numpy("OUT")
    if name == "BYTES" and not binary:
        found = np.array([text.encode() for text in found], np.object_)
    np.testing.assert_array_equal(found, array)


def test_fp16_as_binary_data(client: Any) -> None:
    array = np.array([0.5, -1], np.float16)
    result = client.infer("identity_FP16", [given(array)])
    np.testing.assert_array_equal(result.as_numpy("OUT"), array)


def test_an_output_without_elements(client: Any) -> None:
    result = client.infer("identity", [given(np.zeros(0, np.float32))])
    assert result.as_numpy("OUT").shape == (0,)


def test_names_ids_versions_and_parameters(client: Any, http_service: HttpService) -> None:
    arrays = [np.array([number], np.float32) for number in (1, 2)]
    result = client.infer(
        "pair",
        [given(arrays[0], "IN0"), given(arrays[1], "IN1", binary=False)],
        outputs=[wanted("OUT1", binary=False), wanted("OUT0")],
        model_version="1",
        request_id="r",
        priority=2,
        timeout=1000,
        parameters={"custom": "x"},
    )
    assert result.as_numpy("OUT0").tolist() == [1]
    assert result.as_numpy("OUT1").tolist() == [2]
    response = result.get_response()
    assert (response["id"], response["model_version"]) == ("r", "1")
    request = http_service.gateway.requests[-1]
    assert (request.priority, request.timeout_us) == (2, 1000)
    assert request.parameters == {"custom": "x"}


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression(client: Any, algorithm: str) -> None:
    array = np.arange(50_000, dtype=np.float32)
    result = client.infer(
        "identity",
        [given(array)],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    np.testing.assert_array_equal(result.as_numpy("OUT"), array)


def test_classification(client: Any) -> None:
    array = np.array([[1, 3, 2]], np.float32)
    result = client.infer("batched", [given(array)], outputs=[wanted(classes=2)])
    assert result.as_numpy("OUT").tolist() == [[b"3.000000:1:dog", b"2.000000:2"]]


def test_a_sequence(client: Any) -> None:
    def step(value: int, *, start: bool = False, end: bool = False) -> int:
        result = client.infer(
            "accumulate",
            [given(np.array([value], np.int32))],
            sequence_id=42,
            sequence_start=start,
            sequence_end=end,
        )
        return int(result.as_numpy("OUT")[0])

    assert [step(1, start=True), step(2), step(3, end=True)] == [1, 3, 6]


def test_many_at_once(http_service: HttpService) -> None:
    with triton.InferenceServerClient(http_service.address, concurrency=8) as client:
        arrays = [np.array([number], np.float32) for number in range(64)]
        pending = [client.async_infer("identity", [given(array)]) for array in arrays]
        found = [call.get_result().as_numpy("OUT")[0] for call in pending]
    assert found == list(range(64))


@pytest.mark.parametrize(
    ("model", "status", "message"),
    [
        ("nobody", "404", "Request for unknown model: 'nobody' is not found"),
        ("failing", "400", "boom"),
        (
            "counting",
            "501",
            "HTTP end point doesn't support models with decoupled transaction policy",
        ),
    ],
)
def test_errors(client: Any, model: str, status: str, message: str) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, [given(np.zeros(1, np.float32))])
    assert (caught.value.status(), caught.value.message()) == (status, message)


def test_everything_else(client: Any, http_service: HttpService) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("identity")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata()["name"] == "streamgate"
    assert client.get_model_metadata("identity", "1")["versions"] == ["1"]
    assert client.get_model_config("identity")["backend"] == "fake"
    assert client.get_inference_statistics("identity")["model_stats"][0]["inference_count"] == 7
    assert len(client.get_inference_statistics()["model_stats"]) > 1
    assert client.get_model_repository_index()[0]["state"] == "READY"
    client.load_model("identity", config="{}", files={"file:1/model.py": b"\0"})
    client.unload_model("identity", unload_dependents=True)
    assert http_service.gateway.loads == [("identity", "{}", {"1/model.py": b"\0"})]
    assert http_service.gateway.unloads == [("identity", True)]
    assert client.get_system_shared_memory_status() == []
    assert client.get_cuda_shared_memory_status() == []
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory("r")
    with pytest.raises(InferenceServerException, match="Client shared memory is disabled"):
        client.register_system_shared_memory("r", "/k", 8)
    with pytest.raises(InferenceServerException, match="trace settings are not supported"):
        client.get_trace_settings()


async def test_asyncio(http_service: HttpService) -> None:
    array = np.arange(20_000, dtype=np.float32)
    async with triton_aio.InferenceServerClient(http_service.address) as client:
        assert await client.is_server_ready()
        result = await client.infer("identity", [given(array, module=triton_aio)])
        np.testing.assert_array_equal(result.as_numpy("OUT"), array)
        with pytest.raises(InferenceServerException, match="boom"):
            await client.infer("failing", [given(array, module=triton_aio)])
        statistics = await client.get_inference_statistics("identity")
    assert json.dumps(statistics).count("count") > 10
