"""What one model instance's responses are turned into, and what it may answer at all.

Outputs are checked as leniently as Triton does: one that was not asked for is dropped, types and
shapes are sent as they are. A tensor named as a state's output becomes the sequence's state.
"""

import threading
from collections.abc import Collection
from typing import final

import numpy as np

from streamgate.errors import Code, Failure
from streamgate.model.config import ModelConfig, StateSpec
from streamgate.model.tensor import Array
from streamgate.model.tensor import Tensor as ModelTensor
from streamgate_python.errors import TritonModelException
from streamgate_python.kept_states import KeptStates
from streamgate_python.responses import InferenceResponse
from streamgate_python.tensors import Tensor


@final
class Answers:
    """The rules of one instance's answers. `lock` guards the state of all its senders."""

    __slots__ = ("batches", "decoupled", "instance", "lock", "outputs", "states")

    def __init__(self, instance: str, config: ModelConfig) -> None:
        self.instance = instance
        self.decoupled = config.decoupled
        self.batches = config.batches
        self.outputs = frozenset(spec.name for spec in config.outputs)
        self.states = {spec.output_name: spec for spec in config.states}
        self.lock = threading.Lock()

    def failure(self, message: str) -> Failure:
        """The failure of a request that the model could not process."""
        return Failure(
            Code.INTERNAL,
            f"Failed to process the request(s) for model '{self.instance}', message: {message}",
        )

    def tensors(
        self, response: InferenceResponse, wanted: Collection[str], kept: KeptStates
    ) -> list[ModelTensor]:
        """The wanted outputs of a response, on data of their own. Its states go to `kept`.

        An error has none and takes earlier ones back. Raises TritonModelException, and keeps
        nothing, when a state has another type or shape than the configuration says, or comes
        after `execute` returned.
        """
        if response._failure is not None:
            kept.drop()
            return []
        if not self.states:
            return [tensor._outgoing() for tensor in response._outputs if tensor._name in wanted]
        outgoing: list[ModelTensor] = []
        states: dict[str, Array] = {}
        for tensor in response._outputs:
            spec = self.states.get(tensor._name)
            if spec is not None:
                states[tensor._name] = self._state(tensor, spec)
            if tensor._name in wanted:
                outgoing.append(tensor._outgoing() if spec is None else self._shown(tensor, spec))
        if states and not kept.keep(states):
            raise TritonModelException(
                f"state '{next(iter(states))}' of model '{self.instance}' came after execute had "
                "returned, when the sequence's next step may have begun with the old state"
            )
        return outgoing

    def _shown(self, tensor: Tensor, spec: StateSpec) -> ModelTensor:
        """A state that is an output as well, with the batch dimension where clients expect it."""
        if not self.batches or spec.batch_axis == 0:
            return tensor._outgoing()
        datatype, array = tensor._copy()
        return ModelTensor.of(tensor._name, np.moveaxis(array, spec.batch_axis, 0), datatype)

    def _state(self, tensor: Tensor, spec: StateSpec) -> Array:
        name = spec.output_name
        datatype, array = tensor._copy()
        expected = list(spec.shape)
        if self.batches:
            expected.insert(spec.batch_axis, 1)
        matches = tuple(expected) == array.shape or (
            len(expected) == array.ndim
            and all(size in {-1, found} for size, found in zip(expected, array.shape, strict=True))
        )
        if datatype is not spec.datatype or not matches:
            raise TritonModelException(
                f"state '{name}' of model '{self.instance}' must be {spec.datatype.value} of shape "
                f"{expected}, found {datatype.value} of shape {list(array.shape)}"
            )
        return array
