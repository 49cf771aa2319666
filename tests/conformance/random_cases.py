"""Cases drawn from a seed: client programs, and requests with several faults at once.

The same seed gives the same cases. What Triton does by chance, or wrongly, is left out, where
random_programs.py says so; faults that Triton reports in the order of a hash table are, too.
"""

from __future__ import annotations

import random
from typing import Final

from tests.conformance.cases_raw_grpc import DATA, parameter
from tests.conformance.random_programs import random_program
from tests.conformance.steps import Case, RawGrpc, RawGrpcStream, Step

FAULTS_EVERY: Final = 4
RECORDED: Final = (1, 40)
"""Seed and number of the cases whose answers by Triton are kept."""


def random_cases(seed: int, count: int) -> tuple[Case, ...]:
    """`count` cases, every fourth of them faulty requests and the others client programs."""
    return tuple(_case(seed, number) for number in range(count))


def _case(seed: int, number: int) -> Case:
    source = random.Random(f"{seed}:{number}")
    name = f"random_{seed}_{number}"
    if number % FAULTS_EVERY == FAULTS_EVERY - 1:
        return Case(name, "requests with several faults", _faults(source))
    return Case(name, "a program of several clients", random_program(source, number))


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
