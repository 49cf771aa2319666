"""The flags with which `streamgate serve` records sequences, and `streamgate replay`."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streamgate.errors import StreamGateError
from streamgate.recording.options import MIB, PARAMETER, RecordingOptions

if TYPE_CHECKING:
    from streamgate.recording.bundle import Bundle

SAME: Final = 0
DIFFERS: Final = 1
UNUSABLE: Final = 2


def add_recording(serve: argparse.ArgumentParser) -> None:
    """The flags of `serve`."""
    recording = serve.add_argument_group("recording of sequences")
    recording.add_argument(
        "--record-sequences",
        type=Path,
        metavar="DIR",
        help="write sequences into DIR, a file each: all that clients send, such as their audio, "
        "and all answers are stored there",
    )
    recording.add_argument(
        "--record-model",
        action="append",
        default=[],
        metavar="NAME",
        help="a model whose sequences are recorded; may be repeated (all)",
    )
    recording.add_argument(
        "--record-rate",
        type=_share,
        default=1.0,
        metavar="SHARE",
        help="the share of sequences that is recorded, 0 to 1 (%(default)s)",
    )
    recording.add_argument(
        "--record-on-request",
        action="store_true",
        help=f"a START with the parameter {PARAMETER} (true or false) decides for itself",
    )
    recording.add_argument(
        "--record-redacted",
        action="store_true",
        help="write hashes in place of what clients send and models answer",
    )
    recording.add_argument(
        "--record-max-bytes",
        type=_bytes,
        default=64 * MIB,
        metavar="BYTES",
        help="of one sequence; what comes after is not recorded (%(default)s)",
    )
    recording.add_argument(
        "--record-total-bytes",
        type=_bytes,
        default=1024 * MIB,
        metavar="BYTES",
        help="of all sequences in DIR; when it is full, nothing is recorded (%(default)s)",
    )


def recording_options(options: argparse.Namespace) -> RecordingOptions | None:
    """What the flags of `serve` say; None to record nothing. Complains of flags without DIR."""
    directory: Path | None = options.record_sequences
    if directory is not None:
        return RecordingOptions(
            directory,
            tuple(options.record_model),
            options.record_rate,
            options.record_on_request,
            options.record_max_bytes,
            options.record_total_bytes,
            options.record_redacted,
        )
    if options.record_model or options.record_on_request or options.record_redacted:
        options.complain(
            "--record-model, --record-on-request and --record-redacted need --record-sequences"
        )
    return None


def add_replay(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command `replay`."""
    replay = commands.add_parser(
        "replay",
        help="run a recorded sequence again, or compare two recordings",
        description="Run a recorded sequence again, in this process, and report the first step "
        "that differs. The status is 0 for the same, 1 for a difference, 2 for a bundle or a "
        "model that can't be used.",
    )
    replay.set_defaults(run=_replay, complain=replay.error)
    replay.add_argument("bundle", type=Path, metavar="BUNDLE")
    way = replay.add_mutually_exclusive_group(required=True)
    way.add_argument(
        "--model-repository",
        type=Path,
        action="append",
        metavar="DIR",
        help="run it on the model in this folder; may be given several times",
    )
    way.add_argument(
        "--compare",
        type=Path,
        metavar="OTHER",
        help="run nothing: compare with another bundle; hashes, if one of them is redacted",
    )
    way.add_argument(
        "--redact", type=Path, metavar="FILE", help="run nothing: write a redacted copy to FILE"
    )
    replay.add_argument(
        "--tolerance",
        type=_tolerance,
        default=0.0,
        metavar="T",
        help="floats that are no further apart than T are the same (0: every byte counts)",
    )
    replay.add_argument(
        "--model-version", default="", metavar="V", help="the version to run (the recorded one)"
    )
    replay.add_argument(
        "--load-model",
        action="append",
        default=[],
        metavar="NAME",
        help="a further model to load, that the recorded one calls; may be repeated",
    )
    replay.add_argument(
        "--backend-directory", type=Path, metavar="DIR", help="as for `streamgate serve`"
    )
    replay.add_argument(
        "--step-timeout",
        type=_seconds,
        default=60.0,
        metavar="S",
        help="how long a step may take (%(default)s)",
    )


def _replay(options: argparse.Namespace) -> int:
    # Imported here, as below: a server that records nothing, and every other command, needs none.
    from streamgate.recording.bundle import read_bundle, write_redacted

    try:
        if options.redact is not None:
            write_redacted(options.bundle, options.redact)
            return SAME
        bundle = read_bundle(options.bundle)
        if options.compare is not None:
            return _compare(bundle, read_bundle(options.compare), options.tolerance)
        return _run(bundle, options)
    except StreamGateError as error:
        print(f"streamgate: {error.message.strip()}", file=sys.stderr)
        return UNUSABLE


def _compare(bundle: "Bundle", other: "Bundle", tolerance: float) -> int:
    from streamgate.recording.compare import compare_bundles, config_changes

    for each in (bundle, other):
        if each.cut:
            _note(f"{each.path} is not whole: {each.cut}")
    names = [(each.header.model, each.header.version) for each in (bundle, other)]
    if names[0] != names[1]:
        told = ["'{}' version {}".format(*each) for each in names]
        _note(f"the models are {told[0]} and {told[1]}")
    changed = config_changes(bundle.header.config, other.header.config)
    if changed:
        _note(f"the models' configurations differ: {', '.join(changed)}")
    difference = compare_bundles(bundle, other, tolerance)
    if difference is not None:
        print(f"differs at {difference}")
        return DIFFERS
    print(f"same: {min(len(bundle.steps), len(other.steps))} steps")
    return SAME


def _run(bundle: "Bundle", options: argparse.Namespace) -> int:
    # Imported here: comparing needs no engine and no front end.
    from streamgate.server.replay import ReplayOptions, replay

    outcome = asyncio.run(
        replay(
            bundle,
            ReplayOptions(
                options.model_repository,
                options.model_version,
                options.load_model,
                options.backend_directory,
                options.tolerance,
                options.step_timeout,
            ),
        )
    )
    for note in outcome.notes:
        _note(note)
    if outcome.difference is not None:
        print(f"differs at {outcome.difference}")
        return DIFFERS
    print(f"same: {outcome.steps} steps, {outcome.responses} responses")
    return SAME


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _share(text: str) -> float:
    share = _number(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no share, expected 0 to 1")
    return share


def _tolerance(text: str) -> float:
    tolerance = _number(text)
    if not 0 <= tolerance < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is no tolerance, expected a number from 0")
    return tolerance


def _seconds(text: str) -> float:
    seconds = _number(text)
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds above 0")
    return seconds


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0


def _bytes(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of bytes above 0")
    return int(text)
