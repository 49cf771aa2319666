"""NVIDIA's realtime client: python riva_realtime.py PORT WAV KEY file|mic"""

import asyncio
import json
import sys
import wave
from argparse import Namespace
from pathlib import Path

from riva.client.realtime import RealtimeClientASR

port, path, key, how = sys.argv[1:]
arguments = Namespace(
    server=f"127.0.0.1:{port}",
    endpoint="/v1/realtime",
    query_params="intent=transcription",
    use_ssl=False,
    ssl_root_cert=None,
    ssl_client_cert=None,
    ssl_client_key=None,
    mint_api_key=key,
    mic=how == "mic",
    language_code="en-US",
    model_name="",
    prompt="",
    sample_rate_hz=16000,
    num_channels=1,
    max_alternatives=1,
    automatic_punctuation=True,
    word_time_offsets=True,
    profanity_filter=False,
    no_verbatim_transcripts=True,
    speaker_diarization=False,
    boosted_lm_words=[],
    start_history=-1,
    start_threshold=-1.0,
    stop_history=-1,
    stop_threshold=-1.0,
    stop_history_eou=-1,
    stop_threshold_eou=-1.0,
    custom_configuration="",
)


def chunks():
    """The file from its first byte on, or its samples only."""
    with wave.open(path) as samples, Path(path).open("rb") as file:
        while data := samples.readframes(1600) if how == "mic" else file.read(3200):
            yield data


async def transcribe():
    client = RealtimeClientASR(arguments)
    await client.connect()
    await asyncio.gather(client.send_audio_chunks(chunks()), client.receive_responses())
    await client.disconnect()
    return client


try:
    client = asyncio.run(transcribe())
except Exception as error:
    print(json.dumps({"refused": str(error)}))
    sys.exit()
print(json.dumps({"text": client.final_transcript, "session": client.session_config}))
