"""OpenAI's SDK, realtime translations: python openai_translations.py PORT KEY WAV MODEL"""

import base64
import json
import sys
import wave

from openai import OpenAI

port, key, path, model = sys.argv[1:]
client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0)
events = []
try:
    with client.realtime.translations.connect(model=model) as connection:
        events.append(connection.recv())
        connection.session.update(
            session={
                "audio": {
                    "input": {"transcription": {"model": "gpt-realtime-whisper"}},
                    "output": {"language": "fr"},
                }
            }
        )
        with wave.open(path) as file:
            while data := file.readframes(4800):
                connection.session.input_audio_buffer.append(audio=base64.b64encode(data).decode())
        connection.session.close()
        for event in connection:
            events.append(event)
            if event.type == "session.closed":
                break
except Exception as error:
    print(json.dumps({"refused": f"{type(error).__name__}: {error}"}))
    sys.exit()
deltas = [each for each in events if each.type.endswith("_transcript.delta")]
print(
    json.dumps(
        {
            "classes": sorted({type(event).__name__ for event in events}),
            "input": "".join(each.delta for each in deltas if "input" in each.type),
            "output": "".join(each.delta for each in deltas if "output" in each.type),
            "elapsed_ms": [each.elapsed_ms for each in deltas],
        }
    )
)
