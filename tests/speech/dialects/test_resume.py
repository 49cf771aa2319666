"""Every dialect over WebSocket: its client comes back over wires that are cut, and hears what it
would have heard; and who brings a token that is none is refused in its words."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import pytest
from websockets.exceptions import InvalidStatus

from streamgate.server.settings import SpeechSettings
from tests.durable.proxy import cutting
from tests.durable.resuming import ResumingClient
from tests.durable.test_cut_wires import random_cuts
from tests.speech.dialects.talk import talk
from tests.speech.house import SpeechHouse, speech_house
from tests.speech.tones import s16le, tones, words_of

PORTS = dict.fromkeys(("vosk", "sherpa-onnx", "whisper-live"), 0)
SEEDS = (1, 2)
Frames = list[str | bytes]


def cut_up(audio: bytes, size: int) -> Frames:
    return [audio[at : at + size] for at in range(0, len(audio), size)]


PCM = cut_up(s16le(tones()), 2560)
FLOATS = cut_up(tones().astype("<f4").tobytes(), 5120)
LATER = tones(rate_hz=24_000)
RAW = {"type": "raw", "encoding": "pcm_s16le", "sample_rate": 16_000}


def say(**fields: Any) -> str:
    return json.dumps(fields)


def said(messages: Sequence[Any], where: dict[str, Any], what: Callable[[Any], str]) -> list[str]:
    """What these messages say."""
    return [
        what(each)
        for each in messages
        if isinstance(each, dict) and all(each.get(name) == value for name, value in where.items())
    ]


def appended(kind: str) -> Frames:
    """For realtime dialects: the audio in JSON."""
    frames = cut_up(s16le(LATER), 4800)
    return [
        say(type=f"{kind}.append", audio=base64.b64encode(frame).decode())
        for frame in frames
        if isinstance(frame, bytes)
    ]


@dataclass(frozen=True)
class Dialect:
    """Where it is, what a client says, and the words that it hears for good."""

    name: str
    target: str
    frames: Frames
    words: Callable[[list[Any]], str]
    port: str = ""
    is_last: Callable[[Any], bool] = lambda _: False
    greets: bool = False
    realtime: str = "openai"


def unpacked(messages: list[Any]) -> list[Any]:
    return [msgpack.unpackb(message) for message in messages]


SESSION = {
    "type": "transcription",
    "audio": {"input": {"format": {"type": "audio/pcm", "rate": 24_000}, "turn_detection": None}},
}
DIALECTS = [
    Dialect(
        "deepgram",
        "/v1/listen?encoding=linear16&sample_rate=16000&interim_results=true&resume=on",
        [*PCM, say(type="CloseStream")],
        lambda heard: " ".join(
            said(
                heard,
                {"type": "Results", "is_final": True},
                lambda each: str(each["channel"]["alternatives"][0]["transcript"]),
            )
        ),
    ),
    Dialect(
        "flux",
        "/v2/listen?model=flux-general-en&encoding=linear16&sample_rate=16000&resume=on",
        [*PCM, say(type="CloseStream")],
        lambda heard: " ".join(
            said(heard, {"event": "EndOfTurn"}, lambda each: str(each["transcript"]))
        ),
    ),
    Dialect(
        "assemblyai",
        "/v3/ws?sample_rate=16000&resume=on",
        [*PCM, say(type="Terminate")],
        lambda heard: " ".join(
            said(heard, {"end_of_turn": True}, lambda each: str(each["transcript"]))
        ),
    ),
    Dialect(
        "speechmatics",
        "/v2?resume=on",
        [
            say(message="StartRecognition", audio_format=RAW),
            *PCM,
            say(message="EndOfStream", last_seq_no=len(PCM)),
        ],
        lambda heard: "".join(
            said(
                heard,
                {"message": "AddTranscript"},
                lambda each: str(each["metadata"]["transcript"]),
            )
        ).strip(),
    ),
    Dialect(
        "kyutai",
        "/api/asr-streaming?resume=on",
        [
            *(
                msgpack.packb({"type": "Audio", "pcm": LATER[at : at + 1920].tolist()})
                for at in range(0, len(LATER), 1920)
            ),
            msgpack.packb({"type": "Marker", "id": 1}),
        ],
        lambda heard: " ".join(
            said(unpacked(heard), {"type": "Word"}, lambda each: str(each["text"]))
        ),
        is_last=lambda message: msgpack.unpackb(message)["type"] == "Marker",
    ),
    Dialect(
        "vosk",
        "/?resume=on",
        [say(config={"sample_rate": 16_000}), *PCM, say(eof=1)],
        lambda heard: " ".join(
            each["text"] for each in heard if isinstance(each, dict) and each.get("text")
        ),
        port="vosk",
    ),
    Dialect(
        "sherpa-onnx",
        "/?resume=on",
        [*FLOATS, "Done"],
        lambda heard: " ".join(said(heard, {"is_eof": True}, lambda each: str(each["text"]))),
        port="sherpa-onnx",
    ),
    Dialect(
        "whisper-live",
        "/?resume=on",
        [say(uid="me", language="en", model="small"), *FLOATS, b"END_OF_AUDIO"],
        lambda heard: " ".join(each["text"] for each in heard[-1]["segments"]),
        port="whisper-live",
    ),
    Dialect(
        "openai-realtime",
        "/v1/realtime?intent=transcription",
        [
            say(type="session.update", session=SESSION),
            *appended("input_audio_buffer"),
            say(type="input_audio_buffer.commit"),
        ],
        lambda heard: "".join(
            said(
                heard,
                {"type": "conversation.item.input_audio_transcription.delta"},
                lambda each: str(each["delta"]),
            )
        ),
        is_last=lambda message: message["type"].endswith("transcription.completed"),
        greets=True,
    ),
    Dialect(
        "riva-realtime",
        "/v1/realtime?intent=transcription&resume=on",
        [
            say(
                type="transcription_session.update",
                session={"input_audio_params": {"sample_rate_hz": 24_000, "num_channels": 1}},
            ),
            *appended("input_audio_buffer"),
            say(type="input_audio_buffer.done"),
        ],
        lambda heard: str(
            said(
                heard,
                {"type": "conversation.item.input_audio_transcription.completed"},
                lambda each: str(each["transcript"]),
            )[-1]
        ),
        realtime="riva",
    ),
    Dialect(
        "openai-translations",
        "/v1/realtime/translations",
        [
            say(
                type="session.update",
                session={"audio": {"input": {"transcription": {"model": "x"}}}},
            ),
            *appended("session.input_audio_buffer"),
            say(type="session.close"),
        ],
        lambda heard: "".join(
            said(heard, {"type": "session.input_transcript.delta"}, lambda each: str(each["delta"]))
        ),
        greets=True,
    ),
]


def settings_for(dialect: Dialect) -> SpeechSettings:
    return SpeechSettings(ports=PORTS, realtime_dialect=dialect.realtime)


def port_of(house: SpeechHouse, dialect: Dialect) -> int:
    if dialect.port:
        return house.ports.dialects[dialect.port]
    return house.ports.http or 0


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: str(dialect.name))
async def test_its_client_comes_back(dialect: Dialect) -> None:
    size = sum(len(frame) for frame in dialect.frames)
    async with speech_house(speech=settings_for(dialect)) as house:
        for seed in SEEDS:
            async with cutting(port_of(house, dialect), random_cuts(seed, size, 6_000)) as proxy:
                client = ResumingClient(
                    f"ws://127.0.0.1:{proxy.port}{dialect.target}",
                    dialect.frames,
                    numbers=False,
                    greets=dialect.greets,
                    is_last=dialect.is_last,
                    pause_seconds=0.001,
                )
                await client.run()
            assert client.close_code == 1000
            assert client.resumes >= 2
            assert dialect.words(client.heard) == " ".join(words_of())


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: str(dialect.name))
async def test_a_forged_token_is_refused_in_its_words(dialect: Dialect) -> None:
    target = dialect.target.partition("?")[0] + "?resume=forged"
    async with speech_house(speech=settings_for(dialect)) as house:
        status, body = await refusal_of(port_of(house, dialect), target)
    assert status == 400
    assert "the resume token is not valid" in body
    if dialect.port or dialect.name == "kyutai":
        return
    fields = json.loads(body)
    assert fields.keys() & {"error", "err_msg", "reason", "message", "detail"}


async def test_a_key_is_asked_for_again() -> None:
    settings = SpeechSettings(api_keys=["right"])
    right = {"Authorization": "Bearer right"}
    async with speech_house(speech=settings) as house:
        port = house.ports.http
        async with talk(port, "/v1/realtime?intent=transcription", right) as first:
            created = await first.hear("session.created")
            token = created["session"]["resume"]["token"]
            target = f"/v1/realtime?resume={token}&last_event=1"
            assert (await refusal_of(port or 0, target))[0] == 401
            async with talk(port, target, right) as second:
                greeting = await second.hear()
                assert greeting["type"] == "session.updated"
                assert greeting["session"]["resume"]["received"] == {"messages": 0}
                told = await first.hear("error")
                assert told["error"]["code"] == "session_superseded"
                assert (await first.hear_end())[0] == 4409


async def test_a_token_is_good_for_its_own_dialect_only() -> None:
    async with speech_house() as house:
        port = house.ports.http or 0
        async with talk(port, "/v1/realtime?intent=transcription") as first:
            created = await first.hear("session.created")
            token = created["session"]["resume"]["token"]
            status, body = await refusal_of(port, f"/v1/speech?resume={token}&last_event=0")
    assert status == 400
    assert "is for a session of 'openai-realtime', not of 'streamgate'" in body


async def test_a_stock_client_that_can_not_come_back_holds_no_slot() -> None:
    async with speech_house() as house:
        async with talk(house.ports.http, "/v1/listen?encoding=linear16&sample_rate=16000") as one:
            response = one.socket.response
            assert response is not None
            assert "StreamGate-Resume" not in response.headers
            one.socket.transport.abort()
        assert house.server._front_ends is not None
        counts = house.server._front_ends.resume_counts
    assert counts is not None
    assert counts.detachments == 0


async def refusal_of(port: int, target: str) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as refusal:
        async with talk(port, target):
            pass
    response = refusal.value.response
    assert response.body is not None
    return response.status_code, response.body.decode()
