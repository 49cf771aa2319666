"""Any valid configuration builds, and its text, wire and JSON forms say the same."""

import json
import tempfile
from contextlib import suppress
from pathlib import Path

from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate._proto import model_config_pb2 as pb
from streamgate.errors import ConfigError
from streamgate.model.config import DirectStrategy, DynamicBatching, ModelConfig
from streamgate.repository.parse import parse_json, parse_text
from streamgate.repository.repository import ModelRepository, ModelSource
from tests.repository.conftest import FakeBackend

NAMES = st.text("abcXYZ_09é", min_size=1, max_size=4)
TYPES = st.integers(min_value=1, max_value=14)
CORRID_TYPES = st.sampled_from([pb.TYPE_UINT64, pb.TYPE_INT64, pb.TYPE_INT32, pb.TYPE_STRING])
DIMS = st.lists(st.one_of(st.just(-1), st.integers(1, 2**40)), min_size=1, max_size=3)
MICROSECONDS = st.integers(0, 2**64 - 1)


@st.composite
def policies(draw: st.DrawFn) -> pb.ModelQueuePolicy:
    return pb.ModelQueuePolicy(
        timeout_action=draw(st.sampled_from(["REJECT", "DELAY"])),
        default_timeout_microseconds=draw(MICROSECONDS),
        allow_timeout_override=draw(st.booleans()),
        max_queue_size=draw(st.integers(0, 2**32 - 1)),
    )


@st.composite
def dynamic(draw: st.DrawFn, size: int) -> pb.ModelDynamicBatching:
    batching = pb.ModelDynamicBatching(max_queue_delay_microseconds=draw(MICROSECONDS))
    if size:
        batching.preferred_batch_size.extend(draw(st.lists(st.integers(1, size), max_size=3)))
    levels = draw(st.integers(0, 3))
    if levels:
        batching.priority_levels = levels
        batching.default_priority_level = draw(st.integers(1, levels))
        for level in draw(st.sets(st.integers(1, levels))):
            batching.priority_queue_policy[level].CopyFrom(draw(policies()))
    else:
        batching.default_queue_policy.CopyFrom(draw(policies()))
        reject = batching.default_queue_policy.timeout_action == pb.ModelQueuePolicy.REJECT
        batching.preserve_ordering = reject and draw(st.booleans())
    return batching


@st.composite
def controls(draw: st.DrawFn) -> pb.ModelSequenceBatching.Control:
    control = pb.ModelSequenceBatching.Control(
        kind=draw(st.sampled_from(pb.ModelSequenceBatching.Control.Kind.keys()))
    )
    if control.kind == pb.ModelSequenceBatching.Control.CONTROL_SEQUENCE_CORRID:
        control.data_type = draw(CORRID_TYPES)
        return control
    form = draw(st.sampled_from(["int32_false_true", "fp32_false_true", "bool_false_true"]))
    values: st.SearchStrategy[float] = {
        "int32_false_true": st.integers(-(2**31), 2**31 - 1),
        "fp32_false_true": st.floats(width=32, allow_nan=False),
        "bool_false_true": st.booleans(),
    }[form]
    getattr(control, form).extend(draw(st.lists(values, min_size=2, max_size=2)))
    return control


@st.composite
def sequences(draw: st.DrawFn, size: int, names: list[str]) -> pb.ModelSequenceBatching:
    batching = pb.ModelSequenceBatching(
        max_sequence_idle_microseconds=draw(MICROSECONDS), iterative_sequence=draw(st.booleans())
    )
    for control in draw(st.lists(controls(), max_size=3, unique_by=lambda item: item.kind)):
        batching.control_input.add(name=names.pop(), control=[control])
    for _ in range(draw(st.integers(0, 2))):
        name = names.pop()
        state = batching.state.add(
            input_name=name, output_name=name, data_type=draw(TYPES), dims=draw(DIMS)
        )
        if draw(st.booleans()):
            dims = [abs(dim) for dim in state.dims]
            state.initial_state.add(
                name="first", data_type=state.data_type, dims=dims, zero_data=True
            )
    strategy = draw(st.sampled_from(["none", "direct", "oldest"]))
    if strategy == "direct":
        batching.direct.max_queue_delay_microseconds = draw(MICROSECONDS)
        batching.direct.minimum_slot_utilization = draw(st.floats(0, 1, width=32))
    elif strategy == "oldest":
        batching.oldest.max_candidate_sequences = draw(st.integers(-1, 64))
        if size:
            batching.oldest.preferred_batch_size.append(draw(st.integers(1, size)))
    return batching


@st.composite
def configurations(draw: st.DrawFn) -> pb.ModelConfig:
    names = draw(st.lists(NAMES, min_size=10, max_size=10, unique=True))
    config = pb.ModelConfig(backend="python", max_batch_size=draw(st.integers(0, 8)))
    for _ in range(draw(st.integers(0, 2))):
        tensor = config.input.add(
            name=names.pop(), data_type=draw(TYPES), dims=draw(DIMS), optional=draw(st.booleans())
        )
        if draw(st.booleans()):
            tensor.reshape.shape.extend([1, *tensor.dims])
    for name in draw(st.lists(NAMES, max_size=2, unique=True)):
        config.output.add(name=name, data_type=draw(TYPES), dims=draw(DIMS))
    for _ in range(draw(st.integers(0, 2))):
        config.instance_group.add(
            name=draw(st.sampled_from(["", "g"])),
            count=draw(st.integers(-1, 3)),
            kind=draw(st.sampled_from(["KIND_AUTO", "KIND_CPU", "KIND_MODEL"])),
        )
    scheduling = draw(st.sampled_from(["none", "dynamic", "sequence"]))
    if scheduling == "dynamic":
        config.dynamic_batching.CopyFrom(draw(dynamic(config.max_batch_size)))
    elif scheduling == "sequence":
        config.sequence_batching.CopyFrom(draw(sequences(config.max_batch_size, names)))
    for key, value in draw(st.dictionaries(NAMES, st.text(max_size=5), max_size=2)).items():
        config.parameters[key].string_value = value
        config.metric_tags[key] = value
    config.model_transaction_policy.decoupled = draw(st.booleans())
    return config


def read(directory: str, text: str) -> ModelSource:
    folder = Path(directory) / "m"
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "1" / "model.py").touch()
    (folder / "config.pbtxt").write_text(text, encoding="utf-8")
    backend = FakeBackend("model.py")
    return ModelRepository([directory], find_backend=lambda name: backend).read("m")


def built(directory: str, message: pb.ModelConfig) -> ModelConfig:
    source = read(directory, text_format.MessageToString(message, as_utf8=True))
    assert source.failures == {}
    return source.versions[0].config


@settings(max_examples=200, deadline=None)
@given(configurations())
def test_every_valid_configuration_builds(message: pb.ModelConfig) -> None:
    with tempfile.TemporaryDirectory() as directory:
        config = built(directory, message)
        wire = pb.ModelConfig.FromString(config.wire)
        # Three forms of one thing.
        assert parse_json(config.json, "json") == wire
        # A completed configuration is complete.
        assert built(directory, wire) == config
    # What was given is there, unchanged.
    assert list(wire.input) == list(message.input)
    assert list(wire.output) == list(message.output)
    assert wire.parameters == message.parameters
    assert json.loads(config.json)["max_batch_size"] == message.max_batch_size
    # The values follow the message.
    assert [spec.name for spec in config.inputs] == [tensor.name for tensor in message.input]
    assert config.batches == (message.max_batch_size > 0)
    assert len({instance.name for instance in config.instances}) == len(config.instances) > 0
    assert isinstance(config.scheduling, DynamicBatching) == message.HasField("dynamic_batching")
    if config.sequences is not None:
        batching = message.sequence_batching
        assert len(config.controls) == len(batching.control_input)
        assert len(config.states) == len(batching.state)
        assert config.sequences.max_idle_ns > 0
        assert config.sequences.slots >= 1
        if isinstance(config.sequences.strategy, DirectStrategy):
            assert config.sequences.slots == max(1, message.max_batch_size)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda data: data.decode("latin-1")))
def test_no_text_breaks_the_reader(text: str) -> None:
    for parse in (parse_text, parse_json):
        with suppress(ConfigError):
            assert isinstance(parse(text, "somewhere"), pb.ModelConfig)
