"""gRPC messages that tritonclient refuses to send, and calls of the other RPCs.

Messages stand in protobuf text format. Facts sections 1.1, 1.4 to 1.7, 12.5.
"""

from __future__ import annotations

import struct
from typing import Final

from tests.conformance.steps import Case, Pause, RawGrpc, RawGrpcStream

DATA: Final = "".join(f"\\x{byte:02x}" for byte in struct.pack("<4f", 1, 2, 3, 4))
RAW: Final = f'raw_input_contents: "{DATA}"'


def identity(
    extra: str = "",
    *,
    model: str = "identity_fp32",
    datatype: str = "FP32",
    shape: str = "[1, 4]",
    data: str = RAW,
    contents: str = "",
    version: str = "",
) -> str:
    """A ModelInferRequest in text format; correct unless something is overridden."""
    return (
        f'model_name: "{model}" model_version: "{version}" '
        f'inputs {{ name: "INPUT0" datatype: "{datatype}" shape: {shape} {contents} }} '
        f"{data} {extra}"
    )


def parameter(key: str, choice: str) -> str:
    return f'parameters {{ key: "{key}" value {{ {choice} }} }}'


def sequence(extra: str, *, model: str = "sequence_flags", id: str = "") -> str:
    """A step of 5 for a sequence model, with parameters as given."""
    return (
        f'model_name: "{model}" id: "{id}" '
        'inputs { name: "INPUT" datatype: "INT32" shape: [1] contents { int_contents: 5 } } '
        f"{extra}"
    )


BAD_CLASSES: Final = parameter("classification", "bool_param: true")


def infer(*messages: str) -> tuple[RawGrpc, ...]:
    return tuple(RawGrpc("ModelInfer", message) for message in messages)


def typed(datatype: str, contents: str, count: int = 1) -> str:
    return (
        f'model_name: "typed_echo" inputs {{ name: "IN_{datatype}" '
        f'datatype: "{"BYTES" if datatype == "STRING" else datatype}" shape: [{count}] '
        f"contents {{ {contents} }} }} "
        f'outputs {{ name: "OUT_{datatype}" }}'
    )


def _parameter_types() -> list[Case]:
    """Every reserved parameter with every choice of the oneof."""
    choices = {
        "bool": "bool_param: true",
        "int64": "int64_param: 1",
        "string": 'string_param: "1"',
        "double": "double_param: 1.0",
        "uint64": "uint64_param: 1",
        "unset": "",
    }
    return [
        Case(
            f"parameter_types_{key}",
            f"{key} as bool, int64, string, double, uint64 and unset",
            infer(*(identity(parameter(key, choice)) for choice in choices.values())),
        )
        for key in (
            "sequence_start",
            "sequence_end",
            "sequence_id",
            "priority",
            "timeout",
            "triton_enable_empty_final_response",
            "triton_something",
            "binary_data_output",
            "headers",
            "custom",
        )
    ]


CASES: Final = (
    *_parameter_types(),
    Case(
        "sequence_parameter_types",
        "wrong choices on a sequence model",
        infer(
            sequence(parameter("sequence_id", "uint64_param: 5")),
            sequence(parameter("sequence_id", "double_param: 5")),
            sequence(parameter("sequence_id", "int64_param: 0")),
            sequence(parameter("sequence_id", 'string_param: ""')),
            sequence(
                parameter("sequence_id", "int64_param: 301")
                + parameter("sequence_start", "int64_param: 1")
            ),
            sequence(
                parameter("sequence_id", "int64_param: 301")
                + parameter("sequence_start", "bool_param: true")
                + parameter("sequence_end", 'string_param: "true"')
            ),
            sequence(
                parameter("sequence_id", "int64_param: -3")
                + parameter("sequence_start", "bool_param: true")
                + parameter("sequence_end", "bool_param: true"),
                id="minus three",
            ),
        ),
    ),
    Case(
        "parameter_values",
        "values of the right type that are out of range",
        infer(
            identity(parameter("priority", "int64_param: -1")),
            identity(parameter("priority", "int64_param: 99")),
            identity(parameter("priority", "uint64_param: 18446744073709551615")),
            identity(parameter("timeout", "int64_param: -1")),
            identity(parameter("timeout", "int64_param: 0")),
        ),
    ),
    Case(
        "version_texts",
        "versions that are not plain numbers",
        infer(
            *(
                identity(version=version)
                for version in ("abc", "-1", "0", "01", "1x", " 1", "1.5", "9" * 20, "+1")
            )
        ),
    ),
    Case(
        "explicit_contents",
        "tensor data in the message instead of raw bytes",
        infer(
            identity(data="", contents="contents { fp32_contents: [1, 2, 3, 4] }"),
            identity(data="", contents="contents { fp32_contents: [1, 2, 3] }"),
            identity(data="", contents="contents { fp32_contents: [1, 2, 3, 4, 5] }"),
            identity(data="", contents="contents { int_contents: [1, 2, 3, 4] }"),
            identity(data="", contents="contents { fp32_contents: [1, 2, 3, 4] int_contents: 1 }"),
            identity(contents="contents { fp32_contents: [1, 2, 3, 4] }"),
            identity(contents="contents { }"),
            identity(data=""),
        ),
    ),
    Case(
        "explicit_contents_types",
        "each datatype's own field",
        infer(
            typed("BOOL", "bool_contents: [true, false]", 2),
            typed("UINT8", "uint_contents: [1, 255]", 2),
            typed("UINT16", "uint_contents: [1, 65535]", 2),
            typed("UINT32", "uint_contents: [1, 4294967295]", 2),
            typed("UINT64", "uint64_contents: [1, 18446744073709551615]", 2),
            typed("INT8", "int_contents: [-128, 127]", 2),
            typed("INT16", "int_contents: [-32768, 32767]", 2),
            typed("INT32", "int_contents: [-1, 1]", 2),
            typed("INT64", "int64_contents: [-1, 9223372036854775807]", 2),
            typed("FP32", "fp32_contents: [0.5, -1]", 2),
            typed("FP64", "fp64_contents: [0.5, -1]", 2),
            typed("STRING", 'bytes_contents: ["a", "", "grün"]', 3),
        ),
    ),
    Case(
        "explicit_contents_narrowed",
        "numbers too large for their type keep their low bytes; FP16 has no field",
        infer(
            typed("INT8", "int_contents: 300"),
            typed("UINT8", "uint_contents: 256"),
            typed("UINT16", "uint_contents: 65537"),
            typed("FP16", "fp32_contents: 1"),
        ),
    ),
    Case(
        "datatype_texts",
        "datatypes the wire does not know",
        infer(
            *(identity(datatype=word) for word in ("INT32", "FOO", "", "fp32", "STRING", "BYTES"))
        ),
    ),
    Case(
        "byte_counts",
        "raw data too short, too long, or one entry too many",
        infer(
            identity(data='raw_input_contents: "abc"'),
            identity(data=f'raw_input_contents: "{DATA}abcd"'),
            identity(data=f'{RAW} raw_input_contents: "surplus"'),
            identity(data='raw_input_contents: ""'),
        ),
    ),
    Case(
        "byte_string_encodings",
        "BYTES tensors whose lengths do not add up",
        infer(
            *(
                f'model_name: "bytes_echo" inputs {{ name: "INPUT" datatype: "BYTES" '
                f'shape: {shape} }} raw_input_contents: "{data}"'
                for shape, data in (
                    ("[1, 1]", "\\x03\\x00\\x00\\x00abc"),
                    ("[1, 2]", "\\x03\\x00\\x00\\x00abc"),
                    ("[1, 1]", "\\x01\\x00\\x00\\x00a\\x01\\x00\\x00\\x00b"),
                    ("[1, 1]", "\\x03\\x00"),
                    ("[1, 1]", "\\x03\\x00\\x00\\x00abc\\x00\\x00"),
                    ("[1, 1]", "\\x05\\x00\\x00\\x00ab"),
                    ("[1, 2]", "\\x01\\x00\\x00\\x00a\\x05\\x00\\x00\\x00b"),
                    ("[1, 4]", DATA),
                )
            )
        ),
    ),
    Case(
        "odd_shapes",
        "negative, zero and missing dimensions",
        infer(
            identity(shape="[1, -4]"),
            identity(shape="[0, 4]"),
            identity(shape="[-1, 4]"),
            identity(shape="[]"),
            identity(shape="[4]"),
        ),
    ),
    Case(
        "no_model_name",
        "the model name is empty",
        infer(identity(model="")),
    ),
    Case(
        "requested_output_parameters",
        "classification and unknown keys on an output",
        infer(
            *(
                identity(
                    f'outputs {{ name: "OUTPUT0" parameters {{ key: "{key}" value {{ {v} }} }} }}'
                )
                for key, v in (
                    ("classification", "int64_param: 2"),
                    ("classification", "int64_param: 0"),
                    ("classification", "int64_param: -1"),
                    ("classification", 'string_param: "2"'),
                    ("binary_data", "bool_param: false"),
                    ("unknown", "int64_param: 1"),
                )
            ),
            identity('outputs { name: "OUTPUT0" } outputs { name: "OUTPUT0" }'),
        ),
    ),
    Case(
        "check_order",
        "two faults at once: inputs before outputs, names before datatypes, batch before datatype",
        infer(
            identity(f'outputs {{ name: "OUTPUT0" {BAD_CLASSES} }}', data=""),
            identity(
                f'outputs {{ name: "OUTPUT0" {BAD_CLASSES} }}',
                contents="contents { fp32_contents: 1 }",
            ),
            identity('outputs { name: "NOBODY" }', datatype="FOO"),
            identity(datatype="FOO", shape="[9, 4]"),
            identity(parameter("timeout", "bool_param: true"), data=""),
            identity('outputs { name: "NOBODY" }', shape="[1, 5]"),
        ),
    ),
    Case(
        "shared_memory_parameters",
        "shared memory parameters that do not hold together",
        infer(
            identity(contents=parameter("shared_memory_region", 'string_param: "none"'), data=""),
            identity(contents=parameter("shared_memory_offset", "int64_param: 0")),
            identity(contents=parameter("shared_memory_byte_size", "int64_param: 16")),
            identity(contents=parameter("shared_memory_region", "int64_param: 1")),
            identity(
                contents=parameter("shared_memory_region", 'string_param: "none"')
                + parameter("shared_memory_byte_size", "int64_param: 16"),
                data="",
            ),
        ),
    ),
    Case(
        "unknown_method",
        "methods that the service does not have",
        (
            RawGrpc("/inference.GRPCInferenceService/Nothing", b""),
            RawGrpc("/nothing.Service/Nothing", b""),
            RawGrpc("/grpc.health.v1.Health/Check", b""),
            RawGrpc("/grpc.health.v1.Health/Check", b"\x0a\x06nobody"),
        ),
    ),
    Case(
        "bad_protobuf",
        "bytes that are no message",
        (RawGrpc("ModelInfer", b"\xff\xff\xff"), RawGrpc("ServerMetadata", b"\x0a\xff")),
    ),
    Case(
        "bad_protobuf_stream",
        "bytes that are no message, on a stream",
        (RawGrpcStream((identity(), b"\xff\xff\xff")),),
    ),
    Case(
        "stream_final_flags",
        "triton_final_response on every answer after admission, never before",
        (
            RawGrpcStream(
                (
                    identity('id: "ok"'),
                    identity('id: "no model"', model="nobody"),
                    identity('id: "bad shape"', shape="[1, 5]"),
                    identity('id: "bad parameter"' + parameter("timeout", "bool_param: true")),
                    (
                        'model_name: "errors" id: "model error" inputs { name: "SELECTOR" '
                        'datatype: "BYTES" shape: [1] contents { bytes_contents: "not_found" } }'
                    ),
                )
            ),
            RawGrpcStream(
                (
                    'model_name: "decoupled_repeat" id: "d" inputs { name: "PROGRAM" '
                    'datatype: "INT32" shape: [4] contents { int_contents: [2, 1, 0, 0] } } '
                    + parameter("triton_enable_empty_final_response", "bool_param: true"),
                )
            ),
        ),
    ),
    Case(
        "stream_sequence_refusals_raw",
        "refusals by the sequence batcher carry the id alone",
        (
            RawGrpcStream(
                (
                    sequence(parameter("sequence_id", "int64_param: 302"), id="no start"),
                    sequence("", id="no sequence"),
                    sequence(
                        parameter("sequence_id", "int64_param: 302")
                        + parameter("sequence_start", "bool_param: true")
                        + parameter("sequence_end", "bool_param: true"),
                        id="fine",
                    ),
                )
            ),
        ),
    ),
    Case(
        "stream_grpc_error_metadata",
        "a model's error ends the stream when the client asked for that",
        (
            RawGrpcStream(
                (
                    (
                        'model_name: "errors" id: "e" inputs { name: "SELECTOR" '
                        'datatype: "BYTES" shape: [1] contents { bytes_contents: "unavailable" } }'
                    ),
                ),
                (("triton_grpc_error", "true"),),
            ),
        ),
    ),
    Case(
        "server_and_model_state",
        "live, ready, model ready, for what exists and what does not",
        (
            RawGrpc("ServerLive", ""),
            RawGrpc("ServerReady", ""),
            RawGrpc("ModelReady", 'name: "add_sub"'),
            RawGrpc("ModelReady", 'name: "add_sub" version: "1"'),
            RawGrpc("ModelReady", 'name: "add_sub" version: "2"'),
            RawGrpc("ModelReady", 'name: "nobody"'),
            RawGrpc("ModelReady", 'name: "add_sub" version: "abc"'),
        ),
    ),
    Case(
        "model_metadata_grpc",
        "metadata of several kinds of model",
        (
            *(
                RawGrpc("ModelMetadata", f'name: "{name}"')
                for name in (
                    "identity_fp32",
                    "add_sub",
                    "sequence_sum_direct",
                    "two_versions",
                    "typed_echo",
                    "auto_complete",
                    "nobody",
                )
            ),
            RawGrpc("ModelMetadata", 'name: "two_versions" version: "1"'),
        ),
    ),
    Case(
        "model_config_grpc",
        "the completed configuration",
        tuple(
            RawGrpc("ModelConfig", f'name: "{name}"')
            for name in (
                "identity_fp32",
                "sequence_sum_direct",
                "sequence_sum_oldest",
                "sequence_flags",
                "decoupled_repeat",
                "auto_complete",
                "nobody",
            )
        ),
    ),
    Case(
        "statistics_unknown_grpc",
        "statistics of what does not exist",
        (
            RawGrpc("ModelStatistics", 'name: "nobody"'),
            RawGrpc("ModelStatistics", 'name: "add_sub" version: "7"'),
        ),
    ),
    Case(
        "repository_control_refused_grpc",
        "loading is not allowed in control mode none",
        (
            RawGrpc("RepositoryModelLoad", 'model_name: "add_sub"'),
            RawGrpc("RepositoryModelUnload", 'model_name: "add_sub"'),
            RawGrpc("RepositoryModelLoad", 'repository_name: "r" model_name: "add_sub"'),
            RawGrpc("RepositoryIndex", 'repository_name: "r"'),
            Pause(10),
            RawGrpc("ModelReady", 'name: "add_sub"'),
        ),
    ),
    Case(
        "shared_memory_status_grpc",
        "no regions, and regions that do not exist",
        (
            RawGrpc("SystemSharedMemoryStatus", ""),
            RawGrpc("SystemSharedMemoryStatus", 'name: "none"'),
            RawGrpc("SystemSharedMemoryUnregister", 'name: "none"'),
            RawGrpc("SystemSharedMemoryRegister", 'name: "n" key: "/no-such-object" byte_size: 16'),
            RawGrpc("CudaSharedMemoryStatus", ""),
            RawGrpc("CudaSharedMemoryStatus", 'name: "none"'),
        ),
    ),
)
