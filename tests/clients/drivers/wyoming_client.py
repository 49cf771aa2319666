"""Wyoming's own client: python wyoming_client.py PORT WAV"""

import asyncio
import json
import sys
import wave

from wyoming.asr import Transcribe, Transcript, TranscriptChunk
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.info import Describe, Info

port, path = sys.argv[1:]


async def main():
    async with AsyncTcpClient("127.0.0.1", int(port)) as client:
        await client.write_event(Describe().event())
        info = Info.from_event(await client.read_event())
        models = [model.name for program in info.asr for model in program.models]
        await client.write_event(Transcribe(language="en").event())
        await client.write_event(AudioStart(rate=16000, width=2, channels=1).event())
        with wave.open(path) as file:
            while data := file.readframes(1024):
                chunk = AudioChunk(rate=16000, width=2, channels=1, audio=data)
                await client.write_event(chunk.event())
        await client.write_event(AudioStop().event())
        chunks = []
        while event := await client.read_event():
            if TranscriptChunk.is_type(event.type):
                chunks.append(TranscriptChunk.from_event(event).text)
            elif Transcript.is_type(event.type):
                text = Transcript.from_event(event).text
                return {"text": text, "chunks": "".join(chunks), "models": models}
            elif Error.is_type(event.type):
                return {"error": Error.from_event(event).text}
    return {"error": "the server hung up"}


print(json.dumps(asyncio.run(main())))
