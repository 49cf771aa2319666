"""Opening a port, with an error that says which port it was and what to do."""

import socket

from streamgate.errors import Code, StreamGateError


def listen_tcp(
    host: str, port: int, purpose: str, backlog: int = 1024, *, shared: bool = False
) -> socket.socket:
    """A listening, non-blocking TCP socket; port 0 picks a free one.

    `shared`: the kernel deals connections out between all who listen there and say so, processes
    of one user.

    Raises StreamGateError (UNAVAILABLE) naming the port and what it was for.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        shown = f"[{host}]" if ":" in host else host
        raise StreamGateError(
            Code.UNAVAILABLE,
            f"can't listen on {shown}:{port} for {purpose}: {error.strerror or error}",
        ) from error
    listener.setblocking(False)
    return listener
