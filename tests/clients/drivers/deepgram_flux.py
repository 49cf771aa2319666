"""Deepgram's SDK, Flux: python deepgram_flux.py PORT KEY WAV"""

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
with client.listen.v2.connect(
    model="flux-general-en", encoding="linear16", sample_rate=16000, eot_threshold=0.7
) as connection:
    connection.on(EventType.MESSAGE, messages.append)
    listener = threading.Thread(target=connection.start_listening)
    listener.start()
    with wave.open(path) as file:
        while data := file.readframes(1280):
            connection.send_media(data)
    connection.send_close_stream()
    listener.join(30)
turns = [each for each in messages if each.type == "TurnInfo" and each.event == "EndOfTurn"]
print(
    json.dumps(
        {
            "text": " ".join(turn.transcript for turn in turns),
            "numbers": [each.sequence_id for each in messages],
            "types": sorted({type(each).__name__ for each in messages}),
        }
    )
)
