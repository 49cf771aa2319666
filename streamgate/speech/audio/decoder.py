"""Any audio stream to mono samples at its own rate."""

from typing import Final

from streamgate.speech.audio.faults import NO_SAMPLES, AudioError
from streamgate.speech.audio.flac import FlacSource
from streamgate.speech.audio.format import AudioFormat, Encoding
from streamgate.speech.audio.mp3 import Mp3Source
from streamgate.speech.audio.ogg import OggSource
from streamgate.speech.audio.pcm import PcmSource
from streamgate.speech.audio.samples import Samples, mono
from streamgate.speech.audio.snapshot import Fields, State, damaged
from streamgate.speech.audio.sniffing import Kind, is_wav, sniff
from streamgate.speech.audio.source import Source
from streamgate.speech.audio.wav import WavSource

# What is handed to a source at once: bounds what it copies when a whole file comes in one piece.
_PIECE_BYTES: Final = 64 * 1024
_Container = WavSource | FlacSource | OggSource | Mp3Source
_SOURCES: Final[dict[Kind, type[_Container]]] = {
    Kind.WAV: WavSource,
    Kind.FLAC: FlacSource,
    Kind.OGG: OggSource,
    Kind.MP3: Mp3Source,
}


class StreamingDecoder:
    """Bytes of a stream in any split -> float32 mono samples at the stream's own rate.

    The samples depend on the bytes alone: any split gives the very samples that the whole file
    gives. They come as soon as the bytes that hold them are whole: a sample of PCM, a frame of
    MP3, a page of Ogg; a frame of FLAC when the next one begins.

    `feed` and `finish` raise AudioError where the stream is damaged, truncated or not read here,
    with what was read before in its `samples`.
    """

    def __init__(self, declared: AudioFormat) -> None:
        self.declared = declared
        self.bytes_in = 0
        self._head = bytearray()  # until it is known what this is
        self._source: Source | None = None
        self._fault: AudioError | None = None

    @property
    def source_rate_hz(self) -> int | None:
        """The stream's sample rate; None until its header has come."""
        return self._source.sample_rate_hz if self._source else None

    @property
    def name(self) -> str | None:
        """What the stream is: "WAV (s16le)"; None until that is known."""
        return self._source.name if self._source else None

    def feed(self, data: bytes | bytearray | memoryview) -> Samples:
        """float32 [n]: the samples that the stream's next bytes complete."""
        self._check()
        try:
            view = memoryview(data)
            for begin in range(0, len(view), _PIECE_BYTES):
                self._take(bytes(view[begin : begin + _PIECE_BYTES]))
        except AudioError as error:
            raise self._failed(error) from None
        self.bytes_in += len(view)
        return self._taken()

    def finish(self) -> Samples:
        """float32 [n]: the samples held back until the stream's end, which is here."""
        self._check()
        try:
            if self._source is None:
                self._recognise(is_all=True)
            if self._source is not None:
                self._source.finish()
        except AudioError as error:
            raise self._failed(error) from None
        return self._taken()

    def _take(self, data: bytes) -> None:
        if self._source is not None:
            self._source.feed(data)
            return
        self._head += data
        self._recognise(is_all=False)

    def _recognise(self, *, is_all: bool) -> None:
        head = bytes(self._head)
        if self.declared.encoding is Encoding.AUTO:
            kind = sniff(head, is_all=is_all)
            if kind is None:
                return
            self._source = _SOURCES[kind](self.declared.channel)
        else:
            found = is_wav(head) if head else False
            if found is None and not is_all:
                return
            self._source = WavSource(self.declared.channel) if found else self._declared()
        self._head.clear()
        if head:
            self._source.feed(head)

    def _declared(self) -> PcmSource:
        rate_hz = self.declared.sample_rate_hz
        assert rate_hz is not None  # AudioFormat sees to it
        return PcmSource(self.declared.encoding, rate_hz, self.declared.channels)

    def _taken(self) -> Samples:
        if self._source is None:
            return NO_SAMPLES
        return mono(self._source.output.take(self._source.channels), self.declared.channel)

    def _check(self) -> None:
        if self._fault is not None:
            self._fault.samples = NO_SAMPLES
            raise self._fault

    def _failed(self, error: AudioError) -> AudioError:
        error.samples = self._taken()
        self._fault = error
        return error

    def state(self) -> State:
        """What `restored` needs. Raises the stream's AudioError, if it had one."""
        self._check()
        return {
            "encoding": self.declared.encoding.value,
            "rate": self.declared.sample_rate_hz,
            "channels": self.declared.channels,
            "channel": self.declared.channel,
            "bytes_in": self.bytes_in,
            "head": bytes(self._head),
            "kind": self._source.KIND if self._source else "",
            "source": self._source.state() if self._source else None,
        }

    @classmethod
    def restored(cls, state: Fields) -> "StreamingDecoder":
        """A decoder that goes on where that state was taken, with the very same samples."""
        decoder = cls(
            AudioFormat(
                Encoding(state.text("encoding")),
                state.optional_integer("rate"),
                state.integer("channels"),
                state.optional_integer("channel"),
            )
        )
        decoder.bytes_in = state.integer("bytes_in")
        decoder._head = bytearray(state.data("head"))
        inner = state.optional_inner("source")
        if inner is not None:
            kind = state.text("kind")
            if kind == PcmSource.KIND:
                decoder._source = PcmSource.restored(inner)
            elif kind in [known.value for known in Kind]:
                decoder._source = _SOURCES[Kind(kind)].restored(inner)
            else:
                raise damaged(f"it is of the unknown kind '{kind}'")
        return decoder
