"""HTTP requests that tritonclient refuses to send, and the other end points.

Facts sections 3.1, 3.3 to 3.6, 12.6.
"""

from __future__ import annotations

import gzip
import json
from typing import Any, Final

from tests.conformance.steps import Case, RawHttp

IDENTITY: Final = "/v2/models/identity_fp32"
INPUT0: Final[dict[str, Any]] = {
    "name": "INPUT0",
    "datatype": "FP32",
    "shape": [1, 4],
    "data": [1, 2, 3, 4],
}
STEP: Final[dict[str, Any]] = {"name": "INPUT", "datatype": "INT32", "shape": [1], "data": [5]}
LENGTH: Final = "Inference-Header-Content-Length"


def get(path: str) -> RawHttp:
    return RawHttp("GET", path)


def post(path: str, body: object = b"", **headers: str) -> RawHttp:
    """A POST of JSON, or of text or bytes as they are; header names with _ for -."""
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return RawHttp("POST", path, content, fields)


def infer(body: object = b"", model: str = "identity_fp32", **headers: str) -> RawHttp:
    return post(f"/v2/models/{model}/infer", body, **headers)


def with_input(**changes: object) -> dict[str, Any]:
    """An infer request whose one input is changed; a change to None removes the key."""
    entry = {key: value for key, value in (INPUT0 | changes).items() if value is not None}
    return {"inputs": [entry]}


def with_output(**parameters: object) -> dict[str, Any]:
    return {"inputs": [INPUT0], "outputs": [{"name": "OUTPUT0", "parameters": parameters}]}


def with_parameters(**parameters: object) -> dict[str, Any]:
    return {"inputs": [INPUT0], "parameters": parameters}


def sequence(**parameters: object) -> RawHttp:
    return infer({"inputs": [STEP], "parameters": parameters}, "sequence_flags")


def typed(datatype: str, *data: object) -> RawHttp:
    wire = "BYTES" if datatype == "STRING" else datatype
    tensor = {"name": f"IN_{datatype}", "datatype": wire, "shape": [len(data)], "data": data}
    return infer({"inputs": [tensor], "outputs": [{"name": f"OUT_{datatype}"}]}, "typed_echo")


def binary(header: dict[str, Any], tail: bytes, length: str | None = None) -> RawHttp:
    head = json.dumps(header).encode()
    return RawHttp(
        "POST",
        f"{IDENTITY}/infer",
        head + tail,
        ((LENGTH, str(len(head)) if length is None else length),),
    )


def binary_input(size: object) -> dict[str, Any]:
    return with_input(data=None, parameters={"binary_data_size": size})


ROUTES: Final = (
    Case(
        "http_health",
        "live, ready, model ready",
        (
            get("/v2/health/live"),
            get("/v2/health/ready"),
            get(f"{IDENTITY}/ready"),
            get(f"{IDENTITY}/versions/1/ready"),
            get(f"{IDENTITY}/versions/9/ready"),
            get("/v2/models/nobody/ready"),
        ),
    ),
    Case(
        "http_unmatched_paths",
        "paths that lead nowhere",
        tuple(
            get(path)
            for path in (
                "/",
                "/v1",
                "/v2/",
                "/v2/health",
                "/v2/health/live/",
                "/v2/models",
                f"{IDENTITY}/",
                f"{IDENTITY}/versions/abc/ready",
                f"{IDENTITY}/nothing",
                "/v2/models/%69dentity_fp32",
            )
        ),
    ),
    Case(
        "http_wrong_methods",
        "paths that exist for another method",
        (
            post("/v2"),
            RawHttp("HEAD", "/v2/health/live"),
            RawHttp("PUT", f"{IDENTITY}/infer", b"{}"),
            RawHttp("DELETE", IDENTITY),
            get(f"{IDENTITY}/infer"),
            get(f"{IDENTITY}/generate"),
            post(f"{IDENTITY}/config"),
        ),
    ),
    Case("http_query_ignored", "a query string does not matter", (get(f"{IDENTITY}/ready?a=b"),)),
    Case(
        "http_model_metadata",
        "metadata of several kinds of model",
        tuple(
            get(f"/v2/models/{name}")
            for name in (
                "identity_fp32",
                "sequence_sum_direct",
                "two_versions",
                "two_versions/versions/1",
                "two_versions/versions/2",
                "typed_echo",
                "nobody",
            )
        ),
    ),
    Case(
        "http_model_config",
        "the completed configuration",
        tuple(
            get(f"/v2/models/{name}/config")
            for name in (
                "identity_fp32",
                "add_sub",
                "sequence_sum_direct",
                "sequence_sum_oldest",
                "sequence_idle",
                "decoupled_repeat",
                "auto_complete",
                "two_versions/versions/3",
                "nobody",
            )
        ),
    ),
    Case(
        "http_repository",
        "index, and control that mode none refuses",
        (
            post("/v2/repository/index"),
            post("/v2/repository/index", {"ready": True}),
            post("/v2/repository/index", {"ready": "yes"}),
            post("/v2/repository/models/add_sub/load"),
            post("/v2/repository/models/add_sub/unload"),
            post("/v2/repository/place/models/add_sub/load"),
        ),
    ),
    Case(
        "http_statistics_unknown",
        "statistics of what does not exist",
        (get("/v2/models/nobody/stats"), get(f"{IDENTITY}/versions/9/stats")),
    ),
    Case(
        "http_shared_memory",
        "no regions, and regions that do not exist",
        (
            get("/v2/systemsharedmemory/status"),
            get("/v2/systemsharedmemory/region/none/status"),
            post("/v2/systemsharedmemory/region/none/unregister"),
            post("/v2/systemsharedmemory/region/n/register", {"byte_size": 16}),
            post("/v2/systemsharedmemory/region/n/register", {"key": "/k"}),
            post(
                "/v2/systemsharedmemory/region/n/register",
                {"key": "/no-such-object", "byte_size": 16},
            ),
            get("/v2/cudasharedmemory/status"),
        ),
    ),
)

JSON_BODIES: Final = (
    Case("http_json", "plain JSON in and out", (infer({"id": "j", "inputs": [INPUT0]}),)),
    Case(
        "http_json_nesting",
        "nested data is flattened, whatever its nesting; unknown keys are ignored",
        (
            infer(with_input(data=[[1, 2, 3, 4]])),
            infer(with_input(data=[[1, 2], [3, 4]])),
            infer(with_input(zzz=1) | {"more": [1]}),
        ),
    ),
    Case(
        "http_not_json",
        "bodies that are no JSON object",
        tuple(
            infer(body)
            for body in (
                "{bad",
                "[]",
                "[1]",
                "7",
                '"text"',
                "{}",
                '{"inputs":[]} trailing',
                "{'a':1}",
            )
        ),
    ),
    Case("http_empty_body", "no body at all means raw bytes", (infer(),)),
    Case(
        "http_inputs_malformed",
        "inputs that are no inputs",
        (
            infer({"inputs": 3}),
            infer({"inputs": [3]}),
            infer({"inputs": []}),
            infer(with_input(name=None)),
            infer(with_input(shape=None)),
            infer(with_input(datatype=None)),
            infer(with_input(data=None)),
            infer({"id": 3, "inputs": [INPUT0]}),
            infer({"inputs": [INPUT0], "parameters": 3}),
            infer({"inputs": [INPUT0], "outputs": 3}),
            infer({"inputs": [INPUT0], "outputs": [{}]}),
            infer({"inputs": [INPUT0], "outputs": []}),
        ),
    ),
    Case(
        "http_shapes_malformed",
        "shapes that are no shapes",
        tuple(
            infer(with_input(shape=shape)) for shape in ([1, -4], [1.5, 4], ["1", 4], 4, [1, 5], [])
        ),
    ),
    Case(
        "http_datatypes_malformed",
        "datatypes that the wire does not know",
        tuple(infer(with_input(datatype=word)) for word in ("FOO", "fp32", "", 3, "INT32")),
    ),
    Case(
        "http_data_malformed",
        "data of the wrong type or count",
        (
            infer(with_input(data=[1, 2, 3])),
            infer(with_input(data=[1, 2, 3, 4, 5])),
            infer(with_input(data=["a", 2, 3, 4])),
            infer(with_input(data=[None, 2, 3, 4])),
            infer(with_input(data=7)),
            infer(with_input(data={"a": 1})),
            infer(with_input(parameters={"binary_data_size": 16})),
            typed("BOOL", 1),
            typed("INT32", 1.5),
            typed("UINT32", -1),
            typed("STRING", 3),
            typed("FP16", 1.0),
        ),
    ),
    Case(
        "http_data_converted",
        "integers wrap, floats take integers, text is UTF-8",
        (
            typed("UINT8", 256),
            typed("INT8", 300),
            typed("INT32", 2**31),
            typed("INT64", 2**63 - 1),
            typed("UINT64", 2**64 - 1),
            typed("FP32", 1, 0.1, 1e39),
            typed("FP64", 0.1, 1e308),
            typed("STRING", "grün", "", "\x00"),
            typed("BOOL", True, False),
        ),
    ),
    Case(
        "http_parameters",
        "request parameters of each JSON type",
        tuple(
            infer(with_parameters(**{key: value}))
            for key, value in (
                ("custom", 1),
                ("custom", "text"),
                ("custom", 1.5),
                ("custom", True),
                ("custom", None),
                ("custom", [1]),
                ("custom", {}),
                ("priority", "x"),
                ("priority", -1),
                ("timeout", -1),
                ("timeout", "x"),
                ("sequence_id", -1),
                ("sequence_id", 1.5),
                ("sequence_start", 1),
                ("sequence_end", "true"),
                ("binary_data_output", "yes"),
                ("triton_enable_empty_final_response", True),
                ("triton_zzz", 1),
            )
        ),
    ),
    Case(
        "http_parameters_of_sequences",
        "sequence parameters as JSON",
        (
            sequence(),
            sequence(sequence_id=0),
            sequence(sequence_id=""),
            sequence(sequence_id=311),
            sequence(sequence_id=2**64, sequence_start=True),
            sequence(sequence_id=2**64 - 1, sequence_start=True, sequence_end=True),
            sequence(sequence_id="5", sequence_start=True),
            sequence(sequence_id=5),
            sequence(sequence_id="5", sequence_end=True),
            sequence(sequence_id="x" * 129, sequence_start=True),
        ),
    ),
    Case(
        "http_output_parameters",
        "parameters of requested outputs",
        tuple(
            infer(with_output(**{key: value}))
            for key, value in (
                ("binary_data", True),
                ("binary_data", False),
                ("binary_data", 1),
                ("classification", 2),
                ("classification", 0),
                ("classification", -1),
                ("classification", 9),
                ("classification", "2"),
                ("unknown", 1),
                ("shared_memory_region", "none"),
            )
        ),
    ),
    Case(
        "http_lookup_before_body",
        "an unknown model is told before bad JSON",
        (
            infer("{bad", "nobody"),
            infer("{bad", "identity_fp32/versions/9"),
            infer("{bad", "decoupled_repeat"),
        ),
    ),
)

BINARY_BODIES: Final = (
    Case(
        "http_binary",
        "binary in, with JSON and with binary out",
        (
            binary(binary_input(16), bytes(16)),
            binary(binary_input(16) | {"parameters": {"binary_data_output": True}}, bytes(16)),
        ),
    ),
    Case(
        "http_binary_sizes",
        "sizes that do not add up",
        (
            binary(binary_input(16), bytes(10)),
            binary(binary_input(16), bytes(20)),
            binary(binary_input(20), bytes(20)),
            binary(binary_input("16"), bytes(16)),
            binary(binary_input(-1), bytes(16)),
            infer(binary_input(16)),
        ),
    ),
    Case(
        "http_binary_header_lengths",
        "header lengths that cannot be",
        (
            binary(with_input(), b"", "9999"),
            binary(with_input(), b"", "-1"),
            binary(with_input(), b"", "10"),
        ),
    ),
    Case(
        "http_raw_binary",
        "a header length of 0: the body is the one input",
        (
            RawHttp("POST", f"{IDENTITY}/infer", bytes(16), ((LENGTH, "0"),)),
            RawHttp("POST", f"{IDENTITY}/infer", bytes(15), ((LENGTH, "0"),)),
            RawHttp("POST", "/v2/models/bytes_echo/infer", b"text", ((LENGTH, "0"),)),
            RawHttp("POST", "/v2/models/add_sub/infer", bytes(16), ((LENGTH, "0"),)),
            RawHttp("POST", "/v2/models/two_versions/infer", bytes(4), ((LENGTH, "0"),)),
            RawHttp("POST", "/v2/models/two_versions/infer", bytes(8), ((LENGTH, "0"),)),
        ),
    ),
    Case(
        "http_compression",
        "content encodings, known and unknown",
        (
            infer(gzip.compress(json.dumps(with_input()).encode()), Content_Encoding="gzip"),
            infer(with_input(), Content_Encoding="identity"),
            infer(with_input(), Content_Encoding="br"),
            infer(with_input(), Content_Encoding="GZIP"),
            infer(with_input(), Content_Encoding="gzip"),
            infer(with_input(), Accept_Encoding="gzip"),
            infer(with_input(), Accept_Encoding="gzip;q=0"),
            infer(with_input(), Accept_Encoding="br, *"),
        ),
    ),
)

CASES: Final = (*ROUTES, *JSON_BODIES, *BINARY_BODIES)
