"""How an exception of a model reads to a client: as Triton's Python backend prints it.

    ValueError: text

    At:
      /models/m/1/model.py(28): execute

The innermost frame comes first. Frames of this backend and of the import machinery are left
out, and so is everything outside the model's outermost frame: what called the model is ours.
"""

from collections.abc import Iterator
from pathlib import Path
from types import CodeType, TracebackType

from streamgate_python.calling import OWNER

_OURS = str(Path(__file__).parent)


class ModelRuleError(Exception):
    """A model broke a rule of the Python backend; the text alone goes to the client."""


def describe(error: BaseException) -> str:
    """The exception in one text, with the frames of the model's code when there are any."""
    if isinstance(error, ModelRuleError):
        return str(error)
    text = f"{type(error).__name__}: {error}"
    places = [
        f"  {code.co_filename}({line}): {code.co_name}\n"
        for code, line in _frames(error.__traceback__)
    ]
    return text if not places else f"{text}\n\nAt:\n{''.join(reversed(places))}"


def _frames(traceback: TracebackType | None) -> Iterator[tuple[CodeType, int]]:
    entries: list[tuple[CodeType, int, bool]] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not code.co_filename.startswith((_OURS, "<frozen importlib")):
            entries.append((code, traceback.tb_lineno, OWNER in traceback.tb_frame.f_globals))
        traceback = traceback.tb_next
    first = next((index for index, entry in enumerate(entries) if entry[2]), 0)
    return ((code, line) for code, line, _ in entries[first:])
