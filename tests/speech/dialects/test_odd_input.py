"""What no client in its right mind sends: answered in each dialect's words, and nobody is hurt."""

import asyncio
import json
from typing import Any

import pytest

from streamgate.errors import Code, Failure, StreamGateError
from streamgate.frontends.dialects.deepgram.refusals import HEADER_MAX
from streamgate.frontends.dialects.json_text import parsed
from streamgate.frontends.dialects.native import NativeDialect
from streamgate.frontends.dialects.openai_audio.hearing import Gathering
from streamgate.frontends.dialects.riva_realtime.secret import is_good
from streamgate.frontends.grpc_service import TEXT_CHARS_MAX, GrpcStatus
from streamgate.frontends.sockets.connection import ConnectionLimits, SocketConnection
from streamgate.frontends.sockets.contract import Handshake
from streamgate.frontends.speech import Access, Declared, SpeechStream, TranslationStream
from streamgate.server.settings import SpeechSettings
from tests.speech.dialects.peer import dialled, refusal
from tests.speech.house import SpeechHouse, speech_house

LIMITS = ConnectionLimits()
HALF_A_PAIR = "\\ud800"
UPGRADE = (
    "Host: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def answer_of(port: int | None, head: str) -> tuple[int, str]:
    """The status and the body of the answer to a request whose head is no proper one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode("latin-1") + b"\r\n")
        async with asyncio.timeout(20):
            answer = await reader.readuntil(b"\r\n\r\n")
            body = await reader.read(4096) if b" 101 " not in answer else b""
    finally:
        writer.close()
    return int(answer.split()[1]), body.decode(errors="replace")


async def head_of(port: int, head: str) -> dict[str, str]:
    """The headers of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode("latin-1") + b"\r\n")
        async with asyncio.timeout(20):
            answer = await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()
    lines = answer.decode().splitlines()[1:-1]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f'{{"type": "{HALF_A_PAIR}"}}', "half of a surrogate pair"),
        (f'{{"{HALF_A_PAIR.upper().replace("U", "u")}": 1}}', "half of a surrogate pair"),
        ('{"uid": NaN}', "NaN is no number"),
        ('{"uid": -Infinity}', "-Infinity is no number"),
        ("[" * 100_000, "nested too deeply"),
        ('"' + "a" * 2**20 + '"', "expected at most 1048576"),
        ("1" * 10_000, "digits"),
    ],
)
def test_json_that_could_not_be_said_again_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parsed(text)


def test_json_with_audio_may_be_long_but_not_of_many_values() -> None:
    assert parsed(f'{{"audio": "{"A" * 2**21}"}}', 2**22)["audio"] == "A" * 2**21
    with pytest.raises(ValueError, match="more than 100000 values"):
        parsed("[" + "[]," * 2**20 + "0]", 2**22)


def test_whole_surrogate_pairs_are_characters() -> None:
    assert parsed('"\\ud83d\\ude00 \\\\ud800"') == "\U0001f600 \\ud800"


def test_keys_that_are_no_utf8_are_wrong_keys() -> None:
    access = Access(["schlüssel"])
    assert access.allows("schlüssel")
    assert access.allows("schl\udcc3\udcbcssel")  # the same bytes, as a header reader has them
    assert not access.allows("\udcff\udcfe")
    assert not is_good("\udcff.1.\udcfe")


@pytest.mark.parametrize(
    ("target", "path", "model"),
    [
        ("/v1/speech?model=a%20b", "/v1/speech", "a b"),
        ("//[?model=a", "//[", "a"),
        ("http://here:8000/v1/speech?model=a", "/v1/speech", "a"),
        ("http://[::1?model=a", "/", "a"),
    ],
)
def test_every_target_has_a_path(target: str, path: str, model: str) -> None:
    handshake = Handshake.of(target, {})
    assert (handshake.path, handshake.value("model")) == (path, model)


CASES: list[tuple[str, str, str, Any]] = [
    ("/v1/speech", f'{{"type": "{HALF_A_PAIR}"}}', "message", "half of a surrogate pair"),
    ("/v1/realtime", f'{{"type": "x", "event_id": "{HALF_A_PAIR}"}}', "error", "half of a"),
    ("/v1/realtime/translations", f'{{"type": "{HALF_A_PAIR}"}}', "error", "half of a surrogate"),
    (
        "/v2",
        '{"message": "StartRecognition", "audio_format": {"type": "raw", "encoding": []}}',
        "reason",
        "expected type 'file'",
    ),
    (
        "/v2",
        (
            '{"message": "StartRecognition", "audio_format": {"type": "file"}, '
            f'"transcription_config": {{"model": "{HALF_A_PAIR}"}}}}'
        ),
        "reason",
        "half of a surrogate pair",
    ),
    (
        "/v2/listen?encoding=linear16&sample_rate=16000",
        '{"type": "Configure", "thresholds": {"eot_threshold": 1e999}}',
        "description",
        "thresholds",
    ),
]


@pytest.mark.parametrize(("path", "message", "field", "told"), CASES)
async def test_odd_messages_are_told(path: str, message: str, field: str, told: str) -> None:
    async with speech_house() as house, dialled(house.ports.websocket or 0, path) as peer:
        await peer.say(message)
        while True:
            heard = await peer.hear()
            if field in heard and told in str(heard[field]):
                break
            assert (
                "ready" in json.dumps(heard)
                or ".created" in heard["type"]
                or (heard["type"] == "Connected")
            ), heard


async def test_odd_handshakes_are_refused() -> None:
    keys = SpeechSettings(api_keys=("key",))
    async with speech_house(speech=keys) as house:
        for port in (house.ports.http, house.ports.websocket):
            status, _ = await answer_of(
                port, f"GET /v1/speech HTTP/1.1\r\nAuthorization: Bearer \xff\r\n{UPGRADE}"
            )
            assert status == 401
            status, _ = await answer_of(
                port,
                "GET /v1/realtime HTTP/1.1\r\n"
                f"Sec-WebSocket-Protocol: realtime-token.\xff.\xfe\r\n{UPGRADE}",
            )
            assert status == 401
            status, _ = await answer_of(port, f"GET //[ HTTP/1.1\r\n{UPGRADE}")
            assert status in (400, 404)


async def test_a_handshake_without_a_key_of_its_own_takes_no_slot() -> None:
    """`Sec-WebSocket-Key` is missing: nothing is opened for it on either port."""
    async with speech_house() as house:
        head = "GET /v1/speech HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n"
        status, told = await answer_of(house.ports.http, f"{head}Connection: Upgrade\r\n")
        assert (status, "RFC 6455" in told) == (400, True)
        await _no_slot_is_taken(house)


async def test_numbers_with_thousands_of_digits() -> None:
    async with speech_house() as house:
        path = f"/v1/speech?encoding=s16le&sample_rate={'9' * 5000}"
        status, told = await refusal(house.ports.websocket or 0, path)
    assert status == 400
    assert "'sample_rate' is '999" in told["message"]
    assert len(told["message"]) < 200


async def test_what_a_client_says_is_not_repeated_at_any_length() -> None:
    """Languages beyond all measure, prompts of megabytes, and names that fill an answer's head."""
    many = ",".join(f"de-{number}" for number in range(9))
    async with speech_house() as house:
        port = house.ports.websocket or 0
        status, told = await refusal(port, f"/v1/speech?translate={many}")
        assert (status, told["message"]) == (
            400,
            "'translate' has 9 languages, expected at most 8",
        )
        model = await house.context.models.choose()
        with pytest.raises(StreamGateError, match="'prompt' has 20000 characters, expected at mo"):
            SpeechStream(
                house.gateway,
                model,
                Declared(),
                Gathering(asyncio.Event()),
                {"prompt": "a" * 20_000},
            )
        query = f"encoding=linear16&sample_rate=16000&model=%00%0d%0a{'a' * 6000}"
        answer = await head_of(port, f"GET /v1/listen?{query} HTTP/1.1\r\n{UPGRADE}")
    assert answer["dg-error"].startswith("Request for unknown model: '???aaa")
    assert len(answer["dg-error"]) == HEADER_MAX
    assert len(GrpcStatus.of(Failure(Code.NOT_FOUND, "a" * 10**6)).text) == TEXT_CHARS_MAX + 3


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=\xff"]
)
async def test_an_upload_without_a_boundary(content_type: str) -> None:
    async with speech_house() as house:
        status, told = await answer_of(
            house.ports.http,
            f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: 0\r\n",
        )
    assert status == 400
    assert "no multipart form" in told


async def test_who_goes_during_the_handshake_leaves_no_slot_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The speech has its slot, and the translation's is still being waited for."""
    is_asked = asyncio.Event()

    async def never(stream: TranslationStream) -> None:
        is_asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(TranslationStream, "open", never)
    async with speech_house() as house:
        handshake = Handshake.of("/v1/speech?translate=de", {})
        dialect = NativeDialect(house.context)
        admission = asyncio.create_task(dialect.admit(handshake, SocketConnection(LIMITS)))
        async with asyncio.timeout(20):
            await is_asked.wait()
        assert any(table.taken for table in await house.gateway.slots("", ""))
        admission.cancel()
        with pytest.raises(asyncio.CancelledError):
            await admission
        await _no_slot_is_taken(house)


async def _no_slot_is_taken(house: SpeechHouse) -> None:
    async with asyncio.timeout(20):
        while any(table.taken for table in await house.gateway.slots("", "")):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
