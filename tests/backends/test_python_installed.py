"""Models whose class is installed: named by the configuration, without a `model.py`."""

import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from streamgate.backend.contract import ModelFiles
from streamgate.errors import LoadError
from streamgate_python import create
from streamgate_python import triton_python_backend_utils as pb_utils
from tests.backends.python_models import Model, reply_of, request

PARAMETER = "streamgate.python_class"


class Doubling:
    """Doubles IN, and knows where it is."""

    @staticmethod
    def auto_complete_config(config: pb_utils.ModelConfig) -> pb_utils.ModelConfig:
        config.add_input({"name": "IN", "data_type": "TYPE_INT32", "dims": [1]})
        config.add_output({"name": "OUT", "data_type": "TYPE_INT32", "dims": [1]})
        return config

    def execute(
        self, requests: list[pb_utils.InferenceRequest]
    ) -> list[pb_utils.InferenceResponse]:
        assert Path(pb_utils.get_model_dir()).name == "1"
        tensors = [pb_utils.get_input_tensor_by_name(each, "IN") for each in requests]
        arrays = [each.as_numpy() for each in tensors if each is not None]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("OUT", (2 * array).astype(np.int32))])
            for array in arrays
        ]


@pytest.fixture(autouse=True)
def _module() -> Iterator[None]:
    module = types.ModuleType("installed_for_a_test")
    module.Doubling = Doubling  # type: ignore[attr-defined]
    module.number = 3  # type: ignore[attr-defined]
    sys.modules["installed_for_a_test"] = module
    yield
    assert sys.modules.pop("installed_for_a_test") is module


def named(folder: Path, name: str) -> Model:
    model = Model(folder, parameters={PARAMETER: name})
    model.path.parent.mkdir(parents=True)
    return model


def test_a_class_answers_in_place_of_a_file(tmp_path: Path) -> None:
    asked = request(21)
    named(tmp_path, "installed_for_a_test:Doubling").run(asked)
    assert reply_of(asked).only.values["OUT"] == [42]


def test_it_completes_the_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    files = ModelFiles("m", "1", folder, folder / "1", folder / "1" / "model.py")
    parameters = {PARAMETER: {"string_value": "installed_for_a_test:Doubling"}}
    completed = create().auto_complete({"parameters": parameters}, files)
    assert [each["name"] for each in completed["input"]] == ["IN"]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("installed_for_a_test", "expected 'package.module:Class'"),
        ("no_such_package.models:Model", "'no_such_package.models', which is not installed"),
        ("installed_for_a_test:Tripling", "the class 'Tripling', which 'installed_for_a_test' has"),
        ("installed_for_a_test:number", "the class 'number', which 'installed_for_a_test' has not"),
    ],
)
def test_what_is_no_class(tmp_path: Path, name: str, complaint: str) -> None:
    with pytest.raises(LoadError) as caught:
        named(tmp_path, name).load()
    assert complaint in caught.value.message
    assert f"parameter '{PARAMETER}' of model 'm'" in caught.value.message
