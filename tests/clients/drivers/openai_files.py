"""OpenAI's SDK, files: python openai_files.py PORT KEY WAV"""

import json
import sys
from pathlib import Path

from openai import APIStatusError, OpenAI

port, key, path = sys.argv[1:]
client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0)
transcriptions = client.audio.transcriptions


def error(call, **given):
    try:
        call(file=Path(path), **given)
    except APIStatusError as raised:
        return [type(raised).__name__, raised.status_code, raised.code]
    return None


if key != "right":
    print(json.dumps({"error": error(transcriptions.create, model="whisper-1")}))
    sys.exit()
whole = transcriptions.create(file=Path(path), model="gpt-4o-transcribe")
plain = transcriptions.create(file=Path(path), model="whisper-1", response_format="text")
verbose = transcriptions.create(
    file=Path(path),
    model="whisper-1",
    response_format="verbose_json",
    timestamp_granularities=["word", "segment"],
)
events = list(transcriptions.create(file=Path(path), model="gpt-4o-transcribe", stream=True))
print(
    json.dumps(
        {
            "json": whole.text,
            "text": plain,
            "verbose": verbose.text,
            "words": [[word.word, word.start] for word in verbose.words],
            "segments": [segment.text for segment in verbose.segments],
            "deltas": [event.delta for event in events if event.type == "transcript.text.delta"],
            "done": events[-1].text,
            "srt": transcriptions.create(file=Path(path), model="whisper-1", response_format="srt"),
            "models": [model.id for model in client.models.list()],
            "wrong_model": error(transcriptions.create, model="no_such_model"),
            "wrong_format": error(
                transcriptions.create, model="whisper-1", response_format="diarized_json"
            ),
            "translation": error(client.audio.translations.create, model="whisper-1"),
        }
    )
)
