"""What clients of each dialect over WebSocket say about a recording, and the words that they hear
for good: for clients that come back (`tests.durable.resuming`)."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from streamgate.model.tensor import Array
from tests.speech.tones import s16le

PORTS: Final = ("vosk", "sherpa-onnx", "whisper-live")
"""Dialects that need ports of their own."""

Frames = list[str | bytes]
RAW: Final = {"type": "raw", "encoding": "pcm_s16le", "sample_rate": 16_000}


def cut_up(audio: bytes, size: int) -> Frames:
    return [audio[at : at + size] for at in range(0, len(audio), size)]


def say(**fields: Any) -> str:
    return json.dumps(fields)


def said(messages: Sequence[Any], where: dict[str, Any], what: Callable[[Any], str]) -> list[str]:
    """What these messages say."""
    return [
        what(each)
        for each in messages
        if isinstance(each, dict) and all(each.get(name) == value for name, value in where.items())
    ]


def appended(kind: str, samples: Array) -> Frames:
    """For realtime dialects: the audio, at 24 kHz, in JSON."""
    frames = cut_up(s16le(samples), 4800)
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


SESSION: Final = {
    "type": "transcription",
    "audio": {"input": {"format": {"type": "audio/pcm", "rate": 24_000}, "turn_detection": None}},
}


def dialects_of(samples: Array, later: Array) -> list[Dialect]:
    """All of them, about a recording: FP32 `[n]` at 16 kHz, and the same at 24 kHz."""
    pcm = cut_up(s16le(samples), 2560)
    floats = cut_up(samples.astype("<f4").tobytes(), 5120)
    return [
        *_of_samples(pcm),
        _kyutai(later),
        *_on_own_ports(pcm, floats),
        *_realtime(later),
        _translations(later),
    ]


def _of_samples(pcm: Frames) -> list[Dialect]:
    """The audio as it is, and some JSON."""
    return [
        Dialect(
            "deepgram",
            "/v1/listen?encoding=linear16&sample_rate=16000&interim_results=true&resume=on",
            [*pcm, say(type="CloseStream")],
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
            [*pcm, say(type="CloseStream")],
            lambda heard: " ".join(
                said(heard, {"event": "EndOfTurn"}, lambda each: str(each["transcript"]))
            ),
        ),
        Dialect(
            "assemblyai",
            "/v3/ws?sample_rate=16000&resume=on",
            [*pcm, say(type="Terminate")],
            lambda heard: " ".join(
                said(heard, {"end_of_turn": True}, lambda each: str(each["transcript"]))
            ),
        ),
        Dialect(
            "speechmatics",
            "/v2?resume=on",
            [
                say(message="StartRecognition", audio_format=RAW),
                *pcm,
                say(message="EndOfStream", last_seq_no=len(pcm)),
            ],
            lambda heard: "".join(
                said(
                    heard,
                    {"message": "AddTranscript"},
                    lambda each: str(each["metadata"]["transcript"]),
                )
            ).strip(),
        ),
    ]


def _kyutai(later: Array) -> Dialect:
    return Dialect(
        "kyutai",
        "/api/asr-streaming?resume=on",
        [
            *(
                msgpack.packb({"type": "Audio", "pcm": later[at : at + 1920].tolist()})
                for at in range(0, len(later), 1920)
            ),
            msgpack.packb({"type": "Marker", "id": 1}),
        ],
        lambda heard: " ".join(
            said(unpacked(heard), {"type": "Word"}, lambda each: str(each["text"]))
        ),
        is_last=lambda message: msgpack.unpackb(message)["type"] == "Marker",
    )


def _on_own_ports(pcm: Frames, floats: Frames) -> list[Dialect]:
    """At the root of a port."""
    return [
        Dialect(
            "vosk",
            "/?resume=on",
            [say(config={"sample_rate": 16_000}), *pcm, say(eof=1)],
            lambda heard: " ".join(
                each["text"] for each in heard if isinstance(each, dict) and each.get("text")
            ),
            port="vosk",
        ),
        Dialect(
            "sherpa-onnx",
            "/?resume=on",
            [*floats, "Done"],
            lambda heard: " ".join(said(heard, {"is_eof": True}, lambda each: str(each["text"]))),
            port="sherpa-onnx",
        ),
        Dialect(
            "whisper-live",
            "/?resume=on",
            [say(uid="me", language="en", model="small"), *floats, b"END_OF_AUDIO"],
            lambda heard: " ".join(each["text"] for each in heard[-1]["segments"]),
            port="whisper-live",
        ),
    ]


def _realtime(later: Array) -> list[Dialect]:
    """The audio in JSON."""
    return [
        Dialect(
            "openai-realtime",
            "/v1/realtime?intent=transcription",
            [
                say(type="session.update", session=SESSION),
                *appended("input_audio_buffer", later),
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
                *appended("input_audio_buffer", later),
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
    ]


def _translations(later: Array) -> Dialect:
    return Dialect(
        "openai-translations",
        "/v1/realtime/translations",
        [
            say(
                type="session.update",
                session={"audio": {"input": {"transcription": {"model": "x"}}}},
            ),
            *appended("session.input_audio_buffer", later),
            say(type="session.close"),
        ],
        lambda heard: "".join(
            said(
                heard,
                {"type": "session.input_transcript.delta"},
                lambda each: str(each["delta"]),
            )
        ),
        greets=True,
    )
