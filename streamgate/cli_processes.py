"""`streamgate status` and `streamgate drain`, and the flags of `serve` about processes."""

import argparse
import json
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Final

from streamgate.link.beat import BEAT_SECONDS
from streamgate.link.blocks import ARENA_BYTES, ARENA_BYTES_MAX
from streamgate.server.processes.control import ask_server
from streamgate.server.processes.hardware import Hardware, parse_cpus
from streamgate.server.processes.runtime_directory import find_server
from streamgate.server.processes.topology import SILENCE_SECONDS, Topology
from streamgate.server.processes.tree import server_view
from streamgate.server.processes.tree_text import tree_text

STATUS_SECONDS: Final = 10.0

RESTART_SECONDS: Final = 660.0
"""How long a drained engine may take to be back: a little longer than the supervisor waits."""

PROCESSES_MAX: Final = 256

LINK_SILENCE_MS: Final = 1_000
LINK_SILENCE_MS_MIN: Final = 2 * round(BEAT_SECONDS * 1_000)
"""One beat may be late."""

LINK_SILENCE_MS_MAX: Final = 30_000
"""Who waits longer for a sequence to go on is told that it is lost."""

_OF_SEVERAL: Final = {
    f"--{field.replace('_', '-')}": field
    for field in (
        "engines",
        "front_ends",
        "engine_gpus",
        "engine_cpus",
        "freeze_limit_secs",
        "link_silence_ms",
        "spare_engines",
        "link_arena_bytes",
        "runtime_directory",
    )
}


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
        help="processes that run the models, all of them each (1, or one for each --engine-gpus or "
        "--engine-cpus)",
    )
    processes.add_argument(
        "--engine-gpus",
        action="append",
        default=[],
        metavar="GPUS",
        help="the GPUs of an engine, as CUDA_VISIBLE_DEVICES has them; once for each engine (all)",
    )
    processes.add_argument(
        "--engine-cpus",
        type=_cpus,
        action="append",
        default=[],
        metavar="CPUS",
        help="the processors of an engine, such as 0-3,8; once for each engine (all)",
    )
    processes.add_argument(
        "--front-ends",
        type=_count,
        default=None,
        metavar="N",
        help="processes that share the ports (1)",
    )
    _add_losses(processes)
    _add_directory(processes, "where the server's sockets are (a folder of its own)")


def _add_losses(processes: "argparse._ArgumentGroup") -> None:
    """When a process counts as lost, and what takes over."""
    processes.add_argument(
        "--freeze-limit-secs",
        type=_seconds,
        default=None,
        metavar="S",
        help=f"a process that gives no sign of life for so long is killed and started again "
        f"({SILENCE_SECONDS:g})",
    )
    processes.add_argument(
        "--link-silence-ms",
        type=_silence,
        default=None,
        metavar="MS",
        help="an engine that says nothing to a front end for so long is given up, and its "
        f"sequences go on elsewhere ({LINK_SILENCE_MS})",
    )
    processes.add_argument(
        "--spare-engines",
        choices=("true", "false"),
        default=None,
        help="keep a process beside each engine that has read its libraries already, and takes "
        "over when the engine is lost or drained (true)",
    )
    _add_arena(processes)


def _add_arena(group: "argparse._ActionsContainer") -> None:
    group.add_argument(
        "--link-arena-bytes",
        type=_arena_bytes,
        default=None,
        metavar="BYTES",
        help="memory through which a front end and an engine pass large tensors to each other, for "
        f"each pair and direction; 0 has them go over the socket ({ARENA_BYTES})",
    )


def link_arena_bytes_of(options: argparse.Namespace) -> int:
    """What the flags of `serve` say."""
    size = options.link_arena_bytes
    return ARENA_BYTES if size is None else int(size)


def topology_of(options: argparse.Namespace) -> Topology | None:
    """What the flags of `serve` say; None for one process. Complains of flags that contradict."""
    if options.embedded:
        given = [
            flag for flag, field in _OF_SEVERAL.items() if getattr(options, field) not in (None, [])
        ]
        if given:
            options.complain(f"{given[0]} is about several processes, --embedded is one")
        return None
    named = max(len(options.engine_gpus), len(options.engine_cpus))
    engines = options.engines or named or 1
    if any(given and len(given) != engines for given in (options.engine_gpus, options.engine_cpus)):
        options.complain(
            f"{engines} engines need {engines} of --engine-gpus or --engine-cpus each, or none"
        )
    return Topology(
        engines,
        options.front_ends or 1,
        options.runtime_directory,
        options.freeze_limit_secs or SILENCE_SECONDS,
        [
            Hardware(gpus, cpus or ())
            for _, gpus, cpus in zip_longest(
                range(engines), options.engine_gpus, options.engine_cpus
            )
        ],
        options.spare_engines != "false",
    )


def link_silence_seconds(options: argparse.Namespace) -> float:
    """What the flags of `serve` say."""
    return (options.link_silence_ms or LINK_SILENCE_MS) / 1_000


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
    status.add_argument(
        "--stacks",
        action="store_true",
        help="have all processes write to the server's log what their threads do just now",
    )
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
    if options.stacks:
        ask_server(control, "stacks", seconds=STATUS_SECONDS)
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


def _arena_bytes(text: str) -> int:
    if not text.isdigit() or int(text) > ARENA_BYTES_MAX:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no number of bytes, expected 0 to {ARENA_BYTES_MAX}"
        )
    return int(text)


def _cpus(text: str) -> tuple[int, ...]:
    try:
        return parse_cpus(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _silence(text: str) -> int:
    if not text.isdigit() or not LINK_SILENCE_MS_MIN <= int(text) <= LINK_SILENCE_MS_MAX:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no silence, expected {LINK_SILENCE_MS_MIN} to {LINK_SILENCE_MS_MAX} ms: "
            f"both sides of a link say every {BEAT_SECONDS * 1_000:g} ms that they live"
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
