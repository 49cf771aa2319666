"""The quick way to accept a request accepts exactly what the careful one does."""

from hypothesis import given
from hypothesis import strategies as st

from streamgate.errors import StreamGateError
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request
from streamgate.model.tensor import Tensor, TensorSpec, pack_bytes
from streamgate.session.check import RequestChecker
from tests.session.plain_models import config_of, request_of

TYPES = st.sampled_from([DataType.FP32, DataType.INT8, DataType.BYTES])
NAMES = st.sampled_from(["A", "B", "C"])


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    sizes = st.sampled_from([-1, 0, 1, 2])
    inputs = [
        TensorSpec(
            name,
            draw(TYPES),
            tuple(draw(st.lists(sizes, max_size=2))),
            optional=draw(st.booleans()),
        )
        for name in names
    ]
    return config_of(*inputs, max_batch=draw(st.sampled_from([0, 1, 3])))


@st.composite
def requests(draw: st.DrawFn, config: ModelConfig) -> Request:
    """Mostly right, with a few things changed that may or may not make it wrong."""
    rows = draw(st.sampled_from([1, 2, 3, 4, 0, -1, 2**32, 2**62]))
    inputs = []
    for spec in draw(st.permutations(config.inputs)):
        shape = [draw(st.integers(0, 2)) if size == -1 else size for size in spec.shape]
        if config.batches:
            shape.insert(0, draw(st.sampled_from([rows, rows, rows, 0, 1])))
        if draw(st.integers(0, 9)) == 0:
            shape = draw(st.lists(st.integers(-2, 3), max_size=3))
        datatype = draw(TYPES) if draw(st.integers(0, 9)) == 0 else spec.datatype
        inputs.append(Tensor(spec.name, datatype, tuple(shape), raw=_raw(draw, datatype, shape)))
    if inputs and draw(st.integers(0, 5)) == 0:
        inputs.append(draw(st.sampled_from(inputs)))
    if inputs and draw(st.integers(0, 5)) == 0:
        inputs.pop(0)
    if inputs and draw(st.integers(0, 9)) == 0:
        inputs[0].name = "X"
    return request_of(*inputs, outputs=draw(st.sampled_from([(), ("O",), ("O", "O"), ("Y",)])))


def _raw(draw: st.DrawFn, datatype: DataType, shape: list[int]) -> bytes:
    count = 1
    for size in shape:
        count *= size
    count = min(max(count, 0), 64) + draw(st.sampled_from([0, 0, 0, 0, 1]))
    return (
        pack_bytes([b"x"] * count)
        if datatype is DataType.BYTES
        else bytes(count * datatype.size_bytes)
    )


@given(st.data())
def test_the_quick_way_and_the_careful_one_agree(data: st.DataObject) -> None:
    config = data.draw(configs())
    request = data.draw(requests(config))
    checker = RequestChecker(config)
    at_once = checker._rows_at_once(request)
    try:
        carefully = checker._rows_or_why_not(request)
    except StreamGateError:
        carefully = 0
    fixed = not any(-1 in spec.shape or spec.datatype is DataType.BYTES for spec in config.inputs)
    if at_once:
        assert at_once == carefully
    elif carefully and fixed and len(request.inputs) == len(config.inputs) > 0:
        raise AssertionError("a plain request was not accepted at once")
    assert carefully <= max(1, config.max_batch_size)
