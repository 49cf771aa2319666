"""Which model is calling: the answer to `pb_utils.get_model_dir()` and its kind.

Every model of the process shares one `triton_python_backend_utils`, so its functions must find
out who calls. The session sets `CURRENT` around every call into a model; a thread that a model
started itself has no such context, and is recognised by the module that its code stands in.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import FrameType

from streamgate_python.calls import OtherModels

OWNER = "__streamgate_model__"
"""The global that every module of a model's own code carries: its `CallingModel`."""


@dataclass(frozen=True, slots=True)
class CallingModel:
    """One model instance (`instance` is empty while only completing), and its way to others."""

    name: str
    version: str
    instance: str
    version_directory: str
    others: OtherModels


CURRENT: ContextVar[CallingModel | None] = ContextVar("streamgate_python_model", default=None)


@contextmanager
def calling(model: CallingModel) -> Iterator[None]:
    """Code inside runs on behalf of `model`."""
    token = CURRENT.set(model)
    try:
        yield
    finally:
        CURRENT.reset(token)


def calling_model() -> CallingModel | None:
    """The model on whose behalf this code runs, or None outside all models."""
    model = CURRENT.get()
    if model is not None:
        return model
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_globals.get(OWNER)
        if isinstance(owner, CallingModel):
            return owner
        frame = frame.f_back
    return None
