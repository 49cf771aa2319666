"""`streamgate status` and `streamgate drain`, and the flags of `serve` about processes."""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from streamgate.server.processes.control import ask_server
from streamgate.server.processes.runtime_directory import find_server
from streamgate.server.processes.topology import SILENCE_SECONDS, Topology
from streamgate.server.processes.tree import server_view
from streamgate.server.processes.tree_text import tree_text

STATUS_SECONDS: Final = 10.0

RESTART_SECONDS: Final = 660.0
"""How long a drained engine may take to be back: a little longer than the supervisor waits."""

PROCESSES_MAX: Final = 256


def add_processes(serve: argparse.ArgumentParser) -> None:
    """The flags of `serve`."""
    processes = serve.add_argument_group("processes")
    processes.add_argument(
        "--embedded",
        action="store_true",
        help="one process for everything, without a supervisor",
    )
    processes.add_argument(
        "--engines",
        type=_count,
        default=None,
        metavar="N",
        help="processes that run the models, all of them each (1)",
    )
    processes.add_argument(
        "--front-ends",
        type=_count,
        default=None,
        metavar="N",
        help="processes that share the ports (1)",
    )
    processes.add_argument(
        "--freeze-limit-secs",
        type=_seconds,
        default=None,
        metavar="S",
        help=f"a process that gives no sign of life for so long is killed and started again "
        f"({SILENCE_SECONDS:g})",
    )
    _add_directory(processes, "where the server's sockets are (a folder of its own)")


def topology_of(options: argparse.Namespace) -> Topology | None:
    """What the flags of `serve` say; None for one process. Complains of flags that contradict."""
    given = (options.engines, options.front_ends, options.freeze_limit_secs)
    if options.embedded:
        if any(each is not None for each in (*given, options.runtime_directory)):
            options.complain(
                "--engines, --front-ends, --freeze-limit-secs and --runtime-directory are about "
                "several processes, --embedded is one"
            )
        return None
    return Topology(
        options.engines or 1,
        options.front_ends or 1,
        options.runtime_directory,
        options.freeze_limit_secs or SILENCE_SECONDS,
    )


def add_status_and_drain(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The commands."""
    status = commands.add_parser(
        "status",
        help="show the processes of the server that runs here",
        description="Show the processes of the server that this user runs on this machine: what "
        "they are, how they are and what they use.",
    )
    status.set_defaults(run=_status)
    status.add_argument("--json", action="store_true", help="as JSON")
    _add_directory(status, "the server whose sockets are there (the only one that runs)")
    drain = commands.add_parser(
        "drain",
        help="let an engine's sequences leave it and start it anew, or let a whole server end well",
        description="Drain an engine of the server that this user runs here: nothing new comes to "
        "it, its sequences move to other engines or end, and it is started anew. Without a name, "
        "the whole server lets in nothing new from then on, and this waits until its sequences "
        "have ended. The status is 0 when none was left.",
    )
    drain.set_defaults(run=_drain)
    drain.add_argument("name", nargs="?", default="", metavar="ENGINE", help="such as engine-0")
    drain.add_argument(
        "--timeout-secs",
        type=_seconds,
        default=30.0,
        metavar="S",
        help="how long sequences may take (%(default)s)",
    )
    _add_directory(drain, "the server whose sockets are there (the only one that runs)")


def _add_directory(group: "argparse._ActionsContainer", text: str) -> None:
    group.add_argument("--runtime-directory", type=Path, metavar="DIR", help=text)


def _status(options: argparse.Namespace) -> int:
    control = find_server(options.runtime_directory)
    message = ask_server(control, "status", seconds=STATUS_SECONDS)
    if options.json:
        print(json.dumps(message, indent=2))
        return 0
    print(tree_text(server_view(message), in_color=sys.stdout.isatty()))
    return 0


def _drain(options: argparse.Namespace) -> int:
    control = find_server(options.runtime_directory)
    told = {"name": options.name, "seconds": options.timeout_secs}
    limit = options.timeout_secs + RESTART_SECONDS
    outcome = ask_server(control, "drain", told, seconds=limit)
    left = int(outcome["left"])
    what = "all sequences are gone" if not left else f"{left} sequences were left"
    if options.name:
        print(f"{options.name}: {what}; it runs anew as process {outcome['pid']}")
    else:
        print(f"the server lets in nothing new, {what}")
    return 1 if left else 0


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= PROCESSES_MAX:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no number of processes, expected 1 to {PROCESSES_MAX}"
        )
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds above 0")
    return seconds
