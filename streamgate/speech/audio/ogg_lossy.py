"""Opus and Vorbis in Ogg: page by page through libsndfile, restarted now and then.

A decoder of either has a memory that can't be copied. So that a stream can be continued from a
bounded state, the decoder is thrown away every few seconds, and a fresh one begins some pages
earlier and drops what had been put already:

    pages  |  a  |  b  |  c  |  d  |  e  |  f  |      every 8 s of audio ...
    first decoder  ->           ^
    second decoder      c, d (dropped), e, f ...      ... begin `warm_up_seconds` earlier

Where it restarts depends on the pages alone, so a restored stream restarts where the live one
did and gives the same samples, bit for bit. Vorbis needs one packet to warm up (the decoder keeps
the second half of the last window, Vorbis I specification, 1.3.2), so a restart can't be heard
nor measured. Opus converges (RFC 7845, 4.2, asks for 80 ms of pre-roll): mostly within 0.2 s to
the last bit, but its speech mode at low rates was seen to take up to 3 s, so it gets 4.
"""

from dataclasses import dataclass
from typing import Final

from streamgate.speech.audio.faults import AudioError
from streamgate.speech.audio.live_file import Decoder
from streamgate.speech.audio.ogg_pages import CONTINUED, LAST, NO_GRANULE, Page
from streamgate.speech.audio.snapshot import Fields, State
from streamgate.speech.audio.source import Output

_EPOCH_SECONDS: Final = 8
# A page has at most 255 packets; Vorbis' longest block has 8192 samples, Opus' longest packet 5760.
_PAGE_FRAMES_MAX: Final = 255 * 8192
# Beyond any stream, and divisible by what 48 kHz is divided by for lower rates.
_GRANULE_STATED: Final = 48_000 * 2**32


@dataclass(frozen=True, slots=True)
class Headers:
    """What a decoder needs before any page: the header pages, and what they say."""

    data: bytes
    name: str  # "Ogg Opus"
    sample_rate_hz: int
    channels: int
    granules_per_frame: int  # Opus counts in 48 kHz whatever the rate
    skip_frames: int  # of the beginning, which are the encoder's delay
    warm_up_seconds: int  # what a decoder hears before its samples are used


class LossyPages:
    """Frames of Opus or Vorbis pages.

    Positions are counted in frames as granule positions are: from wherever the stream began.
    """

    def __init__(self, headers: Headers, output: Output) -> None:
        self.headers = headers
        self._output = output
        self._decoder: Decoder | None = None
        self._history: list[Page] = []  # since the decoder's beginning
        self._starts: list[int | None] = []  # where each page of it begins, if known
        self._pending: list[Page] = []  # of it, not given to the decoder yet
        self._read_to = 0  # where the decoder stands
        self._put_to: int | None = None
        self._epoch_from = 0
        self._last_end: int | None = None  # where the last page ended

    def add(self, page: Page) -> None:
        """The next page, whole; puts the frames that it completes."""
        self._history.append(page)
        self._starts.append(self._last_end)
        self._pending.append(page)
        if page.granule == NO_GRANULE:
            if len(self._pending) > 64:
                raise AudioError(f"no packet ends in 64 Ogg pages before byte {page.at}")
            return
        end = page.granule // self.headers.granules_per_frame
        if self._last_end is not None and end < self._last_end:
            raise AudioError(
                f"the Ogg page at byte {page.at} goes back in time: it ends at "
                f"{end - self._last_end} frames after the page before it"
            )
        self._last_end = end
        self._decode_to(end, page)
        if end - self._epoch_from >= _EPOCH_SECONDS * self.headers.sample_rate_hz:
            self._end_epoch(end)

    def _decode_to(self, end: int, page: Page) -> None:
        decoder = self._decoder or self._begin()
        for waiting in self._pending:
            decoder.append(waiting.data)
        self._pending.clear()
        count = end - self._read_to
        if count > _PAGE_FRAMES_MAX * len(self._history):
            raise AudioError(f"the Ogg page at byte {page.at} leaves a gap of {count} frames")
        frames = decoder.read(count)
        begin, self._read_to = self._read_to, self._read_to + len(frames)
        assert self._put_to is not None
        dropped = max(self._put_to - begin, 0)
        self._output.put(frames[dropped:])
        self._put_to = max(self._put_to, self._read_to)
        if len(frames) < count and not page.flags & LAST:
            raise AudioError(
                f"the Ogg page at byte {page.at} states {count} frames more and holds "
                f"{len(frames)} ({self._output.frames_put / self.headers.sample_rate_hz:.3f} s)"
            )

    def _begin(self) -> Decoder:
        """A decoder that holds the history, standing at its beginning."""
        scale = self.headers.granules_per_frame
        first = next(page for page in self._history if page.granule != NO_GRANULE)
        # Where the first page is the last as well, its granule says where it was cut, and the
        # file is whole as it is.
        is_all = len(self._history) == 1 and bool(first.flags & LAST)
        ending = first.changed(flags=LAST, granule=_GRANULE_STATED, sequence=2**32 - 1)
        decoder = Decoder(
            self.headers.data + b"".join(page.data for page in self._history),
            b"" if is_all else ending.data,
            self.headers.name,
        )
        self._pending.clear()
        stated = first.granule if is_all else _GRANULE_STATED
        self._read_to = max(stated // scale - decoder.frames_stated, 0)
        if self._put_to is None:
            self._put_to = self._read_to + self.headers.skip_frames
            self._epoch_from = self._read_to
        self._decoder = decoder
        return decoder

    def _end_epoch(self, end: int) -> None:
        """Begin anew at the last page that leaves time to warm up, if there is one."""
        latest = end - self.headers.warm_up_seconds * self.headers.sample_rate_hz
        fit = [
            index
            for index, (page, start) in enumerate(zip(self._history, self._starts, strict=True))
            if start is not None
            and start <= latest
            and page.granule != NO_GRANULE
            and not page.flags & CONTINUED
        ]
        if not fit or fit[-1] == 0:
            return  # pages longer than the epoch: the next one will do
        self._history, self._starts = self._history[fit[-1] :], self._starts[fit[-1] :]
        self._epoch_from = end
        self.close()

    def close(self) -> None:
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    def state(self) -> State:
        return {
            "history": [page.data for page in self._history],
            "bytes": [page.at for page in self._history],
            "starts": [NO_GRANULE if start is None else start for start in self._starts],
            "put": self._put_to,
            "epoch": self._epoch_from,
            "end": self._last_end,
        }

    def restore(self, state: Fields) -> None:
        """Go on from that state: the next page finds a new decoder reading the history."""
        pages = zip(state.chunks("history"), state.integers("bytes"), strict=True)
        self._history = [Page(data, at) for data, at in pages]
        self._starts = [None if start < 0 else start for start in state.integers("starts")]
        self._put_to = state.optional_integer("put")
        self._epoch_from = state.integer("epoch")
        self._last_end = state.optional_integer("end")
