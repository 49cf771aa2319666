"""What is counted of engines that say something of what is not theirs any more."""

from dataclasses import dataclass, field

Version = tuple[str, str]
"""A model's name and version."""


@dataclass(slots=True)
class StaleCounts:
    """`results` and `snapshots` that came too late: for a sequence that has gone on elsewhere, or a
    request that is over. By version, as far as it is known which was meant."""

    results: int = 0
    snapshots: int = 0
    results_of: dict[Version, int] = field(default_factory=dict)
    snapshots_of: dict[Version, int] = field(default_factory=dict)

    def note_result(self, version: Version | None) -> None:
        self.results += 1
        if version is not None:
            self.results_of[version] = self.results_of.get(version, 0) + 1

    def note_snapshot(self, version: Version | None) -> None:
        self.snapshots += 1
        if version is not None:
            self.snapshots_of[version] = self.snapshots_of.get(version, 0) + 1
