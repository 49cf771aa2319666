"""Deepgram's SDK, v1: python deepgram_listen.py PORT KEY WAV"""

import json
import sys
import threading
import wave

from deepgram import DeepgramClient
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment

port, key, path = sys.argv[1:]
where = {"base": f"http://127.0.0.1:{port}", "agent_rest": f"http://127.0.0.1:{port}"}
where |= {"production": f"ws://127.0.0.1:{port}", "agent": f"ws://127.0.0.1:{port}"}
client = DeepgramClient(api_key=key, environment=DeepgramClientEnvironment(**where))
messages = []
try:
    with client.listen.v1.connect(
        model="nova-3",
        encoding="linear16",
        sample_rate=16000,
        interim_results=True,
        punctuate=True,
        utterance_end_ms=1000,
        vad_events=True,
        keyterm=["oak", "elm"],
    ) as connection:
        connection.on(EventType.MESSAGE, messages.append)
        listener = threading.Thread(target=connection.start_listening)
        listener.start()
        with wave.open(path) as file:
            connection.send_keep_alive()
            while data := file.readframes(1600):
                connection.send_media(data)
        connection.send_finalize()
        connection.send_close_stream()
        listener.join(30)
except Exception as error:
    print(json.dumps({"refused": str(error)}))
    sys.exit()
results = [each for each in messages if each.type == "Results"]
finals = [each.channel.alternatives[0] for each in results if each.is_final]
print(
    json.dumps(
        {
            "text": " ".join(each.transcript for each in finals if each.transcript),
            "words": [word.start for each in finals for word in each.words],
            "types": sorted({type(each).__name__ for each in messages}),
            "duration": next(each.duration for each in messages if each.type == "Metadata"),
        }
    )
)
