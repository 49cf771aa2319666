"""What reading a client's audio costs: microseconds of CPU for each second of audio.

Peer and limit: the whole file at once through the same libraries, `soundfile.read` and
`soxr.resample`. Workload: a recorded dialogue in each format, in pieces of 20 ms as a live client
sends them and in pieces of 64 KiB as a file is uploaded, through one AudioReader to 16 kHz mono;
and how large the state is that another reader could go on from.

    python benchmarks/audio_in.py [--seconds 60] [--repeats 5] [--markdown FILE]
"""

import argparse
import io
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import soundfile
import soxr

from streamgate.speech.audio import AudioFormat, AudioReader
from streamgate.speech.audio.samples import Samples

RECORDING = Path(__file__).resolve().parents[1] / "demos" / "audio" / "dialogue_16k.wav"
TARGET_HZ = 16_000
UPLOAD_BYTES = 64 * 1024
LIVE_SECONDS = 0.02
FORMATS = (
    ("WAV s16le, 16 kHz", "WAV", "PCM_16", 16_000, 1),
    ("WAV mu-law, 8 kHz", "WAV", "ULAW", 8_000, 1),
    ("WAV s24le, 48 kHz stereo", "WAV", "PCM_24", 48_000, 2),
    ("FLAC, 16 kHz", "FLAC", "PCM_16", 16_000, 1),
    ("FLAC, 44.1 kHz stereo", "FLAC", "PCM_16", 44_100, 2),
    ("Ogg Opus, 16 kHz", "OGG", "OPUS", 16_000, 1),
    ("Ogg Opus, 48 kHz", "OGG", "OPUS", 48_000, 1),
    ("Ogg Vorbis, 44.1 kHz", "OGG", "VORBIS", 44_100, 1),
    ("MP3, 16 kHz", "MP3", "MPEG_LAYER_III", 16_000, 1),
    ("MP3, 44.1 kHz stereo", "MP3", "MPEG_LAYER_III", 44_100, 2),
)


@dataclass(frozen=True)
class Row:
    """One format: microseconds per second of audio, and the largest snapshot in KiB."""

    name: str
    limit_us: float
    upload_us: float
    live_us: float
    snapshot_kib: float


def speech(seconds: int, rate_hz: int, channels: int) -> Samples:
    dialogue, rate = soundfile.read(RECORDING, dtype="float32")
    part = np.tile(dialogue, 1 + seconds * rate // len(dialogue))[: seconds * rate]
    part = soxr.resample(part, rate, rate_hz)
    return np.stack([part] * channels, axis=1)


def encoded(frames: Samples, rate_hz: int, container: str, subtype: str) -> bytes:
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", rate_hz, frames.shape[1], format=container, subtype=subtype
    ) as file:
        for begin in range(0, len(frames), 4096):  # libvorbis crashes on a minute at once
            file.write(frames[begin : begin + 4096])
    return buffer.getvalue()


def at_once(data: bytes) -> Samples:
    frames, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    samples: Samples = soxr.resample(frames.mean(axis=1), rate, TARGET_HZ)
    return samples


def streamed(data: bytes, size: int) -> Samples:
    reader = AudioReader(AudioFormat(), TARGET_HZ)
    parts = [reader.feed(data[at : at + size]) for at in range(0, len(data), size)]
    return np.concatenate([*parts, reader.finish()])


def largest_snapshot(data: bytes) -> int:
    reader, largest = AudioReader(AudioFormat(), TARGET_HZ), 0
    for at in range(0, len(data), 3_000):
        reader.feed(data[at : at + 3_000])
        largest = max(largest, len(reader.snapshot()))
    return largest


def cpu_us(work: Callable[[], Samples], repeats: int, seconds: int) -> float:
    """The least of several: what disturbs only ever adds."""
    best = float("inf")
    for _ in range(repeats):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best / seconds * 1e6


def measure(seconds: int, repeats: int) -> list[Row]:
    rows = []
    for name, container, subtype, rate_hz, channels in FORMATS:
        data = encoded(speech(seconds, rate_hz, channels), rate_hz, container, subtype)
        live_bytes = max(round(len(data) / seconds * LIVE_SECONDS), 1)
        rows.append(
            Row(
                name,
                cpu_us(lambda data=data: at_once(data), repeats, seconds),  # type: ignore[misc]
                cpu_us(lambda data=data: streamed(data, UPLOAD_BYTES), repeats, seconds),  # type: ignore[misc]
                cpu_us(lambda d=data, n=live_bytes: streamed(d, n), repeats, seconds),  # type: ignore[misc]
                largest_snapshot(data) / 1024,
            )
        )
        print(f"{name}: done", file=sys.stderr)
    return rows


def markdown(rows: list[Row], seconds: int) -> str:
    libraries = f"soundfile {soundfile.__version__} ({soundfile.__libsndfile_version__}), "
    libraries += f"soxr {soxr.__version__}, Python {platform.python_version()}"
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    lines = [
        f"Audio in, {datetime.now(UTC):%Y-%m-%d}: {libraries}; {machine}; {seconds} s of speech.",
        "",
        "| format | at once, us/s | upload, us/s | ratio | live, us/s | ratio | snapshot, KiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.name} | {row.limit_us:.0f} | {row.upload_us:.0f} | "
        f"{row.upload_us / row.limit_us:.1f} | {row.live_us:.0f} | "
        f"{row.live_us / row.limit_us:.1f} | {row.snapshot_kib:.0f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    text = markdown(measure(options.seconds, options.repeats), options.seconds)
    if options.markdown:
        options.markdown.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
