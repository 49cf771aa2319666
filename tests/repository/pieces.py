"""Pieces of `config.pbtxt`, of which the tests make right and wrong configurations."""

PYTHON = 'backend: "python" '
BATCHED = PYTHON + "max_batch_size: 4 "
START = "CONTROL_SEQUENCE_START"
CORRID = "CONTROL_SEQUENCE_CORRID"


def dynamic(body: str) -> str:
    return BATCHED + "dynamic_batching { " + body + " }"


def sequence(body: str) -> str:
    return BATCHED + "sequence_batching { " + body + " }"


def control(body: str, name: str = "C") -> str:
    return sequence(f'control_input {{ name: "{name}" control {{ {body} }} }}')


def state(body: str, dims: str = "1", head: str = BATCHED) -> str:
    return (
        head + 'sequence_batching { state { input_name: "S" output_name: "T" '
        f"data_type: TYPE_FP32 dims: [ {dims} ] {body} }} }}"
    )


def initial(body: str, dims: str = "1", state_dims: str = "1") -> str:
    return state(
        f'initial_state {{ name: "z" data_type: TYPE_FP32 dims: [ {dims} ] {body} }}', state_dims
    )


def tensor(body: str, role: str = "input") -> str:
    return f"{PYTHON} {role} {{ {body} }}"


def group(body: str) -> str:
    return PYTHON + "instance_group { " + body + " }"


def parameter(name: str, value: str) -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }} '


INPUT_A = 'name: "A" data_type: TYPE_FP32 '
LISTS = "'int32_false_true', 'fp32_false_true' or 'bool_false_true'"
