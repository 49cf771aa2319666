"""What an ONNX file wants: `python -m streamgate.speech.describe encoder.onnx`.

Prints its inputs, outputs and metadata as `config.pbtxt` has them, which is what the configurations
on docs/bring-your-own-model.md are written from. Pairs that look like states (an output of the same
type and shape whose name has the input's in it) are shown as such.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from streamgate.speech.models.graphs import Graph

_TYPES = {
    "float": "TYPE_FP32",
    "float16": "TYPE_FP16",
    "double": "TYPE_FP64",
    "int64": "TYPE_INT64",
    "int32": "TYPE_INT32",
    "bool": "TYPE_BOOL",
    "string": "TYPE_STRING",
}


@dataclass(frozen=True, slots=True)
class Named:
    """A tensor of a graph; sizes that are open have names."""

    name: str
    type: str
    shape: tuple[int | str, ...]

    @property
    def line(self) -> str:
        """As it is printed."""
        kind = self.type.removeprefix("tensor(").removesuffix(")")
        sizes = ", ".join(map(str, self.shape))
        return f"{self.name}: {_TYPES.get(kind, self.type)} [{sizes}]"


Pair = tuple[Named, Named]


def state_pairs(inputs: Iterable[Named], outputs: Iterable[Named]) -> Iterator[Pair]:
    """Inputs and what look like their next values: `new_X`, `X_next`, `next_X`, `X_out`."""
    by_name = {each.name: each for each in outputs}
    for each in inputs:
        stem, underscore, last = each.name.rpartition("_")
        names = [f"new_{each.name}", f"{each.name}_next", f"next_{each.name}", f"{each.name}_out"]
        names.append(f"{stem}_next{underscore}{last}")
        found = next((by_name[name] for name in names if name in by_name), None)
        if found is not None and found.type == each.type and len(found.shape) == len(each.shape):
            yield each, found


def described(path: Path) -> list[str]:
    """The lines that are printed. Raises ValueError for a file that is no graph."""
    graph = Graph(path, 1)
    inputs = [Named(each.name, each.type, tuple(each.shape)) for each in graph.inputs]
    outputs = [Named(each.name, each.type, tuple(each.shape)) for each in graph.output_tensors]
    pairs = list(state_pairs(inputs, outputs))
    states = {tensor.name for pair in pairs for tensor in pair}
    lines = [f"# {path.name}"]
    lines += [f"input  {each.line}" for each in inputs if each.name not in states]
    lines += [f"output {each.line}" for each in outputs if each.name not in states]
    lines += [f"state  {source.line} -> {target.name}" for source, target in pairs]
    lines += [f"metadata {key}: {value}" for key, value in sorted(graph.metadata.items())]
    return lines


def main(arguments: Sequence[str]) -> int:
    """Describe each of these files. Answers 1 when one of them is no graph, 2 without any."""
    if not arguments:
        sys.stderr.write("usage: python -m streamgate.speech.describe FILE.onnx ...\n")
        return 2
    failed = 0
    for argument in arguments:
        try:
            sys.stdout.write("\n".join(described(Path(argument))) + "\n")
        except ValueError as error:
            sys.stderr.write(f"{error}\n")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
