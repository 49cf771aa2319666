"""Models that call other models, for a `ModelHouse`."""

import textwrap

from streamgate.model.config import Execution
from streamgate.model.request import Response
from tests.server.model_house import ModelHouse, Models

PREFIX = "Model {} - Error when running inference: "

CONFIG = """
backend: "python"
input { name: "IN" data_type: TYPE_INT32 dims: 1 }
output { name: "OUT" data_type: TYPE_INT32 dims: 1 }
output { name: "TEXT" data_type: TYPE_STRING dims: 1 }
instance_group { kind: KIND_CPU count: COUNT }
"""
default_execution = Execution.THREAD
DECOUPLED = "model_transaction_policy { decoupled: true }\n"

HEADER = """
import asyncio
import json
import threading

import model_gates
import numpy as np
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


def value_of(message):
    return int(pb_utils.get_input_tensor_by_name(message, "IN").as_numpy().ravel()[0])


def made(value, model, **more):
    more.setdefault("requested_output_names", ["OUT"])
    tensor = pb_utils.Tensor("IN", np.array([value], np.int32))
    return pb_utils.InferenceRequest(model_name=model, inputs=[tensor], **more)


def out(value):
    return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([value], np.int32))])


def text(value):
    array = np.array([str(value).encode()], dtype=object)
    return pb_utils.InferenceResponse([pb_utils.Tensor("TEXT", array)])


def got(response):
    if response.has_error():
        return "error: " + response.error().message()
    values = [tensor.as_numpy().ravel()[0] for tensor in response.output_tensors()]
    return " ".join(str(int(value)) for value in values)


class TritonPythonModel:
"""


def config(*, instances: int = 1, decoupled: bool = False, more: str = "") -> str:
    """A configuration with the input IN and the outputs OUT and TEXT, one element each."""
    text = CONFIG.replace("COUNT", str(instances)) + (DECOUPLED if decoupled else "")
    if "streamgate.execution" not in more:
        more += (
            'parameters { key: "streamgate.execution" '
            f'value {{ string_value: "{default_execution.value}" }} }}\n'
        )
    return text + more


def execute(body: str, *, rest: str = "", keyword: str = "def") -> str:
    """A model whose `execute` answers each `request` with what the body returns."""
    step = textwrap.indent(textwrap.dedent(body).strip(), " " * 8)
    if keyword == "def":
        answers = "[self.step(request) for request in requests]"
    else:
        answers = "[await self.step(request) for request in requests]"
    code = (
        f"    {keyword} execute(self, requests):\n        return {answers}\n\n"
        f"    {keyword} step(self, request):\n{step}\n"
    )
    return HEADER + code + textwrap.indent(textwrap.dedent(rest), "    ")


def caller(models: Models, body: str, *, name: str = "caller", **more: str) -> None:
    """Write a model whose `execute` is this body for each request."""
    models.write(name, config=config(), code=execute(body, **more))


async def text(house: ModelHouse, name: str = "caller", value: int = 1) -> str:
    """The TEXT that a model answers."""
    return text_of(await house.ask(name, value).response())


def text_of(response: Response) -> str:
    """The TEXT of a response without an error."""
    assert response.failure is None, response.failure
    [element] = response.outputs[0].array.ravel()
    return bytes(element).decode()
