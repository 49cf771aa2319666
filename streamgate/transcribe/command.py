"""The commands' flags, and what they do."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from streamgate.errors import Code, StreamGateError
from streamgate.transcribe.audio import FileAudio, read_file
from streamgate.transcribe.dialects import DeepgramClient, NativeClient, VoskClient
from streamgate.transcribe.formats import FORMATS, SUFFIXES
from streamgate.transcribe.microphone import MicrophoneAudio
from streamgate.transcribe.screen import Screen
from streamgate.transcribe.socket import Dialect, Wanted
from streamgate.transcribe.upload import OpenAiClient

KEY_VARIABLE: Final = "STREAMGATE_API_KEY"
DIALECTS: Final[Mapping[str, Callable[[], Dialect]]] = {
    "streamgate": NativeClient,
    "deepgram": DeepgramClient,
    "openai": OpenAiClient,
    "vosk": VoskClient,
}


def transcribe(options: argparse.Namespace) -> int:
    """`streamgate transcribe`. Files that fail are told, and the others done; 1 if any did."""
    if options.realtime and options.dialect == "openai":
        raise StreamGateError(Code.INVALID_ARG, "--realtime needs a live dialect, not openai's")
    several = len(options.files) > 1
    if options.format in ("srt", "vtt") and several and options.output is None:
        raise StreamGateError(
            Code.INVALID_ARG, f"{options.format} of several files needs --output DIR"
        )
    if options.output is not None:
        _check_names(options.files)
        options.output.mkdir(parents=True, exist_ok=True)
    failures = 0
    for path in options.files:
        try:
            _transcribe_one(path, options, several=several)
        except StreamGateError as error:
            if not several:
                raise
            failures += 1
            about = "" if error.message.startswith(str(path)) else f"{path}: "
            sys.stderr.write(f"streamgate: {about}{error.message}\n")
    return 1 if failures else 0


def _check_names(files: Sequence[Path]) -> None:
    """Raises StreamGateError where one file's transcript would overwrite another's."""
    first: dict[str, Path] = {}
    for path in files:
        other = first.setdefault(path.stem, path)
        if other is not path:
            raise StreamGateError(
                Code.INVALID_ARG, f"{other} and {path} would be written to the same file"
            )


def _transcribe_one(path: Path, options: argparse.Namespace, *, several: bool) -> None:
    audio = FileAudio(path, read_file(path), realtime=options.realtime)
    is_live = options.format == "text" and options.output is None
    if is_live and several:
        sys.stdout.write(f"{path}:\n")
    out = sys.stdout if is_live else None
    with Screen(sys.stderr, path.name, audio.seconds, out) as screen:
        client = DIALECTS[options.dialect]()
        transcript = asyncio.run(client.transcribe(audio, _wanted(options), screen))
    if is_live:
        return
    text = FORMATS[options.format](str(path), transcript)
    if options.output is None:
        sys.stdout.write(text)
        return
    place = options.output / f"{path.stem}{SUFFIXES[options.format]}"
    place.write_text(text, encoding="utf-8")
    sys.stderr.write(f"{place}\n")


def microphone(options: argparse.Namespace) -> int:
    """`streamgate mic`: until Ctrl-C, which still waits for the last words."""
    audio = MicrophoneAudio(options.device)
    with Screen(sys.stderr, "", None, sys.stdout) as screen:
        asyncio.run(_listen(audio, _wanted(options), screen))
    if audio.lost_pieces:
        sys.stderr.write("streamgate: the server was too slow, and some of it was not heard\n")
    return 0


async def _listen(audio: MicrophoneAudio, wanted: Wanted, screen: Screen) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, audio.stop)
    await NativeClient().transcribe(audio, wanted, screen)


def _wanted(options: argparse.Namespace) -> Wanted:
    key = os.environ.get(KEY_VARIABLE, "")
    return Wanted(options.url, options.model, options.language, key)
