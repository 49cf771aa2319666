"""`pb_utils.InferenceResponse`: what a model answers one request with."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, final

from streamgate.model.request import ParameterValue
from streamgate_python.errors import TritonError, TritonModelException
from streamgate_python.tensors import Tensor


def check_parameters(parameters: Any) -> dict[str, ParameterValue]:
    """The parameters of a response or request as a dict of bool, int and str.

    Raises TritonModelException naming what was found instead.
    """
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise TritonModelException(f"Expect parameters to be a dict, found type {type(parameters)}")
    for key, value in parameters.items():
        if not isinstance(key, str):
            raise TritonModelException(
                f"Expect parameters keys to have type str, found type {type(key)}"
            )
        if not isinstance(value, bool | int | str):
            raise TritonModelException(
                f"Expect parameters values to have type bool/int/str, found type {type(value)}"
            )
    return parameters


@final
class InferenceResponse:
    """One response: output tensors, or an error (then outputs are ignored).

    Raises TypeError for anything but Tensors and a TritonError, TritonModelException for a
    missing tensor and for parameters of another type than bool, int or str.
    """

    __slots__ = ("_error", "_failure", "_outputs", "_parameters")

    def __init__(
        self,
        output_tensors: Sequence[Tensor | None] = (),
        error: TritonError | None = None,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        outputs: list[Tensor] = []
        for tensor in output_tensors:
            if not isinstance(tensor, Tensor):
                if tensor is None:
                    raise TritonModelException(
                        "Output tensor for inference response should not be empty."
                    )
                raise TypeError(
                    f"InferenceResponse: output_tensors must hold Tensors, found {type(tensor)}"
                )
            outputs.append(tensor)
        if error is not None and not isinstance(error, TritonError):
            raise TypeError(f"InferenceResponse: error must be a TritonError, found {type(error)}")
        self._outputs = outputs
        self._error = error
        self._failure = None if error is None else error.failure
        self._parameters = None if parameters is None else check_parameters(parameters)

    def output_tensors(self) -> list[Tensor]:
        return self._outputs

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error

    def parameters(self) -> str:
        """The response's parameters as JSON."""
        return json.dumps(self._parameters or {})
