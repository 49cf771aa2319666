"""Who comes to a soaked server: each visit is one sequence, session or handful of requests, over
one protocol, and checked to its last answer."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import onnx
from onnx import parser
from websockets.asyncio.client import connect

from tests.durable.faults import crowd
from tests.durable.faults.resuming_stream import ResumingStream
from tests.durable.faults.speaker import write_numbers
from tests.durable.faults.speeches import Speech, port_in
from tests.durable.faults.tongues import grpc_request, tongues
from tests.durable.models import decoupled_hashes, hashes, write_decoupled, write_objects
from tests.durable.proxy import Cut, Way, cutting
from tests.durable.resuming import ResumingClient
from tests.durable.test_cut_wires import outputs_of, sequence_of
from tests.speech.dialects.coming_back import Frames

WELL: Final = "well"
HUNG_UP: Final = "hung up"
REFUSED: Final = "refused"
"""As its tenant had all its streams."""

Visit = Callable[[random.Random, int], Awaitable[str]]
"""What became of it. The number is no other visit's."""

ANSWERS: Final[Mapping[str, Callable[[Iterable[int]], list[int]]]] = {
    **crowd.ANSWERS,
    "hash_worker": hashes,
}
STATES: Final = {
    "hash": True,
    "hash_objects": True,
    "hash_worker": False,
    "hash_decoupled": True,
    "numbers_graph": True,
    "numbers_text": True,
}
"""Models that have sequences of their own, and whether there are slots for all of them, even on one
engine. Where there are not, sequences hibernate."""
SLOTS: Final = {True: 64, False: 3}
"""Of an engine."""
RELOADED: Final = (*sorted(ANSWERS), "hash_decoupled", "numbers_graph", "numbers_text", "twice")

TENANTS: Final = {
    "tenants": [
        {"name": "wide", "keys": ["wide-key"], "streams_max": 1000},
        {"name": "narrow", "keys": ["narrow-key"], "streams_max": 4},
    ]
}
KEYS: Final = ("", "", "", "wide-key", "narrow-key")
OVER_LIMIT: Final = "tenant 'narrow' has all its"

HANG_UP_SHARE: Final = 0.05
SILENCE_SHARE: Final = 0.02
SILENCE_SECONDS: Final = (1.0, 3.0)
CUTS_MAX: Final = 4
RESUME_SECONDS: Final = 20
"""For so long a session waits for its client."""
HANDSHAKE_BYTES: Final = 500
VISIT_SECONDS: Final = 240.0

_TWICE: Final = """
<ir_version: 8, opset_import: ["": 16]>
twice (int64[B,1] IN) => (int64[B,1] OUT) { OUT = Add (IN, IN) }
"""


def write_models(repository: Path, parameters: Mapping[str, str], idle_seconds: float) -> None:
    """All models that are visited."""
    crowd.write_models(repository, SLOTS[True], parameters, idle_seconds)
    options: dict[str, Any] = {"idle_seconds": idle_seconds, "parameters": parameters}
    write_objects(repository, "hash_worker", slots=SLOTS[False], execution="process", **options)
    write_decoupled(repository, slots=SLOTS[True], **options)
    write_numbers(repository)
    version = repository / "twice" / "1"
    version.mkdir(parents=True)
    onnx.save(parser.parse_model(_TWICE), version / "model.onnx")
    (version.parent / "config.pbtxt").write_text(
        'backend: "onnxruntime"\nmax_batch_size: 16\n'
        'input { name: "IN" data_type: TYPE_INT64 dims: 1 }\n'
        'output { name: "OUT" data_type: TYPE_INT64 dims: 1 }\n'
        "instance_group { kind: KIND_CPU }\n"
    )


@dataclass(frozen=True)
class Visits:
    """All kinds."""

    addresses: Mapping[str, str]
    speeches: list[Speech]

    def kinds(self) -> Mapping[str, Visit]:
        return {
            **{tongue: partial(self.hash_step_by_step, tongue) for tongue in crowd.TONGUES},
            "stateless": self.ask,
            "sequence over cut wires": self.hash_over_cut_wires,
            "gRPC stream over cut wires": self.hashes_over_cut_calls,
            "speech": self.speak,
        }

    # -- step by step, and nobody comes back

    async def hash_step_by_step(self, tongue: str, chance: random.Random, number: int) -> str:
        model, api_key = chance.choice(sorted(ANSWERS)), chance.choice(KEYS)
        values = [number * 1000 + place for place in range(chance.randrange(4, 60))]
        expected = ANSWERS[model](values)
        hangs_up_at = chance.randrange(len(values)) if chance.random() < HANG_UP_SHARE else 0
        pace = chance.uniform(0.02, 0.3)
        async with tongues(self.addresses, api_key) as spoken:
            talk = spoken[tongue](model, number)
            for place, value in enumerate(values):
                if place == hangs_up_at and place:
                    return HUNG_UP
                first, last = place == 0, place == len(values) - 1
                try:
                    told = await talk.step(value, start=first, end=last)
                except Exception as error:
                    if first and api_key == "narrow-key" and OVER_LIMIT in str(error):
                        return REFUSED
                    raise
                assert told == expected[place], f"{model}: wrong at {place}"
                await asyncio.sleep(pace)
                if chance.random() < SILENCE_SHARE:
                    await asyncio.sleep(chance.uniform(*SILENCE_SECONDS))
        return WELL

    async def ask(self, chance: random.Random, number: int) -> str:
        """Requests outside of sequences."""
        async with tongues(self.addresses, chance.choice(KEYS)) as spoken:
            talk = spoken[chance.choice(("gRPC stream", "gRPC unary", "HTTP unary"))]("twice", 0)
            for place in range(chance.randrange(4, 60)):
                value = number * 1000 + place
                assert await talk.step(value) == 2 * value
                await asyncio.sleep(chance.uniform(0, 0.2))
        return WELL

    # -- over wires that are cut, and the client comes back

    async def hash_over_cut_wires(self, chance: random.Random, number: int) -> str:
        values = [number * 1000 + place for place in range(chance.randrange(4, 100))]
        decoupled = chance.random() < 0.3
        if decoupled:
            model, expected = "hash_decoupled", decoupled_hashes(values)
        else:
            model = chance.choice(sorted(ANSWERS))
            expected = [[each] for each in ANSWERS[model](values)]
        frames = sequence_of(model, values)
        port = port_in(self.addresses, "websocket")
        if chance.random() < HANG_UP_SHARE:
            return await walk_away(f"ws://127.0.0.1:{port}/v1/sequence", frames, chance)
        cuts = random_cuts(chance, len(values) * 20, len(values) * 110)
        async with cutting(port, cuts) as proxy:
            client = ResumingClient(
                f"ws://127.0.0.1:{proxy.port}/v1/sequence",
                frames,
                pause_seconds=chance.uniform(0.01, 0.2),
                seconds=VISIT_SECONDS,
                headers={"x-api-key": "wide-key"},
            )
            heard = outputs_of(await client.run())
        assert heard == dict(enumerate(expected)), f"{model}: {heard} instead of {expected}"
        return WELL

    async def hashes_over_cut_calls(self, chance: random.Random, number: int) -> str:
        """Some sequences at once, in one stream."""
        models = {1000 * number + n: chance.choice(sorted(ANSWERS)) for n in range(1, 4)}
        values = {key: [key + n for n in range(chance.randrange(4, 40))] for key in models}
        script = [(key, place) for key in models for place in range(len(values[key]))]
        script.sort(key=lambda each: each[1])
        requests = []
        for key, place in script:
            value, last = values[key][place], place == len(values[key]) - 1
            request = grpc_request(models[key], key, value, place == 0, last)
            request.id = str(key)
            requests.append(request)
        port = port_in(self.addresses, "grpc")
        cuts = random_cuts(chance, len(requests) * 120, len(requests) * 250)
        async with cutting(port, cuts) as proxy:
            client = ResumingStream(
                f"127.0.0.1:{proxy.port}",
                requests,
                resume_seconds=RESUME_SECONDS,
                pause_seconds=chance.uniform(0.01, 0.1),
                seconds=VISIT_SECONDS,
            )
            heard = await client.run()
        for key, model in models.items():
            assert heard[str(key)] == ANSWERS[model](values[key]), f"{model} {key}"
        return WELL

    async def speak(self, chance: random.Random, number: int) -> str:
        speech = self.speeches[number % len(self.speeches)]
        pause = chance.uniform(0.02, 0.1)
        if chance.random() < HANG_UP_SHARE:
            url = f"ws://127.0.0.1:{speech.port}{speech.dialect.target}"
            return await walk_away(url, speech.dialect.frames, chance)
        cuts = random_cuts(chance, speech.size, 6_000)
        async with cutting(speech.port, cuts) as proxy:
            client = speech.client(proxy.port, pause)
            await client.run()
        speech.check(client)
        return WELL


def random_cuts(chance: random.Random, up_bytes: int, down_bytes: int) -> list[Cut]:
    """None to some, each somewhere in a connection's share of the bytes, its handshake included."""
    count = chance.randrange(CUTS_MAX + 1)
    cuts = []
    for _ in range(count):
        way = chance.choice(list(Way))
        size = up_bytes if way is Way.UP else down_bytes
        cuts.append(Cut(way, chance.randrange(HANDSHAKE_BYTES + 2 * size // count)))
    return cuts


async def walk_away(url: str, frames: Frames, chance: random.Random) -> str:
    """Begin a session that can be resumed, and never come back."""
    async with connect(url, ping_timeout=None) as socket:
        with suppress(OSError):
            for frame in frames[: chance.randrange(len(frames))]:
                await socket.send(frame)
        socket.transport.abort()
    return HUNG_UP
