"""Riva's and Google's streaming calls over wires that are cut at random bytes, on both transports:
what a client hears that comes back is what it would have heard over a good one."""

import asyncio
import random
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from aiohttp import ClientSession

from streamgate._proto import riva_asr_pb2 as riva
from streamgate.server.settings import GrpcTransport
from tests.durable.proxy import Cut, Way, cutting
from tests.durable.returning import ReturningCaller
from tests.durable.test_cut_wires import seeds
from tests.model.settings import LONG
from tests.speech.dialects.grpc_methods import AUDIO, METHODS, STREAM, TEXT, Method, first, pieces
from tests.speech.house import SpeechHouse, speech_house

pytestmark = pytest.mark.timeout(600 if LONG else 300)
both_transports = pytest.mark.parametrize("transport", list(GrpcTransport))

CLIENTS = ThreadPoolExecutor(32)
CUTS = 12 if LONG else 5
"""Of each client's wire, one connection after the other."""
SESSIONS = 8 if LONG else 1
"""Of each method, with the configuration said again and without."""
HEAD_BYTES = 500
DOWN_BYTES = 1_500
ASR = "/nvidia.riva.asr.RivaSpeechRecognition/"


def random_cuts(seed: int, *, silent: bool = False) -> list[Cut]:
    chance = random.Random(seed)
    cuts = []
    for _ in range(CUTS):
        way = chance.choice(list(Way))
        size = len(AUDIO) if way is Way.UP else DOWN_BYTES
        cuts.append(Cut(way, chance.randrange(HEAD_BYTES + 2 * size // CUTS), silent))
    return cuts


async def in_a_thread(caller: ReturningCaller) -> ReturningCaller:
    await asyncio.get_running_loop().run_in_executor(CLIENTS, caller.run)
    return caller


async def cut_up(
    house: SpeechHouse, method: Method, seed: int, *, repeats: bool, silent: bool = False
) -> ReturningCaller:
    """A client of this method that has come to its end over a wire with these cuts."""
    async with cutting(house.ports.grpc or 0, random_cuts(seed, silent=silent)) as proxy:
        options = {"silence_seconds": 0.3} if silent else {}
        caller = method.caller(proxy.port, repeats=repeats, **options)
        return await in_a_thread(caller)


@both_transports
async def test_every_method_over_wires_that_are_cut(transport: GrpcTransport) -> None:
    async with speech_house(grpc_transport=transport) as house:
        good = {
            name: await in_a_thread(method.caller(house.ports.grpc or 0))
            for name, method in METHODS.items()
        }
        asked = [
            (name, repeats, seed)
            for name in METHODS
            for repeats in (False, True)
            for seed in seeds(SESSIONS)
        ]
        callers = await asyncio.gather(
            *(
                cut_up(house, METHODS[name], 100 * seed + number, repeats=again)
                for number, (name, again, seed) in enumerate(asked)
            )
        )
    for (name, _, _), caller in zip(asked, callers, strict=True):
        method = METHODS[name]
        assert method.finals(good[name].heard) == [method.text]
        assert method.finals(caller.heard) == [method.text]
        if method.says_all_alike:
            whole = [method.meaning(data) for data in good[name].heard]
            assert [method.meaning(data) for data in caller.heard] == whole
    # A cut may be in a handshake, or behind all that is said, which leaves the others undone.
    assert sum(caller.resumes for caller in callers) >= len(callers)


@both_transports
async def test_a_wire_that_goes_dead_without_a_word(transport: GrpcTransport) -> None:
    """The server still believes in the old call when the client is back: it takes over."""
    method = METHODS["riva asr"]
    async with speech_house(grpc_transport=transport) as house:
        good = await in_a_thread(method.caller(house.ports.grpc or 0))
        callers = await asyncio.gather(
            *(
                cut_up(house, method, seed, repeats=True, silent=True)
                for seed in seeds(4 if LONG else 2)
            )
        )
    for caller in callers:
        assert caller.heard == good.heard
    assert any(caller.resumes for caller in callers)


@both_transports
async def test_what_a_client_is_told_over_the_wire(transport: GrpcTransport) -> None:
    async with speech_house(grpc_transport=transport) as house:
        port = house.ports.grpc or 0
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            await asyncio.to_thread(take_over_and_forge, channel)
        address = f"http://127.0.0.1:{house.ports.metrics}/metrics"
        async with ClientSession() as session, session.get(address) as page:
            metrics = await page.text()
    for line in (
        "streamgate_sessions_resumed_total 1.0",
        "streamgate_sessions_taken_over_total 1.0",
        'streamgate_sessions_resume_refused_total{reason="forged"} 1.0',
        'streamgate_sessions_resume_refused_total{reason="gap"} 1.0',
    ):
        assert line in metrics.splitlines()


def take_over_and_forge(channel: grpc.Channel) -> None:
    """One call takes another one over; and those that may not come back are told why."""
    method = channel.stream_stream(
        ASR + STREAM,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=riva.StreamingRecognizeResponse.FromString,
    )

    def call(requests: Any, *metadata: tuple[str, str]) -> Any:
        return method(requests, metadata=metadata, timeout=60)

    def refusal(*metadata: tuple[str, str]) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as refused:
            list(call(iter([first()]), *metadata))
        return refused.value.code(), refused.value.details()

    def spoken() -> Any:
        yield first()
        yield from pieces(0, 12)
        over.result(60)

    over: Any = Future()
    one = call(spoken(), ("streamgate-resume-seconds", "30"))
    initial = dict(one.initial_metadata())
    assert initial["streamgate-resume-seconds"] == "30"
    token = ("streamgate-resume", initial["streamgate-resume"])
    heard = [next(one) for _ in range(2)]

    code, text = refusal(("streamgate-resume", token[1][:-1] + "_"))
    assert (code, text) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "the token in 'streamgate-resume' is not valid",
    )
    code, text = refusal(token, ("streamgate-last-event", "99999"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "'streamgate-last-event' is 99999" in text

    place: Any = Future()

    def rest() -> Any:
        yield first()
        yield from pieces(place.result(60) - 1)

    two = call(rest(), token, ("streamgate-last-event", "2"))
    place.set_result(int(dict(two.initial_metadata())["streamgate-received"]))
    with pytest.raises(grpc.RpcError) as superseded:
        list(one)
    assert superseded.value.code() is grpc.StatusCode.ABORTED
    assert superseded.value.details() == "superseded: the stream was resumed over another call"
    over.set_result(None)
    heard += list(two)
    assert [
        result.alternatives[0].transcript
        for answer in heard
        for result in answer.results
        if result.is_final
    ] == [TEXT]
