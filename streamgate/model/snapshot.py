"""What is known of a sequence after one of its steps: enough to go on with it elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamgate.model.tensor import Array


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was known of a sequence after the step at `position`.

    `states` are its rows by `StateSpec.input_name`. `schema` is the fingerprint of what they are
    (`schema_of`): a snapshot is only restored where it is equal. `objects` is what the model
    itself keeps of the sequence, None where it keeps nothing outside the states. A sequence of an
    ensemble has no states of its own but `parts`: the snapshots of its models' sequences, by the
    place of their step, all taken while no request of it was under way. Where it is restored, the
    sequence has lived for `age_ns` already: its lifetime goes on from there.
    """

    position: int
    schema: str
    states: Mapping[str, Array] = field(default_factory=dict)
    objects: bytes | None = None
    parts: Mapping[int, "Snapshot"] = field(default_factory=dict)
    age_ns: int = 0

    @property
    def size_bytes(self) -> int:
        own = sum(array.nbytes for array in self.states.values()) + len(self.objects or b"")
        return own + sum(part.size_bytes for part in self.parts.values())
