"""Our messages and tritonclient's live in one process and agree on every shared byte."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from tritonclient.grpc import model_config_pb2 as their_config
from tritonclient.grpc import service_pb2 as their_service

from streamgate._proto import grpc_service_pb2, model_config_pb2
from streamgate._proto.descriptors import INFERENCE_SERVICE, canonical_files, canonical_pool

PAIRS = ((grpc_service_pb2, their_service), (model_config_pb2, their_config))
OUR_PREFIX = "streamgate.wire."

CONFIG_TEXT = """
name: "accumulate"
backend: "python"
max_batch_size: 8
input [ { name: "INPUT" data_type: TYPE_FP32 dims: [ -1, 4 ] optional: true } ]
output { name: "OUTPUT" data_type: TYPE_STRING dims: 1 }
instance_group [ { kind: KIND_CPU count: 2 } ]
sequence_batching {
  max_sequence_idle_microseconds: 5000000
  oldest { max_candidate_sequences: 32 preferred_batch_size: [ 4, 8 ] }
  control_input [
    { name: "START" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } ] }
  ]
  state [
    {
      input_name: "S_IN" output_name: "S_OUT" data_type: TYPE_FP32 dims: [ 16 ]
      initial_state: { data_type: TYPE_FP32 dims: [ 16 ] zero_data: true name: "zero" }
    }
  ]
}
parameters { key: "threshold" value { string_value: "0.5" } }
model_transaction_policy { decoupled: true }
"""


@pytest.mark.parametrize(
    "order",
    [
        ("streamgate._proto.grpc_service_pb2", "tritonclient.grpc"),
        ("tritonclient.grpc", "streamgate._proto.grpc_service_pb2"),
    ],
)
def test_import_in_either_order(order: tuple[str, str]) -> None:
    code = "\n".join(f"import {module}" for module in order)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def all_messages(root: Any) -> Iterator[Descriptor]:
    """A file's or message's messages, nested ones included."""
    is_file = hasattr(root, "message_types_by_name")
    messages = root.message_types_by_name if is_file else root.nested_types_by_name
    for message in messages.values():
        yield message
        yield from all_messages(message)


def all_enums(root: Any) -> Iterator[EnumDescriptor]:
    """Every enum of a file."""
    yield from root.enum_types_by_name.values()
    for message in all_messages(root):
        yield from message.enum_types


def described(field: FieldDescriptor) -> dict[str, object]:
    """What decides a field's bytes and its text form."""
    referred = field.message_type or field.enum_type
    return {
        "number": field.number,
        "type": field.type,
        "repeated": field.is_repeated,
        "packed": field.is_packed,
        "refers_to": referred.full_name.removeprefix(OUR_PREFIX) if referred else None,
        "oneof": field.containing_oneof.name if field.containing_oneof else None,
    }


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_shared_fields_agree(ours: Any, theirs: Any) -> None:
    """A field that only one side knows passes: protocols grow, clients are of any age."""
    their_messages = {message.full_name: message for message in all_messages(theirs.DESCRIPTOR)}
    compared = 0
    for message in all_messages(ours.DESCRIPTOR):
        other = their_messages.get(message.full_name.removeprefix(OUR_PREFIX))
        if other is None:
            continue
        numbers = {field.number: field.name for field in other.fields}
        for field in message.fields:
            assert numbers.get(field.number, field.name) == field.name, field.full_name
            if field.name in other.fields_by_name:
                assert described(field) == described(other.fields_by_name[field.name])
                compared += 1
    assert compared > 100


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_we_know_everything_that_the_client_knows(ours: Any, theirs: Any) -> None:
    """Holds for the pinned tritonclient: what it can send, we can read."""
    known = {
        f"{message.full_name.removeprefix(OUR_PREFIX)}.{field.name}"
        for message in all_messages(ours.DESCRIPTOR)
        for field in message.fields
    }
    wanted = {
        f"{message.full_name}.{field.name}"
        for message in all_messages(theirs.DESCRIPTOR)
        for field in message.fields
    }
    assert wanted - known == set()


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_enums_agree(ours: Any, theirs: Any) -> None:
    def values(module: Any) -> dict[str, dict[str, int]]:
        return {
            enum.full_name.removeprefix(OUR_PREFIX): {v.name: v.number for v in enum.values}
            for enum in all_enums(module.DESCRIPTOR)
        }

    assert values(ours) == values(theirs)


def test_methods_agree() -> None:
    ours = grpc_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    theirs = their_service.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    public = canonical_pool().FindServiceByName(INFERENCE_SERVICE)

    def shape(service: Any) -> dict[str, tuple[str, str, bool, bool]]:
        return {
            method.name: (
                method.input_type.full_name.removeprefix(OUR_PREFIX),
                method.output_type.full_name.removeprefix(OUR_PREFIX),
                method.client_streaming,
                method.server_streaming,
            )
            for method in service.methods
        }

    assert len(shape(ours)) == 20
    assert shape(ours) == shape(theirs) == shape(public)


def our_request() -> grpc_service_pb2.ModelInferRequest:
    request = grpc_service_pb2.ModelInferRequest(
        model_name="m", model_version="1", id="r1", raw_input_contents=[b"\x00\x00\x80?"]
    )
    request.parameters["sequence_id"].string_param = "caller-7"
    request.parameters["sequence_start"].bool_param = True
    request.parameters["priority"].uint64_param = 2
    request.parameters["weight"].double_param = 0.25
    tensor = request.inputs.add(name="INPUT", datatype="FP32", shape=[1, 1])
    tensor.parameters["shared_memory_offset"].int64_param = -1
    tensor.contents.fp32_contents.extend([1.5, -2.0])
    request.outputs.add(name="OUTPUT").parameters["classification"].int64_param = 3
    return request


def our_config() -> model_config_pb2.ModelConfig:
    return text_format.Parse(CONFIG_TEXT, model_config_pb2.ModelConfig())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (our_request(), their_service.ModelInferRequest()),
        (our_config(), their_config.ModelConfig()),
    ],
    ids=["request", "config"],
)
def test_bytes_of_one_parse_in_the_other(ours: Message, theirs: Message) -> None:
    theirs.ParseFromString(ours.SerializeToString())
    assert text_format.MessageToString(theirs) == text_format.MessageToString(ours)
    back = type(ours).FromString(theirs.SerializeToString())
    assert back == ours


def test_a_config_file_parses() -> None:
    config = our_config()
    assert config.WhichOneof("scheduling_choice") == "sequence_batching"
    assert config.sequence_batching.WhichOneof("strategy_choice") == "oldest"
    assert list(config.sequence_batching.oldest.preferred_batch_size) == [4, 8]
    assert config.sequence_batching.state[0].initial_state[0].zero_data
    assert list(config.input[0].dims) == [-1, 4]
    assert config.output[0].data_type == model_config_pb2.TYPE_STRING
    assert config.parameters["threshold"].string_value == "0.5"


def test_a_config_file_with_an_unknown_field_names_its_line() -> None:
    with pytest.raises(text_format.ParseError, match=r'^3:1 .* no field named "max_batch"'):
        text_format.Parse('name: "m"\nbackend: "b"\nmax_batch: 8', model_config_pb2.ModelConfig())


def test_reflection_sees_only_public_names() -> None:
    packages = {file.package for file in canonical_files().file}
    assert packages == {
        "google.cloud.speech.v1",
        "google.cloud.speech.v2",
        "google.protobuf",
        "inference",
        "nvidia.riva",
        "nvidia.riva.asr",
        "nvidia.riva.nmt",
    }
    assert b"streamgate" not in canonical_files().SerializeToString()


def test_other_services_can_join_the_private_pool() -> None:
    health = health_pb2.DESCRIPTOR.services_by_name["Health"].file
    proto = FileDescriptorProto()
    health.CopyToProto(proto)
    pool = canonical_pool([proto])
    assert pool.FindServiceByName("grpc.health.v1.Health").methods[0].name == "Check"
    assert len(pool.FindServiceByName(INFERENCE_SERVICE).methods) == 20
