"""Backends that are a folder with a model.py, shared by models that have only data of their own."""

from pathlib import Path

import aiohttp
import pytest

from streamgate.backend import registry
from streamgate.errors import BackendError
from streamgate.server.backend_folders import BackendFolders
from streamgate.server.server import Server
from streamgate.server.settings import Settings
from tests.server.model_house import CONFIG, Models

SHARED = """
from pathlib import Path

import numpy as np
import shared_factor
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.set_max_batch_size(4)
        return config

    def initialize(self, args):
        self.offset = int((Path(pb_utils.get_model_dir()) / "offset").read_text())

    def execute(self, requests):
        responses = []
        for request in requests:
            value = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
            answer = (value * shared_factor.FACTOR + self.offset).astype(np.int32)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", answer)]))
        return responses
"""


@pytest.fixture
def backends(tmp_path: Path) -> Path:
    folder = tmp_path / "backends" / "scaling"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(SHARED)
    (folder / "shared_factor.py").write_text("FACTOR = 10")
    return folder.parent


def write(models: Models, name: str, offset: int, more: str = "") -> None:
    folder = models.directory / name
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "offset").write_text(str(offset))
    (folder / "config.pbtxt").write_text(CONFIG.replace('"python"', '"scaling"') + more)


PROCESS = 'parameters { key: "streamgate.execution" value { string_value: "process" } }'


@pytest.mark.parametrize("more", ["", PROCESS])
async def test_models_share_code_and_keep_their_own_data(
    models: Models, backends: Path, more: str
) -> None:
    write(models, "first", 1, more)
    write(models, "second", 2, more)
    server = Server(
        Settings(
            [models.directory],
            host="127.0.0.1",
            http_port=0,
            allow_grpc=False,
            allow_metrics=False,
            allow_websocket=False,
            backend_directory=backends,
        )
    )
    ports = await server.start()
    answers = []
    async with aiohttp.ClientSession(f"http://127.0.0.1:{ports.http}") as client:
        for name in ("first", "second"):
            tensor = {"name": "IN", "datatype": "INT32", "shape": [1, 1], "data": [7]}
            async with client.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]}) as answer:
                answers.append((await answer.json())["outputs"][0]["data"])
    await server.stop()
    assert answers == [[71], [72]]


def test_what_is_installed_comes_first(backends: Path) -> None:
    (backends / "python").mkdir()
    (backends / "python" / "model.py").write_text(SHARED)
    folders = BackendFolders(backends, registry.names, registry.find)
    assert folders.find("python") is registry.find("python")
    assert folders.find("scaling") is not registry.find("python")


@pytest.mark.parametrize("name", ["nothing", "../backends/scaling", "scaling/", "", ".."])
def test_other_names_are_unknown(backends: Path, name: str) -> None:
    folders = BackendFolders(backends, registry.names, registry.find)
    with pytest.raises(BackendError, match="unable to find backend library for backend"):
        folders.find(name)


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"backend directory '.*nowhere' is not there"):
        BackendFolders(tmp_path / "nowhere", registry.names, registry.find)
