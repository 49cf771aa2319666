"""Finds backends through the entry-point group `streamgate.backends`.

Listing reads installed metadata and imports nothing; a backend is imported when a model first
names it, and a broken one hurts only the models that chose it. Our own backends come through the
same group as everybody's. What a model's `platform` means (`onnxruntime_onnx`) is the
repository's business, not this module's.
"""

import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata

from streamgate.backend.contract import Backend
from streamgate.errors import BackendError, Code

GROUP = "streamgate.backends"
_CONTRACT = ("default_model_filename", "auto_complete", "load")


@dataclass(frozen=True, slots=True)
class BackendDescription:
    """One offered backend as `streamgate doctor` shows it. `error` is None when it loads."""

    name: str
    distribution: str
    version: str
    error: str | None


@dataclass(frozen=True, slots=True)
class _Offer:
    """One entry point: a backend's name and the distribution that offers it."""

    name: str
    distribution: str
    version: str
    extra: bool
    entry_point: metadata.EntryPoint

    @property
    def origin(self) -> str:
        return f"{self.distribution} {self.version}".rstrip()

    @property
    def key(self) -> str:
        return f"{_normalized(self.distribution)}/{self.name}"


def _installed() -> Iterable[metadata.EntryPoint]:
    return metadata.entry_points(group=GROUP)


class BackendRegistry:
    """The backends of one process, each created at most once. Safe to use from any thread."""

    def __init__(
        self, entry_points: Callable[[], Iterable[metadata.EntryPoint]] = _installed
    ) -> None:
        self._entry_points = entry_points
        self._created: dict[str, Backend] = {}
        self._lock = threading.RLock()

    def names(self) -> list[str]:
        """The names on offer, sorted. Imports nothing."""
        return sorted({offer.name for offer in self._offers()})

    def find(self, name: str) -> Backend:
        """The backend called `name`, or `distribution/name` to choose between two of one name.

        Raises BackendError: INVALID_ARG when there is none or more than one, INTERNAL when the
        one there is can't be loaded.
        """
        return self._create(self._choose(name))

    def describe(self) -> list[BackendDescription]:
        """Every backend on offer, each tried by loading it."""
        return [
            BackendDescription(offer.name, offer.distribution, offer.version, self._trouble(offer))
            for offer in self._offers()
        ]

    def _offers(self) -> list[_Offer]:
        offers = {offer.key: offer for offer in map(_offer, self._entry_points())}
        return sorted(offers.values(), key=lambda offer: (offer.name, offer.distribution))

    def _choose(self, name: str) -> _Offer:
        offers = self._offers()
        distribution, _, short = name.rpartition("/")
        found = [
            offer
            for offer in offers
            if offer.name == short
            and (not distribution or _normalized(offer.distribution) == _normalized(distribution))
        ]
        if len(found) == 1:
            return found[0]
        if not found:
            installed = ", ".join(f"{offer.name} ({offer.origin})" for offer in offers) or "none"
            # The first sentence is Triton's; clients may look for it in a model's state.
            raise BackendError(
                f"unable to find backend library for backend '{name}', try specifying runtime on "
                f"the model configuration. Installed backends: {installed}. A backend comes with "
                f"a distribution that offers it in the entry-point group '{GROUP}'; install one "
                f"that offers '{short}', or correct the field 'backend'.",
                Code.INVALID_ARG,
            )
        choices = " or ".join(f'backend: "{offer.distribution}/{offer.name}"' for offer in found)
        raise BackendError(
            f"backend '{name}' is offered by {len(found)} distributions: "
            f"{', '.join(offer.origin for offer in found)}. Say which one with {choices}, or "
            "uninstall the others.",
            Code.INVALID_ARG,
        )

    def _create(self, offer: _Offer) -> Backend:
        with self._lock:
            backend = self._created.get(offer.key)
            if backend is None:
                backend = self._created[offer.key] = _load(offer)
            return backend

    def _trouble(self, offer: _Offer) -> str | None:
        try:
            self._create(offer)
        except BackendError as error:
            return error.message
        return None


def _normalized(distribution: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _offer(entry_point: metadata.EntryPoint) -> _Offer:
    dist = entry_point.dist
    if dist is None:
        return _Offer(entry_point.name, "an unknown distribution", "", False, entry_point)
    extra = entry_point.name in (dist.metadata.get_all("Provides-Extra") or [])
    return _Offer(entry_point.name, dist.name, dist.version, extra, entry_point)


def _load(offer: _Offer) -> Backend:
    """Import the plugin and make its backend; anything that goes wrong names the plugin."""
    try:
        backend = offer.entry_point.load()()
    except BackendError:
        raise
    except ImportError as error:
        hint = (
            f" Install what it needs with: pip install '{offer.distribution}[{offer.name}]'"
            if offer.extra
            else ""
        )
        raise BackendError(f"{_blame(offer)} could not be imported: {error}.{hint}") from error
    except Exception as error:
        raise BackendError(f"{_blame(offer)} failed: {type(error).__name__}: {error}") from error
    missing = [member for member in _CONTRACT if not hasattr(backend, member)]
    if missing:
        raise BackendError(
            f"{_blame(offer)} made a {type(backend).__name__}, which is not a backend: it has no "
            f"{', '.join(missing)}"
        )
    return backend  # type: ignore[no-any-return]


def _blame(offer: _Offer) -> str:
    return f"backend '{offer.name}' from {offer.origin} ({offer.entry_point.value})"


_REGISTRY = BackendRegistry()


def names() -> list[str]:
    """The installed backends' names, sorted. Imports nothing."""
    return _REGISTRY.names()


def find(name: str) -> Backend:
    """The installed backend called `name` or `distribution/name`; see `BackendRegistry.find`."""
    return _REGISTRY.find(name)


def describe() -> list[BackendDescription]:
    """Every installed backend, each tried by loading it."""
    return _REGISTRY.describe()
