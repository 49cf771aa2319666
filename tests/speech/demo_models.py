"""The models of the demo repository on a real engine, and sequences on them."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
import onnx
import soundfile

import voice_activity_graph
import voice_activity_windows_graph
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.tensor import Array, Tensor
from tests.server.model_house import ModelHouse, model_house

WAIT_SECONDS = 30.0
RATE = 16_000
CHUNK = 2560
DEMOS = Path(__file__).resolve().parents[2] / "demos"
MODELS = DEMOS / "models"

_keys = count(1)


@asynccontextmanager
async def demo_models(*names: str, directory: Path = MODELS) -> AsyncIterator[ModelHouse]:
    """These models, and those that they are made of, loaded."""
    async with model_house(directory, wanted=names) as house:
        for name in names:
            assert "READY" in str(await house.states(name)), await house.states(name)
        yield house


def voice_activity_graph_in(directory: Path) -> None:
    """Adds the graph that demos/prepare.py would write for `voice_activity_160ms`."""
    graph = voice_activity_windows_graph.build(
        voice_activity_graph.build(voice_activity_graph.installed_source())
    )
    folder = directory / "voice_activity_160ms" / "1"
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, folder / "model.onnx")


def copied(directory: Path, *names: str) -> Path:
    """A repository of these demo models alone."""
    for name in names:
        shutil.copytree(MODELS / name, directory / name, ignore=lambda *_: ["__pycache__"])
        (directory / name / "1").mkdir(exist_ok=True)
    return directory


def recording(name: str, *, silence_s: float = 0.0) -> Array:
    """A recording of the demos at 16 kHz, FP32, with silence behind it."""
    samples, rate = soundfile.read(DEMOS / "audio" / name, dtype="float32")
    assert rate == RATE
    return np.asarray(np.pad(samples, (0, int(silence_s * RATE))), np.float32)


@dataclass
class Event:
    """A response with outputs, or an error."""

    outputs: Mapping[str, Array]
    error: str = ""

    def text(self, name: str) -> str:
        (value,) = self.outputs[name].ravel()
        return value.decode() if isinstance(value, bytes) else str(value)

    @property
    def final(self) -> bool:
        return bool(self.outputs["FINAL"].ravel()[0])


@dataclass
class Sequence:
    """One sequence on a model: what was answered to it so far."""

    house: ModelHouse
    model: str
    key: SequenceKey = field(default_factory=lambda: next(_keys))
    events: list[Event] = field(default_factory=list)
    _begun: bool = False

    async def step(self, *, end: bool = False, **inputs: object) -> list[Event]:
        """Run one step and give its events. Inputs are texts, truths, and arrays without batch
        dimension."""
        done: asyncio.Future[list[Event]] = asyncio.get_running_loop().create_future()
        events: list[Event] = []

        def sink(response: Response) -> None:
            if response.failure is not None:
                events.append(Event({}, response.failure.message))
            elif response.outputs:
                events.append(Event({each.name: each.array for each in response.outputs}))
            if response.final:
                done.set_result(events)

        start, self._begun = not self._begun, True
        config = self.house.gateway.model(self.model, "").config
        tensors = [_tensor(n, value, batches=config.batches) for n, value in inputs.items()]
        request = Request(self.model, inputs=tensors, sequence=self.key, start=start, end=end)
        self.house.connection.submit(request, sink)
        async with asyncio.timeout(WAIT_SECONDS):
            self.events += await done
        return events

    async def hear(self, audio: Array, *, end: bool = True) -> list[Event]:
        """Send audio in chunks of 160 ms, the last one filled up; its events."""
        padded = np.pad(audio, (0, -len(audio) % CHUNK)).reshape(-1, CHUNK)
        before = len(self.events)
        for index, chunk in enumerate(padded):
            await self.step(AUDIO=chunk, end=end and index == len(padded) - 1)
        return self.events[before:]

    @property
    def stable(self) -> list[str]:
        """The stable text of each utterance, the last one unfinished or empty."""
        utterances = [""]
        for event in self.events:
            utterances[-1] += event.text("STABLE")
            if event.final:
                utterances.append("")
        return utterances


def _tensor(name: str, value: object, *, batches: bool) -> Tensor:
    if isinstance(value, str):
        array, datatype = np.array([value.encode()], dtype=object), DataType.BYTES
    elif isinstance(value, bool):
        array, datatype = np.array([value]), DataType.BOOL
    else:
        array, datatype = np.asarray(value, np.float32), DataType.FP32
    return Tensor.of(name, array[np.newaxis] if batches else array, datatype)
