"""Models on one device of a whole server: with --device-turns, one step at a time on it."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.system.running_server import running
from tests.system.tally import TallyCalls, write_tally

_SHARED = """
import threading, time
lock, inside, most = threading.Lock(), 0, 0

def step():
    global inside, most
    with lock:
        inside += 1
        most = max(most, inside)
    time.sleep(0.003)
    with lock:
        inside -= 1
    return most
"""
_CODE = """
import numpy as np
import shared_device
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        most = shared_device.step()
        return [self.answer(request, most) for request in requests]

    def answer(self, request, most):
        before = pb_utils.get_input_tensor_by_name(request, "TOTAL_IN").as_numpy()
        total = np.full_like(before, most)
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("TOTAL", total), pb_utils.Tensor("TOTAL_OUT", total)]
        )
"""
MODELS = ("one", "two", "three")


@pytest.mark.parametrize("turns", [0, 1])
def test_steps_of_all_models_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    name = f"shared_device_{turns}"
    (modules / f"{name}.py").write_text(_SHARED)
    monkeypatch.syspath_prepend(str(modules))
    for model in MODELS:
        code = _CODE.replace("shared_device", name)
        write_tally(tmp_path / "models", model, code=code)

    with running(tmp_path / "models", device_turns=turns) as server:

        def steps(model: str) -> int:
            with closing(TallyCalls(server.grpc, model)) as calls:
                calls.total(1, 0, "S")
                for _ in range(30):
                    most = calls.total(1, 0)
                calls.total(1, 0, "E")
            return most

        with ThreadPoolExecutor(len(MODELS)) as pool:
            most = max(pool.map(steps, MODELS))
    assert most == 1 if turns else most > 1
