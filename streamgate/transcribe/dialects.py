"""Clients of three WebSocket dialects: StreamGate's own, Deepgram's and Vosk's."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, final

from streamgate.errors import Code, StreamGateError
from streamgate.transcribe.audio import RATE_HZ, Audio, f32le, s16le
from streamgate.transcribe.resuming import ResumingTalk
from streamgate.transcribe.socket import Mouth, Wanted, address, converse
from streamgate.transcribe.transcript import Listener, Transcript, Utterance, Word

USUAL: Final = "http://localhost:8000"
FLOAT_BYTES: Final = 4
USUAL_VOSK: Final = "ws://localhost:2700"


class _Conversation:
    """What was said so far, for all dialects."""

    def __init__(self, listener: Listener) -> None:
        self.transcript = Transcript()
        self._listener = listener
        self._open = Utterance()

    def _end_utterance(self) -> None:
        self._open.text = self._open.text.strip()
        if self._open.text:
            self.transcript.utterances.append(self._open)
            self._listener.on_utterance(self._open)
        self._open = Utterance(start=self._open.end, end=self._open.end)
        self._listener.on_tail("")

    def _add(self, text: str, words: Iterable[Word], end: float) -> None:
        """More of the open utterance, stable and with its leading blank."""
        new = list(words)
        if new and not self._open.text:
            self._open.start = new[0].start
        self._open.words += new
        self._open.text += text
        self._open.end = max(self._open.end, new[-1].end if new else end)

    def _progress(self, seconds: float) -> None:
        self.transcript.seconds = max(self.transcript.seconds, seconds)
        self._listener.on_progress(self.transcript.seconds)


@final
class _Native(_Conversation):
    """StreamGate's own."""

    async def speak(self, socket: Mouth, audio: Audio) -> None:
        async for piece in audio.pieces():
            await socket.send(f32le(piece))
        await socket.send('{"type":"end"}')

    def hear(self, message: Mapping[str, Any]) -> bool:
        match message.get("type"):
            case "ready":
                self.transcript.model = str(message.get("model", ""))
            case "text":
                self._text(message)
            case "error":
                raise StreamGateError(Code.UNAVAILABLE, str(message.get("message")))
            case "ended":
                self._end_utterance()
                if message.get("reason") != "client_end":
                    reason = message.get("reason")
                    raise StreamGateError(Code.UNAVAILABLE, f"the server ended it: {reason}")
                return True
        return False

    def _text(self, message: Mapping[str, Any]) -> None:
        seconds = float(message["audio_seconds"])
        words = [Word(w["text"], w["start"], w["end"]) for w in message.get("words", ())]
        if message["stable"]:
            self._add(message["stable"], words, seconds)
        self._progress(seconds)
        if message["final"]:
            self._end_utterance()
        else:
            self._listener.on_tail((self._open.text + message["tail"]).strip())


@final
class _Deepgram(_Conversation):
    """Deepgram's `/v1/listen`."""

    async def speak(self, socket: Mouth, audio: Audio) -> None:
        async for piece in audio.pieces():
            await socket.send(s16le(piece))
        await socket.send('{"type":"CloseStream"}')

    def hear(self, message: Mapping[str, Any]) -> bool:
        match message.get("type"):
            case "Results":
                self._results(message)
            case "Error":
                raise StreamGateError(Code.UNAVAILABLE, str(message.get("description")))
            case "Metadata":
                self._end_utterance()
                return True
        return False

    def _results(self, message: Mapping[str, Any]) -> None:
        best = message["channel"]["alternatives"][0]
        end = float(message["start"]) + float(message["duration"])
        text = str(best["transcript"])
        self._progress(end)
        if not message["is_final"]:
            self._listener.on_tail(f"{self._open.text} {text}".strip())
            return
        if text:
            words = [
                Word(w.get("punctuated_word", w["word"]), w["start"], w["end"])
                for w in best.get("words", ())
            ]
            self._add(f" {text}", words, end)
        if message["speech_final"]:
            self._end_utterance()


@final
class _Vosk(_Conversation):
    """Vosk's server: a reply for each piece of audio, and the next piece only then."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener)
        self._replied = asyncio.Event()
        self._sent_seconds = 0.0
        self._is_last = False

    async def speak(self, socket: Mouth, audio: Audio) -> None:
        await socket.send(json.dumps({"config": {"sample_rate": RATE_HZ, "words": True}}))
        async for piece in audio.pieces():
            self._replied.clear()
            self._sent_seconds += len(piece) / RATE_HZ
            await socket.send(s16le(piece))
            await self._replied.wait()
        self._is_last = True
        await socket.send('{"eof" : 1}')

    def hear(self, message: Mapping[str, Any]) -> bool:
        if "partial" in message:
            self._listener.on_tail(str(message["partial"]))
        elif message.get("text"):
            words = [Word(w["word"], w["start"], w["end"]) for w in message.get("result", ())]
            self._add(str(message["text"]), words, self._sent_seconds)
            self._end_utterance()
        self._progress(self._sent_seconds)
        self._replied.set()
        return self._is_last


class NativeClient:
    """StreamGate's own dialect, at `/v1/speech` of the HTTP or the WebSocket port."""

    async def transcribe(self, audio: Audio, wanted: Wanted, listener: Listener) -> Transcript:
        query = {
            "model": wanted.model,
            "language": wanted.language,
            "encoding": "f32le",
            "sample_rate": str(RATE_HZ),
        }
        conversation = _Native(listener)
        url = address(wanted.url, USUAL, "/v1/speech", query)
        await ResumingTalk(url, wanted.key, conversation, FLOAT_BYTES * RATE_HZ).run(audio)
        conversation.transcript.seconds = audio.seconds or conversation.transcript.seconds
        return conversation.transcript


class DeepgramClient:
    """Deepgram's live dialect, at `/v1/listen`."""

    async def transcribe(self, audio: Audio, wanted: Wanted, listener: Listener) -> Transcript:
        query = {
            "model": wanted.model,
            "language": wanted.language,
            "encoding": "linear16",
            "sample_rate": str(RATE_HZ),
            "interim_results": "true",
        }
        conversation = _Deepgram(listener)
        url = address(wanted.url, USUAL, "/v1/listen", query)
        await converse(url, wanted.key, "Token", conversation, audio)
        conversation.transcript.model = wanted.model
        conversation.transcript.seconds = audio.seconds or conversation.transcript.seconds
        return conversation.transcript


class VoskClient:
    """Vosk's server's dialect, on a port of its own. The server chooses the model."""

    async def transcribe(self, audio: Audio, wanted: Wanted, listener: Listener) -> Transcript:
        conversation = _Vosk(listener)
        url = address(wanted.url, USUAL_VOSK, "/", {})
        await converse(url, wanted.key, "Bearer", conversation, audio)
        conversation.transcript.seconds = audio.seconds or conversation.transcript.seconds
        return conversation.transcript
