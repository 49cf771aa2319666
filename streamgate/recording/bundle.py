"""A bundle as it is read: whole, checked, in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from streamgate.recording.format import MAGIC, BundleError, open_new, read_records
from streamgate.recording.values import (
    Cut,
    End,
    Entry,
    Header,
    Origin,
    Result,
    Step,
    decode,
    encode,
    redact,
)


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """A step and its responses, in their order."""

    step: Step
    results: Sequence[Result] = ()

    @property
    def is_complete(self) -> bool:
        """Whether its last response is there."""
        return any(result.final for result in self.results)


@dataclass(slots=True)
class Bundle:
    """One recorded sequence. `reason` is why it ended ("" if the recording ended before); `cut`
    says why the recording ended early ("" if it did not). `origin` is there if it began elsewhere:
    the steps are those from then on."""

    path: Path
    header: Header
    steps: list[RecordedStep] = field(default_factory=list)
    reason: str = ""
    cut: str = ""
    origin: Origin | None = None

    @property
    def redacted(self) -> bool:
        return self.header.redacted

    def as_redacted(self) -> "Bundle":
        """The same with hashes only."""
        if self.redacted:
            return self
        header = redact(self.header)
        assert isinstance(header, Header)
        steps = []
        for recorded in self.steps:
            step = redact(recorded.step)
            assert isinstance(step, Step)
            results = [redact(result) for result in recorded.results]
            steps.append(RecordedStep(step, [r for r in results if isinstance(r, Result)]))
        origin = None if self.origin is None else redact(self.origin)
        assert origin is None or isinstance(origin, Origin)
        return Bundle(self.path, header, steps, self.reason, self.cut, origin)


def read_bundle(path: Path) -> Bundle:
    """Raises BundleError for a file that is none, is damaged, or contradicts itself."""
    entries = read_entries(path)
    header = next(entries, None)
    if not isinstance(header, Header):
        raise BundleError(f"{path}: no header: the recording ended before it began")
    bundle = Bundle(path, header)
    results: list[list[Result]] = []
    for entry in entries:
        if isinstance(entry, Origin):
            if results or bundle.origin is not None:
                raise BundleError(f"{path}: its origin is not where it begins")
            bundle.origin = entry
        elif isinstance(entry, Step):
            if entry.number != len(results):
                raise BundleError(f"{path}: step {len(results)} is missing")
            results.append([])
            bundle.steps.append(RecordedStep(entry, results[-1]))
        elif isinstance(entry, Result):
            if entry.step >= len(results):
                raise BundleError(f"{path}: a result of step {entry.step}, which is missing")
            results[entry.step].append(entry)
        elif isinstance(entry, End):
            bundle.reason = entry.reason
        elif isinstance(entry, Cut):
            bundle.cut = entry.why
        else:
            raise BundleError(f"{path}: a second header")
    if not bundle.reason and not bundle.cut:
        bundle.cut = "the file ends before its sequence does: the server stopped, or still writes"
    return bundle


def read_entries(path: Path) -> Iterator[Entry]:
    """What is in the file, up to a record that is torn. Raises BundleError."""
    for number, record in enumerate(read_records(path)):
        if record is None:
            yield Cut("the last record is torn: the server stopped, or still writes")
            return
        try:
            entry = decode(*record)
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{path}: damaged in record {number}: {error}") from None
        if entry is not None:
            yield entry


def write_redacted(source: Path, target: Path) -> None:
    """A redacted copy, in a new file that only its owner can read. Raises BundleError."""
    if read_bundle(source).redacted:
        raise BundleError(f"{source}: is redacted already")
    try:
        with open_new(target) as file:
            file.write(MAGIC)
            for entry in read_entries(source):
                file.write(encode(redact(entry)))
    except OSError as error:
        raise BundleError(f"{target}: can't be written: {error.strerror or error}") from None
