"""OpenAI's SDK, realtime transcription: python openai_realtime.py sync|async PORT KEY WAV MODEL"""

import asyncio
import base64
import json
import sys
import wave

from openai import AsyncOpenAI, OpenAI

how, port, key, path, model = sys.argv[1:]
where = {"base_url": f"http://127.0.0.1:{port}/v1", "api_key": key, "max_retries": 0}
SESSION = {
    "type": "transcription",
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": {"model": model, "language": "en"},
            "turn_detection": None,
        }
    },
}


def pieces():
    with wave.open(path) as file:
        while data := file.readframes(2400):
            yield base64.b64encode(data).decode()


def synchronous():
    events = []
    with OpenAI(**where).realtime.connect(extra_query={"intent": "transcription"}) as connection:
        events.append(connection.recv())
        connection.session.update(session=SESSION)
        for piece in pieces():
            connection.input_audio_buffer.append(audio=piece)
        connection.input_audio_buffer.commit()
        for event in connection:
            events.append(event)
            if event.type.endswith(".completed"):
                break
    return events


async def asynchronous():
    events = []
    client = AsyncOpenAI(**where)
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        events.append(await connection.recv())
        await connection.session.update(session=SESSION)
        for piece in pieces():
            await connection.input_audio_buffer.append(audio=piece)
        await connection.input_audio_buffer.commit()
        async for event in connection:
            events.append(event)
            if event.type.endswith(".completed"):
                break
    await client.close()
    return events


try:
    events = synchronous() if how == "sync" else asyncio.run(asynchronous())
except Exception as error:
    print(json.dumps({"refused": f"{type(error).__name__}: {error}"}))
    sys.exit()
print(
    json.dumps(
        {
            "types": [event.type for event in events],
            "classes": sorted({type(event).__name__ for event in events}),
            "session": type(events[0].session).__name__,
            "deltas": [event.delta for event in events if event.type.endswith(".delta")],
            "text": events[-1].transcript,
            "seconds": events[-1].usage.seconds,
        }
    )
)
