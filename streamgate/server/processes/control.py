"""The control socket of a server: what its user asks the supervisor, and how."""

import asyncio
import os
from pathlib import Path
from typing import Any, final

from streamgate.errors import Code, StreamGateError
from streamgate.server.processes.messages import Answer, Peer, PeerLostError


@final
class ControlSocket:
    """Answers questions at a Unix socket. Only the user of the process reaches it."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self._path = path
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._peers: set[Peer] = set()

    async def open(self) -> None:
        """Listen. Raises StreamGateError when that can't be."""
        before = os.umask(0o077)
        try:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_unix_server(self._greet, os.fspath(self._path))
        except OSError as error:
            raise StreamGateError(Code.UNAVAILABLE, f"no control socket: {error}") from error
        finally:
            os.umask(before)

    def close(self) -> None:
        """Hang up on everybody, and be found no more."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
            for peer in list(self._peers):
                peer.close()

    def _greet(self) -> Peer:
        peer = Peer(self._answer, on_lost=lambda: self._peers.discard(peer))
        self._peers.add(peer)
        return peer


def ask_server(control: Path, what: str, value: Any = None, *, seconds: float) -> Any:
    """Ask a server at its control socket. Raises StreamGateError: what the server says, or that it
    does not answer."""
    return asyncio.run(_ask(control, what, value, seconds))


async def _ask(control: Path, what: str, value: Any, seconds: float) -> Any:
    peer = Peer()
    try:
        await asyncio.get_running_loop().create_unix_connection(lambda: peer, os.fspath(control))
        return await peer.ask(what, value, seconds=seconds)
    except (OSError, PeerLostError) as error:
        raise StreamGateError(
            Code.UNAVAILABLE, f"the server at {control} went away: {error}"
        ) from error
    except TimeoutError:
        raise StreamGateError(
            Code.UNAVAILABLE, f"the server at {control} gave no answer within {seconds:.0f} s"
        ) from None
    finally:
        peer.close()
