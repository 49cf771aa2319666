"""WhisperLive's own client: python whisper_live_client.py PORT WAV

It imports the library of a sound card, which nothing here has: an empty module stands in, and
another for its video reader.
"""

import json
import sys
import types
import wave

for name in ("pyaudio", "av"):
    sys.modules[name] = types.ModuleType(name)

from whisper_live.client import StreamingTranscriptionClient  # noqa: E402

port, path = sys.argv[1:]
partials = []
client = StreamingTranscriptionClient(
    "127.0.0.1", int(port), lang="en", on_partial_transcript=lambda text, _: partials.append(text)
)
try:
    with client, wave.open(path) as file:
        while data := file.readframes(4096):
            client.send(data, pcm_format="int16")
except RuntimeError as error:
    print(json.dumps({"refused": str(error)}))
    sys.exit()
text = " ".join(segment["text"] for segment in client.transcript)
print(json.dumps({"text": text, "partials": len(partials)}))
