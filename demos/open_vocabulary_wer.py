"""Measures the word error rate of the demo model `pocketsphinx_english` on synthetic voices.

    python demos/open_vocabulary_wer.py

Speaks twenty everyday sentences with flite and espeak-ng, which must be installed (on Debian,
`apt-get install flite espeak-ng`), and lets the model's own code hear them, with its own
end-pointing, in chunks of 160 ms. Prints a line for each voice, and how much processor time a
second of audio took.
"""

import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

RATE = 16_000
CHUNK = 2560
MODEL = Path(__file__).resolve().parent / "models" / "pocketsphinx_english" / "1"

SENTENCES = """
the meeting starts at nine in the morning
please open the window before you leave
my sister lives in a small house near the river
we need more time to finish the report
the weather will be cold and dry tomorrow
he bought two tickets for the evening train
can you tell me where the station is
the children played in the garden all day
she wrote a long letter to her old friend
there is no reason to be afraid of the dog
they walked slowly along the beach at night
i would like a cup of coffee and some bread
the doctor said that everything is fine
our company opened a new office last year
turn left at the next corner and go straight
the book on the table belongs to my brother
it takes about an hour to get there by bus
nobody knew the answer to the last question
the price of oil went up again this week
thank you very much for your help
""".strip().splitlines()

VOICES = {
    "flite slt (female, US)": ["flite", "-voice", "slt", "-o", "{out}", "-t", "{text}"],
    "flite rms (male, US)": ["flite", "-voice", "rms", "-o", "{out}", "-t", "{text}"],
    "flite awb (male, Scottish)": ["flite", "-voice", "awb", "-o", "{out}", "-t", "{text}"],
    "flite kal (male, diphones)": ["flite", "-voice", "kal", "-o", "{out}", "-t", "{text}"],
    "espeak-ng en-us (formants)": [
        "espeak-ng",
        "-s",
        "150",
        "-v",
        "en-us",
        "-w",
        "{out}",
        "{text}",
    ],
}


def errors(reference: list[str], heard: list[str]) -> int:
    """The fewest insertions, deletions and substitutions that lead from one to the other."""
    row = list(range(len(heard) + 1))
    for place, word in enumerate(reference, start=1):
        before, row[0] = row[0], place
        for index, other in enumerate(heard, start=1):
            before, row[index] = (
                row[index],
                min(row[index] + 1, row[index - 1] + 1, before + (word != other)),
            )
    return row[-1]


def spoken(command: list[str], text: str, folder: str) -> Any:
    out = Path(folder) / "spoken.wav"
    filled = [part.format(out=out, text=text) for part in command]
    subprocess.run(filled, check=True, capture_output=True, timeout=60)
    samples, rate = soundfile.read(out, dtype="float32")
    audio = soxr.resample(samples, rate, RATE)
    return np.pad(0.5 * audio / np.abs(audio).max(), (RATE // 3, RATE)).astype(np.float32)


def heard(module: Any, decoders: Any, audio: Any) -> list[str]:
    recogniser = module.Recogniser(decoders.lend(), end_silence_s=0.6)
    words = []
    for start in range(0, len(audio), CHUNK):
        end = start + CHUNK >= len(audio)
        for event in recogniser.hear(audio[start : start + CHUNK], None, flush=end):
            words += event.stable.split()
    decoders.take_back(recogniser.decoder)
    return words


def main() -> int:
    spec = importlib.util.spec_from_file_location("recogniser", MODEL / "recogniser.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["recogniser"] = module
    spec.loader.exec_module(module)
    decoders = module.Decoders()
    audio_s = busy_s = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for voice, command in VOICES.items():
            wrong = 0
            for text in SENTENCES:
                audio = spoken(command, text, folder)
                began = time.process_time()
                wrong += errors(text.split(), heard(module, decoders, audio))
                busy_s += time.process_time() - began
                audio_s += len(audio) / RATE
            count = sum(len(text.split()) for text in SENTENCES)
            print(f"{voice:30} {wrong / count:6.1%} of {count} words", flush=True)
    print(f"{busy_s / audio_s:.2f} s of processor time for a second of audio")
    return 0


if __name__ == "__main__":
    sys.exit(main())
