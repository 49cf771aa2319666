"""The unmodified sherpa-onnx recogniser and the gateway, on the same files: the same tokens.

An independent reference for features, windows, caches and searches. Its program puts half a second
of silence in front of a file and leaves out a last window that is not full.
"""

import json
import re
import wave
from pathlib import Path

import numpy as np
import pytest

from streamgate.model.tensor import Array
from tests.clients.environment import ENVIRONMENT, run
from tests.speech import exports
from tests.speech.brought_models import (
    NO_ENDPOINTS,
    TOKENS,
    configurations,
    replaced,
    words_of,
    write_fastconformer,
    write_first_zipformer,
    write_model,
    write_zipformer,
)
from tests.speech.house import speech_house
from tests.speech.test_brought_models import RATE, heard_together, speech

SHERPA = ENVIRONMENT / "bin" / "sherpa-onnx"

pytest.importorskip("kaldi_native_fbank", reason="features need kaldi-native-fbank")
pytestmark = pytest.mark.skipif(
    not SHERPA.exists(), reason="no environment with the speech clients (make speech-clients)"
)


async def sherpa(folder: Path, samples: Array, *files: str) -> list[str]:
    """The tokens that sherpa-onnx finds in 16-bit samples, which begin a word with U+2581."""
    path = folder / "heard.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32768).astype("<i2").tobytes())
    output = await run(SHERPA, *files, "--num-threads=1", path)
    found = re.search(r'"tokens": (\[.*?\])', output)
    assert found, output[-2000:]
    tokens: list[str] = json.loads(found[1])
    return [token.replace(" ", chr(0x2581)) for token in tokens]


async def check_same(folder: Path, name: str, *files: str) -> None:
    """The gateway finds what sherpa-onnx finds, and then what is in the silence behind it."""
    samples = np.round(speech(8, 4.0) * 32767).astype(np.float32) / 32768
    reference = words_of(await sherpa(folder, samples, *files))
    silence = np.zeros(RATE // 2, np.float32), np.zeros(RATE, np.float32)
    async with speech_house(folder) as house:
        (listener,) = await heard_together(
            house, name, [np.concatenate((silence[0], samples, silence[1]))]
        )
    assert len(reference) > 5
    # Its last word may go on in ours.
    ours = listener.words[: len(reference)]
    assert ours[:-1] == reference[:-1]
    assert ours[-1].startswith(reference[-1])


@pytest.mark.parametrize("generation", ["zipformer2", "zipformer"])
async def test_zipformers(tmp_path: Path, generation: str) -> None:
    first = generation == "zipformer"
    (write_first_zipformer if first else write_zipformer)(tmp_path, NO_ENDPOINTS)
    text = tmp_path / "zipformer_text" / "1"
    await check_same(
        tmp_path,
        "zipformer",
        f"--encoder={tmp_path / 'zipformer_encoder' / '1' / 'model.onnx'}",
        f"--decoder={text / 'decoder.onnx'}",
        f"--joiner={text / 'joiner.onnx'}",
        f"--tokens={text / 'tokens.txt'}",
    )


@pytest.mark.parametrize("kind", ["ctc", "split"])
async def test_fastconformers(tmp_path: Path, kind: str) -> None:
    """With the features that sherpa-onnx computes for NeMo's models, and as it begins a stream:
    not with an empty cache in front, but with the first frames in its place."""
    write_fastconformer(tmp_path, NO_ENDPOINTS, kind)
    encoder = tmp_path / "fastconformer_encoder" / "1" / "model.onnx"
    exports.save_nemo_encoder(encoder, TOKENS if kind == "ctc" else 0, described=True)
    config = replaced(
        configurations()["fastconformer_features"],
        ('string_value: "nemo"', 'string_value: "nemo-sherpa"'),
        ('key: "left_context"', 'key: "right_context"'),
    )
    write_model(tmp_path, "fastconformer_features", config)
    text = tmp_path / "fastconformer_text" / "1"
    files = [f"--tokens={text / 'tokens.txt'}"]
    if kind == "ctc":
        files.append(f"--nemo-ctc-model={encoder}")
    else:
        files.append(f"--encoder={encoder}")
        files += [f"--{part}={text / part}.onnx" for part in ("decoder", "joiner")]
    await check_same(tmp_path, "fastconformer", *files)
