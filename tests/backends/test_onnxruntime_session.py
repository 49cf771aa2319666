import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from streamgate.backend.contract import ModelFiles, TensorSession, TensorStep
from streamgate.errors import BackendError, Code, LoadError, StreamGateError
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import TensorSpec
from streamgate_onnxruntime import create
from tests.backends.onnx_models import (
    configure,
    context,
    model_files,
    node,
    running_sum,
    save,
    save_running_sum,
    spec,
    tensor,
)

INTEGERS = [
    DataType.UINT8,
    DataType.UINT16,
    DataType.UINT32,
    DataType.UINT64,
    DataType.INT8,
    DataType.INT16,
    DataType.INT32,
    DataType.INT64,
]


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    return model_files(tmp_path)


def load_identity(
    files: ModelFiles, datatype: DataType, max_batch_size: int = 8, dims: tuple[int, ...] = (2,)
) -> TensorSession:
    shape: list[int | str] = ["batch", *dims] if max_batch_size else list(dims)
    save(
        files,
        [node("Identity", ["X"], ["Y"])],
        [tensor("X", shape, datatype)],
        [tensor("Y", shape, datatype)],
    )
    config = configure(
        [spec("X", dims or (1,), datatype)],
        [spec("Y", dims or (1,), datatype)],
        max_batch_size,
    )
    return create().load(context(config, files))  # type: ignore[return-value]


def test_onnxruntime_is_imported_only_when_the_backend_is_created() -> None:
    program = (
        "import sys, streamgate_onnxruntime\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "streamgate_onnxruntime.create()\n"
        "assert 'onnxruntime' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=50)


def test_a_stateless_model_adds_and_subtracts(files: ModelFiles) -> None:
    save(
        files,
        [node("Add", ["A", "B"], ["SUM"]), node("Sub", ["A", "B"], ["DIFFERENCE"])],
        [tensor("A", ["n", "m"]), tensor("B", ["n", "m"])],
        [tensor("SUM", ["n", "m"]), tensor("DIFFERENCE", ["n", "m"])],
    )
    config = configure(
        [spec("A", [-1]), spec("B", [-1])], [spec("SUM", [-1]), spec("DIFFERENCE", [-1])]
    )
    session = create().load(context(config, files))
    assert isinstance(session, TensorSession)
    for rows, width in ((1, 3), (4, 5)):
        a = np.arange(rows * width, dtype=np.float32).reshape(rows, width)
        b = np.full_like(a, 2)
        result = session.run(TensorStep({"A": a, "B": b}, ("SUM", "DIFFERENCE"), rows))
        assert set(result) == {"SUM", "DIFFERENCE"}
        np.testing.assert_array_equal(result["SUM"], a + b)
        np.testing.assert_array_equal(result["DIFFERENCE"], a - b)


def test_only_wanted_outputs_come_back(files: ModelFiles) -> None:
    save_running_sum(files)
    session = create().load(context(running_sum(), files))
    assert isinstance(session, TensorSession)
    inputs = {"INPUT": np.ones((1, 4), np.float32), "total": np.zeros((1, 4), np.float32)}
    assert set(session.run(TensorStep(inputs, ["total_out"], 1))) == {"total_out"}
    assert set(session.run(TensorStep(inputs, [], 1))) == set()


@pytest.mark.parametrize("axis", [0, 1])
def test_state_goes_in_and_out_at_its_batch_axis(files: ModelFiles, axis: int) -> None:
    save_running_sum(files, axis)
    session = create().load(context(running_sum(axis), files))
    assert isinstance(session, TensorSession)
    total = np.zeros((3, 4) if axis == 0 else (4, 3), np.float32)
    expected = np.zeros((3, 4), np.float32)
    for step in range(5):
        x = np.arange(12, dtype=np.float32).reshape(3, 4) * step
        expected += x
        step_ = TensorStep({"INPUT": x, "total": total}, ["OUTPUT", "total_out"], 3)
        result = session.run(step_)
        total = result["total_out"]
        np.testing.assert_array_equal(result["OUTPUT"], expected)
        np.testing.assert_array_equal(total, expected if axis == 0 else expected.T)


def test_a_mapping_that_is_no_dict_will_do(files: ModelFiles) -> None:
    from types import MappingProxyType

    session = load_identity(files, DataType.FP32)
    x = np.ones((1, 2), np.float32)
    result = session.run(TensorStep(MappingProxyType({"X": x}), ["Y"], 1))
    np.testing.assert_array_equal(result["Y"], x)


@pytest.mark.parametrize(
    "datatype", [*INTEGERS, DataType.FP16, DataType.FP32, DataType.FP64, DataType.BOOL]
)
def test_every_number_type_passes_unchanged(files: ModelFiles, datatype: DataType) -> None:
    session = load_identity(files, datatype)
    if datatype in INTEGERS:
        limits = np.iinfo(datatype.dtype)
        x = np.array([[limits.min, limits.max], [1, 2]], datatype.dtype)
    else:
        x = np.array([[0, 1], [1, 0]], datatype.dtype)
    y = session.run(TensorStep({"X": x}, ["Y"], 2))["Y"]
    assert y.dtype == datatype.dtype
    np.testing.assert_array_equal(y, x)


def test_strings_are_bytes_on_both_sides(files: ModelFiles) -> None:
    session = load_identity(files, DataType.BYTES)
    x = np.array([[b"gr\xc3\xbc\xc3\x9fe", b""], ["text", b"a\0b"]], dtype=np.object_)
    y = session.run(TensorStep({"X": x}, ["Y"], 2))["Y"]
    assert y.dtype == np.object_
    assert y.tolist() == [[b"gr\xc3\xbc\xc3\x9fe", b""], [b"text", b"a\0b"]]


def test_bytes_that_are_not_text_are_refused_and_hurt_nothing(files: ModelFiles) -> None:
    session = load_identity(files, DataType.BYTES)
    bad = np.array([[b"\xff\xfe", b"b"]], dtype=np.object_)
    with pytest.raises(BackendError, match="input 'X' holds bytes that are not UTF-8") as caught:
        session.run(TensorStep({"X": bad}, ["Y"], 1))
    assert caught.value.code is Code.INVALID_ARG
    good = np.array([[b"a", b"b"]], dtype=np.object_)
    assert session.run(TensorStep({"X": good}, ["Y"], 1))["Y"].tolist() == [[b"a", b"b"]]


def test_bfloat16_travels_as_its_bits(files: ModelFiles) -> None:
    bf16 = DataType.BF16
    save(
        files,
        [
            node("Cast", ["X"], ["wide"], to=1),
            node("Add", ["wide", "wide"], ["double"]),
            node("Cast", ["double"], ["Y"], to=16),
        ],
        [tensor("X", ["n", 3], bf16)],
        [tensor("Y", ["n", 3], bf16), tensor("double", ["n", 3])],
    )
    config = configure([spec("X", [3], bf16)], [spec("Y", [3], bf16), spec("double", [3])])
    session = create().load(context(config, files))
    assert isinstance(session, TensorSession)
    values = np.array([[1.5, -2.0, 0.25]], np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    result = session.run(TensorStep({"X": bits}, ["Y", "double"], 1))
    assert result["Y"].dtype == np.uint16
    assert result["double"].tolist() == [[3.0, -4.0, 0.5]]
    widened = (result["Y"].astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(widened, values * 2)
    empty = session.run(TensorStep({"X": np.empty((0, 3), np.uint16)}, ["Y"], 0))
    assert empty["Y"].shape == (0, 3)


def test_a_scalar_is_declared_as_one_element(files: ModelFiles) -> None:
    session = load_identity(files, DataType.FP32, max_batch_size=0, dims=())
    y = session.run(TensorStep({"X": np.array([7], np.float32)}, ["Y"], 1))["Y"]
    assert y.shape == (1,)
    assert y.tolist() == [7]


def test_a_scalar_may_be_declared_with_a_reshape(files: ModelFiles) -> None:
    save(files, [node("Identity", ["X"], ["Y"])], [tensor("X", [])], [tensor("Y", [])])
    scalar = TensorSpec("X", DataType.FP32, (1,), reshape=())
    config = configure([scalar], [TensorSpec("Y", DataType.FP32, (1,), reshape=())], 0)
    session = create().load(context(config, files))
    assert isinstance(session, TensorSession)
    x = np.array(7, np.float32)
    assert session.run(TensorStep({"X": x}, ["Y"], 1))["Y"].shape == ()


def test_a_model_without_batching_has_full_shapes(files: ModelFiles) -> None:
    session = load_identity(files, DataType.FP32, max_batch_size=0, dims=(2, 3))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(session.run(TensorStep({"X": x}, ["Y"], 1))["Y"], x)


def test_an_optional_input_may_be_left_out(files: ModelFiles) -> None:
    save(
        files,
        [node("Add", ["X", "D"], ["Y"])],
        [tensor("X", ["n", 2]), tensor("D", [1, 2])],
        [tensor("Y", ["n", 2])],
        {"D": np.array([[1, 2]], np.float32)},
    )
    config = configure(
        [spec("X", [2]), TensorSpec("D", DataType.FP32, (1, 2), optional=True)], [spec("Y", [2])]
    )
    config_unbatched = configure(
        [spec("X", [-1, 2]), TensorSpec("D", DataType.FP32, (1, 2), optional=True)],
        [spec("Y", [-1, 2])],
        0,
    )
    with pytest.raises(StreamGateError, match="tensor 'D'"):
        create().load(context(config, files))
    session = create().load(context(config_unbatched, files))
    assert isinstance(session, TensorSession)
    x = np.zeros((1, 2), np.float32)
    assert session.run(TensorStep({"X": x}, ["Y"], 1))["Y"].tolist() == [[1, 2]]
    default = np.array([[5, 6]], np.float32)
    assert session.run(TensorStep({"X": x, "D": default}, ["Y"], 1))["Y"].tolist() == [[5, 6]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"X": np.ones((1, 2))}, "onnx runtime error 2: Unexpected input data type"),
        ({"X": np.ones((1, 3), np.float32)}, "onnx runtime error 2: Got invalid dimensions"),
        ({}, r"onnx runtime error: Required inputs \(\['X'\]\) are missing"),
        (
            {"X": np.ones((1, 2), np.float32), "Z": np.ones(1)},
            "onnx runtime error 2: Invalid input name: Z",
        ),
    ],
)
def test_a_wrong_step_is_an_error_and_the_next_step_runs(
    files: ModelFiles, inputs: dict[str, np.ndarray], message: str
) -> None:
    session = load_identity(files, DataType.FP32)
    with pytest.raises(BackendError, match=message) as caught:
        session.run(TensorStep(inputs, ["Y"], 1))
    assert caught.value.code is Code.INTERNAL
    good = np.ones((1, 2), np.float32)
    np.testing.assert_array_equal(session.run(TensorStep({"X": good}, ["Y"], 1))["Y"], good)


def test_close_is_final(files: ModelFiles) -> None:
    session = load_identity(files, DataType.FP32)
    session.close()
    with pytest.raises(BackendError, match="model 'm' is closed") as caught:
        session.run(TensorStep({"X": np.ones((1, 2), np.float32)}, ["Y"], 1))
    assert caught.value.code is Code.UNAVAILABLE


def test_a_session_may_be_used_by_another_thread_than_it_was_loaded_in(files: ModelFiles) -> None:
    session = load_identity(files, DataType.FP32)
    x = np.ones((1, 2), np.float32)
    answers: list[np.ndarray] = []
    step = TensorStep({"X": x}, ["Y"], 1)
    thread = threading.Thread(target=lambda: answers.append(session.run(step)["Y"]))
    thread.start()
    thread.join(10)
    np.testing.assert_array_equal(answers[0], x)


def test_instances_share_a_session_when_told_to(files: ModelFiles) -> None:
    save_running_sum(files)
    backend = create()
    shared = running_sum(parameters={"share_session_between_instances": "true"})
    own = running_sum()

    def sessions(config: object) -> list[object]:
        loaded = [backend.load(context(config, files)) for _ in range(2)]  # type: ignore[arg-type]
        return [session._run.__self__ for session in loaded]  # type: ignore[union-attr]

    first, second = sessions(shared)
    assert first is second
    first, second = sessions(own)
    assert first is not second


def test_a_missing_file_is_named(files: ModelFiles) -> None:
    with pytest.raises(LoadError, match=r"unable to find '.*model.onnx' for model") as caught:
        create().load(context(running_sum(), files))
    assert caught.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize(("data", "message"), [(b"", "No graph"), (b"nonsense", "Protobuf")])
def test_a_broken_file_is_named(files: ModelFiles, data: bytes, message: str) -> None:
    files.path.parent.mkdir(parents=True)
    files.path.write_bytes(data)
    with pytest.raises(LoadError, match=rf"model 'm': onnx runtime error \d: .*{message}"):
        create().load(context(running_sum(), files))


def test_a_folder_holds_the_model_as_model_onnx(files: ModelFiles) -> None:
    folder = ModelFiles("m", "1", files.directory, files.version_directory, files.path / "inner")
    inner = ModelFiles(
        "m", "1", files.directory, files.version_directory, folder.path / "model.onnx"
    )
    save_running_sum(inner)
    session = create().load(context(running_sum(), folder))
    inputs = {"INPUT": np.ones((1, 4), np.float32), "total": np.zeros((1, 4), np.float32)}
    assert isinstance(session, TensorSession)
    assert session.run(TensorStep(inputs, ["OUTPUT"], 1))["OUTPUT"].tolist() == [[1, 1, 1, 1]]


def test_bfloat16_beside_strings_is_refused_at_load(files: ModelFiles) -> None:
    save(
        files,
        [node("Identity", ["H"], ["H_OUT"]), node("Identity", ["T"], ["T_OUT"])],
        [tensor("H", ["n", 1], DataType.BF16), tensor("T", ["n", 1], DataType.BYTES)],
        [tensor("H_OUT", ["n", 1], DataType.BF16), tensor("T_OUT", ["n", 1], DataType.BYTES)],
    )
    config = configure(
        [spec("H", [1], DataType.BF16), spec("T", [1], DataType.BYTES)],
        [spec("H_OUT", [1], DataType.BF16), spec("T_OUT", [1], DataType.BYTES)],
    )
    with pytest.raises(BackendError, match=r"bfloat16 \(H, H_OUT\) and takes strings \(T\)"):
        create().load(context(config, files))
