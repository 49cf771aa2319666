"""From a `Response` to the answer of an infer request: JSON, binary outputs after it."""

from __future__ import annotations

from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as quoted

from streamgate.frontends.classification import classify
from streamgate.frontends.json_tensors import data_to_json
from streamgate.frontends.kserve_http.answer import BINARY, HEADER_LENGTH, Answer, to_json
from streamgate.frontends.kserve_http.decode import Received
from streamgate.model.config import ModelConfig
from streamgate.model.request import Response
from streamgate.model.tensor import Buffer, Tensor


def infer_answer(response: Response, config: ModelConfig, received: Received) -> Answer:
    """200 with the outputs as their sender wanted them.

    It has the header for binary data only when there is any: an output without elements has
    `binary_data_size` 0 in a plain JSON answer, as in Triton (2.51). Raises StreamGateError
    (INVALID_ARG) for FP16 and BF16 wanted as JSON, and for types that can't be classified.
    """
    outputs = response.outputs
    if received.classes:
        outputs = _classified(outputs, config, received)
    blobs: list[Buffer] = []
    shown = [_output(tensor, received, blobs) for tensor in outputs]
    head = _head(response, shown)
    if not blobs:
        return Answer(pieces=(head,))
    return Answer(200, (head, *blobs), BINARY, ((HEADER_LENGTH, str(len(head))),))


def _head(response: Response, outputs: Sequence[str]) -> bytes:
    request_id = response.request.id
    shown_id = f'"id":{quoted(request_id)},' if request_id else ""
    parameters = response.parameters
    shown_parameters = f'"parameters":{to_json(dict(parameters))},' if parameters else ""
    return (
        f'{{{shown_id}"model_name":{quoted(response.model)},'
        f'"model_version":{quoted(response.version)},'
        f'{shown_parameters}"outputs":[{",".join(outputs)}]}}'
    ).encode()


def _output(tensor: Tensor, received: Received, blobs: list[Buffer]) -> str:
    """The output in JSON; binary data is added to `blobs`."""
    name = tensor.name
    start = (
        f'{{"name":{quoted(name)},"datatype":"{tensor.datatype.value}",'
        f'"shape":[{",".join(map(str, tensor.shape))}],'
    )
    if not received.binary.get(name, received.binary_default):
        return f'{start}"data":{to_json(data_to_json(tensor))}}}'
    raw = tensor.raw
    size = memoryview(raw).nbytes
    if size:
        blobs.append(raw if isinstance(raw, bytes) else memoryview(raw).cast("B"))
    return f'{start}"parameters":{{"binary_data_size":{size}}}}}'


def _classified(
    outputs: Sequence[Tensor], config: ModelConfig, received: Received
) -> Sequence[Tensor]:
    labels = {spec.name: spec.labels for spec in config.outputs}
    return [
        classify(
            tensor,
            received.classes[tensor.name],
            batches=config.batches,
            labels=labels.get(tensor.name, ()),
        )
        if tensor.name in received.classes
        else tensor
        for tensor in outputs
    ]
