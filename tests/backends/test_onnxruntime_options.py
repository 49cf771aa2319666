"""Session options and execution providers: Triton's configuration keys, checked one by one."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from streamgate.backend.contract import ModelFiles, TensorSession, TensorStep
from streamgate.errors import Code, ConfigError, LoadError
from streamgate.model.config import Accelerator, Instance, InstanceKind
from streamgate_onnxruntime import create
from streamgate_onnxruntime.options import (
    CPU,
    CUDA,
    OPENVINO,
    TENSORRT,
    Provider,
    providers,
    run_options,
    session_options,
)
from streamgate_onnxruntime.tensorrt import tensorrt_options
from tests.backends.onnx_models import (
    context,
    model_files,
    running_sum,
    save_running_sum,
)

GPU_1 = Instance("m_0", InstanceKind.GPU, 1)
ON_CPU = Instance("m_0", InstanceKind.CPU)


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    return model_files(tmp_path)


def options_of(parameters: dict[str, str] | None = None, **raw: Any) -> Any:
    return session_options(running_sum(parameters=parameters or {}, raw=raw), Path())


def offer(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*names, CPU])


def test_the_defaults_suit_many_instances_beside_each_other() -> None:
    options = options_of()
    assert options.intra_op_num_threads == 1
    assert options.inter_op_num_threads == 0
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    assert options.enable_cpu_mem_arena
    assert options.enable_mem_pattern
    assert run_options(running_sum()) is None


def test_parameters_reach_the_session() -> None:
    options = options_of(
        {
            "intra_op_thread_count": "3",
            "inter_op_thread_count": "2",
            "execution_mode": "1",
            "enable_mem_arena": "0",
            "enable_mem_pattern": "false",
            "session.intra_op.allow_spinning": "0",
            "memory.enable_memory_arena_shrinkage": "cpu:0",
            "something_for_the_client": "x",
        }
    )
    assert options.intra_op_num_threads == 3
    assert options.inter_op_num_threads == 2
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
    assert not options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_run_parameters_reach_the_step(files: ModelFiles) -> None:
    save_running_sum(files)
    parameters = {"memory.enable_memory_arena_shrinkage": "cpu:0"}
    config = running_sum(parameters=parameters)
    assert (
        run_options(config).get_run_config_entry("memory.enable_memory_arena_shrinkage") == "cpu:0"
    )
    session = create().load(context(config, files))
    assert isinstance(session, TensorSession)
    zeros = np.zeros((1, 4), np.float32)
    session.run(TensorStep({"INPUT": zeros, "total": zeros}, ["OUTPUT"], 1))


@pytest.mark.parametrize(
    ("level", "name"),
    [(-1, "BASIC"), (0, "ENABLE_ALL"), (1, "EXTENDED"), (2, "DISABLE_ALL")],
)
def test_graph_levels_are_tritons(level: int, name: str) -> None:
    options = options_of(optimization={"graph": {"level": level}})
    assert options.graph_optimization_level.name.endswith(name)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"intra_op_thread_count": "many"}, "'intra_op_thread_count' is 'many', expected a whole"),
        ({"inter_op_thread_count": "-1"}, "'inter_op_thread_count' is '-1', expected a whole"),
        ({"execution_mode": "2"}, "'execution_mode' is '2', expected one of 0, 1"),
        ({"enable_mem_arena": "yes"}, "'enable_mem_arena' is 'yes', expected one of 1, true, 0"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^model 'm': parameter {message}"):
        options_of(parameters)


def test_a_wrong_graph_level_is_named() -> None:
    with pytest.raises(ConfigError, match=r"optimization.graph.level is 3, expected -1"):
        options_of(optimization={"graph": {"level": 3}})


def test_a_missing_operator_library_is_named() -> None:
    with pytest.raises(LoadError, match=r"op_library_filename 'nowhere.so'"):
        options_of(model_operations={"op_library_filename": ["nowhere.so"]})


def test_a_cpu_instance_runs_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, CUDA)
    assert providers(running_sum(), ON_CPU) == [Provider(CPU, {})]
    tensorrt = running_sum(gpu_accelerators=(Accelerator("tensorrt", {}),))
    assert providers(tensorrt, ON_CPU) == [Provider(CPU, {})]


def test_a_gpu_instance_runs_on_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, CUDA)
    assert providers(running_sum(), GPU_1) == [
        Provider(CUDA, {"device_id": "1"}),
        Provider(CPU, {}),
    ]


def test_an_automatic_instance_takes_the_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    instance = Instance("m_0", InstanceKind.AUTO)
    offer(monkeypatch)
    assert providers(running_sum(), instance) == [Provider(CPU, {})]
    offer(monkeypatch, CUDA)
    assert providers(running_sum(), instance) == [
        Provider(CUDA, {"device_id": "0"}, required=False),
        Provider(CPU, {}),
    ]


def test_tensorrt_comes_before_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, TENSORRT, CUDA)
    config = running_sum(
        gpu_accelerators=(
            Accelerator("tensorrt", {"precision_mode": "FP16", "trt_engine_cache_enable": "1"}),
            Accelerator("cuda", {"cudnn_conv_use_max_workspace": "0"}),
        )
    )
    assert providers(config, GPU_1) == [
        Provider(
            TENSORRT,
            {"trt_fp16_enable": "True", "trt_engine_cache_enable": "True", "device_id": "1"},
        ),
        Provider(CUDA, {"cudnn_conv_use_max_workspace": "0", "device_id": "1"}),
        Provider(CPU, {}),
    ]


def test_cuda_options_may_be_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, CUDA)
    parameters = {
        "cudnn_conv_algo_search": "1",
        "gpu_mem_limit": "4294967200",
        "arena_extend_strategy": "1",
        "do_copy_in_default_stream": "false",
    }
    assert providers(running_sum(parameters=parameters), GPU_1)[0].options == {
        "cudnn_conv_algo_search": "HEURISTIC",
        "gpu_mem_limit": "4294967200",
        "arena_extend_strategy": "kSameAsRequested",
        "do_copy_in_default_stream": "0",
        "device_id": "1",
    }
    with pytest.raises(ConfigError, match="'cudnn_conv_algo_search' is '7', expected one of 0, 1"):
        providers(running_sum(parameters={"cudnn_conv_algo_search": "7"}), GPU_1)


def test_openvino_is_a_cpu_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    config = running_sum(cpu_accelerators=(Accelerator("openvino", {}),))
    offer(monkeypatch, OPENVINO)
    assert providers(config, ON_CPU) == [
        Provider(OPENVINO, {"device_type": "CPU"}),
        Provider(CPU, {}),
    ]
    offer(monkeypatch)
    with pytest.raises(ConfigError, match="needs OpenVINOExecutionProvider, but the installed"):
        providers(config, ON_CPU)


def test_a_provider_that_is_not_installed_is_named_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(monkeypatch)
    with pytest.raises(ConfigError) as caught:
        providers(running_sum(), GPU_1)
    assert caught.value.message == (
        "model 'm', instance 'm_0' (KIND_GPU): needs CUDAExecutionProvider, but the installed "
        f"onnxruntime {onnxruntime.__version__} has only CPUExecutionProvider"
    )
    offer(monkeypatch, CUDA)
    config = running_sum(gpu_accelerators=(Accelerator("tensorrt", {}),))
    with pytest.raises(ConfigError, match="needs TensorrtExecutionProvider"):
        providers(config, GPU_1)


def test_an_unknown_accelerator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, CUDA)
    text = "^unknown Execution Accelerator 'warp' is requested: model 'm', {}_execution_accelerator"
    with pytest.raises(ConfigError, match=text.format("gpu")):
        providers(running_sum(gpu_accelerators=(Accelerator("warp", {}),)), GPU_1)
    with pytest.raises(ConfigError, match=text.format("cpu")):
        providers(running_sum(cpu_accelerators=(Accelerator("warp", {}),)), ON_CPU)


def test_tensorrt_parameters_are_translated_and_checked() -> None:
    given = {
        "precision_mode": "INT8",
        "max_workspace_size_bytes": "1073741824",
        "int8_calibration_table_name": "table",
        "int8_use_native_calibration_table": "false",
        "trt_auxiliary_streams": "-1",
        "trt_engine_cache_path": "cache",
    }
    assert tensorrt_options("m", given) == {
        "trt_int8_enable": "True",
        "trt_max_workspace_size": "1073741824",
        "trt_int8_calibration_table_name": "table",
        "trt_int8_use_native_calibration_table": "False",
        "trt_auxiliary_streams": "-1",
        "trt_engine_cache_path": "cache",
    }
    assert tensorrt_options("m", {"precision_mode": "FP32"}) == {}
    assert tensorrt_options("m", {"precision_mode": "BF16"}) == {"trt_bf16_enable": "True"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("precision_mode", "FP8", "^unsupported precision mode 'FP8' is requested: model 'm'"),
        ("speed", "11", "^unknown parameter 'speed' is provided for TensorRT Execution Accel"),
        ("trt_dla_enable", "maybe", "parameter 'trt_dla_enable' is 'maybe', expected 1, true"),
        ("trt_dla_core", "x", "parameter 'trt_dla_core' is 'x', expected a whole number"),
    ],
)
def test_a_wrong_tensorrt_parameter_is_named(key: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tensorrt_options("m", {key: value})


def test_a_device_that_does_not_start_is_an_error_and_not_a_slower_model(
    files: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("needs an onnxruntime without CUDA")
    save_running_sum(files)
    offer(monkeypatch, CUDA)
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(LoadError, match="CUDAExecutionProvider could not be started") as caught,
    ):
        create().load(context(running_sum(), files, InstanceKind.GPU))
    assert caught.value.code is Code.UNAVAILABLE
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        create().load(context(running_sum(), files, InstanceKind.AUTO)).close()


def needs(provider: str) -> pytest.MarkDecorator:
    installed = onnxruntime.get_available_providers()
    return pytest.mark.skipif(
        provider not in installed,
        reason=f"needs an onnxruntime with {provider}; this one has {', '.join(installed)}",
    )


def run_sum_on_gpu(files: ModelFiles, **others: Any) -> None:
    save_running_sum(files)
    session = create().load(context(running_sum(**others), files, InstanceKind.GPU))
    assert isinstance(session, TensorSession)
    total = np.zeros((2, 4), np.float32)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    for step in range(1, 4):
        total = session.run(TensorStep({"INPUT": x, "total": total}, ["total_out"], 2))["total_out"]
        np.testing.assert_array_equal(total, x * step)
    session.close()


@pytest.mark.gpu
@needs(CUDA)
def test_a_model_runs_on_the_gpu(files: ModelFiles) -> None:
    run_sum_on_gpu(files)


@pytest.mark.gpu
@needs(TENSORRT)
def test_a_model_runs_with_tensorrt(files: ModelFiles) -> None:
    run_sum_on_gpu(files, gpu_accelerators=(Accelerator("tensorrt", {"precision_mode": "FP32"}),))
