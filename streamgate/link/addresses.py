"""Where a link's other end is: a Unix socket on this machine, or a TCP port elsewhere."""

import asyncio
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamgate.errors import Code, StreamGateError

PATH_BYTES_MAX: Final = 107
"""What Linux takes as the path of a Unix socket."""

_BACKLOG: Final = 64
_CREDENTIALS: Final = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A socket in a directory that is only its owner's."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A port. Port 0 is any, to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp:{self.host}:{self.port}"


Address = UnixAddress | TcpAddress


def parse_address(text: str) -> Address:
    """`unix:<path>` or `tcp:<host>:<port>`. Raises StreamGateError (INVALID_ARG)."""
    scheme, _, rest = text.partition(":")
    if scheme == "unix" and rest:
        return UnixAddress(Path(rest))
    host, _, port = rest.rpartition(":")
    if scheme == "tcp" and host and port.isdecimal() and int(port) < 2**16:
        return TcpAddress(host.strip("[]"), int(port))
    raise StreamGateError(
        Code.INVALID_ARG,
        f"found '{text}' for an address, expected unix:<path> or tcp:<host>:<port>",
    )


def listen_unix(path: Path) -> socket.socket:
    """Listen on a Unix socket, in place of one that was left there. Its directory is made if it is
    missing. Raises StreamGateError for a directory that others can enter, or one that can't be."""
    if len(bytes(path)) > PATH_BYTES_MAX:
        raise StreamGateError(
            Code.INVALID_ARG,
            f"the path of a Unix socket has at most {PATH_BYTES_MAX} bytes: {path}",
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = path.parent.stat().st_mode & 0o777
        if mode & 0o077:
            raise StreamGateError(
                Code.INVALID_ARG,
                f"{path.parent} has mode {mode:o}, expected 700: whoever can enter it can connect",
            )
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StreamGateError(Code.UNAVAILABLE, f"can't listen on {path}: {error}") from error
    except StreamGateError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def listen_tcp(address: TcpAddress) -> socket.socket:
    """Listen on a port. Raises StreamGateError."""
    try:
        listener = socket.create_server(
            (address.host, address.port),
            family=socket.AF_INET6 if ":" in address.host else socket.AF_INET,
            backlog=_BACKLOG,
        )
    except OSError as error:
        text = f"can't listen on {address.host}:{address.port}: {error}"
        raise StreamGateError(Code.UNAVAILABLE, text) from error
    listener.setblocking(False)
    return listener


def pid_behind(connection: socket.socket) -> int:
    """The number of the process that listens, or connected, at the other end of a Unix socket; 0
    for another kind."""
    if connection.family != socket.AF_UNIX:
        return 0
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(credentials)[0]
    return pid


async def connect(address: Address, timeout_seconds: float) -> socket.socket:
    """Raises OSError, or TimeoutError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout_seconds):
        if isinstance(address, UnixAddress):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            target: object = str(address.path)
        else:
            found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            family, _, _, _, target = found[0]
            connection = socket.socket(family, socket.SOCK_STREAM)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        try:
            await loop.sock_connect(connection, target)  # type: ignore[arg-type]
        except BaseException:
            connection.close()
            raise
    return connection
