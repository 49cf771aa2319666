"""The completed configuration as Triton 2.51 answered it, for the models of the conformance kit."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from streamgate._proto import model_config_pb2 as pb
from streamgate.model.config import ModelConfig
from streamgate.repository.repository import ModelRepository
from tests.repository.conftest import FakeBackend

CONFORMANCE = Path(__file__).resolve().parents[1] / "conformance"
RECORDING = json.loads((CONFORMANCE / "triton-2.51-golden.json").read_text())


def within(value: Any) -> Iterator[Any]:
    """The value and everything in it, however the recording is arranged."""
    yield value
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from within(item)


def json_answers() -> dict[str, dict[str, Any]]:
    return {
        found["name"]: found
        for found in within(RECORDING["http_model_config"])
        if isinstance(found, dict) and "version_policy" in found
    }


def wire_answers() -> dict[str, pb.ModelConfig]:
    # The recording holds the response's text: `config { ... }`.
    messages = [
        text_format.Parse(
            found.strip().removeprefix("config {").removesuffix("}"), pb.ModelConfig()
        )
        for found in within(RECORDING["model_config_grpc"])
        if isinstance(found, str) and found.startswith("config {")
    ]
    return {message.name: message for message in messages}


def as_the_model_says(config: dict[str, Any]) -> dict[str, Any]:
    """What `auto_complete_config` of the model `auto_complete` adds."""
    if config["name"] != "auto_complete":
        return config
    tensor = {"data_type": "TYPE_FP32", "dims": [2]}
    return {
        **config,
        "max_batch_size": 4,
        "dynamic_batching": {},
        "input": [{"name": "INPUT", **tensor}],
        "output": [{"name": "OUTPUT", **tensor}],
    }


def read(name: str) -> ModelConfig:
    backend = FakeBackend("model.py", as_the_model_says)
    repository = ModelRepository([CONFORMANCE / "models"], find_backend=lambda name: backend)
    return repository.read(name).versions[-1].config


def test_something_was_recorded() -> None:
    assert len(json_answers()) >= 5
    assert len(wire_answers()) >= 5


@pytest.mark.parametrize("name", json_answers())
def test_json_is_tritons_to_the_order_of_keys(name: str) -> None:
    assert read(name).json == json.dumps(json_answers()[name], separators=(",", ":"))


@pytest.mark.parametrize("name", wire_answers())
def test_wire_is_tritons(name: str) -> None:
    assert pb.ModelConfig.FromString(read(name).wire) == wire_answers()[name]
