"""`streamgate transcribe` against a running server, over real sockets."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from websockets.asyncio.server import ServerConnection, serve

from streamgate.cli import main
from streamgate.server.settings import SpeechSettings
from streamgate.transcribe.command import DIALECTS
from tests.speech.house import SpeechHouse, speech_house
from tests.speech.tones import MELODY, s16le, tones, words_of

TEXT = " ".join(words_of())
KEY = "a key of ours"


@pytest.fixture
def melody(tmp_path: Path) -> Path:
    path = tmp_path / "melody.wav"
    soundfile.write(path, tones(), 16_000)
    return path


def url_of(house: SpeechHouse, dialect: str) -> str:
    port = house.ports.dialects["vosk"] if dialect == "vosk" else house.ports.http
    return f"http://127.0.0.1:{port}"


async def run(*arguments: object) -> int:
    return await asyncio.to_thread(main, ["transcribe", *map(str, arguments)])


SPEECH = SpeechSettings(ports={"vosk": 0})


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_dialect_gives_the_same_text(
    dialect: str, melody: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with speech_house(speech=SPEECH) as house:
        assert await run(melody, "--dialect", dialect, "--url", url_of(house, dialect)) == 0
    assert capsys.readouterr() == (f"{TEXT}\n", "")


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_words_and_their_times(
    dialect: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "twice.flac"
    twice = np.concatenate([tones(), np.zeros(16_000, np.float32), tones()])
    soundfile.write(path, twice, 16_000)
    async with speech_house(speech=SPEECH) as house:
        url = url_of(house, dialect)
        assert await run(path, "--dialect", dialect, "--format", "json", "--url", url) == 0
    fields = json.loads(capsys.readouterr().out)
    assert fields["text"] == " ".join(words_of((*MELODY, *MELODY)))
    assert fields["seconds"] == pytest.approx(len(twice) / 16_000)
    # Vosk's server joins the utterances that ended since its last reply.
    counts = [len(each["words"]) for each in fields["utterances"]]
    assert counts in ([[8, 8], [16]] if dialect == "vosk" else [[8, 8]])
    words = [word for each in fields["utterances"] for word in each["words"]]
    assert fields["utterances"][0]["start"] == pytest.approx(0.12, abs=0.05)
    assert words[8]["start"] == pytest.approx(len(tones()) / 16_000 + 1.12, abs=0.05)


async def test_captions_of_several_files(
    melody: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = melody.with_name("other.wav")
    soundfile.write(other, tones(), 16_000)
    out = tmp_path / "captions"
    async with speech_house() as house:
        arguments = ["--url", url_of(house, ""), "--format", "vtt", "--output", out]
        assert await run(melody, other, *arguments) == 0
    written = [(out / name).read_text() for name in ("melody.vtt", "other.vtt")]
    assert written[0] == written[1]
    assert written[0].startswith("WEBVTT\n\n00:00:00.120 --> 00:00:02.880\n")
    assert " ".join(written[0].split("\n")[3:5]) == TEXT
    assert capsys.readouterr().out == ""


async def test_at_the_pace_of_speech(melody: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop = asyncio.get_running_loop()
    async with speech_house() as house:
        began = loop.time()
        assert await run(melody, "--realtime", "--url", url_of(house, "")) == 0
        # No upper limit: the machine may be busy.
        assert loop.time() - began >= len(tones()) / 16_000 - 0.1
    assert capsys.readouterr().out == f"{TEXT}\n"


async def test_one_bad_file_does_not_stop_the_others(
    melody: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "notes.txt"
    bad.write_text("this is not audio at all")
    async with speech_house() as house:
        assert await run(bad, melody, "--url", url_of(house, "")) == 1
    shown = capsys.readouterr()
    assert f"{melody}:\n{TEXT}\n" in shown.out
    assert f"streamgate: {bad}: found no known audio" in shown.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "nothing"], "refused (404): Request for unknown model: 'nothing'"),
        (["--model", "nothing", "--dialect", "openai"], "refused (404): Request for unknown"),
        (["--dialect", "openai", "--realtime"], "--realtime needs a live dialect"),
        (["--dialect", "vosk"], "refused (200): it is no WebSocket"),
    ],
)
async def test_what_the_server_refuses(
    arguments: list[str], says: str, melody: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with speech_house() as house:
        assert await run(melody, *arguments, "--url", url_of(house, "")) == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_key_that_the_server_wants(
    dialect: str,
    melody: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with speech_house(speech=SpeechSettings(ports={"vosk": 0}, api_keys=(KEY,))) as house:
        arguments = ["--dialect", dialect, "--url", url_of(house, dialect)]
        assert await run(melody, *arguments) == 1
        assert "refused (401)" in capsys.readouterr().err
        monkeypatch.setenv("STREAMGATE_API_KEY", KEY)
        assert await run(melody, *arguments) == 0
    assert capsys.readouterr().out == f"{TEXT}\n"


@pytest.mark.parametrize("dialect", ["streamgate", "openai"])
async def test_no_server(dialect: str, melody: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(melody, "--dialect", dialect, "--url", "http://127.0.0.1:9") == 1
    assert "is `streamgate serve` running there?" in capsys.readouterr().err


async def test_arguments_that_can_not_be(
    melody: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(melody, melody, "--format", "srt") == 1
    assert "srt of several files needs --output DIR" in capsys.readouterr().err
    assert await run(melody, tmp_path / "x" / "melody.mp3", "--output", tmp_path) == 1
    assert "would be written to the same file" in capsys.readouterr().err
    assert await run(tmp_path / "gone.wav") == 1
    assert "gone.wav: No such file" in capsys.readouterr().err
    assert await run(melody, "--url", "localhost") == 1
    assert "'localhost' is no address" in capsys.readouterr().err


@asynccontextmanager
async def a_server_that_says(*messages: str, then: tuple[int, str]) -> AsyncIterator[str]:
    async def answer(socket: ServerConnection) -> None:
        for message in messages:
            await socket.send(message)
        await socket.close(*then)

    async with serve(answer, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "the server hung up: enough (1013)"),
        (["hello"], "the server said 'hello', expected an object"),
        (['{"type":"text"}'], 'does not speak this dialect: it said {"type": "text"}'),
        (['{"type":"error","message":"too loud"}'], "too loud"),
        (['{"type":"ended","reason":"drained"}'], "the server ended it: drained"),
    ],
)
async def test_a_server_that_ends_it_otherwise(
    messages: list[str], says: str, melody: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with a_server_that_says(*messages, then=(1013, "enough")) as url:
        assert await run(melody, "--url", url) == 1
    assert says in capsys.readouterr().err


MICROPHONE = """
import os, signal, sys, threading, types
import numpy as np

sounds = np.frombuffer(open(sys.argv[1], "rb").read(), "<i2")
module = types.ModuleType("sounddevice")
module.PortAudioError = type("PortAudioError", (Exception,), {})
module.query_devices = lambda: [{"name": "Built-in", "max_input_channels": 1}]

class RawInputStream:
    def __init__(self, samplerate, blocksize, channels, dtype, device, callback):
        assert (samplerate, channels, dtype) == (16000, 1, "int16")
        if device == 7:
            raise module.PortAudioError("Invalid device")
        self.callback, self.blocksize = callback, blocksize

    def __enter__(self):
        threading.Thread(target=self.play).start()

    def play(self):
        for at in range(0, len(sounds), self.blocksize):
            piece = sounds[at : at + self.blocksize]
            self.callback(piece.tobytes(), len(piece), None, None)
        os.kill(os.getpid(), signal.SIGINT)

    def __exit__(self, *error):
        pass

module.RawInputStream = RawInputStream
sys.modules["sounddevice"] = module
from streamgate.cli import main
sys.exit(main(sys.argv[2:]))
"""


async def speak(tmp_path: Path, *arguments: str) -> tuple[int | None, str, str]:
    """`streamgate mic` in a process, with a microphone that hears the melody and then Ctrl-C."""
    sounds = tmp_path / "sounds"
    sounds.write_bytes(s16le(tones()))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        MICROPHONE,
        str(sounds),
        "mic",
        *arguments,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(40):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_a_microphone(tmp_path: Path) -> None:
    async with speech_house() as house:
        assert await speak(tmp_path, "--url", url_of(house, "")) == (0, f"{TEXT}\n", "")


async def test_a_microphone_that_is_not_there(tmp_path: Path) -> None:
    async with speech_house() as house:
        status, _, err = await speak(tmp_path, "--device", "7", "--url", url_of(house, ""))
    assert status == 1
    assert "no microphone can be opened: Invalid device; --device can be 0 (Built-in)" in err


def test_no_library_for_microphones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    before = signal.getsignal(signal.SIGINT)  # ignored, where the tests run in the background
    assert main(["mic"]) == 1
    assert "pip install 'streamgate-server[mic]'" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before
