"""Configurations and files that come with a load request, and when a model counts as changed."""

import gc
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from streamgate.errors import ConfigError, ConfigPhase
from tests.repository.conftest import ONE_VERSION, Models

PYTHON = 'backend: "python" '
JSON = '{"backend": "python"}'


def test_a_configuration_replaces_the_file(models: Models) -> None:
    models.write("m", PYTHON + "max_batch_size: 2 dynamic_batching { }")
    source = models.repository().read("m", '{"backend": "python", "max_batch_size": 16}')
    (version,) = source.versions
    assert version.config.max_batch_size == 16
    assert version.config.sequences is None
    assert version.files.directory == models.directory / "m"
    assert models.config().max_batch_size == 2


def test_an_empty_configuration_is_completed(models: Models) -> None:
    models.write("m", PYTHON + "max_batch_size: 2")
    (version,) = models.repository().read("m", "{}").versions
    assert (version.config.backend, version.config.max_batch_size) == ("python", 0)


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("{bad", "failed to read JSON from the configuration given with the load request: line 1"),
        ('{"nope": 1}', "failed to read JSON from the configuration given with the load request"),
        ('{"name": "n"}', "unexpected directory name 'm' for model 'n'"),
        ('{"max_batch_size": -1}', "'max_batch_size' must be non-negative value for m"),
    ],
)
def test_wrong_configurations(models: Models, override: str, text: str) -> None:
    models.write("m", PYTHON)
    with pytest.raises(ConfigError) as caught:
        models.repository().read("m", override)
    assert caught.value.message.startswith(text)
    assert "the configuration given with the load request" in caught.value.message
    assert caught.value.phase is ConfigPhase.POLL


def test_a_configuration_alone_needs_the_folder(models: Models) -> None:
    with pytest.raises(ConfigError, match="no model folder 'm'"):
        models.repository().read("m", JSON)


@pytest.mark.parametrize("prefix", ["", "file:"])
def test_files_make_a_model_of_their_own(models: Models, prefix: str) -> None:
    models.write("m", PYTHON, {"7/model.py": b"old"})
    files = {f"{prefix}1/model.py": b"one", f"{prefix}1/data/x": b"x", f"{prefix}3/model.py": b"3"}
    source = models.repository().read("m", JSON, files)
    (version,) = source.versions
    assert version.version == "3"
    assert version.files.directory.name == "m"
    assert version.files.path.read_bytes() == b"3"
    assert (version.files.directory / "1/data/x").read_bytes() == b"x"
    assert models.directory not in version.files.directory.parents


def test_files_for_a_model_that_has_no_folder(models: Models) -> None:
    source = models.repository().read("new", JSON, ONE_VERSION)
    assert [version.version for version in source.versions] == ["1"]
    assert models.repository().names() == []


def test_files_live_as_long_as_their_source(models: Models) -> None:
    source = models.repository().read("m", JSON, ONE_VERSION)
    folder = source.versions[0].files.directory
    gc.collect()
    assert folder.is_dir()
    del source
    gc.collect()
    assert not folder.parent.exists()


def test_files_of_a_model_that_is_refused_are_removed(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with pytest.raises(ConfigError, match="Could not determine backend"):
        models.repository().read("m", "{}", {"1/weights": b""})
    with pytest.raises(ConfigError, match="is no path inside"):
        models.repository().read("m", "{}", {"../x": b""})
    gc.collect()
    assert list(scratch.iterdir()) == []


def test_files_need_a_configuration(models: Models) -> None:
    models.write("m", PYTHON)
    with pytest.raises(ConfigError, match="expected the parameter 'config'") as caught:
        models.repository().read("m", None, ONE_VERSION)
    assert caught.value.phase is ConfigPhase.POLL


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"../1/model.py": b""}, "file override: '../1/model.py' is no path inside"),
        ({"/etc/model.py": b""}, "file override: '/etc/model.py' is no path inside"),
        ({"file:1/../../x": b""}, "file override: '1/../../x' is no path inside"),
        ({"1/a": b"", "1/a/b": b""}, "file override: '1/a/b' can't be written"),
        ({"1/a/b": b"", "1/a": b""}, "file override: '1/a' is given twice, or is a folder too"),
        ({"1/a": b"", "file:1/a": b""}, "file override: '1/a' is given twice"),
    ],
)
def test_files_stay_in_their_folder(models: Models, files: dict[str, bytes], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        models.repository().read("m", JSON, files)
    assert caught.value.message.startswith(text)
    assert caught.value.phase is ConfigPhase.POLL
    assert "streamgate-" not in caught.value.message


def test_model_names_of_overrides_are_checked(models: Models) -> None:
    with pytest.raises(ConfigError, match="is no model name"):
        models.repository().read("../m", JSON, ONE_VERSION)


def test_initial_states_and_labels_may_come_as_files(models: Models) -> None:
    config = (
        '{"backend": "python", "sequence_batching": {"state": [{"input_name": "S", "output_name": '
        '"T", "data_type": "TYPE_INT8", "dims": [2], "initial_state": [{"name": "i", "data_type": '
        '"TYPE_INT8", "dims": [2], "data_file": "s"}]}]}}'
    )
    files = {**ONE_VERSION, "initial_state/s": b"\x01\x02"}
    (version,) = models.repository().read("m", config, files).versions
    assert version.config.states[0].initial_bytes == b"\x01\x02"


FILES = {**ONE_VERSION, "2/model.py": b"", "2/sub/data": b"", "labels.txt": b""}


def changed(path: Path) -> None:
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1))


def test_an_unchanged_model_has_an_equal_fingerprint(models: Models) -> None:
    folder = models.write("m", PYTHON, FILES)
    first = models.source().fingerprint
    assert models.source().fingerprint == first
    # Comments, versions that are not served and what Python itself writes change nothing.
    (folder / "config.pbtxt").write_text("# a comment\n" + PYTHON)
    changed(folder / "1/model.py")
    models.write("m", None, {"2/__pycache__/model.pyc": b"", "2/sub/__pycache__/x.pyc": b""})
    assert models.source().fingerprint == first


@pytest.mark.parametrize("path", ["2/model.py", "2/sub/data", "labels.txt"])
def test_a_changed_file_changes_the_fingerprint(models: Models, path: str) -> None:
    folder = models.write("m", PYTHON, FILES)
    first = models.source().fingerprint
    changed(folder / path)
    assert models.source().fingerprint != first


@pytest.mark.parametrize("path", ["2/new", "2/sub/new", "new.txt", "3/model.py"])
def test_a_new_file_changes_the_fingerprint(models: Models, path: str) -> None:
    models.write("m", PYTHON, FILES)
    first = models.source().fingerprint
    models.write("m", None, {path: b""})
    assert models.source().fingerprint != first


def test_a_removed_file_changes_the_fingerprint(models: Models) -> None:
    folder = models.write("m", PYTHON, FILES)
    first = models.source().fingerprint
    (folder / "2/sub/data").unlink()
    assert models.source().fingerprint != first


def test_a_changed_configuration_changes_the_fingerprint(models: Models) -> None:
    models.write("m", PYTHON)
    first = models.source().fingerprint
    models.write("m", PYTHON + "max_batch_size: 1")
    assert models.source().fingerprint != first


def test_links_in_a_circle_are_survived(models: Models) -> None:
    folder = models.write("m", PYTHON)
    (folder / "1/loop").symlink_to(folder / "1", target_is_directory=True)
    (folder / "1/nowhere").symlink_to(folder / "missing")
    assert models.source().fingerprint == models.source().fingerprint


@pytest.mark.parametrize(
    "other",
    [
        {"1/model.py": b"two"},
        {"2/model.py": b"one"},
        {"1/model.py": b"one", "1/x": b""},
    ],
)
def test_overrides_are_told_apart_by_content(models: Models, other: Mapping[str, bytes]) -> None:
    repository = models.repository()
    first = repository.read("m", JSON, {"1/model.py": b"one"}).fingerprint
    assert repository.read("m", JSON, {"1/model.py": b"one"}).fingerprint == first
    assert repository.read("m", JSON, other).fingerprint != first
