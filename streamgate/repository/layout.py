"""Where models lie on disk: Triton's layout of repositories, model and version folders.

    <repository>/<model>/config.pbtxt           may be missing
    <repository>/<model>/configs/<name>.pbtxt   used instead when that name is asked for
    <repository>/<model>/<version>/...          version: a positive integer
    <repository>/<model>/initial_state/<file>   state data; label files lie beside config.pbtxt

It knows names and paths and reads no file's content.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from streamgate.errors import ConfigError, ConfigPhase

_log = logging.getLogger(__name__)

CONFIG_FILE = "config.pbtxt"
_VERSION_MAX = 2**63 - 1


def check_directories(directories: Sequence[Path]) -> None:
    """Raise ConfigError unless every repository is a readable directory, given once."""
    seen: set[Path] = set()
    for directory in directories:
        if not directory.is_dir():
            raise ConfigError(
                f"failed to open model repository directory '{directory}': "
                f"{'not a directory' if directory.exists() else 'it does not exist'}",
                phase=ConfigPhase.POLL,
            )
        resolved = directory.resolve()
        if resolved in seen:
            raise ConfigError(
                f"model repository directory '{directory}' is given twice",
                phase=ConfigPhase.POLL,
            )
        seen.add(resolved)


def model_names(directories: Iterable[Path]) -> list[str]:
    """The names of all model folders, sorted. Hidden folders (`.git`) are none."""
    return sorted(
        {
            entry.name
            for directory in directories
            for entry in directory.iterdir()
            if entry.is_dir() and not entry.name.startswith(".")
        }
    )


def locate(directories: Sequence[Path], name: str) -> Path:
    """The folder of model `name`. ConfigError (POLL) when there is none or more than one."""
    check_model_name(name)
    found = [directory / name for directory in directories if (directory / name).is_dir()]
    if not found:
        places = ", ".join(f"'{directory}'" for directory in directories)
        raise ConfigError(f"no model folder '{name}' in {places}", phase=ConfigPhase.POLL)
    if len(found) > 1:
        places = " and ".join(f"'{folder}'" for folder in found)
        raise ConfigError(
            f"model '{name}' is not unique: found in {places}, expected in one repository only",
            phase=ConfigPhase.POLL,
        )
    return found[0]


def check_model_name(name: str) -> None:
    """Raise ConfigError (POLL) for a name that can't be one folder's name."""
    if not name or name.startswith(".") or any(letter in name for letter in "/\\\0"):
        raise ConfigError(
            f"'{name}' is no model name: expected the name of one folder, not starting with '.'",
            phase=ConfigPhase.POLL,
        )


def config_path(folder: Path, config_name: str) -> Path:
    """The configuration file to use, which need not exist."""
    if config_name:
        custom = path_inside(folder / "configs", f"{config_name}.pbtxt", "the configuration name")
        if custom.is_file():
            return custom
    return folder / CONFIG_FILE


def versions(folder: Path) -> tuple[int, ...]:
    """The version numbers in a model folder, ascending.

    Folders whose names start with 0 or are no positive integer are ignored, each with a warning
    (Triton 2.51 takes `1x` for version 1 and then fails to find it).
    """
    found = []
    for entry in sorted(folder.iterdir()):
        name = entry.name
        if not entry.is_dir() or name in _OTHER_FOLDERS or name.startswith((".", "__")):
            continue
        if not (name.isascii() and name.isdigit()) or int(name) > _VERSION_MAX:
            _log.warning(
                "ignore version directory '%s' which fails to convert to integral number, in '%s'",
                name,
                folder,
            )
        elif name.startswith("0"):
            _log.warning(
                "ignore version directory '%s' which contains leading zeros in its directory "
                "name, in '%s'",
                name,
                folder,
            )
        else:
            found.append(int(name))
    return tuple(sorted(found))


_OTHER_FOLDERS = frozenset({"configs", "initial_state", "warmup"})


def path_inside(root: Path, relative: str, field: str) -> Path:
    """`root/relative`, refusing whatever could lead out of `root`.

    `field` names the origin in the message. Raises ConfigError (LOAD).
    """
    path = PurePosixPath(relative)
    if (
        not relative
        or "\0" in relative
        or "\\" in relative
        or path.is_absolute()
        or any(part in ("", ".", "..") for part in relative.split("/"))
    ):
        raise ConfigError(
            f"{field}: '{relative}' is no path inside '{root}': expected a relative path without "
            "'..' and without empty parts"
        )
    return root / path
