"""Folders: which models and versions there are, and what leads out of them."""

from pathlib import Path

import pytest

from streamgate.errors import Code, ConfigError, ConfigPhase, LoadError
from streamgate.repository.layout import path_inside
from streamgate.repository.repository import ModelRepository
from tests.repository.conftest import ONE_VERSION, Models

PYTHON = 'backend: "python" '


def test_every_folder_is_a_model_except_hidden_ones(models: Models) -> None:
    models.write("b", PYTHON)
    models.write("a", None, {})
    models.write(".git", None, {})
    (models.directory / "README.md").write_text("not a model")
    assert models.repository().names() == ["a", "b"]


def test_several_repositories(tmp_path: Path, models: Models) -> None:
    other = tmp_path / "other"
    other.mkdir()
    second = Models(other)
    models.write("a", PYTHON)
    second.write("b", PYTHON)
    repository = ModelRepository([models.directory, other], find_backend=models.find)
    assert repository.names() == ["a", "b"]
    assert repository.read("a").versions[0].files.directory == models.directory / "a"
    assert repository.read("b").versions[0].files.directory == other / "b"


def test_a_name_in_two_repositories_serves_neither(tmp_path: Path, models: Models) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for owner in (models, Models(other)):
        owner.write("m", PYTHON)
    repository = ModelRepository([models.directory, other], find_backend=models.find)
    assert repository.names() == ["m"]
    with pytest.raises(ConfigError) as caught:
        repository.read("m")
    assert caught.value.phase is ConfigPhase.POLL
    assert caught.value.message == (
        f"model 'm' is not unique: found in '{models.directory / 'm'}' and '{other / 'm'}', "
        "expected in one repository only"
    )


def test_a_repository_must_be_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'.*/nowhere': it does not exist"):
        ModelRepository([tmp_path / "nowhere"])
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"'.*/file': not a directory"):
        ModelRepository([tmp_path / "file"])
    with pytest.raises(ConfigError, match="is given twice"):
        ModelRepository([tmp_path, tmp_path / "." / ".." / tmp_path.name])


@pytest.mark.parametrize("name", ["", ".", "..", "../m", "a/b", ".hidden", "a\\b", "a\0b"])
def test_names_that_are_no_folder(models: Models, name: str) -> None:
    with pytest.raises(ConfigError, match="is no model name") as caught:
        models.source(name)
    assert caught.value.phase is ConfigPhase.POLL


def test_unknown_model(models: Models) -> None:
    with pytest.raises(ConfigError, match=r"no model folder 'm' in '.*/repository'") as caught:
        models.source()
    assert caught.value.phase is ConfigPhase.POLL


VERSIONS = {f"{version}/model.py": b"" for version in (1, 2, 10)}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", ["10"]),
        ("latest { num_versions: 2 }", ["2", "10"]),
        ("latest { num_versions: 9 }", ["1", "2", "10"]),
        ("all { }", ["1", "2", "10"]),
        ("specific { versions: [ 2, 7, 1 ] }", ["1", "2"]),
    ],
)
def test_version_policy(models: Models, policy: str, expected: list[str]) -> None:
    models.write("m", PYTHON + f"version_policy {{ {policy} }}", VERSIONS)
    assert [version.version for version in models.source().versions] == expected


@pytest.mark.parametrize(
    ("policy", "files"),
    [
        ("specific { versions: 7 }", VERSIONS),
        ("specific { }", VERSIONS),
        ("latest { num_versions: 0 }", VERSIONS),
        ("all { }", {}),
    ],
)
def test_no_version_left(models: Models, policy: str, files: dict[str, bytes]) -> None:
    models.write("m", PYTHON + f"version_policy {{ {policy} }}", files)
    with pytest.raises(ConfigError) as caught:
        models.source()
    assert caught.value.message.startswith(
        "at least one version must be available under the version policy of model 'm'"
    )
    assert caught.value.phase is ConfigPhase.LOAD
    assert caught.value.code is Code.INVALID_ARG


def test_version_folders_that_are_none(models: Models, caplog: pytest.LogCaptureFixture) -> None:
    ignored = ["01", "0", "1x", "abc", "-1", "99999999999999999999", "²"]
    files = {f"{name}/model.py": b"" for name in [*ignored, "3"]}
    models.write("m", PYTHON + "version_policy { all { } }", files)
    models.write("m", None, {"configs/a.pbtxt": b"", "initial_state/s": b"", "warmup/w": b""})
    models.write("m", None, {"__pycache__/x.pyc": b"", ".cache/x": b"", "7": b"a file"})
    assert [version.version for version in models.source().versions] == ["3"]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == len(ignored)
    for name in ignored:
        leading = name in {"0", "01"}
        reason = "contains leading zeros" if leading else "fails to convert to integral number"
        assert any(f"ignore version directory '{name}' which {reason}" in m for m in messages)


def test_config_name_prefers_its_own_file(models: Models) -> None:
    files = {**ONE_VERSION, "configs/large.pbtxt": b'backend: "python" max_batch_size: 64'}
    models.write("m", PYTHON + "max_batch_size: 2", files)
    models.write("n", PYTHON + "max_batch_size: 3")
    assert models.config("m").max_batch_size == 2
    assert models.config("m", config_name="large").max_batch_size == 64
    assert models.config("n", config_name="large").max_batch_size == 3


def test_missing_model_file_fails_at_once(models: Models) -> None:
    # Triton 2.51 hangs for minutes when model.py is missing.
    error = models.refused(PYTHON, {"1/main.py": b"", "1/weights.bin": b""})
    assert isinstance(error, LoadError)
    assert error.code is Code.INTERNAL
    assert error.message == (
        f"unable to find '{models.directory}/m/1/model.py' for model 'm': expected the model file "
        "'model.py' of backend 'python' (default_model_filename), found main.py, weights.bin in "
        "the version folder"
    )
    assert models.backends["python"].seen == []


def test_one_bad_version_leaves_the_others(models: Models) -> None:
    models.write("m", PYTHON + "version_policy { all { } }", {"1/x": b"", "2/model.py": b""})
    source = models.source()
    assert [version.version for version in source.versions] == ["2"]
    assert list(source.failures) == ["1"]
    assert "unable to find" in source.failures["1"].message


def test_files_of_a_version(models: Models) -> None:
    folder = models.write("m", PYTHON + 'default_model_filename: "main.py"', {"4/main.py": b""})
    (version,) = models.source().versions
    assert version.files.name == "m"
    assert version.files.version == "4"
    assert version.files.directory == folder
    assert version.files.version_directory == folder / "4"
    assert version.files.path == folder / "4" / "main.py"
    assert version.config.default_model_filename == "main.py"


def test_a_backend_without_a_model_file(models: Models) -> None:
    folder = models.write("m", 'backend: "plain"', {"1/anything": b""})
    (version,) = models.source().versions
    assert version.files.path == folder / "1"


@pytest.mark.parametrize("path", ["", "/a", "..", "../a", "a/../b", "a//b", "./a", "a\\b", "a\0"])
def test_paths_that_lead_out(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError, match="is no path inside"):
        path_inside(tmp_path, path, "field")


def test_paths_that_stay_inside(tmp_path: Path) -> None:
    assert path_inside(tmp_path, "1/..data/model.py", "field") == tmp_path / "1/..data/model.py"
