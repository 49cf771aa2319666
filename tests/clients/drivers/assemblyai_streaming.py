"""AssemblyAI's SDK: python assemblyai_streaming.py PORT KEY WAV"""

import json
import sys
import wave

from assemblyai.streaming.v3 import (
    RealTimeEvents,
    RealTimeParameters,
    RealTimeTranscriber,
    RealTimeTranscriberOptions,
)

port, key, path = sys.argv[1:]
turns, others, errors = [], [], []
client = RealTimeTranscriber(
    RealTimeTranscriberOptions(api_host=f"ws://127.0.0.1:{port}", api_key=key)
)
client.on(RealTimeEvents.Begin, lambda _, event: others.append(event.type))
client.on(RealTimeEvents.Turn, lambda _, event: turns.append(event))
client.on(RealTimeEvents.Termination, lambda _, event: others.append(event.type))
client.on(RealTimeEvents.Error, lambda _, error: errors.append(str(error)))
client.connect(RealTimeParameters(sample_rate=16000, format_turns=True, keyterms_prompt=["oak"]))
if not errors:
    with wave.open(path) as file:
        while data := file.readframes(1600):
            client.stream(data)
    client.disconnect(terminate=True)
text = " ".join(turn.transcript for turn in turns if turn.end_of_turn)
print(json.dumps({"text": text, "others": others, "errors": errors}))
