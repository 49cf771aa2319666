"""Lays exported files out as a model repository:

    python -m streamgate.speech.bring models zipformer --encoder encoder.onnx
        --decoder decoder.onnx --joiner joiner.onnx --tokens tokens.txt

It tells a Zipformer from a FastConformer by the encoder's inputs, reads the numbers from its
metadata where they are, and asks for those that are not. Files are copied; the configurations are
those of docs/bring-your-own-model.md, to be changed at will.
"""

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from streamgate.speech import templates
from streamgate.speech.models.graphs import Graph

SHIFT_SAMPLES = 160
_SPAN = [("SPAN", "span"), ("LAST", "last")]


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line said."""

    repository: Path
    name: str
    encoder: Path
    tokens: Path
    search: Mapping[str, Path]
    """The files of a transducer by the names that they get; none for CTC."""
    language: str
    chunk_frames: int | None
    context_frames: int | None
    channel_cache: str
    time_cache: str

    @property
    def text_class(self) -> str:
        return "transducer:TransducerText" if self.search else "ctc:CtcText"

    @property
    def text_input(self) -> str:
        return "ENCODER_OUT" if self.search else "SCORES"


def configurations(given: Given) -> dict[str, str]:
    """The text of each model's config.pbtxt by the model's name.

    Raises ValueError for an encoder of no family that is known, and for numbers that are missing.
    """
    graph = Graph(given.encoder, 1)
    names = [each.name for each in graph.inputs]
    if "x" in names and any(name.startswith("cached_") for name in names):
        return _zipformer(given, graph, names)
    if "audio_signal" in names and "cache_last_channel" in names:
        return _fastconformer(given, graph)
    raise ValueError(
        f"{given.encoder}: expected an encoder with the inputs 'x' and 'cached_...' (a streaming "
        "Zipformer) or 'audio_signal' and 'cache_last_channel' (a cache-aware FastConformer), "
        f"found {', '.join(names)}"
    )


def _zipformer(given: Given, graph: Graph, names: Sequence[str]) -> dict[str, str]:
    step = _number(graph, given.chunk_frames, "decode_chunk_len", "--chunk-frames")
    size = graph.inputs[names.index("x")].shape[1]
    states = ["cached_*=new_cached_*"]
    states += [f"{name}=new_{name}" for name in ("embed_states", "processed_lens") if name in names]
    features = {
        "preset": "icefall",
        "window_step": str(step),
        "right_context": str(size - step),
        "tail_padding_ms": "300",
    }
    return {
        given.name: templates.ensemble(
            given.name,
            [("FEATURES", "features"), *_SPAN],
            ([("x", "features")], [(graph.outputs[0], "encoded")]),
            [(given.text_input, "encoded"), *_SPAN],
            _speech(given, step),
        ),
        f"{given.name}_features": templates.python_model("features:FbankFeatures", features),
        f"{given.name}_encoder": templates.encoder(
            [], [], {"streamgate.complete_states": ", ".join(states)}
        ),
        f"{given.name}_text": _text(given, {"frame_ms": "40"}),
    }


def _fastconformer(given: Given, graph: Graph) -> dict[str, str]:
    step = _number(graph, given.chunk_frames, "chunk_shift", "--chunk-frames")
    window = graph.metadata.get("window_size", "")
    left = given.context_frames
    if left is None:
        left = int(window) - step if window.isdecimal() else 9  # NeMo's pre_encode_cache_size
    channel = _cache(graph, given.channel_cache, "cache_last_channel", "--channel-cache")
    time = _cache(graph, given.time_cache, "cache_last_time", "--time-cache")
    bins = graph.inputs[0].shape[1]
    output = graph.output_tensors[0]
    dims = f"[ {output.shape[1]}, -1 ]" if given.search else f"[ -1, {output.shape[2]} ]"
    scalar = "data_type: TYPE_INT64 dims: 1"
    fp32 = "data_type: TYPE_FP32 dims:"
    lengths = graph.outputs[1]
    after = graph.outputs[2:]
    features = {
        "preset": "nemo",
        "layout": "time_last",
        "window_step": str(step),
        "left_context": str(left),
        "tail_padding_ms": "300",
    }
    layout = {"layout": "time_last"} if given.search else {}
    return {
        given.name: templates.ensemble(
            given.name,
            [("FEATURES", "features"), ("FRAMES", "frames"), *_SPAN],
            (
                [("audio_signal", "features"), ("length", "frames")],
                [(output.name, "encoded"), (lengths, "encoded_length")],
            ),
            [(given.text_input, "encoded"), ("LENGTH", "encoded_length"), *_SPAN],
            _speech(given, step),
        ),
        f"{given.name}_features": templates.python_model("features:FbankFeatures", features),
        f"{given.name}_encoder": templates.encoder(
            [
                f'input {{ name: "audio_signal" {fp32} [ {bins}, {left + step} ] }}',
                f'input {{ name: "length" {scalar} reshape {{ shape: [ ] }} }}',
                f'output {{ name: "{output.name}" {fp32} {dims} }}',
                f'output {{ name: "{lengths}" {scalar} reshape {{ shape: [ ] }} }}',
            ],
            [
                _state("cache_last_channel", after[0], f"{fp32} [ {channel} ]"),
                _state("cache_last_time", after[1], f"{fp32} [ {time} ]"),
                _state("cache_last_channel_len", after[2], scalar),
            ],
            {"streamgate.state_scalar.cache_last_channel_len": "true"},
        ),
        f"{given.name}_text": _text(given, {**layout, "frame_ms": "80"}),
    }


def _state(source: str, target: str, rest: str) -> str:
    return f'state {{ input_name: "{source}" output_name: "{target}" {rest} }}'


def _text(given: Given, values: Mapping[str, str]) -> str:
    return templates.python_model(given.text_class, values, 1000 if given.search else 0)


def _speech(given: Given, step: int) -> dict[str, str]:
    return {
        "streamgate.speech.languages": given.language,
        "streamgate.speech.chunk_samples": str(step * SHIFT_SAMPLES),
    }


def _number(graph: Graph, given: int | None, key: str, option: str) -> int:
    """A number of the command line, else of the metadata."""
    found = graph.metadata.get(key, "")
    if given is None and not found.isdecimal():
        raise ValueError(f"{graph.path}: has no {key} in its metadata: give {option}")
    return given if given is not None else int(found)


def _cache(graph: Graph, given: str, name: str, option: str) -> str:
    """A cache's dims without the batch's: of the command line, the metadata or the graph."""
    if given:
        return ", ".join(part.strip() for part in given.split(","))
    told = [graph.metadata.get(f"{name}_dim{place}", "") for place in (1, 2, 3)]
    if not all(told):
        told = next([str(d) for d in t.shape[1:]] for t in graph.inputs if t.name == name)
    if not all(size.isdecimal() for size in told):
        raise ValueError(
            f"{graph.path}: does not say all sizes of {name}, only {', '.join(told)}: give {option}"
        )
    return ", ".join(told)


def lay_out(given: Given) -> list[Path]:
    """Write the repository; the folders of its models. Raises ValueError, also where one exists."""
    texts = configurations(given)
    folders = [given.repository / name for name in texts]
    existing = next((folder for folder in folders if folder.exists()), None)
    if existing is not None:
        raise ValueError(f"{existing} exists already")
    for folder, text in zip(folders, texts.values(), strict=True):
        (folder / "1").mkdir(parents=True)
        (folder / "config.pbtxt").write_text(text, encoding="utf-8")
    _, _, encoder, text_folder = folders
    shutil.copyfile(given.encoder, encoder / "1" / "model.onnx")
    shutil.copyfile(given.tokens, text_folder / "1" / "tokens.txt")
    for name, path in given.search.items():
        shutil.copyfile(path, text_folder / "1" / name)
    return folders


def parsed(arguments: Sequence[str]) -> Given:
    """The command line. Raises ValueError for files that are not there or don't go together."""
    parser = argparse.ArgumentParser(prog="python -m streamgate.speech.bring")
    parser.add_argument("repository", type=Path)
    parser.add_argument("name", help="what clients call the model")
    for option in ("--encoder", "--tokens"):
        parser.add_argument(option, type=Path, required=True)
    for option in ("--decoder", "--joiner", "--decoder-joint"):
        parser.add_argument(option, type=Path)
    parser.add_argument("--language", default="en")
    parser.add_argument("--chunk-frames", type=int, help="frames of 10 ms in a step")
    parser.add_argument("--context-frames", type=int, help="NeMo: pre_encode_cache_size (9)")
    parser.add_argument("--channel-cache", default="", help="NeMo: e.g. 17,70,512")
    parser.add_argument("--time-cache", default="", help="NeMo: e.g. 17,512,8")
    found = parser.parse_args(arguments)
    files = {
        "decoder.onnx": found.decoder,
        "joiner.onnx": found.joiner,
        "decoder_joint.onnx": found.decoder_joint,
    }
    search = {name: path for name, path in files.items() if path is not None}
    if set(search) not in (set(), {"decoder.onnx", "joiner.onnx"}, {"decoder_joint.onnx"}):
        raise ValueError(
            "expected --decoder and --joiner, or --decoder-joint, or (for CTC) none of them, "
            f"found {' and '.join(search)}"
        )
    for path in (found.encoder, found.tokens, *search.values()):
        if not path.is_file():
            raise ValueError(f"{path} is no file")
    return Given(
        found.repository,
        found.name,
        found.encoder,
        found.tokens,
        search,
        found.language,
        found.chunk_frames,
        found.context_frames,
        found.channel_cache,
        found.time_cache,
    )


def main(arguments: Sequence[str]) -> int:
    """Lay out a repository; 1 when that can't be done."""
    try:
        for folder in lay_out(parsed(arguments)):
            sys.stdout.write(f"{folder}\n")
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
