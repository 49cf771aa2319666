"""Cases drawn from a seed: sequence programs, and requests with several faults at once.

The same seed gives the same cases. Their answers are not recorded: they are for a live Triton
beside StreamGate (`differential.py --triton --streamgate --random 7:200`). What Triton is known
to do by chance, or wrongly, is left out: a START that overtakes its id's END, more sequences than
slots, faults that it reports in the order of a hash table.
"""

from __future__ import annotations

import random
from typing import Final

from tests.conformance.cases_raw_grpc import DATA, parameter
from tests.conformance.cases_sequences import BOTH, CONTROLLED, SUM, step, without_sequence
from tests.conformance.steps import (
    Await,
    Case,
    Infer,
    Pause,
    RawGrpc,
    RawGrpcStream,
    RequestedOutput,
    Step,
    Stream,
)

SEQUENCES_MAX: Final = 3  # the models have four slots
STREAMS_SHARE: Final = 0.6
FLAG_WORDS: Final = ("", "", "", "s", "s", "e", "se")


def random_cases(seed: int, count: int) -> tuple[Case, ...]:
    """`count` cases, half of them sequence programs and half of them faulty requests."""
    return tuple(_case(seed, number) for number in range(count))


def _case(seed: int, number: int) -> Case:
    source = random.Random(f"{seed}:{number}")
    if number % 2:
        return Case(f"random_{seed}_{number}", "requests with several faults", _faults(source))
    return Case(f"random_{seed}_{number}", "a sequence program", _sequences(source, number))


def _sequences(source: random.Random, number: int) -> tuple[Step, ...]:
    model = source.choice((*CONTROLLED, "sequence_flags"))
    first = 10_000 + 10 * number
    keys: list[int | str] = [first + index for index in range(SEQUENCES_MAX)]
    if model == "sequence_flags":
        keys = [source.choice((key, f"text-{key}")) for key in keys]
    # Which slot a sequence gets after a stream, whose steps overlap, is a matter of timing.
    has_streams = source.random() < STREAMS_SHARE
    outputs = SUM if has_streams and model in CONTROLLED else ()
    steps: list[Step] = []
    for _ in range(source.randint(4, 16)):
        kind = source.random()
        if kind < 0.1:
            steps.append(without_sequence(model, source.choice(BOTH)))
        elif has_streams and kind < 0.4:
            steps.append(_stream(source, model, keys, outputs))
        else:
            steps.append(_unary(source, model, source.choice(keys), outputs))
    return tuple(steps)


def _unary(
    source: random.Random, model: str, key: int | str, outputs: tuple[RequestedOutput, ...]
) -> Infer:
    return step(
        model,
        source.randint(-100, 100),
        key,
        source.choice(FLAG_WORDS),
        via=source.choice(BOTH),
        id=source.choice(("", f"request-{key}")),
        outputs=outputs,
    )


def _stream(
    source: random.Random,
    model: str,
    keys: list[int | str],
    outputs: tuple[RequestedOutput, ...],
) -> Stream:
    """Steps sent without waiting, but never one of a sequence that has just ended."""
    parts: list[Infer | Pause | Await] = []
    ended: set[int | str] = set()
    for count in range(source.randint(1, 8)):
        key = source.choice(keys)
        if key in ended:
            parts.append(Await(count))
            ended.clear()
        flags = source.choice(FLAG_WORDS)
        if "e" in flags:
            ended.add(key)
        value = source.randint(-100, 100)
        parts.append(step(model, value, key, flags, id=f"{key}:{count}", outputs=outputs))
    return Stream(tuple(parts), any_order=True)


def _faults(source: random.Random) -> tuple[Step, ...]:
    messages = tuple(_message(source) for _ in range(source.randint(2, 6)))
    if source.random() < 0.3:
        return (RawGrpcStream(messages[:1]),)
    return tuple(RawGrpc("ModelInfer", message) for message in messages)


def _message(source: random.Random) -> str:
    """A request to identity_fp32 in which up to three things are not as they should be."""
    fields: dict[str, str] = {
        "model": "identity_fp32",
        "version": "",
        "input": "INPUT0",
        "datatype": "FP32",
        "shape": "[1, 4]",
        "contents": "",
        "raw": f'raw_input_contents: "{DATA}"',
        "parameter": "",
        "output": "",
        "id": "",
    }
    for name in source.sample(sorted(FAULTS), source.choice((0, 1, 1, 2, 2, 3))):
        fields[name] = source.choice(FAULTS[name])
    return (
        f'model_name: "{fields["model"]}" model_version: "{fields["version"]}" '
        f'id: "{fields["id"]}" '
        f'inputs {{ name: "{fields["input"]}" datatype: "{fields["datatype"]}" '
        f"shape: {fields['shape']} {fields['contents']} }} "
        f"{fields['output']} {fields['raw']} {fields['parameter']}"
    )


def _output(inner: str) -> str:
    return f"outputs {{ {inner} }}"


FAULTS: Final[dict[str, tuple[str, ...]]] = {
    "model": ("nobody", "decoupled_repeat", "two_versions", "sequence_flags", "bytes_echo"),
    "version": ("1", "2", "abc", "-1", "01"),
    "input": ("WRONG", "INPUT", ""),
    "datatype": ("INT32", "FP64", "BYTES", "FOO", ""),
    "shape": ("[1, 5]", "[4]", "[9, 4]", "[2, 2]", "[1, 2, 2]"),
    "contents": (
        "contents { fp32_contents: [1, 2, 3, 4] }",
        "contents { int_contents: [1] }",
        parameter("shared_memory_offset", "int64_param: 0"),
        parameter("shared_memory_region", "bool_param: true"),
        parameter("anything", "bool_param: true"),
    ),
    "raw": ("", 'raw_input_contents: "abc"', f'raw_input_contents: "{DATA}abcd"'),
    "parameter": (
        parameter("priority", "int64_param: -1"),
        parameter("timeout", "bool_param: true"),
        parameter("sequence_start", "int64_param: 1"),
        parameter("triton_other", "int64_param: 1"),
        parameter("custom", "uint64_param: 1"),
        parameter("custom", 'string_param: "fine"'),
    ),
    "output": (
        _output('name: "NOBODY"'),
        _output('name: "OUTPUT0"'),
        _output(f'name: "OUTPUT0" {parameter("classification", "int64_param: 2")}'),
        _output(f'name: "OUTPUT0" {parameter("classification", "bool_param: true")}'),
        _output(f'name: "OUTPUT0" {parameter("shared_memory_byte_size", "int64_param: 4")}'),
    ),
    "id": ("an-id",),
}


def parse(text: str) -> tuple[Case, ...]:
    """Cases for "SEED:COUNT". Raises ValueError for anything else."""
    seed, separator, count = text.partition(":")
    if not separator or not seed.isdigit() or not count.isdigit():
        raise ValueError(f"random cases are asked for as SEED:COUNT, found {text!r}")
    return random_cases(int(seed), int(count))
