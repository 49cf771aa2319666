"""Vosk's own transcriber in its server mode: python vosk_transcriber.py URL WAV FFMPEG_FOLDER

It loads a model even for that, which is left out here; and it decodes with an `ffmpeg` on the path,
for which a script stands in that gives a WAV file's samples.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import vosk.transcriber.transcriber as client

url, path, folder = sys.argv[1:]
stand_in = Path(folder) / "ffmpeg"
stand_in.write_text(
    f"#!{sys.executable}\n"
    "import sys, wave\n"
    "with wave.open(sys.argv[sys.argv.index('-i') + 1]) as file:\n"
    "    sys.stdout.buffer.write(file.readframes(file.getnframes()))\n"
)
stand_in.chmod(0o755)
os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
client.Model = lambda **_: None
args = argparse.Namespace(
    model=None, model_name=None, lang=None, server=url, output_type="json", tasks=1
)
output = Path(folder) / "output"
texts = []
for kind in ("txt", "srt"):
    args.output_type = kind
    client.Transcriber(args).process_task_list([(path, str(output))])
    texts.append(output.read_text())
print(json.dumps({"text": texts[0], "srt": texts[1]}))
