"""Every end point but inference over real sockets: bodies, statuses, refusals."""

from __future__ import annotations

import base64

import pytest

from streamgate.model.datatypes import DataType
from tests.frontends.conftest import HttpService
from tests.frontends.fake_gateway import FakeModel, identity, model_config
from tests.frontends.http_client import HttpClient

SHARED_MEMORY_OFF = (
    "Client shared memory is disabled. StreamGate does not serve it yet: send the data inline."
)


def test_health(http: HttpClient, http_service: HttpService) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/identity/ready"):
        reply = http.get(path)
        assert (reply.status, reply.body) == (200, b"")
    http_service.gateway.ready = False
    reply = http.get("/v2/health/ready")
    assert (reply.status, reply.body) == (400, b"")
    assert http.get("/v2/health/live").status == 200


@pytest.mark.parametrize("path", ["nobody", "identity/versions/9"])
def test_an_unknown_model_is_not_ready(http: HttpClient, path: str) -> None:
    assert http.get(f"/v2/models/{path}/ready").error == (400, "Model version not ready")


def test_server_metadata(http: HttpClient) -> None:
    assert http.get("/v2?x=y").json == {
        "name": "streamgate",
        "version": "1.2.3",
        "extensions": ["sequence", "statistics"],
    }


def test_model_metadata(http: HttpClient) -> None:
    assert http.get("/v2/models/batched").json == {
        "name": "batched",
        "versions": ["1", "3"],
        "platform": "fake",
        "inputs": [{"name": "IN", "datatype": "FP32", "shape": [-1, -1]}],
        "outputs": [{"name": "OUT", "datatype": "FP32", "shape": [-1, -1]}],
    }
    assert http.get("/v2/models/identity/versions/1").json["versions"] == ["1"]


def test_a_model_whose_name_needs_escapes(http: HttpClient, http_service: HttpService) -> None:
    config = model_config("my model", DataType.FP32)
    http_service.gateway.models["my model"] = FakeModel(config, identity)
    assert http.get("/v2/models/my%20model").json["name"] == "my model"
    expected = "Request for unknown model: '%69dentity' is not found"
    assert http.get("/v2/models/%69dentity").error == (404, expected)


def test_model_configuration(http: HttpClient) -> None:
    expected = {"name": "identity", "max_batch_size": 0, "backend": "fake"}
    assert http.get("/v2/models/identity/config").json == expected


@pytest.mark.parametrize("rest", ["", "/config"])
def test_metadata_of_unknown_models(http: HttpClient, rest: str) -> None:
    expected = "Request for unknown model: 'nobody' is not found"
    assert http.get(f"/v2/models/nobody{rest}").error == (404, expected)


def test_statistics(http: HttpClient) -> None:
    def duration(count: int, ns: int) -> dict[str, int]:
        return {"count": count, "ns": ns}

    assert http.get("/v2/models/identity/stats").json == {
        "model_stats": [
            {
                "name": "identity",
                "version": "3",
                "last_inference": 1_700_000_000_000,
                "inference_count": 7,
                "execution_count": 5,
                "inference_stats": {
                    "success": duration(1, 100),
                    "fail": duration(2, 200),
                    "queue": duration(3, 300),
                    "compute_input": duration(4, 400),
                    "compute_infer": duration(5, 500),
                    "compute_output": duration(6, 600),
                    "cache_hit": duration(0, 0),
                    "cache_miss": duration(0, 0),
                },
                "response_stats": {},
                "batch_stats": [
                    {
                        "batch_size": 4,
                        "compute_input": duration(7, 700),
                        "compute_infer": duration(7, 800),
                        "compute_output": duration(7, 900),
                    }
                ],
                "memory_usage": [],
            }
        ]
    }


def test_statistics_of_all_and_of_unknown_models(
    http: HttpClient, http_service: HttpService
) -> None:
    found = [model["name"] for model in http.get("/v2/models/stats").json["model_stats"]]
    assert found == list(http_service.gateway.models)
    expected = "requested model 'nobody' is not available"
    assert http.get("/v2/models/nobody/stats").error == (400, expected)


@pytest.mark.parametrize("path", ["/v2/repository/index", "/v2/repository/any/index"])
def test_index(http: HttpClient, path: str) -> None:
    every = [
        {"name": "identity", "version": "3", "state": "READY"},
        {"name": "broken", "version": "1", "state": "UNAVAILABLE", "reason": "Internal: no"},
        {"name": "never"},
    ]
    assert http.post(path).json == every
    assert http.post(path, {}).json == every
    assert http.post(path, {"ready": False}).json == every
    assert http.post(path, {"ready": True}).json == every[:1]


def test_index_refused(http: HttpClient) -> None:
    expected = "attempt to access JSON non-boolean as boolean"
    assert http.post("/v2/repository/index", {"ready": "yes"}).error == (500, expected)
    status, message = http.post("/v2/repository/index", "{bad").error
    assert status == 500
    assert message.startswith("failed to parse the request JSON buffer: ")


def test_load(http: HttpClient, http_service: HttpService) -> None:
    load = "/v2/repository/models/identity/load"
    content = base64.b64encode(b"\0\xff").decode()
    for body in (b"", {}, {"parameters": {"config": "{}", "file:1/model.py": content}}):
        reply = http.post(load, body)
        assert (reply.status, reply.body) == (200, b"")
    assert http_service.gateway.loads == [
        ("identity", None, {}),
        ("identity", None, {}),
        ("identity", "{}", {"1/model.py": b"\0\xff"}),
    ]


@pytest.mark.parametrize(
    ("parameters", "status", "message"),
    [
        ({"zzz": "x"}, 500, "unexpected error on creating Triton parameter"),
        ({"config": {}}, 500, "attempt to access JSON non-string as string"),
        ({"file:1/model.py": 3}, 500, "attempt to access JSON non-string as string"),
        ({"file:1/model.py": "no!"}, 400, "load parameter 'file:1/model.py' is no base64: "),
        (3, 500, "attempt to get members for non-object"),
    ],
)
def test_load_refused(
    http: HttpClient, http_service: HttpService, parameters: object, status: int, message: str
) -> None:
    found = http.post("/v2/repository/models/identity/load", {"parameters": parameters}).error
    assert found[0] == status
    assert found[1].startswith(message)
    assert http_service.gateway.loads == []


def test_a_load_that_fails(http: HttpClient) -> None:
    expected = "failed to load 'missing', failed to poll from model repository"
    assert http.post("/v2/repository/models/missing/load").error == (500, expected)


def test_unload(http: HttpClient, http_service: HttpService) -> None:
    unload = "/v2/repository/models/identity/unload"
    for body in (
        b"",
        {"parameters": {"unload_dependents": True}},
        {"parameters": {"unload_dependents": "true", "zzz": 1}},
        {"parameters": 3},
    ):
        assert http.post(unload, body).status == 200
    assert [dependents for _, dependents in http_service.gateway.unloads] == [
        False,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_a_named_repository_is_refused(http: HttpClient, verb: str) -> None:
    expected = "'repository_name' specification is not supported"
    assert http.post(f"/v2/repository/place/models/m/{verb}", "{bad").error == (501, expected)


@pytest.mark.parametrize("kind", ["system", "cuda"])
def test_shared_memory_is_off(http: HttpClient, kind: str) -> None:
    root = f"/v2/{kind}sharedmemory"
    assert http.get(f"{root}/status").json == []
    expected = f"Unable to find {kind} shared memory region: 'r'"
    assert http.get(f"{root}/region/r/status").error == (404, expected)
    reply = http.post(f"{root}/region/r/register", {"key": "/k", "byte_size": 8})
    assert reply.error == (501, SHARED_MEMORY_OFF)
    for path in (f"{root}/unregister", f"{root}/region/r/unregister"):
        reply = http.post(path)
        assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/v2/trace/setting", "trace settings"),
        ("/v2/models/identity/trace/setting", "trace settings"),
        ("/v2/logging", "log settings"),
    ],
)
def test_trace_and_log_settings_are_off(http: HttpClient, path: str, word: str) -> None:
    for reply in (http.get(path), http.post(path, {})):
        status, message = reply.error
        assert status == 501
        assert message.startswith(word)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_paths_that_lead_nowhere(http: HttpClient, method: str) -> None:
    assert http.request(method, "/v2/models").error == (404, "Not Found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2"),
        ("PUT", "/v2/models/identity/infer"),
        ("DELETE", "/v2/models/identity"),
        ("OPTIONS", "/v2/health/live"),
        ("PATCH", "/v2/logging"),
        ("GET", "/v2/models/nobody/infer"),
        ("GET", "/v2/models/identity/generate"),
        ("POST", "/v2/models/identity/config"),
        ("GET", "/v2/repository/models/m/load"),
    ],
)
def test_wrong_methods(http: HttpClient, method: str, path: str) -> None:
    assert http.request(method, path).error == (405, "Method Not Allowed")


def test_head_is_a_wrong_method_without_a_body(http: HttpClient) -> None:
    reply = http.request("HEAD", "/v2/health/live")
    assert (reply.status, reply.body) == (405, b"")
    assert http.get("/v2/health/live").status == 200


def test_who_is_in_which_slot(http: HttpClient) -> None:
    expected = {
        "models": [
            {
                "name": "accumulate",
                "version": "1",
                "slots": 4,
                "taken": 2,
                "backlog": 1,
                "sequences": [
                    {
                        "instance": "m_0",
                        "slot": 1,
                        "generation": 3,
                        "sequence": 7,
                        "is_reserved": False,
                        "held_seconds": 1.5,
                        "idle_seconds": 0.0,
                        "lag_seconds": 0.25,
                        "steps": 4,
                        "queued": 2,
                        "is_running": True,
                        "state_bytes": 64,
                        "position": 6,
                    }
                ],
                "left_out": 1,
            }
        ]
    }
    assert http.get("/v2/models/accumulate/slots").json == expected
    assert [model["name"] for model in http.get("/v2/slots").json["models"]] == ["m"]
    assert http.get("/v2/models/nobody/slots").status == 404
