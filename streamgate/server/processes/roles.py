"""What the processes of a server do, by their kind."""

from collections.abc import Callable

from streamgate.errors import Code, StreamGateError
from streamgate.server.processes.child import Beginning, Role
from streamgate.server.processes.names import ENGINE, FRONT_END


def make_role(beginning: Beginning, on_change: Callable[[], None]) -> Role:
    """Imports what that kind needs, and nothing of the other. Raises StreamGateError for no such
    kind."""
    if beginning.kind == ENGINE:
        from streamgate.server.processes.engine import EngineRole

        return EngineRole(beginning, on_change)
    if beginning.kind == FRONT_END:
        from streamgate.server.processes.front_end import FrontEndRole

        return FrontEndRole(beginning, on_change)
    raise StreamGateError(Code.INTERNAL, f"no process is a '{beginning.kind}'")


def prepare(kind: str) -> None:
    """Import what a role of that kind needs: it begins the sooner."""
    if kind == ENGINE:
        import streamgate.server.processes.engine
    elif kind == FRONT_END:
        import streamgate.server.processes.front_end  # noqa: F401
