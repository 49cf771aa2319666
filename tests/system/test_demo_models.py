"""The generated demo graphs, run in plain ONNX Runtime: what a server will rely on.

The voice-activity graph is compared with the way the `silero-vad` package itself uses its file:
one stream at a time, the context and the event logic outside the graph.
"""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from tests.system.mulaw import mulaw

DEMOS = Path(__file__).resolve().parents[2] / "demos"
Array = np.ndarray[Any, np.dtype[Any]]
Arrays = dict[str, Array]

CHUNK = 512
ONNX_TYPES = {
    "tensor(float)": model_config_pb2.TYPE_FP32,
    "tensor(int32)": model_config_pb2.TYPE_INT32,
    "tensor(int64)": model_config_pb2.TYPE_INT64,
    "tensor(uint8)": model_config_pb2.TYPE_UINT8,
}


def _installed_vad() -> bool:
    try:
        metadata.distribution("silero-vad")
    except metadata.PackageNotFoundError:
        return False
    return True


pytestmark = pytest.mark.skipif(
    not _installed_vad(), reason="silero-vad, whose data file the graph is made from, is absent"
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that prepare.py has written, as a user runs it."""
    output = tmp_path_factory.mktemp("models")
    command = [sys.executable, str(DEMOS / "prepare.py"), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="module")
def graphs() -> ModuleType:
    """The module that cuts the graph (demos are scripts, not a package)."""
    path = DEMOS / "voice_activity_graph.py"
    spec = importlib.util.spec_from_file_location("voice_activity_graph", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class Streams:
    """`rows` streams in one batch: keeps the graph's states, batch axis 1 for `state`."""

    def __init__(self, path: Path, rows: int) -> None:
        self._session = _session(path)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.states: Arrays = {
            "state": np.zeros((2, rows, 128), np.float32),
            "context": np.zeros((rows, 64), np.float32),
            "position": np.zeros((rows, 1), np.int64),
            "speaking": np.zeros((rows, 1), np.int32),
            "silence_start": np.full((rows, 1), -1, np.int64),
        }

    def step(self, audio: Array) -> Arrays:
        results = self._session.run(self._outputs, {"AUDIO": audio, **self.states})
        outputs = dict(zip(self._outputs, results, strict=True))
        self.states = {name: outputs.pop(f"{name}_out") for name in self.states}
        return outputs

    def reset(self, row: int) -> None:
        for name, value in self.states.items():
            fresh = -1 if name == "silence_start" else 0
            value[(slice(None), row) if name == "state" else row] = fresh


def _chunks(name: str) -> Array:
    """A 16 kHz demo file as [chunks, 512], with half a second of silence at its end."""
    samples, rate = soundfile.read(DEMOS / "audio" / name, dtype="float32")
    assert rate == 16_000
    samples = np.pad(samples, (0, rate // 2))
    return np.asarray(samples[: len(samples) // CHUNK * CHUNK].reshape(-1, CHUNK))


@pytest.fixture(scope="module")
def station() -> Array:
    return _chunks("station_16k.wav")


@pytest.fixture(scope="module")
def dialogue() -> Array:
    return _chunks("dialogue_16k.wav")


def _alone(path: Path, chunks: Array) -> Arrays:
    """All outputs of one stream run alone, stacked over its steps."""
    streams = Streams(path, rows=1)
    steps = [streams.step(chunk[None]) for chunk in chunks]
    return {name: np.concatenate([step[name] for step in steps]) for name in steps[0]}


def _original_probabilities(source: Path, chunks: Array) -> list[float]:
    """The package's own pattern: context in front of each chunk, state passed on, `sr` given."""
    session = _session(source)
    state = np.zeros((2, 1, 128), np.float32)
    context = np.zeros((1, 64), np.float32)
    probabilities = []
    for chunk in chunks:
        heard = np.concatenate([context, chunk[None]], axis=1)
        feeds = {"input": heard, "state": state, "sr": np.array(16_000, np.int64)}
        probability, state = session.run(None, feeds)
        context = heard[:, -64:]
        probabilities.append(float(probability.item()))
    return probabilities


def _expected_events(probabilities: list[float]) -> Iterator[tuple[int, float]]:
    """What the package's streaming iterator answers at each step: (event, seconds)."""
    speaking = False
    silent_since: int | None = None  # end of the first quiet chunk
    for index, probability in enumerate(probabilities):
        now = (index + 1) * CHUNK
        event, sample = 0, -16_000.0
        if probability >= 0.5:
            silent_since = None
            if not speaking:
                speaking, event, sample = True, 1, max(0, now - CHUNK - 480)
        elif probability < 0.35 and speaking:
            silent_since = silent_since or now
            if now - silent_since >= 1600:
                speaking, event, sample = False, 2, silent_since - CHUNK + 480
                silent_since = None
        yield event, sample / 16_000


def test_probabilities_are_those_of_the_package(
    prepared: Path, graphs: ModuleType, station: Array
) -> None:
    ours = _alone(prepared / "voice_activity/1/model.onnx", station)["SPEECH_PROBABILITY"]
    theirs = _original_probabilities(graphs.installed_source(), station)
    np.testing.assert_allclose(ours[:, 0], theirs, atol=1e-5)
    assert max(theirs) > 0.95
    assert min(theirs) < 0.05


@pytest.mark.parametrize("name", ["station_16k.wav", "dialogue_16k.wav"])
def test_events_are_those_of_the_package(prepared: Path, graphs: ModuleType, name: str) -> None:
    chunks = _chunks(name)
    ours = _alone(prepared / "voice_activity/1/model.onnx", chunks)
    expected = list(_expected_events(_original_probabilities(graphs.installed_source(), chunks)))
    assert ours["SPEECH_EVENT"][:, 0].tolist() == [event for event, _ in expected]
    np.testing.assert_allclose(ours["EVENT_TIME"][:, 0], [time for _, time in expected], atol=1e-4)
    assert sum(event > 0 for event, _ in expected) == 4


def test_hysteresis_on_every_edge(graphs: ModuleType) -> None:
    """The event operators alone, on probabilities that speech would seldom produce."""
    rng = np.random.default_rng(7)
    levels = np.array([0.0, 0.34, 0.36, 0.42, 0.49, 0.5, 0.9], np.float32)
    probabilities = rng.choice(levels, 4000, p=[0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1])
    events = onnx.parser.parse_graph(graphs._EVENTS)
    model = onnx.helper.make_model(
        events, opset_imports=[onnx.helper.make_opsetid("", 16)], ir_version=8
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    position = np.zeros((1, 1), np.int64)
    speaking = np.zeros((1, 1), np.int32)
    silence = np.full((1, 1), -1, np.int64)
    found = []
    for probability in probabilities:
        feeds = {
            "SPEECH_PROBABILITY": probability.reshape(1, 1),
            "position": position,
            "speaking": speaking,
            "silence_start": silence,
        }
        event, time, position, speaking, silence = session.run(None, feeds)
        found.append((int(event.item()), float(time.item())))
    expected = list(_expected_events(probabilities.tolist()))
    assert [event for event, _ in found] == [event for event, _ in expected]
    np.testing.assert_allclose([t for _, t in found], [t for _, t in expected], rtol=1e-6)
    assert len({event for event, _ in found}) == 3


def test_three_streams_in_one_batch_equal_each_alone(
    prepared: Path, station: Array, dialogue: Array
) -> None:
    path = prepared / "voice_activity/1/model.onnx"
    steps = min(len(station), len(dialogue)) - 20
    rows = [station[:steps], dialogue[:steps], station[20 : 20 + steps]]
    batch = Streams(path, rows=3)
    together = [batch.step(np.stack([row[step] for row in rows])) for step in range(steps)]
    assert batch.states["state"].shape == (2, 3, 128)
    for row, chunks in enumerate(rows):
        alone = _alone(path, chunks)
        for name, values in alone.items():
            mine = np.stack([step[name][row] for step in together])
            np.testing.assert_allclose(mine, values, atol=1e-4, err_msg=f"{name} of row {row}")
        assert alone["SPEECH_EVENT"].any()


def test_a_reset_row_starts_afresh_and_its_neighbour_goes_on(
    prepared: Path, station: Array, dialogue: Array
) -> None:
    path = prepared / "voice_activity/1/model.onnx"
    batch = Streams(path, rows=2)
    first = [batch.step(np.stack([station[i], dialogue[i]])) for i in range(40)]
    batch.reset(0)
    second = [batch.step(np.stack([station[i - 40], dialogue[i]])) for i in range(40, 80)]
    again = np.stack([step["SPEECH_PROBABILITY"][0] for step in second])
    before = np.stack([step["SPEECH_PROBABILITY"][0] for step in first])
    np.testing.assert_allclose(again, before, atol=1e-4)
    neighbour = np.stack([step["SPEECH_PROBABILITY"][1] for step in first + second])
    np.testing.assert_allclose(
        neighbour, _alone(path, dialogue[:80])["SPEECH_PROBABILITY"], atol=1e-4
    )


def test_the_source_is_told_when_it_is_not_the_known_graph(
    prepared: Path, graphs: ModuleType
) -> None:
    with pytest.raises(graphs.GraphSourceError, match=r"inputs are .*expected input, sr, state"):
        graphs.build(prepared / "add_sub_onnx/1/model.onnx")


def test_running_sum_and_add_sub(prepared: Path) -> None:
    running = _session(prepared / "running_sum_onnx/1/model.onnx")
    feeds = {"INPUT": np.array([[5], [-2]], np.int32), "sum": np.array([[10], [0]], np.int32)}
    output, state = running.run(["OUTPUT", "sum_out"], feeds)
    assert output.tolist() == state.tolist() == [[15], [-2]]
    add_sub = _session(prepared / "add_sub_onnx/1/model.onnx")
    left, right = np.array([[1.0, 2.0, 3.0]], np.float32), np.array([[1.0, 0.5, 4.0]], np.float32)
    total, difference = add_sub.run(["OUTPUT0", "OUTPUT1"], {"INPUT0": left, "INPUT1": right})
    assert total.tolist() == [[2.0, 2.5, 7.0]]
    assert difference.tolist() == [[0.0, 1.5, -1.0]]


def test_telephone_audio_is_decoded_and_doubled_without_a_seam(prepared: Path) -> None:
    session = _session(prepared / "telephone_audio/1/model.onnx")
    seconds = np.arange(20 * 256) / 8_000
    tones = np.stack([0.5 * np.sin(2 * np.pi * hertz * seconds) for hertz in (300, 2_800)])
    history = np.zeros((2, 15), np.float32)
    pieces = []
    for chunk in mulaw(tones).reshape(2, 20, 256).swapaxes(0, 1):
        audio, history = session.run(["AUDIO", "history_out"], {"MULAW": chunk, "history": history})
        pieces.append(audio)
    heard = np.concatenate(pieces, axis=1)
    assert heard.shape == (2, 20 * 512)
    late = np.arange(20 * 512) / 16_000 - 0.001
    wanted = np.stack([0.5 * np.sin(2 * np.pi * hertz * late) for hertz in (300, 2_800)])
    # What is left is mu-law itself: 38 dB or so.
    noise = (heard - wanted)[:, 64:]
    assert float(np.sqrt(np.mean(noise**2))) < 0.5 / np.sqrt(2) / 50


def test_five_chunks_in_a_step_equal_five_steps(prepared: Path, station: Array) -> None:
    chunks = station[: len(station) // 5 * 5]
    singly = _alone(prepared / "voice_activity/1/model.onnx", chunks)
    by_fives = _alone(prepared / "voice_activity_160ms/1/model.onnx", chunks.reshape(-1, 5 * CHUNK))
    assert by_fives["SPEECH_EVENT"].any()
    for name, values in singly.items():
        np.testing.assert_allclose(by_fives[name].reshape(-1, 1), values, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "name", ["voice_activity", "voice_activity_160ms", "running_sum_onnx", "telephone_audio"]
)
def test_configuration_and_graph_agree(prepared: Path, name: str) -> None:
    """Each state of config.pbtxt is in the graph, in and out, with its type, shape and axis."""
    config = model_config_pb2.ModelConfig()
    text_format.Parse((DEMOS / "models" / name / "config.pbtxt").read_text(), config)
    session = _session(prepared / name / "1" / "model.onnx")
    inputs = {value.name: (ONNX_TYPES[value.type], value.shape) for value in session.get_inputs()}
    outputs = {value.name: (ONNX_TYPES[value.type], value.shape) for value in session.get_outputs()}
    states = config.sequence_batching.state
    for state in states:
        key = f"streamgate.state_batch_axis.{state.input_name}"
        axis = int(config.parameters[key].string_value) if key in config.parameters else 0
        shape = [*state.dims[:axis], "B", *state.dims[axis:]]
        assert inputs.pop(state.input_name) == (state.data_type, shape)
        assert outputs.pop(state.output_name) == (state.data_type, shape)
    assert inputs == {v.name: (v.data_type, ["B", *v.dims]) for v in config.input}
    assert outputs == {v.name: (v.data_type, ["B", *v.dims]) for v in config.output}


def test_every_configuration_is_readable_to_triton() -> None:
    """Our additions are parameters, so Triton's own schema accepts each file."""
    paths = sorted((DEMOS / "models").glob("*/config.pbtxt"))
    assert len(paths) >= 8
    for path in paths:
        text = path.read_text()
        assert text.startswith("# "), f"{path}: expected a comment at the top"
        text_format.Parse(text, model_config_pb2.ModelConfig())
