"""What the checks found, to be read by people."""

from dataclasses import dataclass


class Broken(Exception):  # noqa: N818 - a finding, not an error of the program
    """A check found that the contract does not hold. The message says what was found."""


class Unfit(Exception):  # noqa: N818 - the same
    """A check does not fit this model. The message says why."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check's outcome: `broken` or `unfit` says what was found or why it was left out."""

    name: str
    broken: str | None = None
    unfit: str | None = None

    def __str__(self) -> str:
        if self.broken is not None:
            return f"FAILED {self.name}: {self.broken}"
        if self.unfit is not None:
            return f"left out {self.name}: {self.unfit}"
        return f"ok {self.name}"


@dataclass(frozen=True, slots=True)
class Report:
    """All outcomes, in the order of the checks. `str` of it lists them, a line each."""

    model: str
    results: tuple[CheckResult, ...]

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        return tuple(result for result in self.results if result.broken is not None)

    @property
    def passed(self) -> tuple[str, ...]:
        """The names of the checks that held."""
        return tuple(
            result.name for result in self.results if result.broken is result.unfit is None
        )

    def require(self) -> None:
        """Raise AssertionError with the whole report when any check failed."""
        if self.failures:
            raise AssertionError(str(self))

    def __add__(self, other: "Report") -> "Report":
        return Report(self.model, self.results + other.results)

    def __str__(self) -> str:
        count = len(self.failures)
        head = f"model '{self.model}': {count} of {len(self.results)} checks failed"
        return "\n".join((head, *map(str, self.results)))
