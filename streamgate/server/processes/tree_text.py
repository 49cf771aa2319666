"""The processes of a server on a terminal."""

from collections.abc import Sequence
from typing import Final

from streamgate.server.processes.tree import ProcessView, ServerView

_COLORS: Final = {
    "accepting": "32",
    "ready": "33",
    "draining": "33",
    "stopping": "33",
    "starting": "36",
    "alive": "33",
    "silent": "31",
    "down": "31",
}
"""Of the states: green is well, red is not."""

_HEADS: Final = ("", "PID", "STATE", "UPTIME", "RESTARTS", "SEQUENCES", "CPU", "MEMORY")
_RIGHT: Final = frozenset({"PID", "UPTIME", "RESTARTS", "SEQUENCES", "CPU", "MEMORY"})


def tree_text(server: ServerView, *, in_color: bool) -> str:
    """A line for the server, one for its ports, then a table: a line for each process. Why one was
    started anew stands below it, and where sequences have stalled."""
    places = "  ".join(f"{name}={address}" for name, address in server.addresses.items())
    state = _painted(server.state, server.state, in_color)
    lines = [f"{server.server_id} {server.version}, {state}", *([places] if places else []), ""]
    rows = [list(_HEADS), *(_row(server, each) for each in server.processes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines.append(_line(rows[0], widths, "", in_color))
    for row, view in zip(rows[1:], server.processes, strict=True):
        lines.append(_line(row, widths, view.state, in_color))
    lines += [
        f"{view.name} was started anew: {view.last_reason}"
        for view in server.processes
        if view.last_reason
    ]
    lines += [
        f"{view.name}: {view.stalled} sequences have stalled; its log says which"
        for view in server.processes
        if view.stalled
    ]
    return "\n".join(lines)


def _row(server: ServerView, view: ProcessView) -> list[str]:
    is_child = view is not server.processes[0]
    branch = "" if not is_child else "└─ " if view is server.processes[-1] else "├─ "
    return [
        branch + view.name,
        str(view.pid) if view.pid else "-",
        view.state,
        duration(view.uptime_seconds) if view.pid else "-",
        str(view.restarts) if is_child else "",
        _sequences(view) if is_child else "",
        duration(view.cpu_seconds) if view.pid else "-",
        f"{view.memory_bytes / 2**20:.0f} MiB" if view.pid else "-",
    ]


def _sequences(view: ProcessView) -> str:
    """How many there are, of how many that there can be, and how many wait."""
    shown = str(view.sequences)
    if view.slots:
        shown += f"/{view.slots}"
    if view.waiting:
        shown += f" +{view.waiting}"
    return shown


def _line(row: Sequence[str], widths: Sequence[int], state: str, in_color: bool) -> str:
    cells = [
        cell.rjust(width) if head in _RIGHT else cell.ljust(width)
        for cell, width, head in zip(row, widths, _HEADS, strict=True)
    ]
    if state:
        cells[2] = _painted(cells[2], state, in_color)
    elif in_color:
        cells = [f"\x1b[1m{cell}\x1b[0m" for cell in cells]
    return "  ".join(cells).rstrip()


def _painted(text: str, state: str, in_color: bool) -> str:
    color = _COLORS.get(state)
    return f"\x1b[{color}m{text}\x1b[0m" if in_color and color else text


def duration(seconds: float) -> str:
    """As people say it: `12.3 s`, `4 min 5 s`, `3 h 2 min`, `5 d 1 h`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
