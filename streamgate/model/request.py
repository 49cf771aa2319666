"""Requests and responses as every floor sees them: values, no wire, no scheduling."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from streamgate.errors import Failure
from streamgate.model.tensor import Tensor

SequenceKey = int | str
"""A correlation ID: an unsigned 64-bit integer or a string of at most 128 bytes. 7 and "7" are
different sequences; 0 and "" mean that the request belongs to none."""

ParameterValue = bool | int | float | str

FLAG_SEQUENCE_START = 1
FLAG_SEQUENCE_END = 2


@dataclass(slots=True, eq=False)
class Batch:
    """The step in which a request ran, and with whom. `rows` is the size of its batch, `sequences`
    are the correlation IDs of all that ran there, 0 or "" for those of none."""

    number: int = -1
    instance: str = ""
    rows: int = 0
    sequences: Sequence[SequenceKey] = ()


@dataclass(slots=True, eq=False)
class Request:
    """One inference request.

    `rows` is the size of the batch dimension (1 when the model does not batch), and requests of
    different `signature` can't share a batch; both are set when the request is checked against
    the model's configuration. `priority` 0 means the model's default; `timeout_us` 0 means none.
    `parameters` are the caller's own, meant for the model. `unknown_types` names inputs that came
    with a word that is no datatype: the check refuses them, in the order of its rules. Who wants to
    know its `batch` gives an empty one, which the engine fills in when a step with it begins. A
    START that is run again says how long its sequence has lived by then: `age_ns`. What has
    `passed_recorder` is recorded in front, or is to be left out: nobody behind decides that again.
    """

    model: str
    version: str = ""
    id: str = ""
    inputs: Sequence[Tensor] = ()
    requested_outputs: Sequence[str] = ()
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    sequence: SequenceKey = 0
    start: bool = False
    end: bool = False
    priority: int = 0
    timeout_us: int = 0
    rows: int = 1
    signature: Hashable = None
    unknown_types: Collection[str] = ()
    batch: Batch | None = None
    age_ns: int = 0
    passed_recorder: bool = False

    @property
    def flags(self) -> int:
        return (FLAG_SEQUENCE_START if self.start else 0) | (FLAG_SEQUENCE_END if self.end else 0)


@dataclass(slots=True, eq=False)
class Response:
    """One of the 0..n responses to a request.

    `final` is true on exactly one response of each request: the last. A final response with
    neither outputs nor failure (`empty`) only closes a decoupled request. `admitted` is false on
    a failure that happened before the scheduler took the request. `position` is the place of the
    request in its sequence (0 for START, -1 outside sequences) and `index` the place of this
    response among those of its request. `lost` tells a failure that is no fault of the request:
    what ran it, or held its sequence, is gone, and it may be run again elsewhere. `ran` is false on
    a failure of a request that never came to its model: it left no trace in its sequence.
    """

    request: Request
    model: str
    version: str
    outputs: Sequence[Tensor] = ()
    failure: Failure | None = None
    final: bool = True
    empty: bool = False
    admitted: bool = True
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    position: int = -1
    index: int = 0
    lost: bool = False
    ran: bool = True
