"""Speaks sentences with the synthesisers of a Debian machine: espeak-ng, flite and festival."""

import io
import json
import os
import shutil
import subprocess
import wave
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import soxr

import foreign
import voices
from features import RATE, Array
from grammar import Sentence
from voices import Speaker


class SynthesisError(Exception):
    """A synthesiser is missing or failed."""


def read_wave(source: bytes | Path) -> Array:
    """Returns a mono 16-bit WAV as FP32 [samples] in -1..1 at 16 kHz.

    A length that the header overstates (a synthesiser writing to a pipe) is taken as "the rest".
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    with wave.open(stream) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    audio = samples.astype(np.float32) / 32768
    return audio if rate == RATE else soxr.resample(audio, rate, RATE).astype(np.float32)


def trimmed(audio: Array, margin: int = RATE // 20) -> Array:
    """Returns `audio` without the silence at its ends, but for `margin` samples."""
    loud = np.flatnonzero(np.abs(audio) > 0.01 * max(float(np.abs(audio).max(initial=0)), 1e-4))
    if not len(loud):
        return audio
    return audio[max(0, loud[0] - margin) : loud[-1] + margin]


class Synthesiser:
    """Speaks with any `Speaker`; `scratch` holds the random voices and festival's output."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self._scratch = scratch
        self._espeak_data = scratch / "espeak-ng-data"
        if not self._espeak_data.exists():
            _write_espeak_data(self._espeak_data, Random(seed))

    def espeak(self, speaker: Speaker, sentence: Sentence, random: Random) -> Array:
        accent = random.choice(voices.ACCENTS)
        speed = int(random.triangular(100, 300, 175))
        command = [
            "espeak-ng", f"--path={self._scratch}", "-v", f"{accent}+{speaker.voice}",
            "-s", str(speed), "-p", str(random.randrange(25, 80)), "--stdout", sentence.spoken,
        ]  # fmt: skip
        return read_wave(_run(command))

    def flite(self, speaker: Speaker, sentence: Sentence, random: Random) -> Array:
        target = self._scratch / f"flite.{os.getpid()}.wav"
        stretch = random.triangular(0.65, 1.4, 0.95)
        _run([
            "flite", "-voice", speaker.voice, "--setf", f"duration_stretch={stretch:.2f}",
            "-t", sentence.spoken, "-o", str(target),
        ])  # fmt: skip
        return read_wave(target)

    def festival(self, speaker: Speaker, sentences: list[Sentence]) -> Iterator[Array]:
        """Speaks many sentences in one process: festival takes a second to start."""
        texts = [f"Text {json.dumps(sentence.spoken)}" for sentence in sentences]
        return self._festival(speaker.voice, texts)

    def foreign(
        self, speaker: Speaker, sentences: list[Sentence], random: Random
    ) -> Iterator[Array]:
        """Speaks the known words of many sentences with a foreign voice of festival."""
        said = [foreign.segments(list(one.words), speaker.voice, random) for one in sentences]
        return self._festival(speaker.voice, [f"Segments {one}" for one in said])

    def _festival(self, voice: str, utterances: list[str]) -> Iterator[Array]:
        folder = self._scratch / f"festival.{os.getpid()}"
        folder.mkdir(exist_ok=True)
        lines = [f"(voice_{voice})"]
        for index, utterance in enumerate(utterances):
            path = json.dumps(str(folder / f"{index}.wav"))
            lines.append(f"(utt.save.wave (utt.synth (Utterance {utterance})) {path} 'riff)")
        script = folder / "say.scm"
        script.write_text("\n".join(lines))
        try:
            _run(["festival", "-b", str(script)])
            for index in range(len(utterances)):
                yield read_wave(folder / f"{index}.wav")
        finally:
            shutil.rmtree(folder)


def _run(command: list[str]) -> bytes:
    try:
        return subprocess.run(command, check=True, capture_output=True, timeout=600).stdout
    except FileNotFoundError:
        raise SynthesisError(
            f"{command[0]} is not installed (see demos/numbers/README.md)"
        ) from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace")[-300:]
        raise SynthesisError(f"{' '.join(command)} failed: {said}") from None


def _write_espeak_data(target: Path, random: Random) -> None:
    """Copies espeak-ng's data to `target` with our random voices instead of most of its own."""
    said = _run(["espeak-ng", "--version"]).decode()
    source = Path(said.split("Data at:")[1].strip())
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, ignore=shutil.ignore_patterns("mb", "*_dict"))
    shutil.copy(source / "en_dict", partial)
    folder = partial / "voices" / "!v"
    keep = {*voices.STOCK_TRAINING, *voices.STOCK_HELD_OUT}
    for path in folder.iterdir():
        if path.name not in keep:
            path.unlink()
    for index in range(voices.RANDOM_VOICES):
        name = f"r{index:03d}"
        (folder / name).write_text(voices.random_voice(name, random))
    for language in (partial / "lang").rglob("*"):  # English alone: the number of files is limited
        if language.is_file() and not language.name.lower().startswith("en"):
            language.unlink()
    partial.rename(target)
