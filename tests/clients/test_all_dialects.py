"""One unmodified client of each dialect at once: one model, one slot table, one text for all."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import soundfile
import soxr

from streamgate.model.tensor import Array
from streamgate.server.settings import ControlMode, SpeechSettings
from tests.clients.environment import ENVIRONMENT, drive, needs_clients, run, wav_file
from tests.speech.dialects.talk import repository_with
from tests.speech.house import SpeechHouse, speech_house
from tests.speech.tones import MELODY, tones, words_of

DEMOS = Path(__file__).resolve().parents[2] / "demos"
SHERPA = ENVIRONMENT / "bin/sherpa-onnx-online-websocket-client"
PORTS = {"sherpa-onnx": 0, "vosk": 0, "whisper-live": 0, "wyoming": 0}

pytestmark = [needs_clients, pytest.mark.slow, pytest.mark.timeout(240)]


@dataclass(frozen=True)
class Files:
    """The same audio as the clients want it: most at 16 kHz, OpenAI's realtime at 24."""

    wav: Path
    wav_24k: Path
    scratch: Path


def files_of(folder: Path, samples: Array) -> Files:
    """FP32 `[n]` at 48 kHz."""
    return Files(
        wav_file(folder / "at_16k.wav", soxr.resample(samples, 48_000, 16_000)),
        wav_file(folder / "at_24k.wav", soxr.resample(samples, 48_000, 24_000), 24_000),
        folder,
    )


async def sherpa(house: SpeechHouse, files: Files) -> Any:
    libraries = next(ENVIRONMENT.glob("lib/python3*/site-packages/sherpa_onnx/lib"))
    output = await run(
        SHERPA,
        f"--server-port={house.ports.dialects['sherpa-onnx']}",
        "--samples-per-message=8000",
        "--seconds-per-message=0.05",
        files.wav,
        LD_LIBRARY_PATH=str(libraries),
    )
    lines = [line for line in output.splitlines() if '"text"' in line]
    return json.loads(lines[-1][lines[-1].index("{") :])


def driven(
    name: str, *arguments: Callable[[SpeechHouse, Files], str | int | Path]
) -> Callable[[SpeechHouse, Files], Awaitable[Any]]:
    async def go(house: SpeechHouse, files: Files) -> Any:
        return await drive(name, *(each(house, files) for each in arguments))

    return go


def grpc(house: SpeechHouse, _: Files) -> int:
    return house.ports.grpc or 0


def http(house: SpeechHouse, _: Files) -> int:
    return house.ports.http or 0


def websocket(house: SpeechHouse, _: Files) -> int:
    return house.ports.websocket or 0


def wav(_: SpeechHouse, files: Files) -> Path:
    return files.wav


def said(text: str) -> Callable[[SpeechHouse, Files], str]:
    return lambda _house, _files: text


async def assemblyai(house: SpeechHouse, files: Files) -> Any:
    """The SDK gives up a connection that takes a second, which eleven others may cost it here."""
    for _ in range(4):
        heard = await drive("assemblyai_streaming", house.ports.websocket or 0, "key", files.wav)
        if heard["text"] or not heard["errors"]:
            break
    return heard


CLIENTS: Mapping[str, Callable[[SpeechHouse, Files], Awaitable[Any]]] = {
    "assemblyai": assemblyai,
    "deepgram": driven("deepgram_listen", websocket, said("key"), wav),
    "deepgram flux": driven("deepgram_flux", websocket, said("key"), wav),
    "google": driven("google_speech", grpc, wav),
    "openai files": driven("openai_files", http, said("right"), wav),
    "openai realtime": driven(
        "openai_realtime",
        said("sync"),
        websocket,
        said("key"),
        lambda _, files: files.wav_24k,
        said("gpt-realtime-whisper"),
    ),
    "riva": driven("riva_asr", grpc, said("key"), wav),
    "riva realtime": driven("riva_realtime", http, wav, said("key"), said("file")),
    "sherpa-onnx": sherpa,
    "speechmatics": driven("speechmatics_rt", websocket, said("key"), wav),
    "vosk": driven(
        "vosk_transcriber",
        lambda house, _: f"ws://127.0.0.1:{house.ports.dialects['vosk']}",
        wav,
        lambda _, files: files.scratch,
    ),
    "whisper-live": driven(
        "whisper_live_client", lambda house, _: house.ports.dialects["whisper-live"], wav
    ),
    "wyoming": driven("wyoming_client", lambda house, _: house.ports.dialects["wyoming"], wav),
}


def texts_of(client: str, heard: Any) -> list[str]:
    """All final texts that a client shows for the file."""
    if client == "google":
        return [heard[version][how] for version in ("v1", "v2") for how in ("whole",)] + [
            heard[version]["stream"]["text"] for version in ("v1", "v2")
        ]
    if client == "openai files":
        return [heard["json"], heard["verbose"], heard["done"], "".join(heard["deltas"])]
    if client == "riva":
        return [heard["text"], heard["raw"], heard["offline"]]
    return [" ".join(heard["text"].split())]


async def all_at_once(house: SpeechHouse, files: Files) -> dict[str, list[str]]:
    heard = await asyncio.gather(*(go(house, files) for go in CLIENTS.values()))
    return {client: texts_of(client, each) for client, each in zip(CLIENTS, heard, strict=True)}


async def steps_of(house: SpeechHouse, model: str) -> tuple[int, int]:
    """Rows and steps that the model has run."""
    url = f"http://127.0.0.1:{house.ports.metrics}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        text = await answer.text()
    counts = []
    for name in ("nv_inference_count", "nv_inference_exec_count"):
        line = re.search(rf'^{name}{{model="{model}",version="1"}} (\S+)$', text, re.MULTILINE)
        assert line is not None
        counts.append(int(float(line[1])))
    return counts[0], counts[1]


async def test_every_client_hears_the_same_and_they_share_steps(tmp_path: Path) -> None:
    melody = MELODY * 2
    audio = tones(melody, 48_000)
    # Steps wait long enough for others, so that clients which start one after another meet.
    repository = repository_with(tmp_path, max_queue_delay_microseconds="20000")
    async with speech_house(repository, SpeechSettings(ports=PORTS)) as house:
        heard = await all_at_once(house, files_of(tmp_path, audio))
        rows, steps = await steps_of(house, "tone_transcriber")
    expected = " ".join(words_of(melody))
    assert {client: set(texts) for client, texts in heard.items()} == {
        client: {expected} for client in CLIENTS
    }
    assert rows > 1.2 * steps


async def test_every_client_hears_spoken_numbers(tmp_path: Path) -> None:
    samples, rate = soundfile.read(DEMOS / "audio/numbers/price_22k.wav", dtype="float32")
    silence = np.zeros(24_000, np.float32)
    audio = np.concatenate([soxr.resample(samples, rate, 48_000), silence])
    async with speech_house(
        DEMOS / "models",
        SpeechSettings("numbers", ports=PORTS),
        control_mode=ControlMode.EXPLICIT,
        load_models=("numbers",),
    ) as house:
        heard = await all_at_once(house, files_of(tmp_path, audio))
    expected = "one hundred and twenty four dollars and ninety nine cents"
    assert {client: set(texts) for client, texts in heard.items()} == {
        client: {expected} for client in CLIENTS
    }
