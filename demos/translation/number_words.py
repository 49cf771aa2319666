"""Spells the numbers 0 to 999,999 in English, German, French and Spanish.

These rules make the training data and the references of the tests. The served model does not see
them: all that it knows of numbers is in its weights.
"""

LIMIT = 1_000_000


def _words(text: str) -> list[str]:
    return text.split()


_ENGLISH_SMALL = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_ENGLISH_TENS = _words("_ _ twenty thirty forty fifty sixty seventy eighty ninety")

_GERMAN_SMALL = _words(
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn "
    "fünfzehn sechzehn siebzehn achtzehn neunzehn"
)
_GERMAN_TENS = _words("_ _ zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig")

_FRENCH_SMALL = _words(
    "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze "
    "seize dix-sept dix-huit dix-neuf"
)
_FRENCH_TENS = _words(
    "_ _ vingt trente quarante cinquante soixante soixante quatre-vingt quatre-vingt"
)

_SPANISH_SMALL = _words(
    "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince "
    "dieciséis diecisiete dieciocho diecinueve veinte veintiuno veintidós veintitrés "
    "veinticuatro veinticinco veintiséis veintisiete veintiocho veintinueve"
)
_SPANISH_TENS = _words("_ _ _ treinta cuarenta cincuenta sesenta setenta ochenta noventa")
_SPANISH_HUNDREDS = _words(
    "_ ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos "
    "ochocientos novecientos"
)


def english(number: int, *, british: bool = False) -> str:
    """`british` puts an "and" before what is below a hundred: one thousand and five."""
    thousands, rest = _split(number)
    words = []
    if thousands:
        words.append(f"{_english_below_thousand(thousands, british)} thousand")
    if rest or not thousands:
        joined = british and thousands and rest < 100
        words.append(("and " if joined else "") + _english_below_thousand(rest, british))
    return " ".join(words)


def german(number: int) -> str:
    """One word: 21,101 is einundzwanzigtausendeinhunderteins."""
    thousands, rest = _split(number)
    front = f"{_german_below_thousand(thousands, alone=False)}tausend" if thousands else ""
    return front + (_german_below_thousand(rest, alone=True) if rest or not thousands else "")


def french(number: int) -> str:
    """As before the spelling reform of 1990: hyphens below a hundred only, and not beside "et"."""
    thousands, rest = _split(number)
    words = []
    if thousands:
        multiple = "" if thousands == 1 else _french_below_thousand(thousands, last=False) + " "
        words.append(f"{multiple}mille")
    if rest or not thousands:
        words.append(_french_below_thousand(rest, last=True))
    return " ".join(words)


def spanish(number: int) -> str:
    """Masculine, as one counts; "uno" is cut short before "mil": veintiún mil uno."""
    thousands, rest = _split(number)
    words = []
    if thousands:
        multiple = "" if thousands == 1 else _spanish_below_thousand(thousands) + " "
        multiple = multiple.replace("veintiuno ", "veintiún ").replace("uno ", "un ")
        words.append(f"{multiple}mil")
    if rest or not thousands:
        words.append(_spanish_below_thousand(rest))
    return " ".join(words)


SPELLERS = {"de": german, "fr": french, "es": spanish}


def _split(number: int) -> tuple[int, int]:
    if not 0 <= number < LIMIT:
        raise ValueError(f"{number} is not from 0 to {LIMIT - 1}")
    return divmod(number, 1000)


def _english_below_thousand(number: int, british: bool) -> str:
    hundreds, rest = divmod(number, 100)
    words = [f"{_ENGLISH_SMALL[hundreds]} hundred"] if hundreds else []
    if hundreds and rest and british:
        words.append("and")
    if rest >= 20:
        words.append(_ENGLISH_TENS[rest // 10])
        rest %= 10
        if rest:
            words.append(_ENGLISH_SMALL[rest])
    elif rest or not hundreds:
        words.append(_ENGLISH_SMALL[rest])
    return " ".join(words)


def _german_below_thousand(number: int, *, alone: bool) -> str:
    """`alone`: a one at the end is "eins", not the "ein" of a compound."""
    hundreds, rest = divmod(number, 100)
    front = f"{_german_unit(hundreds)}hundert" if hundreds else ""
    if rest == 0 and hundreds:
        return front
    if rest < 20:
        return front + (_GERMAN_SMALL[rest] if alone else _german_unit(rest))
    tens, unit = divmod(rest, 10)
    return front + (f"{_german_unit(unit)}und" if unit else "") + _GERMAN_TENS[tens]


def _german_unit(number: int) -> str:
    return "ein" if number == 1 else _GERMAN_SMALL[number]


def _french_below_thousand(number: int, *, last: bool) -> str:
    """`last`: nothing follows, so "cents" and "quatre-vingts" keep their s."""
    hundreds, rest = divmod(number, 100)
    words = []
    if hundreds:
        plural = "s" if hundreds > 1 and not rest and last else ""
        words.append("cent" if hundreds == 1 else f"{_FRENCH_SMALL[hundreds]} cent{plural}")
    if rest or not hundreds:
        words.append(_french_below_hundred(rest, last=last))
    return " ".join(words)


def _french_below_hundred(number: int, *, last: bool) -> str:
    if number < 20:
        return _FRENCH_SMALL[number]
    tens, unit = divmod(number, 10)
    word = _FRENCH_TENS[tens]
    if tens in {7, 9}:
        unit += 10
    if unit == 0:
        return word + ("s" if tens == 8 and last else "")
    if unit in {1, 11} and tens < 8:
        return f"{word} et {_FRENCH_SMALL[unit]}"
    return f"{word}-{_FRENCH_SMALL[unit]}"


def _spanish_below_thousand(number: int) -> str:
    if number == 100:
        return "cien"
    hundreds, rest = divmod(number, 100)
    words = [_SPANISH_HUNDREDS[hundreds]] if hundreds else []
    if rest >= 30:
        tens, unit = divmod(rest, 10)
        words.append(_SPANISH_TENS[tens] + (f" y {_SPANISH_SMALL[unit]}" if unit else ""))
    elif rest or not hundreds:
        words.append(_SPANISH_SMALL[rest])
    return " ".join(words)
