"""Where models come from: reads a model's folder into configurations that can be loaded.

    folder or overrides -> message -> completed by files and backend -> checked -> ModelConfig

Reading is blocking file work and may run a backend's completion code: call it off the event
loop, from any thread. The repository remembers nothing between reads and loads nothing.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from streamgate._proto import model_config_pb2 as pb
from streamgate.backend import registry
from streamgate.backend.contract import Backend, ModelFiles
from streamgate.errors import ConfigError, ConfigPhase, LoadError, StreamGateError
from streamgate.model.config import Execution, ModelConfig, WorkerLimits
from streamgate.repository import layout
from streamgate.repository.build import build_config
from streamgate.repository.complete import (
    complete_backend,
    complete_defaults,
    complete_from_model,
)
from streamgate.repository.defects import defect, located
from streamgate.repository.ensembles import check_ensemble, is_ensemble
from streamgate.repository.execution import read_execution
from streamgate.repository.extensions import PYTHON_CLASS, read_extensions
from streamgate.repository.fingerprint import files_state, fingerprint, folder_state
from streamgate.repository.instances import check_groups, complete_groups
from streamgate.repository.overrides import OverrideFolder
from streamgate.repository.parse import parse_json, read_file
from streamgate.repository.states import check_states
from streamgate.repository.tensors import check_tensors
from streamgate.repository.unserved import refuse_unserved, warn_unserved
from streamgate.repository.validate import check_settings

_log = logging.getLogger(__name__)

_NO_FILES: Mapping[str, bytes] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class VersionSource:
    """One version that can be loaded."""

    version: str
    config: ModelConfig
    files: ModelFiles


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model as it was read: the versions that its policy selects, ascending.

    `failures` holds the selected versions that can't be loaded, with the reason; a version is in
    either. Equal fingerprints mean an unchanged model, equal bodies one that is unchanged but for
    its instance groups. Hold the source for as long as its versions are in use: files that came
    with a load request live as long as it does.
    """

    name: str
    versions: tuple[VersionSource, ...]
    fingerprint: str
    body: str
    failures: Mapping[str, StreamGateError] = field(default_factory=dict)
    kept: OverrideFolder | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class _Given:
    """A model before completion: its folder, its configuration and where that came from."""

    folder: Path
    config: pb.ModelConfig
    place: str
    kept: OverrideFolder | None = None


class ModelRepository:
    """The models in one or more directories of Triton's layout.

    With `auto_complete` false a model needs a configuration file, and its backend is not asked to
    complete it. `config_name` prefers `configs/<config_name>.pbtxt` where a model has it.
    `gpu_count` is the number of GPUs that instances may be placed on.
    """

    def __init__(
        self,
        directories: Sequence[str | Path],
        *,
        auto_complete: bool = True,
        config_name: str = "",
        gpu_count: int = 0,
        find_backend: Callable[[str], Backend] = registry.find,
    ) -> None:
        """Raises ConfigError when one of the directories can't be a repository."""
        self._directories = [Path(directory) for directory in directories]
        self._auto_complete = auto_complete
        self._config_name = config_name
        self._gpu_count = gpu_count
        self._find_backend = find_backend
        layout.check_directories(self._directories)

    def names(self) -> list[str]:
        """The names of all model folders, loadable or not, sorted."""
        return layout.model_names(self._directories)

    def read(
        self,
        name: str,
        config_override: str | None = None,
        file_overrides: Mapping[str, bytes] = _NO_FILES,
    ) -> ModelSource:
        """The model as it is now.

        `config_override` is a whole configuration in JSON that replaces the file;
        `file_overrides` replaces the whole model folder, by path in it, and needs
        `config_override`. Raises ConfigError, whose `phase` tells POLL (the folder can't be read:
        the message is the reason) from LOAD (no version can be loaded). What concerns one version
        only is in the source's `failures`.
        """
        try:
            given = self._open(name, config_override, file_overrides)
            try:
                return self._read(name, given, file_overrides)
            except ConfigError as error:
                raise located(error, given.place) from error
        except OSError as error:
            raise ConfigError(
                f"model folder of '{name}' can't be read: {error}", phase=ConfigPhase.POLL
            ) from error

    def step_models(self, name: str, config_override: str | None = None) -> tuple[str, ...]:
        """The models of an ensemble's steps, as they are named now, without reading more of it.

        Empty for other models, and for what can't be read: reading it tells why.
        """
        try:
            config = self._open(name, config_override, _NO_FILES).config
        except (ConfigError, OSError):
            return ()
        return tuple(dict.fromkeys(step.model_name for step in config.ensemble_scheduling.step))

    def _open(
        self, name: str, config_override: str | None, file_overrides: Mapping[str, bytes]
    ) -> _Given:
        if config_override is None:
            if file_overrides:
                raise ConfigError(
                    f"files were given for model '{name}' without a configuration: expected the "
                    "parameter 'config' beside them",
                    phase=ConfigPhase.POLL,
                )
            folder = layout.locate(self._directories, name)
            path = layout.config_path(folder, self._config_name)
            if self._auto_complete and not path.is_file():
                return _Given(folder, pb.ModelConfig(), f"no {path.name} in {folder}")
            return _Given(folder, read_file(path), str(path))
        place = "the configuration given with the load request"
        config = parse_json(config_override, place)
        if not file_overrides:
            return _Given(layout.locate(self._directories, name), config, place)
        layout.check_model_name(name)
        kept = OverrideFolder(name, file_overrides)
        return _Given(kept.path, config, place, kept)

    def _read(self, name: str, given: _Given, file_overrides: Mapping[str, bytes]) -> ModelSource:
        config = given.config
        _name(config, name)
        present = layout.versions(given.folder)
        text = config.SerializeToString(deterministic=True)
        body = _without_groups(config).SerializeToString(deterministic=True)
        refuse_unserved(config)
        if is_ensemble(config):
            check_ensemble(config)
        else:
            complete_backend(config, _file_names(given.folder, present))
        check_settings(config, ConfigPhase.POLL)
        warn_unserved(config)
        selected = select_versions(config.version_policy, present)
        if not selected:
            raise defect(
                "at least one version must be available under the version policy of model "
                f"'{name}'",
                field="version_policy",
                found=f"versions {list(present)}" if present else "no version folder",
                expected="one that the policy selects",
            )
        state = tuple(
            files_state(file_overrides) if file_overrides else folder_state(given.folder, selected)
        )
        versions: list[VersionSource] = []
        failures: dict[str, StreamGateError] = {}
        for version in selected:
            try:
                versions.append(self._read_version(given, version))
            except ConfigError as error:
                failures[str(version)] = located(error, given.place)
            except StreamGateError as error:
                failures[str(version)] = error
        return ModelSource(
            name=name,
            versions=tuple(versions),
            fingerprint=fingerprint([text, *state]),
            body=fingerprint([body, *state]),
            failures=failures,
            kept=given.kept,
        )

    def _read_version(self, given: _Given, version: int) -> VersionSource:
        config = pb.ModelConfig()
        config.CopyFrom(given.config)
        if is_ensemble(config):
            return _read_ensemble(config, given.folder, version)
        backend = self._find_backend(config.backend)
        if not config.default_model_filename:
            config.default_model_filename = backend.default_model_filename
        files = _files(config, given.folder, version)
        if self._auto_complete:
            config = complete_from_model(config, backend, files)
            check_settings(config, ConfigPhase.LOAD)
        complete_defaults(config)
        complete_groups(config, self._gpu_count, backend)
        check_tensors(config)
        check_groups(config, self._gpu_count)
        check_states(config)
        extensions = read_extensions(config)
        execution, limits = read_execution(config, backend)
        built = build_config(config, extensions, execution, limits, given.folder)
        return VersionSource(files.version, built, files)


def _read_ensemble(config: pb.ModelConfig, folder: Path, version: int) -> VersionSource:
    """An ensemble has no files: what it is made of is served under other names."""
    complete_defaults(config)
    check_tensors(config)
    directory = folder / str(version)
    files = ModelFiles(config.name, str(version), folder, directory, directory)
    # Nothing is executed, so that it makes no difference how.
    extensions = read_extensions(config)
    built = build_config(config, extensions, Execution.INLINE, WorkerLimits(), folder)
    return VersionSource(files.version, built, files)


def _without_groups(config: pb.ModelConfig) -> pb.ModelConfig:
    rest = pb.ModelConfig()
    rest.CopyFrom(config)
    rest.ClearField("instance_group")
    return rest


def select_versions(policy: pb.ModelVersionPolicy, present: Sequence[int]) -> list[int]:
    """The versions to serve among those present (ascending), ascending. Default: the latest."""
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return list(present)
    if choice == "specific":
        missing = sorted(set(policy.specific.versions) - set(present))
        if missing:
            _log.warning("version_policy asks for versions %s, which are not there", missing)
        return [version for version in present if version in policy.specific.versions]
    count = 1 if choice is None else policy.latest.num_versions
    return list(present[-count:]) if count else []


def _name(config: pb.ModelConfig, name: str) -> None:
    if config.name and config.name != name:
        raise defect(
            f"unexpected directory name '{name}' for model '{config.name}', directory name must "
            "equal model name",
            field="name",
            found=f"'{config.name}'",
            expected=f"'{name}', or no name",
            phase=ConfigPhase.POLL,
        )
    config.name = name


def _file_names(folder: Path, versions: Sequence[int]) -> list[str]:
    if not versions:
        return []
    return [entry.name for entry in (folder / str(versions[-1])).iterdir()]


def _files(config: pb.ModelConfig, folder: Path, version: int) -> ModelFiles:
    """Where the version's files lie. LoadError when the model file is missing that is needed."""
    directory = folder / str(version)
    file_name = config.default_model_filename
    path = directory
    if file_name:
        path = layout.path_inside(directory, file_name, "default_model_filename")
        if not path.exists() and PYTHON_CLASS not in config.parameters:
            found = ", ".join(sorted(entry.name for entry in directory.iterdir())[:8]) or "nothing"
            raise LoadError(
                f"unable to find '{path}' for model '{config.name}': expected the model file "
                f"'{file_name}' of backend '{config.backend}' (default_model_filename), found "
                f"{found} in the version folder"
            )
    return ModelFiles(config.name, str(version), folder, directory, path)
