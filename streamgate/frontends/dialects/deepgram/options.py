"""What a client of `/v1/listen` asks for in its query."""

from dataclasses import dataclass

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.dialects.query import Query
from streamgate.frontends.sockets.contract import Handshake
from streamgate.frontends.speech import Declared

STAND_INS = ("nova", "enhanced", "base", "whisper", "general", "flux")
"""Deepgram's own models, which its clients name."""

RAW = {"linear16": "s16le", "linear32": "f32le", "mulaw": "mulaw", "alaw": "alaw"}
CONTAINED = {"", "flac", "opus", "ogg-opus"}
"""Found by their first bytes, like a container without any `encoding`."""

CHANNELS_MAX = 8
UTTERANCE_END_MS_MIN = 1000
MS_MAX = 60_000


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """The query of `/v1/listen`, as far as it matters here; what is not known is ignored.

    `utterance_end_seconds` and `endpointing` None mean: not wanted.
    """

    model: str
    language: str
    declared: Declared
    multichannel: bool
    interim_results: bool
    utterance_end_seconds: float | None
    vad_events: bool
    endpointing: bool
    punctuate: bool

    @property
    def channels(self) -> list[Declared]:
        """What each stream hears: one channel each, or all of them mixed."""
        declared = self.declared
        if not self.multichannel or declared.channels == 1:
            return [declared]
        return [
            Declared(declared.encoding, declared.sample_rate_hz, declared.channels, channel)
            for channel in range(declared.channels)
        ]


def listen_options(handshake: Handshake) -> ListenOptions:
    """Raises StreamGateError (INVALID_ARG) that names the parameter."""
    query = Query(handshake)
    interim = query.flag("interim_results")
    utterance_end = query.text("utterance_end_ms")
    if utterance_end and not interim:
        raise StreamGateError(
            Code.INVALID_ARG, "parameter 'utterance_end_ms' needs 'interim_results=true'"
        )
    gap_ms = query.number("utterance_end_ms", 0, UTTERANCE_END_MS_MIN, MS_MAX)
    return ListenOptions(
        query.text("model"),
        query.text("language"),
        declared_audio(query),
        query.flag("multichannel"),
        interim,
        gap_ms / 1000 if gap_ms else None,
        query.flag("vad_events"),
        _endpointing(query),
        query.flag("punctuate") or query.flag("smart_format"),
    )


def declared_audio(query: Query) -> Declared:
    """What `encoding`, `sample_rate` and `channels` say. Raises StreamGateError (INVALID_ARG)."""
    encoding = query.choice("encoding", "", {*RAW, *CONTAINED})
    channels = query.number("channels", 1, 1, CHANNELS_MAX)
    rate_hz = query.number("sample_rate", 0, 8_000, 192_000)
    if encoding in CONTAINED:
        return Declared("auto", None, channels)
    if not rate_hz:
        raise StreamGateError(
            Code.INVALID_ARG, f"parameter 'sample_rate' is missing; 'encoding={encoding}' needs it"
        )
    return Declared(RAW[encoding], rate_hz, channels)


def _endpointing(query: Query) -> bool:
    """`false`, `true` or milliseconds. The model ends utterances by its own rules: only whether
    the client wants to be told is up to it."""
    text = query.text("endpointing")
    if text.isdigit():
        return query.number("endpointing", 0, 0, MS_MAX) >= 0
    return query.flag("endpointing", default=True)
