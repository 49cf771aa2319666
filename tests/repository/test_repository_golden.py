"""The completed configuration as Triton 2.51 answered it, for the models of the conformance kit."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from streamgate._proto import model_config_pb2 as pb
from streamgate.model.config import ModelConfig
from streamgate.repository.repository import ModelRepository
from tests.repository.conftest import FakeBackend

CONFORMANCE = Path(__file__).resolve().parents[1] / "conformance"
GOLDEN: dict[str, list[dict[str, Any]]] = json.loads(
    (CONFORMANCE / "triton-2.51-golden.json").read_text()
)
ANSWERS = [answer["body"] for answer in GOLDEN["http_model_config"] if answer["status"] == 200]


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


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda body: body["name"])
def test_json_is_tritons_to_the_order_of_keys(answer: dict[str, Any]) -> None:
    assert read(answer["name"]).json == json.dumps(answer, separators=(",", ":"))


def golden_messages() -> list[pb.ModelConfig]:
    # The recording holds the response's text: `config { ... }`.
    return [
        text_format.Parse(
            answer["message"].strip().removeprefix("config {").removesuffix("}"), pb.ModelConfig()
        )
        for answer in GOLDEN["model_config_grpc"]
        if answer["status"] == "OK"
    ]


@pytest.mark.parametrize("answer", golden_messages(), ids=lambda message: message.name)
def test_wire_is_tritons(answer: pb.ModelConfig) -> None:
    assert pb.ModelConfig.FromString(read(answer.name).wire) == answer
