"""A stateful model that adds up what it gets, and unmodified clients that let it.

The sum is implicit state, so that a slot which two sequences shared would show at once. A step
passes the gate `step KEY`; a negative VALUE fails it.
"""

import queue
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as tritongrpc
import tritonclient.http as tritonhttp

from tests.system.running_server import WAIT_SECONDS

_CONFIG = """
backend: "python"
max_batch_size: 4
input { name: "VALUE" data_type: TYPE_INT32 dims: 1 }
output { name: "TOTAL" data_type: TYPE_INT32 dims: 1 }
instance_group { kind: KIND_CPU }
"""
_STATE = """
  state {
    input_name: "TOTAL_IN" output_name: "TOTAL_OUT" data_type: TYPE_INT32 dims: 1
    initial_state { name: "zero" data_type: TYPE_INT32 dims: 1 zero_data: true }
  }
"""
_CODE = """
import model_gates
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.step(request) for request in requests]

    def step(self, request):
        model_gates.enter(f"step {request.correlation_id()}")
        value = pb_utils.get_input_tensor_by_name(request, "VALUE").as_numpy()
        if value.min() < 0:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("less than nothing"))
        total = pb_utils.get_input_tensor_by_name(request, "TOTAL_IN").as_numpy() + value
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("TOTAL", total), pb_utils.Tensor("TOTAL_OUT", total)]
        )
"""


def write_tally(
    directory: Path,
    name: str = "tally",
    *,
    slots: int = 4,
    idle_ms: int = 60_000,
    strategy: str = "oldest",
    state: str = _STATE,
    rest: str = "",
    code: str = _CODE,
) -> None:
    """`state` is the configuration of the state, `rest` more of the configuration."""
    options = f"max_candidate_sequences: {slots}" if strategy == "oldest" else ""
    batching = (
        f"sequence_batching {{ max_sequence_idle_microseconds: {idle_ms}000 "
        f"{strategy} {{ {options} }} {state} }}"
    )
    version = directory / name / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(code)
    config = _CONFIG if strategy == "oldest" else _CONFIG.replace("size: 4", f"size: {slots}")
    (directory / name / "config.pbtxt").write_text(f"{config}\n{batching}\n{rest}")


def setting(name: str, value: str) -> str:
    """A line of the configuration for one of our own parameters."""
    return f'parameters {{ key: "streamgate.{name}" value {{ string_value: "{value}" }} }}\n'


def value_tensor(value: int, library: Any = tritongrpc) -> Any:
    tensor = library.InferInput("VALUE", [1, 1], "INT32")
    tensor.set_data_from_numpy(np.array([[value]], np.int32))
    return tensor


def total_of(result: Any) -> int:
    return int(result.as_numpy("TOTAL").ravel()[0])


def flags_of(flags: str) -> dict[str, bool]:
    """S for START, E for END."""
    return {"sequence_start": "S" in flags, "sequence_end": "E" in flags}


class TallyStream:
    """tritonclient's stream."""

    def __init__(self, address: str, model: str = "tally", **headers: str) -> None:
        self.model = model
        self.client = tritongrpc.InferenceServerClient(address)
        self._answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self.client.start_stream(
            lambda result, error: self._answers.put((result, error)), headers=headers or None
        )

    def ask(self, key: int | str, value: int, flags: str = "", *, id: str = "") -> None:
        self.client.async_stream_infer(
            self.model, [value_tensor(value)], request_id=id, sequence_id=key, **flags_of(flags)
        )

    def total(self) -> int:
        """The sum in the next answer."""
        result, error = self._answers.get(timeout=WAIT_SECONDS)
        assert error is None, error
        return total_of(result)

    def error(self) -> str:
        """The text of the error that comes next."""
        result, error = self._answers.get(timeout=WAIT_SECONDS)
        assert result is None, result
        return str(error.message())

    def leave(self, *, cancel: bool = False) -> None:
        """End the stream, in good order or by cancelling it."""
        self.client.stop_stream(cancel_requests=cancel)
        self.client.close()


class TallyCalls:
    """tritonclient's calls, one for each step. Over gRPC."""

    def __init__(self, address: str, model: str = "tally") -> None:
        self.model = model
        self.client = tritongrpc.InferenceServerClient(address)

    def total(self, key: int | str, value: int, flags: str = "") -> int:
        result = self.client.infer(
            self.model,
            [value_tensor(value)],
            sequence_id=key,
            client_timeout=WAIT_SECONDS,
            **flags_of(flags),
        )
        return total_of(result)

    def begin(
        self, key: int | str, value: int, flags: str = "", *, client_timeout: float = WAIT_SECONDS
    ) -> "BegunCall":
        """A step whose answer is not waited for."""
        return BegunCall(self, key, value, flags, client_timeout)

    def close(self) -> None:
        self.client.close()


class BegunCall:
    """A call under way."""

    def __init__(
        self, calls: TallyCalls, key: int | str, value: int, flags: str, client_timeout: float
    ) -> None:
        self._answer: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._context = calls.client.async_infer(
            calls.model,
            [value_tensor(value)],
            lambda result, error: self._answer.put((result, error)),
            sequence_id=key,
            client_timeout=client_timeout,
            **flags_of(flags),
        )

    def cancel(self) -> None:
        self._context.cancel()

    def total(self) -> int:
        result, error = self._answer.get(timeout=WAIT_SECONDS)
        assert error is None, error
        return total_of(result)

    def error(self) -> tuple[str, str]:
        """Status and text of the error that it must end with."""
        result, error = self._answer.get(timeout=WAIT_SECONDS)
        assert result is None, result
        return str(error.status()), str(error.message())


class TallyHttp:
    """tritonclient's calls over HTTP, as `TallyCalls`."""

    def __init__(self, address: str, model: str = "tally") -> None:
        self.model = model
        self.client = tritonhttp.InferenceServerClient(address, concurrency=4)

    def total(self, key: int | str, value: int, flags: str = "") -> int:
        result = self.client.infer(
            self.model, [value_tensor(value, tritonhttp)], sequence_id=key, **flags_of(flags)
        )
        return total_of(result)

    def close(self) -> None:
        self.client.close()
