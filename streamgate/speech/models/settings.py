"""A model's settings: the parameters of its configuration, checked, with their defaults."""

import difflib
import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

OURS = "streamgate."
"""Parameters that begin so are the gateway's."""


class Settings:
    """The parameters of one model, each asked for once by name.

    Every method raises ValueError, naming the parameter, what was found and what was expected.
    `check_all_known` is to be called when all have been asked for.
    """

    def __init__(self, parameters: Mapping[str, str], folder: Path) -> None:
        self._given = {k: v for k, v in parameters.items() if not k.startswith(OURS)}
        self._folder = folder
        self._known: set[str] = set()

    @classmethod
    def of(cls, args: Mapping[str, str]) -> "Settings":
        """The settings in what `initialize` gets; files lie in the model version's folder."""
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        return cls.of_config(config, folder)

    @classmethod
    def of_config(cls, config: Mapping[str, Any], folder: Path) -> "Settings":
        """The settings in a configuration as a dict."""
        parameters = config.get("parameters", {})
        return cls(
            {key: value.get("string_value", "") for key, value in parameters.items()}, folder
        )

    def text(self, name: str, default: str, choices: Collection[str] = ()) -> str:
        """A text, one of these where there are choices."""
        found = self._take(name, default)
        if choices and found not in choices:
            raise self._wrong(name, found, f"one of {', '.join(choices)}")
        return found

    def whole(self, name: str, default: int | None, low: int = 0, high: int = 2**31) -> int:
        """A whole number in these limits. Without a default it must be given."""
        found = self._take(name, None if default is None else str(default))
        expected = f"a whole number from {low} to {high}"
        try:
            value = int(found)
        except ValueError:
            raise self._wrong(name, found, expected) from None
        if not low <= value <= high:
            raise self._wrong(name, found, expected)
        return value

    def number(self, name: str, default: float, low: float = 0.0) -> float:
        """A number of at least `low`."""
        found = self._take(name, str(default))
        try:
            value = float(found)
        except ValueError:
            value = math.nan
        if not low <= value < math.inf:
            raise self._wrong(name, found, f"a number of at least {low}")
        return value

    def file(self, name: str, default: str) -> Path:
        """A file in the model's version folder, which must be there; empty: none is wanted."""
        found = self._take(name, default)
        path = self._folder / found
        if not path.is_file():
            raise self._wrong(name, found, f"a file in {self._folder}")
        return path

    def has(self, name: str, default_file: str = "") -> bool:
        """Whether a parameter is given, or the file that it has by default is there."""
        self._known.add(name)
        return name in self._given or bool(default_file and (self._folder / default_file).is_file())

    def check_all_known(self) -> None:
        """Raise ValueError for a parameter that nothing asked for: a misspelt one must not pass."""
        for name in sorted(self._given.keys() - self._known):
            near = difflib.get_close_matches(name, self._known, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ValueError(
                f"there is no parameter '{name}', expected {', '.join(sorted(self._known))}{hint}"
            )

    def _take(self, name: str, default: str | None) -> str:
        self._known.add(name)
        found = self._given.get(name, default)
        if found is None:
            raise ValueError(f"parameter '{name}' is missing")
        return found

    @staticmethod
    def _wrong(name: str, found: str, expected: str) -> ValueError:
        return ValueError(f"parameter '{name}' is '{found}', expected {expected}")
