"""Random tensors of every type go through a file and come back, byte for byte."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Tensor
from streamgate.recording.bundle import read_bundle
from streamgate.recording.compare import compare_bundles
from streamgate.recording.values import Entry, StoredTensor
from tests.recording.entries import HEADER, result, step, write

SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@st.composite
def tensors(draw: st.DrawFn, name: str = "T") -> Tensor:
    datatype = draw(st.sampled_from(list(DataType)))
    shape: tuple[int, ...] = draw(SHAPES)
    count = int(np.prod(shape, dtype=int))
    if datatype is DataType.BYTES:
        array: Any = np.empty(count, np.object_)
        array[:] = draw(st.lists(st.binary(max_size=9), min_size=count, max_size=count))
        return Tensor.of(name, array.reshape(shape), datatype)
    size = count * datatype.size_bytes
    raw = draw(st.binary(min_size=size, max_size=size))
    if datatype is DataType.BOOL:
        raw = bytes(byte & 1 for byte in raw)
    if draw(st.booleans()):
        return Tensor(name, datatype, shape, raw=memoryview(bytearray(raw)))
    return Tensor.of(name, np.frombuffer(raw, datatype.dtype).reshape(shape), datatype)


@settings(max_examples=120, deadline=None)
@given(sent=tensors("IN"), answered=tensors("OUT"))
def test_a_round_trip(sent: Tensor, answered: Tensor) -> None:
    entries: list[Entry] = [
        HEADER,
        step(0, StoredTensor.of(sent)),
        result(0, StoredTensor.of(answered)),
    ]
    with TemporaryDirectory() as folder:
        bundle = read_bundle(write(Path(folder) / "b", entries))
    ((recorded,),) = (bundle.steps,)
    for tensor, (found,) in (
        (sent, recorded.step.inputs),
        (answered, recorded.results[0].outputs),
    ):
        assert (found.name, found.datatype, found.shape) == (
            tensor.name,
            tensor.datatype,
            tensor.shape,
        )
        assert found.raw == bytes(tensor.raw)
        assert found.tensor.array.shape == tensor.shape
        again: Any = found.tensor.array
        assert again.tolist() == tensor.array.tolist() or again.tobytes() == tensor.array.tobytes()
    assert compare_bundles(bundle, bundle) is None
    assert compare_bundles(bundle, bundle.as_redacted()) is None
