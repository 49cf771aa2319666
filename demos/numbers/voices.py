"""The synthetic voices: which the model learns from, and which are kept for its examination."""

from dataclasses import dataclass
from random import Random

# Accents of espeak-ng; every one is heard in training, with other voices.
ACCENTS = (
    "en-us", "en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029",
    "en-gb-x-gbcwmd", "en-us-nyc",
)  # fmt: skip
RANDOM_VOICES = 240  # espeak-ng reads at most about 350 voice files

# Voices that come with espeak-ng. The second list is never heard in training.
STOCK_TRAINING = (
    "f1", "f3", "f4", "m1", "m3", "m4", "m5", "m8", "klatt", "klatt2", "klatt5", "max", "paul",
    "linda", "belinda", "edward", "grandma", "travis", "caleb", "michel", "zac", "pablo",
)  # fmt: skip
STOCK_HELD_OUT = (
    "f2", "f5", "m2", "m6", "m7", "klatt3", "klatt4", "steph", "john", "anika", "quincy", "adam",
)  # fmt: skip

FLITE_TRAINING = ("awb", "rms", "slt")
FESTIVAL_TRAINING = ("cmu_us_slt_arctic_hts", "ked_diphone")
# A whole family is held out: voices made of the recordings of one speaker (kal).
FLITE_HELD_OUT = ("kal", "kal16")
FESTIVAL_HELD_OUT = ("kal_diphone",)


@dataclass(frozen=True, slots=True)
class Speaker:
    engine: str  # espeak, flite or festival
    voice: str
    held_out: bool = False


def random_voice(name: str, random: Random) -> str:
    """Returns the text of an espeak-ng voice file with formants, pitch and timbre at random."""
    low = random.uniform(62, 220)
    lines = [
        "language variant",
        f"name {name}",
        f"pitch {low:.0f} {low * random.uniform(1.15, 1.8):.0f}",
        f"flutter {random.randrange(0, 9)}",
        f"roughness {random.choice((0, 1, 2, 2, 3, 4))}",
        f"voicing {random.randrange(60, 130)}",
        f"consonants {random.randrange(60, 140)} {random.randrange(60, 140)}",
        f"intonation {random.randrange(1, 5)}",
        f"stressLength {' '.join(str(random.randrange(140, 260)) for _ in range(8))}",
    ]
    tract = random.uniform(82, 122)
    for formant in range(9):
        frequency = tract * random.uniform(0.93, 1.07)
        lines.append(
            f"formant {formant} {frequency:.0f} {random.uniform(70, 125):.0f} "
            f"{random.uniform(75, 150):.0f}"
        )
    if random.random() < 0.35:
        lines.append(f"breath {' '.join(str(random.randrange(0, 25)) for _ in range(8))}")
    if random.random() < 0.3:
        lines.append(f"klatt {random.randrange(1, 6)}")
    if random.random() < 0.4:
        points = " ".join(f"{hz} {random.randrange(60, 250)}" for hz in (200, 800, 2400, 5000))
        lines.append(f"tone {points}")
    return "\n".join(lines) + "\n"
