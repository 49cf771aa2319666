"""What a bundle says, as values, and each value's record.

A tensor stands in a record's head with its name, datatype, shape and size; its bytes (KServe raw
form) follow in the body, tensor after tensor. In a redacted bundle its hash is in the head, and no
body follows. What a client may have put its own words into (parameters, texts of failures, IDs) is
hashed, too, or left out.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from streamgate.errors import Code, Failure
from streamgate.model.datatypes import DataType, from_wire
from streamgate.model.request import ParameterValue, SequenceKey
from streamgate.model.tensor import Tensor
from streamgate.recording.format import Head, encode_record


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor: `raw` in KServe raw form, or `sha256` (hexadecimal) in its place."""

    name: str
    datatype: DataType
    shape: tuple[int, ...]
    raw: bytes | None
    sha256: str = ""

    @classmethod
    def of(cls, tensor: Tensor) -> "StoredTensor":
        """A copy that stays as it is, whatever becomes of the tensor's memory."""
        raw = tensor.raw
        data = raw if isinstance(raw, bytes) else bytes(raw)
        return cls(tensor.name, tensor.datatype, tuple(tensor.shape), data)

    @property
    def digest(self) -> str:
        """SHA-256 over datatype, shape and bytes."""
        if self.raw is None:
            return self.sha256
        found = hashlib.sha256(f"{self.datatype.value} {list(self.shape)} ".encode())
        found.update(self.raw)
        return found.hexdigest()

    @property
    def tensor(self) -> Tensor:
        assert self.raw is not None, "a redacted tensor has no data"
        return Tensor(self.name, self.datatype, self.shape, raw=self.raw)

    def redacted(self) -> "StoredTensor":
        return StoredTensor(self.name, self.datatype, self.shape, None, self.digest)


@dataclass(frozen=True, slots=True)
class Composing:
    """A model that an ensemble is composed of, as it was served."""

    name: str
    version: str
    config: str


@dataclass(frozen=True, slots=True)
class Header:
    """What was recorded. `config` is the model's configuration in Triton's JSON form, `began` the
    time of START in ISO 8601."""

    gateway: str
    model: str
    version: str
    config: str
    began: str
    sequence: SequenceKey = ""
    composing: Sequence[Composing] = ()
    redacted: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """The sequence came from elsewhere, in the state that it had after the step at `position`:
    `snapshot`, as `streamgate.snapshot.codec` writes it, or `sha256` in its place."""

    position: int
    snapshot: bytes | None
    sha256: str = ""

    @property
    def digest(self) -> str:
        if self.snapshot is None:
            return self.sha256
        return hashlib.sha256(self.snapshot).hexdigest()


@dataclass(frozen=True, slots=True)
class Step:
    """One request. `number` counts the sequence's requests from 0, `position` is its place as the
    client was told it, `at_ns` its arrival after START's."""

    number: int
    position: int
    at_ns: int
    inputs: Sequence[StoredTensor] = ()
    requested_outputs: Sequence[str] = ()
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    start: bool = False
    end: bool = False
    id: str = ""
    priority: int = 0
    timeout_us: int = 0


@dataclass(frozen=True, slots=True)
class Batched:
    """The step of an instance in which a request ran. `number` counts the model's steps, `rows` is
    the size of the batch; `others` are the correlation IDs of those that ran in it, too (0 or ""
    for requests of none), of `sequences` all in all."""

    number: int
    instance: str
    rows: int
    sequences: int
    others: Sequence[SequenceKey] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """One response to step `step`, as `streamgate.model.request.Response`. `batch` is None for what
    ran in no step of an engine."""

    step: int
    index: int
    at_ns: int
    outputs: Sequence[StoredTensor] = ()
    failure: Failure | None = None
    final: bool = True
    empty: bool = False
    admitted: bool = True
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    batch: Batched | None = None


@dataclass(frozen=True, slots=True)
class End:
    """Why the sequence ended: a word of `streamgate.errors.EndReason`, or `refused`."""

    reason: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Cut:
    """The recording ended before its sequence did."""

    why: str


Entry = Header | Origin | Step | Result | End | Cut


def redact(entry: Entry) -> Entry:
    """The entry, of a bundle that is not redacted yet, with hashes in place of what clients and
    models said."""
    if isinstance(entry, Header):
        return replace(entry, sequence="", redacted=True)
    if isinstance(entry, Origin):
        return Origin(entry.position, None, entry.digest)
    if isinstance(entry, Step):
        return replace(
            entry,
            id="",
            inputs=[tensor.redacted() for tensor in entry.inputs],
            parameters=_hashed_values(entry.parameters),
        )
    if isinstance(entry, Result):
        failure = entry.failure
        if failure is not None:
            failure = Failure(failure.code, _hashed(failure.message))
        return replace(
            entry,
            outputs=[tensor.redacted() for tensor in entry.outputs],
            parameters=_hashed_values(entry.parameters),
            failure=failure,
            batch=None if entry.batch is None else _hashed_batch(entry.batch),
        )
    return entry


def encode(entry: Entry) -> bytes:
    """The entry's record."""
    if isinstance(entry, Header):
        return encode_record({"type": "header", **_header_fields(entry)})
    if isinstance(entry, Origin):
        head = {"type": "origin", "position": entry.position}
        if entry.snapshot is None:
            return encode_record({**head, "sha256": entry.sha256})
        return encode_record({**head, "bytes": len(entry.snapshot)}, entry.snapshot)
    if isinstance(entry, Step):
        return encode_record({"type": "step", **_step_fields(entry)}, _bodies(entry.inputs))
    if isinstance(entry, Result):
        return encode_record({"type": "result", **_result_fields(entry)}, _bodies(entry.outputs))
    if isinstance(entry, End):
        return encode_record({"type": "end", "reason": entry.reason, "at_ns": entry.at_ns})
    return encode_record({"type": "cut", "why": entry.why})


def decode(head: Head, body: memoryview) -> Entry | None:
    """The entry of a record; None for a kind that a later program may have added.

    Raises ValueError (or KeyError, TypeError) for a record that does not say what it must.
    """
    kind = head["type"]
    if kind == "header":
        return _header(head)
    if kind == "origin":
        return _origin(head, body)
    if kind == "step":
        return _step(head, body)
    if kind == "result":
        return _result(head, body)
    if kind == "end":
        return End(_text(head["reason"]), _whole(head["at_ns"]))
    if kind == "cut":
        return Cut(_text(head["why"]))
    return None


def _header_fields(header: Header) -> Head:
    return {
        "gateway": header.gateway,
        "model": header.model,
        "version": header.version,
        "config": header.config,
        "began": header.began,
        "sequence": header.sequence,
        "composing": [[each.name, each.version, each.config] for each in header.composing],
        "redacted": header.redacted,
    }


def _step_fields(step: Step) -> Head:
    return {
        "step": step.number,
        "position": step.position,
        "at_ns": step.at_ns,
        "inputs": [_tensor_fields(tensor) for tensor in step.inputs],
        "outputs": list(step.requested_outputs),
        "parameters": dict(step.parameters),
        "start": step.start,
        "end": step.end,
        "id": step.id,
        "priority": step.priority,
        "timeout_us": step.timeout_us,
    }


def _result_fields(result: Result) -> Head:
    failure = result.failure
    return {
        "step": result.step,
        "index": result.index,
        "at_ns": result.at_ns,
        "outputs": [_tensor_fields(tensor) for tensor in result.outputs],
        "failure": None if failure is None else [failure.code.value, failure.message],
        "final": result.final,
        "empty": result.empty,
        "admitted": result.admitted,
        "parameters": dict(result.parameters),
        **({} if result.batch is None else {"batch": _batch_fields(result.batch)}),
    }


def _batch_fields(batch: Batched) -> list[Any]:
    return [batch.number, batch.instance, batch.rows, batch.sequences, list(batch.others)]


def _tensor_fields(tensor: StoredTensor) -> Head:
    fields = {
        "name": tensor.name,
        "datatype": tensor.datatype.value,
        "shape": list(tensor.shape),
    }
    if tensor.raw is None:
        return {**fields, "sha256": tensor.sha256}
    return {**fields, "bytes": len(tensor.raw)}


def _bodies(tensors: Iterable[StoredTensor]) -> bytes:
    return b"".join(tensor.raw for tensor in tensors if tensor.raw is not None)


def _header(head: Head) -> Header:
    return Header(
        _text(head["gateway"]),
        _text(head["model"]),
        _text(head["version"]),
        _text(head["config"]),
        _text(head["began"]),
        _key(head["sequence"]),
        [
            Composing(_text(name), _text(version), _text(config))
            for name, version, config in head["composing"]
        ],
        _flag(head["redacted"]),
    )


def _origin(head: Head, body: memoryview) -> Origin:
    position = _whole(head["position"])
    if "sha256" in head:
        return Origin(position, None, _text(head["sha256"]))
    if _whole(head["bytes"]) != len(body):
        raise ValueError(f"a snapshot of {len(body)} bytes, expected {head['bytes']}")
    return Origin(position, bytes(body))


def _step(head: Head, body: memoryview) -> Step:
    return Step(
        _whole(head["step"]),
        _whole(head["position"]),
        _whole(head["at_ns"]),
        _tensors(head["inputs"], body),
        [_text(name) for name in head["outputs"]],
        _parameters(head["parameters"]),
        _flag(head["start"]),
        _flag(head["end"]),
        _text(head["id"]),
        _whole(head["priority"]),
        _whole(head["timeout_us"]),
    )


def _result(head: Head, body: memoryview) -> Result:
    failure = None
    if head["failure"] is not None:
        code, message = head["failure"]
        failure = Failure(Code(code), _text(message))
    return Result(
        _whole(head["step"]),
        _whole(head["index"]),
        _whole(head["at_ns"]),
        _tensors(head["outputs"], body),
        failure,
        _flag(head["final"]),
        _flag(head["empty"]),
        _flag(head["admitted"]),
        _parameters(head["parameters"]),
        None if head.get("batch") is None else _batch(head["batch"]),
    )


def _batch(found: Any) -> Batched:
    number, instance, rows, sequences, others = found
    if not isinstance(others, list):
        raise ValueError("who shared a batch is a list")
    return Batched(
        _whole(number),
        _text(instance),
        _whole(rows),
        _whole(sequences),
        [_key(each) for each in others],
    )


def _key(found: Any) -> SequenceKey:
    if isinstance(found, bool) or not isinstance(found, int | str):
        raise ValueError("a correlation ID is a number or a text")
    return found


def _tensors(heads: Sequence[Head], body: memoryview) -> list[StoredTensor]:
    tensors = []
    offset = 0
    for head in heads:
        datatype = from_wire(_text(head["datatype"]))
        if datatype is None:
            raise ValueError(f"no datatype is called {head['datatype']!r}")
        shape = tuple(_whole(size) for size in head["shape"])
        name = _text(head["name"])
        if "sha256" in head:
            tensors.append(StoredTensor(name, datatype, shape, None, _text(head["sha256"])))
            continue
        size = _whole(head["bytes"])
        if offset + size > len(body):
            raise ValueError(f"tensor '{name}' is cut short")
        if datatype.size_bytes and size != math.prod(shape) * datatype.size_bytes:
            raise ValueError(f"tensor '{name}' of shape {list(shape)} has {size} bytes")
        tensors.append(StoredTensor(name, datatype, shape, bytes(body[offset : offset + size])))
        offset += size
    if offset != len(body):
        raise ValueError(f"{len(body) - offset} bytes belong to no tensor")
    return tensors


def _parameters(found: Any) -> dict[str, ParameterValue]:
    if not isinstance(found, dict) or not all(
        isinstance(value, bool | int | float | str) for value in found.values()
    ):
        raise ValueError("parameters are an object of plain values")
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"found {type(value).__name__}, expected a text")
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"found {value!r:.40}, expected a number from 0")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"found {type(value).__name__}, expected true or false")
    return value


def _hashed_values(parameters: Mapping[str, ParameterValue]) -> dict[str, ParameterValue]:
    return {name: _hashed(json.dumps(value)) for name, value in parameters.items()}


def _hashed_batch(batch: Batched) -> Batched:
    return replace(batch, others=[_hashed(json.dumps(key)) for key in batch.others])


def _hashed(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
