"""Lets foreign voices of festival speak English numbers: more timbres, and accents with them.

Each English phone is written as phones that the voice has; how long they are and how the pitch
moves is drawn at random. Such a voice speaks the words of our vocabulary only.
"""

from random import Random

from vocabulary import PRONUNCIATIONS

VOICES = {
    "lp_diphone": "italian",
    "pc_diphone": "italian",
    "czech_dita": "czech",
    "czech_krb": "czech",
    "czech_machac": "czech",
    "czech_ph": "czech",
    "hy_fi_mv_diphone": "finnish",
    "suo_fi_lj_diphone": "finnish",
}
PITCH_HZ = {
    "lp_diphone": 190, "pc_diphone": 115, "czech_dita": 190, "czech_krb": 170,
    "czech_machac": 110, "czech_ph": 110, "hy_fi_mv_diphone": 105, "suo_fi_lj_diphone": 180,
}  # fmt: skip

_ALIKE = {name: name for name in ("p", "t", "k", "b", "d", "f", "s", "v", "m", "n", "l", "r")}
_PHONES = {
    "italian": _ALIKE | {
        "iy": "i1", "ih": "i", "eh": "E1", "ey": "e1 i", "ay": "a1 i", "aw": "a1 u", "oy": "o1 i",
        "ow": "o1 u", "uw": "u1", "uh": "u", "ao": "O1", "aa": "a1", "ah": "a", "er": "E1 r",
        "th": "f", "z": "z", "y": "j", "w": "w", "hh": "",
    },
    "czech": _ALIKE | {
        "iy": "i:", "ih": "i", "eh": "e", "ey": "e j", "ay": "a j", "aw": "a u", "oy": "o j",
        "ow": "o u", "uw": "u:", "uh": "u", "ao": "o:", "aa": "a:", "ah": "a", "er": "e: r",
        "th": "s", "z": "z", "y": "j", "w": "u", "hh": "h",
    },
    "finnish": _ALIKE | {
        "iy": "i:", "ih": "i", "eh": "e", "ey": "e i", "ay": "a i", "aw": "a u", "oy": "o i",
        "ow": "o u", "uw": "u:", "uh": "u", "ao": "o:", "aa": "a:", "ah": "a", "er": "7 r",
        "th": "t", "z": "s", "y": "j", "w": "u", "hh": "h", "b": "b",
    },
}  # fmt: skip
# The same sound differently: "three" with f, s or t in front, "and" with another vowel.
_VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "italian": {"th": ("f", "t", "s"), "ah": ("a", "o", "e"), "er": ("E1 r", "e1 r", "o1 r")},
    "czech": {"th": ("s", "t", "f"), "ah": ("a", "e", "o"), "w": ("u", "v"), "r": ("r",)},
    "finnish": {"th": ("t", "f", "s"), "ah": ("a", "7", "o"), "w": ("u", "v")},
}
_MILLISECONDS = {"vowel": (60, 130), "stop": (50, 95), "other": (45, 110)}


def segments(words: list[str], voice: str, random: Random) -> str:
    """Returns festival's input for `words`: phones with seconds and pitch."""
    language = VOICES[voice]
    table = _PHONES[language] | {
        phone: random.choice(choices) for phone, choices in _VARIANTS[language].items()
    }
    tempo = random.triangular(0.7, 1.5, 1.0)
    top = PITCH_HZ[voice] * random.uniform(0.85, 1.2)
    pause_rate = random.choice((0.0, 0.0, 0.15, 0.5))
    parts = ["(# 0.1)"]
    for index, word in enumerate(words):
        last = index == len(words) - 1
        pitch = top * (1.05 - 0.25 * index / max(1, len(words) - 1)) * random.uniform(0.93, 1.08)
        phones = [
            phone for english in PRONUNCIATIONS[word].split() for phone in table[english].split()
        ]
        if phones[-1] == "v" and language != "italian":
            phones[-1] = "f"  # as in these languages, whose voices have no v at the end of a word
        stressed = True
        for place, phone in enumerate(phones):
            kind = "vowel" if phone[0] in "aeiouEO7@&" else "stop" if phone in "ptkbdg" else "other"
            seconds = random.uniform(*_MILLISECONDS[kind]) / 1000 * tempo
            long = kind == "vowel" and (stressed or phone.endswith(":"))
            seconds *= random.uniform(1.1, 1.5) if long else 1.0
            if last and place >= len(phones) - 2:
                seconds *= 1.3
            target = (
                f" ({seconds / 2:.3f} {pitch * (1.1 if stressed else 0.95):.0f})"
                if kind == "vowel"
                else ""
            )
            stressed = stressed and kind != "vowel"
            parts.append(f"({phone} {seconds:.3f}{target})")
        if not last and random.random() < pause_rate:
            parts.append(f"(# {random.uniform(0.08, 0.3):.3f})")
    return f"({' '.join([*parts, '(# 0.1)'])})"
