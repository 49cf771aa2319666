"""Ensembles on the server's floor: which there are, what they stand on, and how one is loaded."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from streamgate.engine.ensemble.runtime import EnsembleRuntime
from streamgate.engine.host import Host
from streamgate.errors import Code, ConfigError, StreamGateError
from streamgate.link.contract import ModelRoute
from streamgate.model.config import ModelConfig
from streamgate.repository.composition import compose, unavailable
from streamgate.repository.repository import ModelSource
from streamgate.server.loading import LoadedVersions
from streamgate.session.routing import ModelTable


class Ensembles:
    """The ensembles that should be served, whether they can be just now or not."""

    def __init__(self) -> None:
        self._sources: dict[str, ModelSource] = {}

    def want(self, source: ModelSource) -> None:
        """Serve this ensemble whenever its models are there."""
        self._sources[source.name] = source

    def forget(self, name: str) -> None:
        """Not any more."""
        self._sources.pop(name, None)

    def steps_of(self, name: str) -> tuple[str, ...]:
        """The models that an ensemble stands on."""
        source = self._sources.get(name)
        return _steps(source) if source is not None else ()

    def standing_on(self, name: str) -> list[ModelSource]:
        """The ensembles one of whose steps names this model, by name."""
        return [
            source for each, source in sorted(self._sources.items()) if name in self.steps_of(each)
        ]

    def tiers(
        self, names: Iterable[str], called_by: Callable[[str], Iterable[str]]
    ) -> list[list[str]]:
        """Models in the order in which they can be closed: those first that no other stands on.

        A model that has called others stands on these, but where they stand on each other.
        """
        left = set(names)
        below = {name: {*self.steps_of(name), *called_by(name)} - {name} for name in left}
        tiers = []
        while left:
            stood_on = {each for name in left for each in below[name]}
            tier = sorted(left - stood_on) or sorted(left)
            tiers.append(tier)
            left.difference_update(tier)
        return tiers


def is_ensemble(source: ModelSource) -> bool:
    return any(version.config.ensemble is not None for version in source.versions)


def _steps(source: ModelSource) -> tuple[str, ...]:
    ensembles = [version.config.ensemble for version in source.versions]
    return tuple(
        dict.fromkeys(step.model for each in ensembles if each is not None for step in each.steps)
    )


def load_ensemble(
    source: ModelSource,
    table: ModelTable,
    failures: Mapping[str, StreamGateError],
    host: Host,
) -> LoadedVersions:
    """The versions of an ensemble, over the models that are ready now.

    `failures` tells of models that could not be loaded for it. Raises ConfigError when they can't
    be composed.
    """
    loaded = LoadedVersions()
    for version in source.versions:
        models = _models(version.config, table, failures)
        config = compose(version.config, models)
        loaded.models[int(version.version)] = EnsembleRuntime(
            config, version.version, table.route, host
        )
    return loaded


def _models(
    config: ModelConfig, table: ModelTable, failures: Mapping[str, StreamGateError]
) -> dict[str, ModelConfig]:
    """The configurations of the models that an ensemble names."""
    ensemble = config.ensemble
    assert ensemble is not None
    names = list(dict.fromkeys(step.model for step in ensemble.steps))
    missing = [name for name in names if _is_missing(name, table, failures)]
    if missing:
        raise unavailable(config.name, missing)
    models: dict[str, ModelConfig] = {}
    for step in ensemble.steps:
        route = _route(config.name, step.model, step.version, table, failures)
        if step.model not in models or not step.version:
            models[step.model] = route.config
    return models


def _is_missing(name: str, table: ModelTable, failures: Mapping[str, StreamGateError]) -> bool:
    """Whether nothing is known of a model: it is in no repository, or its folder is wrong."""
    failure = failures.get(name)
    if failure is not None and failure.code is Code.INTERNAL:
        return not table.is_served(name)
    return failure is None and table.get(name) is None


def _route(
    ensemble: str,
    name: str,
    version: str,
    table: ModelTable,
    failures: Mapping[str, StreamGateError],
) -> ModelRoute:
    try:
        return table.route(name, version)
    except StreamGateError as error:
        text = f"ensemble '{ensemble}' depends on '{name}'"
        if table.is_served(name):
            raise ConfigError(f"{text} whose required version {version} is not loaded.") from error
        text += " which has no loaded version."
        failure = failures.get(name)
        if failure is not None:
            reason = failure.message.removeprefix(f"load failed for model '{name}': ").strip()
            text += f" Model '{name}' loading failed with error: {reason}"
        raise ConfigError(text) from error


def find_circle(
    name: str, steps: Sequence[str], steps_of: Callable[[str], Sequence[str]]
) -> str | None:
    """The model through which an ensemble with these steps leads back to itself, or None."""
    seen = {name}
    waiting = [(name, step) for step in steps]
    while waiting:
        before, step = waiting.pop()
        if step == name:
            return before
        if step not in seen:
            seen.add(step)
            waiting.extend((step, after) for after in steps_of(step))
    return None


def unused_steps(name: str, ensembles: Ensembles, explicit: Iterable[str]) -> Sequence[str]:
    """The models that were loaded for an ensemble only, which is about to go."""
    kept = set(explicit)
    return [
        step
        for step in ensembles.steps_of(name)
        if step not in kept and all(source.name == name for source in ensembles.standing_on(step))
    ]
