"""A running hash that a model keeps in objects of its own, and what can go wrong with it."""

import json
import os
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

MODULUS = 2**31 - 1
FACTOR = 48_271
PERILS = 2**40
KILL, KILL_ONCE, HANG, HANG_ONCE, ALLOCATE, RAISE, KILL_BETWEEN_ONCE = range(PERILS, PERILS + 7)
ONCE = {KILL_ONCE, HANG_ONCE, KILL_BETWEEN_ONCE}


def mix(kept, value):
    return (kept * FACTOR + value % MODULUS + 1) % MODULUS


class TritonPythonModel:
    """IN INT64 [1] -> OUT INT64 [1]: a hash of all INs so far; decoupled, 0 to 3 such."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        settings = {
            name: value["string_value"]
            for name, value in config["parameters"].items()
            if not name.startswith("streamgate.")
        }
        self.decoupled = pb_utils.using_decoupled_model_transaction_policy(config)
        self.marks = Path(settings["marks"])
        self.step_seconds = float(settings["step_ms"]) / 1000
        self.allocate_bytes = int(float(settings["allocate_mb"]) * 2**20)
        self.kept = {}
        self.ballast = []
        if settings["hooks"] == "yes":
            self.get_state = self._get_state
            self.set_state = self._set_state

    def execute(self, requests):
        if self.step_seconds:
            time.sleep(self.step_seconds)
        if self.decoupled:
            for request in requests:
                self._stream(request)
            return None
        return [self._answer(request) for request in requests]

    def on_sequence_end(self, correlation_id, reason):
        self.kept.pop(correlation_id, None)

    def _get_state(self, correlation_id):
        return b"%d" % self.kept[correlation_id]

    def _set_state(self, correlation_id, state):
        self.kept[correlation_id] = int(state)

    def _step(self, request):
        """The next hash of the request's sequence, and its input."""
        key = request.correlation_id()
        value = int(pb_utils.get_input_tensor_by_name(request, "IN").as_numpy().item())
        if value >= PERILS and value != KILL_BETWEEN_ONCE:
            self._suffer(value)
        begins = request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START
        self.kept[key] = mix(0 if begins else self.kept[key], value)
        return self.kept[key], value

    def _answer(self, request):
        return self._response(self._step(request)[0])

    def _stream(self, request):
        sender = request.get_response_sender()
        kept, value = self._step(request)
        for index in range(kept % 4):
            sender.send(self._response(mix(kept, index)))
            if index == 0 and value == KILL_BETWEEN_ONCE:
                time.sleep(0.05)  # what was sent is on its way
                self._suffer(value)
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _response(self, value):
        shape = (1,) if self.decoupled else (1, 1)
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.full(shape, value, np.int64))])

    def _suffer(self, peril):
        if peril in ONCE:
            mark = self.marks / f"suffered {peril}"
            if mark.exists():
                return
            mark.touch()
        if peril in {KILL, KILL_ONCE, KILL_BETWEEN_ONCE}:
            os._exit(77)
        if peril in {HANG, HANG_ONCE}:
            (self.marks / "hangs").write_text(f"{os.getpid()}\n")
            while not (self.marks / "wake").exists():
                time.sleep(0.005)
        if peril == ALLOCATE:
            self.ballast.append(b"\1" * self.allocate_bytes)
        if peril == RAISE:
            raise ValueError("asked to fail")
