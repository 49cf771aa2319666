"""Running hashes: models whose every output tells of all inputs of its sequence so far.

A step that is lost, repeated, out of order or mixed with another sequence's shows in all outputs
that follow. Each function writes one model into a repository; `hashes` and the like say what it
answers. All have IN and OUT INT64 of one element; inputs below `PERILS` are ordinary.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import onnx
from onnx import parser

MODULUS: Final = 2**31 - 1
FACTOR: Final = 48_271

PERILS: Final = 2**40
"""Inputs from here on do harm in a model of Python, before they count like any other. What is done
`ONCE` is done once in a repository: then the step is an ordinary one."""

KILL: Final = PERILS
KILL_ONCE: Final = PERILS + 1
HANG: Final = PERILS + 2
"""Until there is a file `wake` in `marks_of` the model; `hangs` is there from then on, with the
number of the process that does."""
HANG_ONCE: Final = PERILS + 3
ALLOCATE: Final = PERILS + 4
"""Holds `allocate_mb` more from now on."""
RAISE: Final = PERILS + 5
KILL_BETWEEN_ONCE: Final = PERILS + 6
"""Only in a decoupled one: behind its first response, if it has any."""

SOURCE: Final = Path(__file__).parent / "repositories" / "running_hash" / "1" / "model.py"

_GRAPH: Final = f"""
<ir_version: 8, opset_import: ["": 16]>
running_hash (int64[B,1] IN, int64[B,1] hash) => (int64[B,1] OUT, int64[B,1] hash_out)
<int64[1] modulus = {{{MODULUS}}}, int64[1] factor = {{{FACTOR}}}, int64[1] one = {{1}}>
{{
  scaled = Mul (hash, factor)
  value = Mod (IN, modulus)
  sum = Add (scaled, value)
  next = Add (sum, one)
  OUT = Mod (next, modulus)
  hash_out = Identity (OUT)
}}
"""

_STATE: Final = """
  state {
    input_name: "hash" output_name: "hash_out"
    data_type: TYPE_INT64 dims: 1
    initial_state { name: "zero" data_type: TYPE_INT64 dims: 1 zero_data: true }
  }"""


def mix(kept: int, value: int) -> int:
    return (kept * FACTOR + value % MODULUS + 1) % MODULUS


def hashes(values: Iterable[int]) -> list[int]:
    """What a sequence of these inputs is answered, step by step."""
    kept, answers = 0, []
    for value in values:
        kept = mix(kept, value)
        answers.append(kept)
    return answers


def decoupled_hashes(values: Iterable[int]) -> list[list[int]]:
    """What a decoupled one answers, step by step: none to three outputs each."""
    return [[mix(kept, index) for index in range(kept % 4)] for kept in hashes(values)]


def ensemble_hashes(values: Iterable[int]) -> list[int]:
    """What `write_ensemble`'s answers."""
    return hashes(hashes(values))


def marks_of(repository: Path, name: str) -> Path:
    """Where the harm that a model of Python did is marked."""
    return repository / name / "marks"


def write_graph(
    repository: Path,
    name: str = "hash",
    *,
    slots: int = 8,
    instances: int = 1,
    direct: bool = False,
    idle_seconds: float = 600,
    factor: int = FACTOR,
    parameters: Mapping[str, str] | None = None,
) -> None:
    """An ONNX graph with its state declared: the engine has all there is of a sequence. Another
    `factor` makes another model of it."""
    version = _folder(repository, name)
    model = parser.parse_model(_GRAPH.replace(str(FACTOR), str(factor)))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, version / "model.onnx")
    config = _config(slots, slots, instances, direct, idle_seconds, _STATE)
    _write_config(repository, name, f'backend: "onnxruntime"\n{config}', parameters or {})


def write_objects(
    repository: Path,
    name: str = "hash_objects",
    *,
    hooks: bool = True,
    decoupled: bool = False,
    slots: int = 8,
    instances: int = 1,
    direct: bool = False,
    idle_seconds: float = 600,
    step_ms: float = 0,
    allocate_mb: float = 256,
    execution: str = "",
    parameters: Mapping[str, str] | None = None,
) -> None:
    """A Python model that keeps its sequences in objects; without `hooks` it pins them."""
    version = _folder(repository, name)
    (version / "model.py").write_bytes(SOURCE.read_bytes())
    marks = marks_of(repository, name)
    marks.mkdir()
    settings = {
        "hooks": "yes" if hooks else "no",
        "marks": str(marks),
        "step_ms": str(step_ms),
        "allocate_mb": str(allocate_mb),
    }
    if execution:
        settings["streamgate.execution"] = execution
    config = _config(0 if decoupled else slots, slots, instances, direct, idle_seconds)
    if decoupled:
        config += "model_transaction_policy { decoupled: true }\n"
    text = f'backend: "python"\n{config}'
    _write_config(repository, name, text, {**settings, **(parameters or {})})


def write_pinned(repository: Path, name: str = "hash_pinned", **options: object) -> None:
    """As `write_objects`, without hooks: its sequences can't be moved."""
    write_objects(repository, name, hooks=False, **options)  # type: ignore[arg-type]


def write_decoupled(repository: Path, name: str = "hash_decoupled", **options: object) -> None:
    """As `write_objects`, with none to three responses to a request, as `decoupled_hashes`."""
    write_objects(repository, name, decoupled=True, **options)  # type: ignore[arg-type]


def write_ensemble(
    repository: Path,
    name: str = "hash_ensemble",
    models: tuple[str, ...] = ("hash", "hash_objects"),
    *,
    batches: bool = True,
    parameters: Mapping[str, str] | None = None,
) -> None:
    """An ensemble: each of these models, which must be there too, gets what the one before
    answers."""
    _folder(repository, name)
    tensors = ["IN", *(f"between{index}" for index in range(1, len(models))), "OUT"]
    steps = "".join(
        f'  step {{\n    model_name: "{model}" model_version: -1\n'
        f'    input_map {{ key: "IN" value: "{before}" }}\n'
        f'    output_map {{ key: "OUT" value: "{after}" }}\n  }}\n'
        for model, before, after in zip(models, tensors[:-1], tensors[1:], strict=True)
    )
    text = f'platform: "ensemble"\n{_tensors(int(batches))}ensemble_scheduling {{\n{steps}}}\n'
    _write_config(repository, name, text, parameters or {})


def _folder(repository: Path, name: str) -> Path:
    version = repository / name / "1"
    version.mkdir(parents=True)
    return version


def _tensors(max_batch_size: int) -> str:
    return (
        f"max_batch_size: {max_batch_size}\n"
        'input { name: "IN" data_type: TYPE_INT64 dims: 1 }\n'
        'output { name: "OUT" data_type: TYPE_INT64 dims: 1 }\n'
    )


def _config(
    max_batch_size: int,
    slots: int,
    instances: int,
    direct: bool,
    idle_seconds: float,
    states: str = "",
) -> str:
    strategy = "direct { }" if direct else f"oldest {{ max_candidate_sequences: {slots} }}"
    return (
        f"{_tensors(max_batch_size)}"
        "sequence_batching {\n"
        f"  max_sequence_idle_microseconds: {round(idle_seconds * 1e6)}\n"
        f"  {strategy}{states}\n}}\n"
        f"instance_group {{ kind: KIND_CPU count: {instances} }}\n"
    )


def _write_config(repository: Path, name: str, text: str, parameters: Mapping[str, str]) -> None:
    lines = "".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'
        for key, value in sorted(parameters.items())
    )
    (repository / name / "config.pbtxt").write_text(text + lines)
