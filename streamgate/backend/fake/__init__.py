"""A backend for tests whose every answer depends on everything its sequence has seen.

Each step mixes the request's bytes, its START and END flags and (where the model takes it) its
correlation ID into a running 64-bit hash, and answers with the hash. One step lost, repeated,
reordered or given to a neighbour therefore changes every later answer. `expected_answers` says in
plain Python what the answers must be. A `Plan` makes chosen steps fail, hang or take their time.

The same model runs in two styles, by the parameter `style`: `tensor` (the default) keeps its
state in implicit state tensors, `request` keeps it itself by correlation ID. What a tensor means
follows from its type: UINT64 is the hash, INT64 the number of steps seen, FP32 or FP64 the hash as
a fraction of 1 (what a NaN fault spoils). States and outputs have shape [1]; inputs are free.
"""

from streamgate.backend.contract import ConfigDict, LoadContext, ModelFiles
from streamgate.backend.fake.hashing import Step, expected_answers
from streamgate.backend.fake.layout import Layout
from streamgate.backend.fake.plan import Block, Crash, Fail, Fault, Lose, Nan, Plan
from streamgate.backend.fake.request import FakeRequestSession
from streamgate.backend.fake.tensor import FakeTensorSession
from streamgate.errors import ConfigError

__all__ = [
    "Block",
    "Crash",
    "Fail",
    "FakeBackend",
    "Fault",
    "Lose",
    "Nan",
    "Plan",
    "Step",
    "create",
    "expected_answers",
]


class FakeBackend:
    """The backend called `fake`. All its instances follow one plan."""

    default_model_filename = "model.fake"

    def __init__(self, plan: Plan | None = None) -> None:
        self.plan = Plan() if plan is None else plan

    def auto_complete(self, config: ConfigDict, files: ModelFiles) -> ConfigDict:
        """Adds an input INPUT of any number of bytes and an output HASH. Reads no file."""
        completed = dict(config)
        if not config.get("input"):
            completed["input"] = [{"name": "INPUT", "data_type": "TYPE_UINT8", "dims": [-1]}]
        if not config.get("output"):
            completed["output"] = [{"name": "HASH", "data_type": "TYPE_UINT64", "dims": [1]}]
        return completed

    def load(self, context: LoadContext) -> FakeTensorSession | FakeRequestSession:
        config = context.config
        layout = Layout(config)
        style = config.parameters.get("style", "tensor")
        if style == "tensor":
            return FakeTensorSession(layout, context.instance.name, self.plan)
        if style == "request":
            return FakeRequestSession(layout, context.instance.name, self.plan)
        raise ConfigError(
            f"model '{config.name}': parameter 'style' is '{style}', expected tensor or request"
        )


def create() -> FakeBackend:
    """The backend of this process, with an empty plan."""
    return FakeBackend()
