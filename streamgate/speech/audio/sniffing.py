"""What kind of stream begins with these bytes?"""

import enum
from typing import Final

from streamgate.speech.audio import mpeg_frames
from streamgate.speech.audio.faults import AudioError, shown, unsupported

LOOK_AHEAD_MAX: Final = mpeg_frames.FRAME_BYTES_MAX + mpeg_frames.HEAD_BYTES
_MAGIC_BYTES: Final = 12


class Kind(enum.Enum):
    """The streams that say what they are."""

    WAV = "wav"
    FLAC = "flac"
    OGG = "ogg"
    MP3 = "mp3"


# What people send and is not read here, by where its mark stands.
_UNSUPPORTED: Final = (
    (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska"),
    (4, b"ftyp", "MP4 (AAC or ALAC)"),
    (0, b"RIFX", "big-endian WAV (RIFX)"),
    (0, b"FORM", "AIFF"),
    (0, b"caff", "Core Audio (CAF)"),
    (0, b".snd", "Sun audio (AU)"),
    (0, b"riff\x2e\x91\xcf\x11", "Wave64"),
    (0, b"\x30\x26\xb2\x75", "Windows Media (ASF)"),
    (0, b"#!AMR", "AMR"),
    (0, b"ADIF", "AAC (ADIF)"),
    (0, b"MThd", "MIDI"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"TTA1", "True Audio"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
)
_TEXT: Final = (b"{", b"[", b"<")
EXPECTED: Final = "expected WAV, FLAC, Ogg (Opus, Vorbis, FLAC) or MP3"


def is_wav(head: bytes | bytearray) -> bool | None:
    """Whether `head` begins a WAV file; None: too few bytes have come to say."""
    for magic in (b"RIFF", b"RF64"):
        if magic.startswith(head[:4]):
            if len(head) >= _MAGIC_BYTES:
                return head[8:12] == b"WAVE"
            return None if b"WAVE".startswith(head[8:]) else False
    return False


def sniff(head: bytes | bytearray, *, is_all: bool) -> Kind | None:
    """The kind of stream that begins so; None: more bytes are needed.

    `is_all`: no more bytes will come. At most LOOK_AHEAD_MAX bytes are ever needed. Raises
    AudioError for what is known but not read here (UNSUPPORTED) and for what is not known.
    """
    if not head and is_all:
        raise AudioError(f"the stream ended without a byte; {EXPECTED}")
    if len(head) < _MAGIC_BYTES and not is_all:
        return None
    if is_wav(head):
        return Kind.WAV
    if head.startswith(b"fLaC"):
        return Kind.FLAC
    if head.startswith(b"OggS"):
        return Kind.OGG
    if head.startswith(b"ID3"):
        return Kind.MP3
    for at, magic, name in _UNSUPPORTED:
        if head[at:].startswith(magic):
            raise unsupported(f"this is {name}, which is not read here; {EXPECTED}")
    if head[0] == 0xFF and head[1:2] and head[1] & 0xE0 == 0xE0:
        return _sniff_mpeg(head, is_all=is_all)
    text = " (text?)" if head.lstrip().startswith(_TEXT) else ""
    raise AudioError(
        f"found no known audio{text} but {shown(head)}; {EXPECTED}, or samples declared as such"
    )


def _sniff_mpeg(head: bytes | bytearray, *, is_all: bool) -> Kind | None:
    """Eleven set bits are no proof: the next head must be where the first says."""
    layer = head[1] >> 1 & 3
    if layer == 0 and head[1] & 0xF6 == 0xF0:
        raise unsupported(f"this is AAC (ADTS), which is not read here; {EXPECTED}")
    if layer in (2, 3):
        name = {3: "I", 2: "II"}[layer]
        raise unsupported(f"this may be MPEG audio of layer {name}, not read here; {EXPECTED}")
    first = mpeg_frames.read_head(head)
    if first is not None:
        if len(head) < first.frame_bytes + mpeg_frames.HEAD_BYTES:
            if not is_all:
                return None
            return Kind.MP3
        following = mpeg_frames.read_head(head, first.frame_bytes)
        if following is not None and following.fits(first):
            return Kind.MP3
    raise AudioError(f"found no known audio but {shown(head)}; {EXPECTED}")
