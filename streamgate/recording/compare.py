"""Where two accounts of a sequence differ first: a recording and its re-run, or two recordings."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamgate.errors import Failure, StreamGateError
from streamgate.model.datatypes import DataType
from streamgate.recording.bundle import Bundle, RecordedStep
from streamgate.recording.values import Result, Step, StoredTensor

SHOWN_MAX: Final = 160
"""Characters that are shown of a value."""

_FLOATS: Final = frozenset({DataType.FP16, DataType.FP32, DataType.FP64, DataType.BF16})


@dataclass(frozen=True, slots=True)
class Difference:
    """The first difference. `position` is the step's, -1 for what belongs to no step; `index` the
    response's, -1 for the request; `what` names what differs."""

    position: int
    index: int
    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        place = f"position {self.position}" if self.position >= 0 else "the sequence"
        if self.position >= 0:
            place += ", the request" if self.index < 0 else f", response {self.index}"
        return f"{place}, {self.what}: expected {self.expected}, found {self.found}"


def compare_bundles(expected: Bundle, found: Bundle, tolerance: float = 0.0) -> Difference | None:
    """The first step that differs: its request, then its responses, then how the sequences ended.

    IDs, times and how long a recording went on do not count: the longer is compared as far as the
    shorter goes if that one was cut. If one is redacted, hashes are compared.
    """
    if expected.redacted or found.redacted:
        expected, found = expected.as_redacted(), found.as_redacted()
    if expected.origin is not None and found.origin is not None:
        digests = expected.origin.digest, found.origin.digest
        if digests[0] != digests[1]:
            return Difference(
                -1, -1, "state to begin with", *(f"sha256 {each}" for each in digests)
            )
    for one, other in zip(expected.steps, found.steps, strict=False):
        difference = _compare_requests(one.step, other.step)
        if difference is None:
            difference = compare_results(one, other.results, tolerance, may_lack=bool(found.cut))
        if difference is not None:
            return difference
    if len(expected.steps) < len(found.steps) and not expected.cut:
        return Difference(-1, -1, "steps", str(len(expected.steps)), str(len(found.steps)))
    if len(expected.steps) > len(found.steps) and not found.cut:
        return Difference(-1, -1, "steps", str(len(expected.steps)), str(len(found.steps)))
    if expected.reason and found.reason and expected.reason != found.reason:
        return Difference(-1, -1, "end", expected.reason, found.reason)
    return None


def compare_results(
    expected: RecordedStep,
    found: Sequence[Result],
    tolerance: float = 0.0,
    *,
    may_lack: bool = False,
) -> Difference | None:
    """The first response of a step that differs. One that was not recorded to its last response is
    compared as far as it goes, and so is a re-run that `may_lack` responses."""
    position = expected.step.position
    for one, other in zip(expected.results, found, strict=False):
        difference = _compare_responses(position, one, other, tolerance)
        if difference is not None:
            return difference
    recorded, number = len(expected.results), len(found)
    if number > recorded and not expected.is_complete:
        return None
    if number < recorded and may_lack:
        return None
    if number != recorded:
        index = min(number, recorded)
        return Difference(position, index, "responses", str(recorded), str(number))
    return None


def config_changes(expected: str, found: str) -> list[str]:
    """The fields of a model's configuration that are no longer as recorded; "(all)" where one is
    no JSON."""
    try:
        old, new = json.loads(expected), json.loads(found)
        names = sorted({*old, *new})
        return [name for name in names if old.get(name) != new.get(name)]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return [] if expected == found else ["(all)"]


def _compare_requests(expected: Step, found: Step) -> Difference | None:
    place = expected.position
    pairs: list[tuple[str, Any, Any]] = [
        ("position", expected.position, found.position),
        ("START", expected.start, found.start),
        ("END", expected.end, found.end),
        ("requested outputs", expected.requested_outputs, found.requested_outputs),
        ("parameters", expected.parameters, found.parameters),
    ]
    for what, one, other in pairs:
        if one != other:
            return Difference(place, -1, what, _shown(one), _shown(other))
    return _compare_tensors(place, -1, "input", expected.inputs, found.inputs, 0.0)


def _compare_responses(
    position: int, expected: Result, found: Result, tolerance: float
) -> Difference | None:
    index = expected.index
    pairs: list[tuple[str, Any, Any]] = [
        ("index", expected.index, found.index),
        ("failure", _failure(expected.failure), _failure(found.failure)),
        ("parameters", expected.parameters, found.parameters),
    ]
    for what, one, other in pairs:
        if one != other:
            return Difference(position, index, what, _shown(one), _shown(other))
    difference = _compare_tensors(
        position, index, "output", expected.outputs, found.outputs, tolerance
    )
    if difference is None and (expected.final, expected.empty) != (found.final, found.empty):
        return Difference(position, index, "kind", _kind(expected), _kind(found))
    return difference


def _compare_tensors(
    position: int,
    index: int,
    role: str,
    expected: Sequence[StoredTensor],
    found: Sequence[StoredTensor],
    tolerance: float,
) -> Difference | None:
    # In which order tensors stand in a message says nothing.
    olds = sorted(expected, key=lambda tensor: tensor.name)
    news = sorted(found, key=lambda tensor: tensor.name)
    names, others = [old.name for old in olds], [new.name for new in news]
    if names != others:
        return Difference(position, index, f"{role}s", _shown(names), _shown(others))
    for old, new in zip(olds, news, strict=True):
        what = f"{role} '{old.name}'"
        if (old.datatype, old.shape) != (new.datatype, new.shape):
            return Difference(position, index, what, _form(old), _form(new))
        if old.raw is None or new.raw is None:
            if old.digest != new.digest:
                return Difference(
                    position, index, what, f"sha256 {old.digest}", f"sha256 {new.digest}"
                )
        elif old.raw != new.raw:
            place = _first_other(old, new, tolerance)
            if place is not None:
                element, one, other = place
                return Difference(position, index, f"{what}, element {element}", one, other)
    return None


def _first_other(
    expected: StoredTensor, found: StoredTensor, tolerance: float
) -> tuple[list[int], str, str] | None:
    """The first element that differs, its place and both values; None within the tolerance."""
    try:
        old, new = _elements(expected), _elements(found)
    except StreamGateError:
        # Not even elements: a BYTES tensor that is malformed in one of the two.
        return [0], _shown(expected.raw), _shown(found.raw)
    if expected.datatype is DataType.BYTES:
        differs = np.array([a != b for a, b in zip(old, new, strict=True)], np.bool_)
    elif tolerance > 0 and expected.datatype in _FLOATS:
        with np.errstate(invalid="ignore", over="ignore"):
            near = np.abs(old.astype(np.float64) - new.astype(np.float64)) <= tolerance
        differs = ~(near | (old == new) | (np.isnan(old) & np.isnan(new)))
    else:
        size = expected.datatype.size_bytes
        bits = [np.frombuffer(t.raw or b"", np.uint8).reshape(-1, size) for t in (expected, found)]
        differs = (bits[0] != bits[1]).any(axis=1)
    if not differs.any():
        return None
    place = int(np.argmax(differs))
    element = [int(size) for size in np.unravel_index(place, expected.shape)]
    return element, _shown(old[place]), _shown(new[place])


def _elements(tensor: StoredTensor) -> NDArray[Any]:
    """All elements in one line, as numbers where they are such."""
    flat = tensor.tensor.array.reshape(-1)
    if tensor.datatype is DataType.BF16:
        widened: NDArray[Any] = (flat.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return widened
    return flat


def _failure(failure: Failure | None) -> str | None:
    return None if failure is None else f"{failure.code.value}: {failure.message}"


def _kind(result: Result) -> str:
    words = ["the last response" if result.final else "a response behind which others come"]
    return ", ".join([*words, *(["without outputs"] if result.empty else [])])


def _form(tensor: StoredTensor) -> str:
    return f"{tensor.datatype.value} {list(tensor.shape)}"


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, np.generic):
        value = value.item()
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."
