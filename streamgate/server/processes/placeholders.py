"""The ports of a server whose front ends share them: held by the supervisor, served by others.

A bound socket that does not listen gets no connection. It keeps the port that was chosen, also
while no front end runs, and keeps others out of it.
"""

import os
import socket
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from streamgate.errors import Code, StreamGateError
from streamgate.server.ports import Ports

_SPOKEN: Final = {"http": "HTTP", "websocket": "WebSocket", "wyoming": "Wyoming"}
"""What is spoken on a port, where that is not its name."""


class Placeholders:
    """Holds ports from `take` to `close`."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._held = ExitStack()

    def take(self, wanted: Ports) -> Ports:
        """Take these ports, any that is free for 0; returns which they are.

        Raises StreamGateError (UNAVAILABLE) naming the one that can't be had and how to change it;
        none is held then.
        """
        with ExitStack() as held:
            got = {
                name: self._take(name, port, held)
                for name, port in wanted.by_name.items()
                if name != "metrics"
            }
            self._held = held.pop_all()
        own = {name: got[name] for name in wanted.dialects}
        return replace(
            wanted,
            http=got.get("http"),
            grpc=got.get("grpc"),
            websocket=got.get("websocket"),
            dialects=own,
        )

    def close(self) -> None:
        """Let go of all."""
        self._held.close()

    def _take(self, name: str, port: int, held: ExitStack) -> int:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            if port:
                # Whoever shares a port lets all others of the same user in who share: first see
                # that nobody listens there. Connections that are still closing don't count.
                with socket.socket(family, socket.SOCK_STREAM) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((self._host, port))
            holder = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind((self._host, port))
            bound: int = holder.getsockname()[1]
            # And that no other supervisor holds it, whose front ends don't listen just now: such a
            # name exists once in a network namespace, and goes with its process.
            mark = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            mark.bind(f"\0streamgate-port-{os.getuid()}-{self._host}-{bound}")
        except OSError as error:
            raise self._refusal(name, port, error) from error
        return bound

    def _refusal(self, name: str, port: int, error: OSError) -> StreamGateError:
        shown = f"[{self._host}]" if ":" in self._host else self._host
        if name == "grpc":
            text = f"the gRPC front end can't listen on {shown}:{port}"
        else:
            text = f"can't listen on {shown}:{port} for {_SPOKEN.get(name, name)}"
        return StreamGateError(
            Code.UNAVAILABLE,
            f"{text}: {error.strerror or error} (change it with --{name}-port or --host)",
        )
