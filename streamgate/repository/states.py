"""Implicit state: checks of `sequence_batching.state` and the values made from it.

The texts are Triton's where Triton checks. Triton 2.51 dies when the dims of a state and of its
initial state disagree; here that is an error like any other.
"""

from pathlib import Path

from streamgate._proto import model_config_pb2 as pb
from streamgate.errors import Code, ConfigError, StreamGateError
from streamgate.model.config import StateSpec
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import unpack_bytes
from streamgate.repository.defects import defect
from streamgate.repository.extensions import Extensions
from streamgate.repository.layout import path_inside
from streamgate.repository.tensors import check_type_and_dims, data_type, element_count

INITIAL_STATE_FOLDER = "initial_state"

State = pb.ModelSequenceBatching.State
InitialState = pb.ModelSequenceBatching.InitialState


def check_states(config: pb.ModelConfig) -> None:
    """Raise ConfigError for the first state that is wrong."""
    for position, state in enumerate(config.sequence_batching.state):
        where = f"sequence_batching.state[{position}]"
        _check_state(config, where, state)
        if state.initial_state:
            _check_initial_state(where, state)


def _check_state(config: pb.ModelConfig, where: str, state: State) -> None:
    for field in ("input_name", "output_name"):
        if not getattr(state, field):
            raise defect(
                f"sequence batching state must specify '{field}' for {config.name}",
                field=f"{where}.{field}",
                found="nothing",
                expected="a tensor name of the model",
            )
    subject = f"sequence batching state '{state.input_name}'"
    check_type_and_dims(subject, config.name, where, state, "at least one")
    if state.use_growable_memory and not state.use_same_buffer_for_input_output:
        raise defect(
            f"state input '{state.input_name}' of {config.name} can't use growable memory",
            field=f"{where}.use_growable_memory",
            found="true",
            expected="use_same_buffer_for_input_output: true beside it",
        )


def _check_initial_state(where: str, state: State) -> None:
    name = state.input_name
    where = f"{where}.initial_state"
    if len(state.initial_state) > 1:
        raise defect(
            f"initial_state field for state input '{name}' must contain exactly one or zero "
            f"element. Found '{len(state.initial_state)}' elements.",
            field=where,
            found=f"{len(state.initial_state)} elements",
            expected="one",
        )
    initial = state.initial_state[0]
    if not initial.name:
        raise defect(
            f"Field 'name' must be set when using initial_state for state input '{name}'.",
            field=f"{where}.name",
            found="nothing",
            expected="any name",
        )
    if initial.data_type != state.data_type:
        raise defect(
            f"The data type used for 'initial_state' field of state '{name}' does not match the "
            "state data type.",
            field=f"{where}.data_type",
            found=pb.DataType.Name(initial.data_type),
            expected=pb.DataType.Name(state.data_type),
        )
    _check_initial_dims(f"{where}.dims", state, initial)
    if initial.WhichOneof("state_data") is None:
        raise defect(
            f"initial_state setting expects state'{name}' to have state_data set",
            field=where,
            found="neither zero_data nor data_file",
            expected="one of them",
        )


def _check_initial_dims(field: str, state: State, initial: InitialState) -> None:
    name = state.input_name
    if len(initial.dims) != len(state.dims):
        text = (
            "Number of dimensions in 'initial_state' doesn't match the size of 'state' dimensions "
            f"for state input '{name}'. {len(initial.dims)} != {len(state.dims)}"
        )
    elif any(dim == -1 for dim in initial.dims):
        text = f"'initial_state' field for state input name '{name}' contains variable dimensions."
    else:
        # A state that grows may begin with nothing.
        wrong = [
            (found, declared)
            for found, declared in zip(initial.dims, state.dims, strict=True)
            if declared not in (-1, found) or found < 0
        ]
        if not wrong:
            return
        text = (
            f"'initial_state' dim for input name '{name}' doesn't match 'state' dim description. "
            f"{wrong[0][0]} != {wrong[0][1]}"
        )
    raise defect(
        text,
        field=field,
        found=list(initial.dims),
        expected=f"{list(state.dims)}, with a number for each -1",
    )


def build_states(
    config: pb.ModelConfig, extensions: Extensions, folder: Path
) -> tuple[StateSpec, ...]:
    """The states of a checked configuration; initial data is read from the model's `folder`."""
    return tuple(
        _build_state(state, extensions, folder) for state in config.sequence_batching.state
    )


def _build_state(state: State, extensions: Extensions, folder: Path) -> StateSpec:
    initial = state.initial_state[0] if state.initial_state else None
    # The configuration knows no tensor without dimensions: [1] stands for it.
    scalar = state.input_name in extensions.scalars
    return StateSpec(
        input_name=state.input_name,
        output_name=state.output_name,
        datatype=data_type(state.data_type),
        shape=() if scalar else tuple(state.dims),
        batch_axis=extensions.batch_axes.get(state.input_name, 0),
        initial_value=extensions.initial_values.get(state.input_name, 0.0),
        initial_bytes=None if initial is None else _initial_bytes(state, initial, folder),
        initial_shape=None if initial is None else () if scalar else tuple(initial.dims),
        same_buffer=state.use_same_buffer_for_input_output,
        growable=state.use_growable_memory,
    )


def _initial_bytes(state: State, initial: InitialState, folder: Path) -> bytes | None:
    """The data file's content, exactly one state's worth; None for zeros.

    Triton takes a longer file and uses its beginning; that is a mistake in the configuration more
    often than an intention, and refused here.
    """
    if initial.WhichOneof("state_data") == "zero_data":
        return None
    field = f"data_file of the initial_state of state '{state.input_name}'"
    path = path_inside(folder / INITIAL_STATE_FOLDER, initial.data_file, field)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"failed to open text file for read {path}: {error.strerror} ({field})", Code.INTERNAL
        ) from error
    datatype = data_type(state.data_type)
    count = element_count(initial.dims)
    if datatype is DataType.BYTES:
        try:
            unpack_bytes(data, count, state.input_name)
        except StreamGateError as error:
            raise ConfigError(f"{path}: {error.message} ({field})") from error
    elif len(data) != count * datatype.size_bytes:
        raise ConfigError(
            f"initial_state setting expects {count * datatype.size_bytes} bytes, but the data "
            # Triton leaves the blank before "only" out, and clients may match on its text.
            f"provided from {initial.data_file}only has {len(data)} bytes. ({path}: expected "
            f"{list(initial.dims)} of {datatype.config_name})"
        )
    return data
