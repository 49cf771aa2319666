"""Where a server keeps its sockets: a folder that only its user may enter, found by that user.

$XDG_RUNTIME_DIR/streamgate/   or  $TMPDIR/streamgate-UID/
  4711/                            the number of the supervisor's process
    control.sock                   what `streamgate status` and `streamgate drain` ask
    engine-0.sock ...              where front ends reach the engines
    front-0.sock ...               where front ends hand each other requests
    front-0-ws.sock ...            where front ends reach sessions of each other
    loads/                         what clients have loaded
"""

import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Final

from streamgate.errors import Code, StreamGateError

CONTROL: Final = "control.sock"

LOADS: Final = "loads"
"""What clients have loaded, for engines that are started anew."""

SOCKET_PATH_BYTES_MAX: Final = 107
"""The longest address of a Unix socket that Linux knows."""

_LONGEST_NAME: Final = len("/front-999-ws.sock")


def create_runtime_directory(wanted: Path | None = None) -> Path:
    """A new folder for this process, or the `wanted` one, emptied of an earlier server's sockets.

    Raises StreamGateError when it can't be made, belongs to others, is another server's that runs,
    or has too long a path.
    """
    try:
        if wanted is not None:
            directory = wanted.absolute()
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        else:
            base = _usable_base()
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_owner(base)
            _clear_stale(base)
            directory = base / str(os.getpid())
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(mode=0o700)
        _check_owner(directory)
    except OSError as error:
        raise StreamGateError(
            Code.UNAVAILABLE, f"no runtime directory: {error} (choose one with --runtime-directory)"
        ) from error
    if len(os.fsencode(directory)) + _LONGEST_NAME > SOCKET_PATH_BYTES_MAX:
        raise StreamGateError(
            Code.INVALID_ARG,
            f"the runtime directory {directory} is too long: addresses of Unix sockets have at "
            f"most {SOCKET_PATH_BYTES_MAX} bytes, expected a path of at most "
            f"{SOCKET_PATH_BYTES_MAX - _LONGEST_NAME} (choose one with --runtime-directory)",
        )
    if is_answered(directory):
        raise StreamGateError(
            Code.UNAVAILABLE, f"another server runs in the runtime directory {directory}"
        )
    clear_runtime_directory(directory)
    return directory


def clear_runtime_directory(directory: Path) -> None:
    """Remove what a server has left there."""
    for left in directory.glob("*.sock"):
        left.unlink(missing_ok=True)
    shutil.rmtree(directory / LOADS, ignore_errors=True)


def find_server(wanted: Path | None = None) -> Path:
    """The control socket of the server that runs in the `wanted` folder, or else of the only one
    that this user runs. Raises StreamGateError (NOT_FOUND) for none or several."""
    if wanted is not None:
        if not is_answered(wanted):
            raise StreamGateError(Code.NOT_FOUND, f"no server runs in {wanted}")
        return wanted / CONTROL
    running = sorted(
        directory
        for base in _bases()
        if base.is_dir()
        for directory in base.iterdir()
        if is_answered(directory)
    )
    if not running:
        places = " or ".join(map(str, _bases()))
        raise StreamGateError(
            Code.NOT_FOUND,
            f"no server of this user runs here: none in {places} (one that was started with "
            "--runtime-directory is found with the same flag; one with --embedded has no processes "
            "to show)",
        )
    if len(running) > 1:
        raise StreamGateError(
            Code.INVALID_ARG,
            f"{len(running)} servers run here, say which: --runtime-directory "
            + " or ".join(map(str, running)),
        )
    return running[0] / CONTROL


def is_answered(directory: Path) -> bool:
    """Whether a server listens at the folder's control socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(directory / CONTROL))
        except OSError:
            return False
    return True


def _bases() -> list[Path]:
    """Where folders are looked for, the preferred one first."""
    fallback = Path(tempfile.gettempdir()) / f"streamgate-{os.getuid()}"
    session = os.environ.get("XDG_RUNTIME_DIR")
    return [Path(session) / "streamgate", fallback] if session else [fallback]


def _usable_base() -> Path:
    for base in _bases():
        is_short = len(os.fsencode(base)) + 20 + _LONGEST_NAME <= SOCKET_PATH_BYTES_MAX
        if base.parent.is_dir() and os.access(base.parent, os.W_OK) and is_short:
            return base
    return Path("/tmp") / f"streamgate-{os.getuid()}"  # noqa: S108 - its owner is looked at


def _check_owner(directory: Path) -> None:
    found = directory.stat(follow_symlinks=False)
    if found.st_uid != os.getuid():
        raise PermissionError(f"{directory} belongs to user {found.st_uid}")
    if found.st_mode & 0o077:
        directory.chmod(0o700)


def _clear_stale(base: Path) -> None:
    """Remove folders of servers that were killed."""
    for directory in base.iterdir():
        is_over = directory.name.isdigit() and not Path("/proc", directory.name).exists()
        if is_over and not is_answered(directory):
            shutil.rmtree(directory, ignore_errors=True)
