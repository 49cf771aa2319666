"""The flags of `streamgate transcribe` and `streamgate mic`."""

import argparse
from pathlib import Path
from typing import Final

DIALECTS: Final = ("streamgate", "deepgram", "openai", "vosk")
FORMATS: Final = ("text", "json", "srt", "vtt")


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The flags alone: what needs a client's libraries is imported when a command is run."""
    transcribe = commands.add_parser(
        "transcribe",
        help="have a running server transcribe audio files",
        description="Have a running server transcribe audio files: WAV, FLAC, Ogg or MP3.",
    )
    transcribe.set_defaults(run=_transcribe)
    transcribe.add_argument("files", type=Path, nargs="+", metavar="FILE")
    transcribe.add_argument(
        "--dialect",
        choices=DIALECTS,
        default="streamgate",
        help="the protocol to speak: openai uploads the file, all others stream it (%(default)s)",
    )
    transcribe.add_argument(
        "--realtime", action="store_true", help="send the audio no faster than it was spoken"
    )
    transcribe.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="text: a line for each utterance; json: an object for each file; srt, vtt: captions "
        "(%(default)s)",
    )
    transcribe.add_argument(
        "--output", type=Path, metavar="DIR", help="write a file for each into DIR, not to stdout"
    )
    _add_server(transcribe)
    mic = commands.add_parser(
        "mic",
        help="have a running server transcribe what is said into the microphone",
        description="Have a running server transcribe what is said, until Ctrl-C.",
    )
    mic.set_defaults(run=_microphone)
    mic.add_argument("--device", default="", help="a microphone's number or name (the usual one)")
    _add_server(mic)


def _add_server(parser: argparse.ArgumentParser) -> None:
    server = parser.add_argument_group("server")
    server.add_argument(
        "--url",
        default="",
        help="where it is, such as http://host:8000 (this machine, at the dialect's usual port); "
        "its key, if it wants one, is taken from STREAMGATE_API_KEY",
    )
    server.add_argument("--model", default="", metavar="NAME", help="a speech model (the server's)")
    server.add_argument("--language", default="", metavar="TAG", help="such as en (the model's)")


def _transcribe(options: argparse.Namespace) -> int:
    from streamgate.transcribe.command import transcribe

    return transcribe(options)


def _microphone(options: argparse.Namespace) -> int:
    from streamgate.transcribe.command import microphone

    return microphone(options)
