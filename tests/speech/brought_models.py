"""Model repositories as docs/bring-your-own-model.md has them, and the same models in a plain loop.

The plain loops are ONNX Runtime and lists, one stream at a time: no batching, no gateway, and none
of our searches.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from streamgate.model.tensor import Array
from streamgate.speech.features import ICEFALL, NEMO, Fbank, FbankOptions
from tests.speech import exports

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bring-your-own-model.md"
TOKENS = 30
NO_ENDPOINTS = {
    "endpoint_silence_s": "0",
    "endpoint_silence_after_speech_s": "0",
    "endpoint_utterance_s": "0",
}
PADDING_FRAMES = 30  # tail_padding_ms on the page


def configurations() -> dict[str, str]:
    """The page's configurations by model name."""
    blocks = re.findall(
        r"```pbtxt\n# models/(\w+)/config\.pbtxt\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL
    )
    return dict(blocks)


def parameter(name: str, value: str) -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}\n'


def write_model(folder: Path, name: str, text: str, more: Mapping[str, str] | None = None) -> Path:
    """One model's configuration; its version folder, for files."""
    version = folder / name / "1"
    version.mkdir(parents=True, exist_ok=True)
    text += "".join(parameter(key, value) for key, value in (more or {}).items())
    (folder / name / "config.pbtxt").write_text(text, encoding="utf-8")
    return version


def write_zipformer(folder: Path, text_parameters: Mapping[str, str]) -> None:
    """The page's zipformer, with graphs that have a true export's tensors."""
    pages = configurations()
    for name in ("zipformer", "zipformer_features"):
        write_model(folder, name, pages[name])
    encoder = write_model(folder, "zipformer_encoder", pages["zipformer_encoder"])
    exports.save_zipformer_encoder(encoder / "model.onnx")
    text = write_model(folder, "zipformer_text", pages["zipformer_text"], text_parameters)
    exports.save_zipformer_decoder(text / "decoder.onnx", TOKENS)
    exports.save_zipformer_joiner(text / "joiner.onnx", TOKENS)
    exports.save_tokens(text / "tokens.txt", ["<blk>", *exports.pieces(TOKENS)[1:]])


def write_first_zipformer(folder: Path, text_parameters: Mapping[str, str]) -> None:
    """As the page says: two lines are different."""
    write_zipformer(folder, text_parameters)
    page = PAGE.read_text("utf-8")
    lines = re.findall(r"^(parameters \{ key: \"([\w.]+)\" value .*)$", page, re.MULTILINE)
    pages = configurations()
    for name, key in (
        ("zipformer_features", "right_context"),
        ("zipformer_encoder", "streamgate.complete_states"),
    ):
        (old,) = [line for line, found in lines if found == key and line in pages[name]]
        (new,) = [line for line, found in lines if found == key and line not in pages[name]]
        write_model(folder, name, replaced(pages[name], (old, new)))
    exports.save_first_zipformer_encoder(folder / "zipformer_encoder" / "1" / "model.onnx")


def write_fastconformer(folder: Path, text_parameters: Mapping[str, str], kind: str) -> None:
    """The page's FastConformer, `joint`, `split` or `ctc`, with the dims of our graphs."""
    pages = configurations()
    layers, left, dim, conv = (
        exports.NEMO_LAYERS,
        exports.NEMO_LEFT,
        exports.NEMO_DIM,
        exports.NEMO_CONV,
    )
    encoder_text = replaced(
        pages["fastconformer_encoder"],
        ("dims: [ 17, 70, 512 ]", f"dims: [ {layers}, {left}, {dim} ]"),
        ("dims: [ 17, 512, 8 ]", f"dims: [ {layers}, {dim}, {conv} ]"),
        ("dims: [ 512, -1 ]", f"dims: [ {dim}, -1 ]"),
    )
    ensemble = pages["fastconformer"]
    text = pages["fastconformer_text"]
    if kind == "ctc":
        (line,) = re.findall(
            r"```\n(output \{ name: \"logprobs\".*?\n)```", PAGE.read_text("utf-8")
        )
        outputs = f'output {{ name: "outputs" data_type: TYPE_FP32 dims: [ {dim}, -1 ] }}\n'
        encoder_text = replaced(encoder_text, (outputs, line.replace("1025", str(TOKENS))))
        maps = (
            ('key: "outputs" value: "encoded"', 'key: "logprobs" value: "encoded"'),
            ('key: "ENCODER_OUT" value: "encoded"', 'key: "SCORES" value: "encoded"'),
        )
        ensemble = replaced(ensemble, *maps)
        text = pages["fastconformer_ctc_text"]
    write_model(folder, "fastconformer", ensemble)
    write_model(folder, "fastconformer_features", pages["fastconformer_features"])
    encoder = write_model(folder, "fastconformer_encoder", encoder_text)
    exports.save_nemo_encoder(encoder / "model.onnx", TOKENS if kind == "ctc" else 0)
    version = write_model(folder, "fastconformer_text", text, text_parameters)
    if kind != "ctc":
        exports.save_nemo_decoder(version, TOKENS, joint=kind == "joint")
    exports.save_tokens(version / "tokens.txt", [*exports.pieces(TOKENS - 1), "<blk>"])


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


class Plain:
    """An ONNX graph, and its states by the names of inputs and outputs."""

    def __init__(self, path: Path, batch: str, states: Mapping[str, str], sizes: Mapping[str, int]):
        self.session: Any = onnxruntime.InferenceSession(
            str(path), providers=["CPUExecutionProvider"]
        )
        self.states = states
        self.fresh = {}
        for each in self.session.get_inputs():
            if each.name in states:
                dims = [1 if size == batch else sizes.get(size, size) for size in each.shape]
                kind = np.int64 if each.type == "tensor(int64)" else np.float32
                self.fresh[each.name] = np.zeros(dims, kind)
        self.outputs = [each.name for each in self.session.get_outputs()]

    def windows(self, windows: Sequence[Mapping[str, Array]]) -> list[Array]:
        """The first output for each of a stream's windows."""
        values = dict(self.fresh)
        found = []
        for window in windows:
            outputs = self.session.run(None, {**window, **values})
            named = dict(zip(self.outputs, outputs, strict=True))
            values = {name: named[new] for name, new in self.states.items()}
            found.append(outputs[0][0])
        return found


def windows_of(
    options: FbankOptions, samples: Array, step: int, left: int, right: int
) -> list[Array]:
    """Windows [frames, 80] that cover the audio and the silence behind it."""
    fbank = Fbank(options)
    silence = fbank.offline(np.zeros(16000, np.float32))[20]
    frames = np.concatenate((fbank.offline(samples), [silence] * PADDING_FRAMES))
    count = -(-len(frames) // step)
    missing = count * step + right - len(frames)
    filling = np.tile(silence, (missing, 1))
    padded = np.concatenate((np.zeros((left, 80), np.float32), frames, filling))
    return [padded[at : at + left + step + right] for at in range(0, count * step, step)]


def plain_zipformer(folder: Path, samples: Array, right: int = 13, count: int = 98) -> list[str]:
    """The tokens of a stream; so many states are the encoder's."""
    path = folder / "zipformer_encoder" / "1" / "model.onnx"
    names = [each.name for each in onnxruntime.InferenceSession(str(path)).get_inputs()]
    states = {name: f"new_{name}" for name in names if name != "x"}
    assert len(states) == count
    encoder = Plain(path, "N", states, {})
    windows = windows_of(ICEFALL, samples, 32, 0, right)
    encoded = encoder.windows([{"x": each[None].astype(np.float32)} for each in windows])
    text = folder / "zipformer_text" / "1"
    decoder = onnxruntime.InferenceSession(str(text / "decoder.onnx"))
    joiner = onnxruntime.InferenceSession(str(text / "joiner.onnx"))
    history = [0, 0]
    for frame in np.concatenate(encoded):
        (output,) = decoder.run(None, {"y": np.array([history[-2:]], np.int64)})
        (logit,) = joiner.run(None, {"encoder_out": frame[None], "decoder_out": output})
        best = int(logit[0].argmax())
        if best != 0:
            history.append(best)
    texts = ["<blk>", *exports.pieces(TOKENS)[1:]]
    return [texts[token] for token in history[2:]]


def plain_fastconformer(folder: Path, samples: Array, kind: str) -> list[str]:
    states = {
        "cache_last_channel": "cache_last_channel_next",
        "cache_last_time": "cache_last_time_next",
        "cache_last_channel_len": "cache_last_channel_next_len",
    }
    path = folder / "fastconformer_encoder" / "1" / "model.onnx"
    encoder = Plain(path, "B", states, {"cache_frames": exports.NEMO_LEFT})
    windows = windows_of(NEMO, samples, exports.NEMO_CHUNK, exports.NEMO_CACHE, 0)
    length = np.array([exports.NEMO_CACHE + exports.NEMO_CHUNK], np.int64)
    fed: list[dict[str, Array]] = [
        {"audio_signal": each.T[None].astype(np.float32), "length": length} for each in windows
    ]
    encoded = encoder.windows(fed)
    texts, blank = [*exports.pieces(TOKENS - 1), "<blk>"], TOKENS - 1
    if kind == "ctc":
        path_tokens = np.concatenate(encoded).argmax(axis=1).tolist()
        pairs = zip([blank, *path_tokens], path_tokens, strict=False)
        return [texts[now] for before, now in pairs if now not in (before, blank)]
    frames = np.concatenate([each.T for each in encoded])
    return [texts[token] for token in recurrent_search(folder / "fastconformer_text" / "1", frames)]


def recurrent_search(folder: Path, frames: Array) -> list[int]:
    """NeMo's greedy search: up to ten symbols a frame, a prediction network with states."""
    blank = TOKENS - 1
    shape = (exports.PREDICTION_LAYERS, 1, exports.HIDDEN)
    before = [np.zeros(shape, np.float32)] * 2
    joint = folder / "decoder_joint.onnx"
    parts = [joint] if joint.exists() else [folder / "decoder.onnx", folder / "joiner.onnx"]
    graphs = [onnxruntime.InferenceSession(str(part)) for part in parts]
    last, found = blank, []
    for frame in frames:
        for _ in range(10):
            given = {
                "targets": np.array([[last]], np.int32),
                "target_length": np.ones(1, np.int32),
                "input_states_1": before[0],
                "input_states_2": before[1],
            }
            encoded = frame[None, :, None]
            if len(graphs) == 1:
                logits, _, *after = graphs[0].run(None, {"encoder_outputs": encoded, **given})
            else:
                output, _, *after = graphs[0].run(None, given)
                pair = {"encoder_outputs": encoded, "decoder_outputs": output}
                (logits,) = graphs[1].run(None, pair)
            best = int(logits.reshape(-1).argmax())
            if best == blank:
                break
            found.append(best)
            last, before = best, after
    return found


def words_of(tokens: Sequence[str]) -> list[str]:
    """Pieces joined to words."""
    return "".join(tokens).replace(chr(0x2581), " ").split()
