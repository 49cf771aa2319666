"""The gRPC dialects on the gRPC port, over both transports, with a plain gRPC client."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_reflection.v1alpha import reflection_pb2

from streamgate._proto import riva_asr_pb2 as riva
from streamgate._proto import riva_nmt_pb2 as nmt
from streamgate._proto.descriptors import canonical_files
from streamgate._proto.riva_audio_pb2 import AudioEncoding
from streamgate.frontends.kserve_grpc.health import HEALTH_SERVICE
from streamgate.server.settings import GrpcTransport, SpeechSettings
from tests.speech.dialects.grpc_wire import all_slots_free, slots_in_use
from tests.speech.dialects.peer import small_repository
from tests.speech.house import SpeechHouse, speech_house
from tests.speech.tones import REPOSITORY, s16le, tones, words_of

TEXT = " ".join(words_of())
AUDIO = s16le(tones())
ASR = "/nvidia.riva.asr.RivaSpeechRecognition/"
CLIENTS = ThreadPoolExecutor(16)
"""Threads of blocking clients: the server needs the loop's own."""
both_transports = pytest.mark.parametrize("transport", list(GrpcTransport))


@asynccontextmanager
async def port(
    transport: GrpcTransport, repository: Path = REPOSITORY, **settings: Any
) -> AsyncIterator[tuple[SpeechHouse, grpc.Channel]]:
    async with speech_house(repository, grpc_transport=transport, **settings) as house:
        # Not grpc.aio: a call of it that ends while it writes knows no status.
        with grpc.insecure_channel(f"127.0.0.1:{house.ports.grpc}") as channel:
            yield house, channel


def streaming(channel: grpc.Channel, requests: Iterator[Message], **options: Any) -> Any:
    method = channel.stream_stream(
        ASR + "StreamingRecognize",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=riva.StreamingRecognizeResponse.FromString,
    )
    return method(requests, **{"timeout": 30, **options})


async def all_of(calling: Iterable[Any]) -> list[Any]:
    """What a blocking call answers."""
    return await asyncio.get_running_loop().run_in_executor(CLIENTS, list, calling)


async def a_slot_taken(house: SpeechHouse) -> None:
    async with asyncio.timeout(20):
        while not await slots_in_use(house.context):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


def begin() -> riva.StreamingRecognizeRequest:
    config = riva.RecognitionConfig(encoding=AudioEncoding.LINEAR_PCM, sample_rate_hertz=16_000)
    return riva.StreamingRecognizeRequest(
        streaming_config=riva.StreamingRecognitionConfig(config=config)
    )


def spoken(data: bytes = AUDIO) -> list[Message]:
    parts = [data[at : at + 3200] for at in range(0, len(data), 3200)]
    return [begin(), *(riva.StreamingRecognizeRequest(audio_content=part) for part in parts)]


def spoken_until(gate: threading.Event, data: bytes = AUDIO) -> Iterator[Message]:
    """The rest comes when the gate opens."""
    first, *rest = spoken(data)
    yield first
    gate.wait(30)
    yield from rest


async def said(calling: Any) -> list[str]:
    return [
        result.alternatives[0].transcript
        for answer in await all_of(calling)
        for result in answer.results
    ]


@both_transports
async def test_a_stream_is_heard(transport: GrpcTransport) -> None:
    async with port(transport) as (house, channel):
        assert await said(streaming(channel, iter(spoken()))) == [TEXT]
        assert await slots_in_use(house.context) == 0


@both_transports
async def test_a_unary_call_is_answered(transport: GrpcTransport) -> None:
    async with port(transport) as (_, channel):
        method = channel.unary_unary(
            "/nvidia.riva.nmt.RivaTranslation/TranslateText",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=nmt.TranslateTextResponse.FromString,
        )
        german = nmt.TranslateTextRequest(texts=["one two"], target_language="de")
        answer = await asyncio.to_thread(method, german, timeout=30)
        spanish = nmt.TranslateTextRequest(texts=["one"], target_language="es")
        with pytest.raises(grpc.RpcError) as refused:
            await asyncio.to_thread(method, spanish, timeout=30)
    assert [each.text for each in answer.translations] == ["eno owt"]
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@both_transports
async def test_full_slots_come_with_a_hint(transport: GrpcTransport, tmp_path: Path) -> None:
    async with port(transport, small_repository(tmp_path, slots=1)) as (house, channel):
        gate = threading.Event()
        one = streaming(channel, spoken_until(gate))
        await a_slot_taken(house)
        with pytest.raises(grpc.RpcError) as refused:
            await said(streaming(channel, iter(spoken())))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(refused.value.trailing_metadata() or ())["retry-after"] == "1"
        gate.set()
        assert await said(one) == [TEXT]


@both_transports
async def test_a_wrong_key_is_refused(transport: GrpcTransport) -> None:
    async with port(transport, speech=SpeechSettings(api_keys=["secret"])) as (_, channel):
        with pytest.raises(grpc.RpcError) as refused:
            await said(streaming(channel, iter(spoken())))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        metadata = (("authorization", "Bearer secret"),)
        assert await said(streaming(channel, iter(spoken()), metadata=metadata)) == [TEXT]


@both_transports
async def test_a_client_that_cancels_gives_its_slot_back(transport: GrpcTransport) -> None:
    async with port(transport) as (house, channel):
        gate = threading.Event()
        calling = streaming(channel, spoken_until(gate))
        await a_slot_taken(house)
        calling.cancel()
        await all_slots_free(house.context)
        gate.set()


@both_transports
async def test_a_deadline_ends_the_call_and_frees_its_slot(transport: GrpcTransport) -> None:
    async with port(transport) as (house, channel):
        gate = threading.Event()
        with pytest.raises(grpc.RpcError) as late:
            await said(streaming(channel, spoken_until(gate), timeout=1))
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await all_slots_free(house.context)
        gate.set()


@both_transports
async def test_many_streams_at_once_share_batches(transport: GrpcTransport) -> None:
    async with port(transport) as (house, channel):
        texts = await asyncio.gather(*(said(streaming(channel, iter(spoken()))) for _ in range(8)))
        (statistics,) = await house.gateway.statistics("tone_transcriber", "")
    assert texts == [[TEXT]] * 8
    assert statistics.execution_count < statistics.inference_count


@both_transports
async def test_bad_audio_is_told(transport: GrpcTransport) -> None:
    async with port(transport) as (house, channel):
        wrong = riva.StreamingRecognizeRequest(
            streaming_config=riva.StreamingRecognitionConfig(),
        )
        noise = riva.StreamingRecognizeRequest(audio_content=b"neither head nor tail " * 99)
        with pytest.raises(grpc.RpcError) as refused:
            await said(streaming(channel, iter([wrong, noise])))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        await all_slots_free(house.context)


@both_transports
async def test_a_method_that_there_is_not(transport: GrpcTransport) -> None:
    async with port(transport) as (_, channel):
        method = channel.unary_unary("/nvidia.riva.nmt.RivaTranslation/NoSuch")
        with pytest.raises(grpc.RpcError) as refused:
            await asyncio.to_thread(method, b"", timeout=30)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_reflection_lists_the_services() -> None:
    async with port(GrpcTransport.GRPCIO) as (_, channel):
        method = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        symbol = "google.cloud.speech.v2.Speech"
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol),
        ]
        listed, file = await all_of(method(iter(asked), timeout=30))
    names = {service.name for service in listed.list_services_response.service}
    assert names >= {
        "google.cloud.speech.v1.Speech",
        "google.cloud.speech.v2.Speech",
        "inference.GRPCInferenceService",
        "nvidia.riva.asr.RivaSpeechRecognition",
        "nvidia.riva.nmt.RivaTranslation",
        HEALTH_SERVICE,
    }
    assert file.file_descriptor_response.file_descriptor_proto


@both_transports
async def test_every_published_method_is_there_and_refuses_junk(transport: GrpcTransport) -> None:
    paths = [
        f"/{file.package}.{service.name}/{method.name}"
        for file in canonical_files().file
        if file.package != "inference"
        for service in file.service
        for method in service.method
    ]
    assert len(paths) == 10
    async with port(transport) as (_, channel):
        for path in paths:
            with pytest.raises(grpc.RpcError) as refused:
                await asyncio.to_thread(channel.unary_unary(path), b"\xff", timeout=30)
            error = refused.value
            assert (error.code(), error.details()) == (
                grpc.StatusCode.INTERNAL,
                "Unable to parse request",
            )
