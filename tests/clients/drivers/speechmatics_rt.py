"""Speechmatics' SDK: python speechmatics_rt.py PORT KEY WAV"""

import asyncio
import io
import json
import sys
import wave

from speechmatics.rt import (
    AsyncClient,
    AudioEncoding,
    AudioFormat,
    ServerMessageType,
    TranscriptionConfig,
    TranslationConfig,
)

port, key, path = sys.argv[1:]


async def main():
    texts, translations, frames = [], [], []
    async with AsyncClient(api_key=key, url=f"ws://127.0.0.1:{port}/v2") as client:
        client.on(
            ServerMessageType.ADD_TRANSCRIPT,
            lambda message: texts.append(message["metadata"]["transcript"]),
        )
        client.on(
            ServerMessageType.ADD_TRANSLATION,
            lambda message: translations.append(message["results"][0]["content"]),
        )
        client.on(ServerMessageType.AUDIO_ADDED, lambda message: frames.append(message["seq_no"]))
        with wave.open(path) as file:
            source = io.BytesIO(file.readframes(file.getnframes()))
            await client.transcribe(
                source,
                transcription_config=TranscriptionConfig(language="en", enable_partials=True),
                translation_config=TranslationConfig(target_languages=["de"]),
                audio_format=AudioFormat(
                    encoding=AudioEncoding.PCM_S16LE, sample_rate=16000, chunk_size=3200
                ),
                timeout=30,
            )
    return {"text": "".join(texts), "translation": " ".join(translations), "frames": frames}


try:
    print(json.dumps(asyncio.run(main())))
except Exception as error:
    print(json.dumps({"refused": f"{type(error).__name__}: {error}"}))
