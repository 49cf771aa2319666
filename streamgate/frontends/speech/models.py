"""Which models of a repository are speech models, and which of them a client means.

The contract that makes a model one is `docs/speech-models.md`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.speech.lags import AudioLags, LagsOfModels
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.session.gateway import Gateway

PREFIX = "streamgate.speech."
SAMPLE_RATE_HZ = 16_000
CHUNK_SECONDS = 0.16
END_PADDING_SECONDS_MAX = 10.0

_TEXT_OUTPUTS = {
    "STABLE": DataType.BYTES,
    "TAIL": DataType.BYTES,
    "FINAL": DataType.BOOL,
}


@dataclass(frozen=True, slots=True)
class SpeechModel:
    """A model that hears: what it wants to be sent, and in which languages it listens.

    `chunk_samples` is one step's audio; `is_fixed` when a step must have exactly that many. Its
    streams note in `lags` how far results are behind.
    """

    config: ModelConfig
    version: str
    sample_rate_hz: int
    chunk_samples: int
    is_fixed: bool
    languages: Sequence[str]
    end_padding_samples: int
    takes_flush: bool
    lags: AudioLags = field(default_factory=AudioLags, compare=False)

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def chunk_seconds(self) -> float:
        return self.chunk_samples / self.sample_rate_hz


@dataclass(frozen=True, slots=True)
class TranslationModel:
    """A model that turns text events of one language into those of another."""

    config: ModelConfig
    version: str
    source_languages: Sequence[str]
    target_languages: Sequence[str]
    takes_tail: bool
    takes_flush: bool
    takes_target: bool

    @property
    def name(self) -> str:
        return self.config.name

    def target_of(self, language: str) -> str:
        """The target language that a client means by this tag, as the model spells it; the tag
        itself when the model lists none. "" means the first."""
        for tag in self.target_languages:
            if _speaks([tag], language):
                return tag
        return language


def as_speech_model(
    config: ModelConfig, version: str, lags: LagsOfModels | None = None
) -> SpeechModel | None:
    """The model as one that hears, if it keeps the contract."""
    audio = next((spec for spec in config.inputs if spec.name == "AUDIO"), None)
    if audio is None or audio.datatype is not DataType.FP32 or len(audio.shape) != 1:
        return None
    if (
        not config.stateful
        or not _has_text_outputs(config)
        or not _wants_only(config, {"AUDIO", "FLUSH"})
    ):
        return None
    rate_hz = _number(config, "sample_rate", SAMPLE_RATE_HZ)
    fixed = audio.shape[0]
    chunk = fixed if fixed > 0 else _number(config, "chunk_samples", round(CHUNK_SECONDS * rate_hz))
    padding_seconds = _number(config, "end_padding_ms", 0) / 1000
    if rate_hz <= 0 or chunk <= 0 or not 0 <= padding_seconds <= END_PADDING_SECONDS_MAX:
        return None
    return SpeechModel(
        config,
        version,
        rate_hz,
        chunk,
        fixed > 0,
        _words(config, "languages"),
        math.ceil(padding_seconds * rate_hz),
        _has_input(config, "FLUSH"),
        AudioLags() if lags is None else lags.of(config.name),
    )


def as_translation_model(config: ModelConfig, version: str) -> TranslationModel | None:
    """The model as one that translates, if it keeps the contract."""
    if config.parameters.get(PREFIX + "task") != "translate" or not config.stateful:
        return None
    text = next((spec for spec in config.inputs if spec.name == "TEXT"), None)
    if text is None or text.datatype is not DataType.BYTES or not _has_text_outputs(config):
        return None
    return TranslationModel(
        config,
        version,
        _words(config, "languages"),
        _words(config, "target_languages"),
        _has_input(config, "TEXT_TAIL"),
        _has_input(config, "FLUSH"),
        _has_input(config, "TARGET_LANGUAGE"),
    )


class SpeechModels:
    """The speech models that a gateway serves just now, and the one that is meant if none is named.

    `default` is the name of that one; "" for the first by name. `aliases` are further names, such
    as those that clients of other services send.
    """

    def __init__(
        self, gateway: Gateway, default: str = "", aliases: Mapping[str, str] | None = None
    ) -> None:
        self.lags = LagsOfModels()
        self._gateway = gateway
        self._default = default
        self._aliases = dict(aliases or {})

    async def all(self) -> list[SpeechModel]:
        """By name, each in its newest ready version."""
        found = (as_speech_model(*each, self.lags) for each in await self._ready())
        return [model for model in found if model is not None]

    async def translations(self) -> list[TranslationModel]:
        """By name, each in its newest ready version."""
        found = (as_translation_model(config, version) for config, version in await self._ready())
        return [model for model in found if model is not None]

    async def choose(
        self, name: str = "", language: str = "", *, stand_ins: Sequence[str] = ()
    ) -> SpeechModel:
        """The model that a client means. Language tags match by their first part ("en-US": "en").

        A client may name none. Names that start with one of `stand_ins` are those of the dialect's
        own service, which existing clients have built in: they mean none either, unless there is a
        model or an alias of that name. Raises StreamGateError: NOT_FOUND for a name that is no
        model, a model that does not hear, or a language that no model listens in.
        """
        wanted = self._aliases.get(name, name)
        if wanted and self._is_stand_in(wanted, stand_ins):
            try:
                return self._named(wanted)
            except StreamGateError:
                wanted = ""
        if wanted:
            return self._named(wanted)
        if self._default:
            return self._named(self._default)
        models = await self.all()
        if not models:
            raise StreamGateError(Code.NOT_FOUND, "no speech model is being served")
        matching = [model for model in models if _speaks(model.languages, language)]
        if not matching:
            known = sorted({tag for model in models for tag in model.languages})
            raise StreamGateError(
                Code.NOT_FOUND,
                f"no speech model for language '{language}', expected one of {', '.join(known)}",
            )
        return matching[0]

    async def choose_translation(
        self, name: str = "", source: str = "", target: str = ""
    ) -> TranslationModel:
        """The translator between two languages. Raises StreamGateError (NOT_FOUND)."""
        models = await self.translations()
        name = self._aliases.get(name, name)
        if name:
            models = [model for model in models if model.name == name]
            if not models:
                raise StreamGateError(Code.NOT_FOUND, f"'{name}' is no translation model")
        for model in models:
            if _speaks(model.source_languages, source) and _speaks(model.target_languages, target):
                return model
        pairs = sorted(
            f"{source}-{target}"
            for model in models
            for source in model.source_languages
            for target in model.target_languages
        )
        raise StreamGateError(
            Code.NOT_FOUND,
            f"no translation from '{source}' to '{target}', expected one of "
            f"{', '.join(pairs) or 'none: no translation model is being served'}",
        )

    def _named(self, name: str) -> SpeechModel:
        info = self._gateway.model(name, "")
        model = as_speech_model(info.config, info.version, self.lags)
        if model is None:
            raise StreamGateError(
                Code.NOT_FOUND,
                f"model '{name}' is no speech model: it does not take AUDIO and give STABLE, TAIL "
                "and FINAL as a sequence model",
            )
        return model

    def _is_stand_in(self, name: str, stand_ins: Sequence[str]) -> bool:
        return any(name.startswith(prefix) for prefix in stand_ins)

    async def _ready(self) -> list[tuple[ModelConfig, str]]:
        index = await self._gateway.repository_index(ready_only=True)
        found = []
        for name in sorted({entry.name for entry in index}):
            try:
                info = self._gateway.model(name, "")
            except StreamGateError:  # it went since
                continue
            found.append((info.config, info.version))
        return found


def _speaks(languages: Sequence[str], wanted: str) -> bool:
    if not languages or not wanted:
        return True
    first = _primary(wanted)
    return first in ("", "auto", "multi") or any(_primary(each) == first for each in languages)


def _primary(tag: str) -> str:
    return tag.replace("_", "-").partition("-")[0].lower()


def _has_text_outputs(config: ModelConfig) -> bool:
    found = {spec.name: spec.datatype for spec in config.outputs}
    return all(found.get(name) is datatype for name, datatype in _TEXT_OUTPUTS.items())


def _has_input(config: ModelConfig, name: str) -> bool:
    return any(spec.name == name for spec in config.inputs)


def _wants_only(config: ModelConfig, names: set[str]) -> bool:
    return all(spec.optional or spec.name in names for spec in config.inputs)


def _words(config: ModelConfig, name: str) -> tuple[str, ...]:
    text = config.parameters.get(PREFIX + name, "")
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _number(config: ModelConfig, name: str, default: int) -> int:
    """A parameter that is a whole number; -1, which no rule allows, for one that is none."""
    text = config.parameters.get(PREFIX + name, "")
    try:
        return int(text) if text else default
    except ValueError:
        return -1
