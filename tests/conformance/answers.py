"""Answers as plain comparable values: what JSON can hold, nothing that varies between two runs.

Knows the two wires' responses as their public clients decode them. Must not know which server
gave the answer, nor judge it.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

Answer: TypeAlias = bool | int | float | str | Sequence["Answer"] | Mapping[str, "Answer"] | None

DTYPES: Final[Mapping[str, str]] = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
ELEMENTS_SHOWN_MAX: Final = 64


def grpc_failure(code: str, message: str | None) -> Answer:
    return {"status": code, "message": message or ""}


def infer_response(response: Any) -> dict[str, Answer]:
    """A ModelInferResponse message: empty fields are left out, tensors are decoded."""
    answer: dict[str, Answer] = {}
    for name in ("model_name", "model_version", "id"):
        if value := getattr(response, name):
            answer[name] = value
    if response.parameters:
        answer["parameters"] = _parameters(response.parameters)
    outputs: list[Answer] = []
    for index, output in enumerate(response.outputs):
        tensor: dict[str, Answer] = {
            "name": output.name,
            "datatype": output.datatype,
            "shape": list(output.shape),
        }
        if output.parameters:
            tensor["parameters"] = _parameters(output.parameters)
        if output.HasField("contents"):
            tensor["contents"] = str(output.contents)
        if index < len(response.raw_output_contents):
            tensor["data"] = tensor_data(output.datatype, response.raw_output_contents[index])
        outputs.append(tensor)
    if outputs:
        answer["outputs"] = outputs
    if len(response.raw_output_contents) != len(response.outputs):
        answer["raw_output_contents"] = len(response.raw_output_contents)
    return answer


def stream_response(response: Any) -> Answer:
    """A ModelStreamInferResponse message."""
    answer = infer_response(response.infer_response)
    if response.error_message:
        answer["error_message"] = response.error_message
    return answer


def http_infer_response(header: Mapping[str, Any], arrays: Mapping[str, Any]) -> Answer:
    """tritonclient's view of an HTTP answer: the JSON header and its arrays by output name."""
    answer: dict[str, Answer] = {
        name: value for name, value in header.items() if name != "outputs" and value != ""
    }
    outputs: list[Answer] = []
    for output in header.get("outputs", []):
        array = arrays[output["name"]]
        is_binary = "binary_data_size" in output.get("parameters", {})
        outputs.append(
            {
                "name": output["name"],
                "datatype": output["datatype"],
                "shape": output["shape"],
                "binary": is_binary,
                "data": _elements(array.reshape(-1).tolist()),
            }
        )
    if outputs:
        answer["outputs"] = outputs
    return answer


def http_body(body: bytes, header_length: str | None) -> Answer:
    """A body as JSON where it is JSON: a binary tail in hexadecimal, server-sent events listed."""
    if header_length is not None and header_length.isdigit():
        cut = int(header_length)
        return {"json": http_body(body[:cut], None), "tail": body[cut:].hex()}
    if not body:
        return None
    text = body.decode("utf-8", errors="backslashreplace")
    if text.startswith("data: "):
        events = [event.removeprefix("data: ") for event in text.split("\n\n") if event]
        return {"events": [_json_or_text(event) for event in events]}
    return _json_or_text(text)


def tensor_data(datatype: str, raw: bytes) -> Answer:
    """Elements in row-major order; what can't be decoded, and FP16/BF16 exactly, as hex."""
    if datatype == "BYTES":
        return _byte_strings(raw)
    dtype = DTYPES.get(datatype)
    if dtype is None or len(raw) % np.dtype(dtype).itemsize:
        return {"hex": raw.hex()}
    return _elements(np.frombuffer(raw, dtype).tolist())


def plain(value: Any) -> Answer:
    """Nested Python values as an Answer; floats that JSON lacks become text."""
    match value:
        case dict():
            return {str(key): plain(entry) for key, entry in value.items()}
        case list() | tuple():
            return [plain(entry) for entry in value]
        case bytes():
            return value.decode("utf-8", errors="backslashreplace")
        case float() if not math.isfinite(value):
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case _:
            raise TypeError(f"an answer can't hold {type(value).__name__}")


def in_any_order(answers: Sequence[Answer]) -> list[Answer]:
    """The answers of a stream in an order that does not depend on when they came."""
    return sorted(answers, key=json.dumps)


def by_lane(answers: Sequence[Answer]) -> list[Answer]:
    """Sorted by the part of the id before "#"; within that, as they came."""
    return sorted(answers, key=_lane)


def _lane(answer: Answer) -> str:
    identifier = answer.get("id", "") if isinstance(answer, Mapping) else ""
    return str(identifier).partition("#")[0]


def without_paths(answer: Answer, repository: Path) -> Answer:
    """The answer with the model repository's place replaced by a word."""
    match answer:
        case dict():
            return {key: without_paths(entry, repository) for key, entry in answer.items()}
        case list():
            return [without_paths(entry, repository) for entry in answer]
        case str():
            return answer.replace(str(repository), "<repository>")
        case _:
            return answer


def _json_or_text(text: str) -> Answer:
    try:
        return plain(json.loads(text))
    except ValueError:
        return {"text": text}


def _parameters(parameters: Mapping[str, Any]) -> dict[str, Answer]:
    """A map of InferParameter: {name: {choice: value}}."""
    return {
        name: {field.name: plain(value) for field, value in parameter.ListFields()}
        for name, parameter in sorted(parameters.items())
    }


def _elements(values: list[Any]) -> Answer:
    if len(values) > ELEMENTS_SHOWN_MAX:
        digest = hash_text(values)
        return {"count": len(values), "first": plain(values[:4]), "digest": digest}
    return plain(values)


def hash_text(values: list[Any]) -> str:
    """A short digest of elements too many to show."""
    import hashlib

    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


def _byte_strings(raw: bytes) -> Answer:
    texts: list[Any] = []
    offset = 0
    while offset < len(raw):
        if offset + 4 > len(raw):
            return {"hex": raw.hex()}
        (size,) = struct.unpack_from("<I", raw, offset)
        if offset + 4 + size > len(raw):
            return {"hex": raw.hex()}
        texts.append(raw[offset + 4 : offset + 4 + size])
        offset += 4 + size
    return _elements(texts)
