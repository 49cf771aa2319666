"""Measures the translator of numbers on sentences whose numbers it was not trained on.

    PYTHONPATH=demos python -m translation.measure [--count 2000]

Needs numpy and onnxruntime, not torch. For each language it prints

- cardinal: held-out numbers, typed whole: the share that is translated exactly;
- spoken: mixed sentences with held-out numbers, a word at a time: the share whose stable text is
  exact at the end;
- tail: the share of all words of these after which stable text and tail together were exact;
- early, late: the shares of words after which more, or less, was stable than in the reference.
"""

import argparse
import importlib.util
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from translation import number_words, phrases, sentences

MODEL = Path(__file__).resolve().parents[1] / "models" / "translate_numbers" / "1"
_BATCH = 32


def load(folder: Path) -> Any:
    """The module `translator.py` of the served model, with the class Translator and so on."""
    spec = importlib.util.spec_from_file_location("translator", folder / "translator.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["translator"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def held_out_numbers(rng: random.Random, count: int) -> list[int]:
    """Spread over 3 to 6 digits."""
    found: list[int] = []
    while len(found) < count:
        places = rng.randint(3, 6)
        number = rng.randrange(10 ** (places - 1), 10**places)
        if sentences.is_held_out(number):
            found.append(number)
    return found


def held_out_sentences(rng: random.Random, count: int) -> list[list[str]]:
    """Mixed sentences with at least one held-out number in the end, and no words to copy."""
    found: list[list[str]] = []
    while len(found) < count:
        words = sentences.sentence(rng)
        plain = phrases.WORD not in words and phrases.MARK not in words
        if plain and any(sentences.is_held_out(value) for value in _final_values(words)):
            found.append(words)
    return found


def _final_values(words: list[str]) -> list[int]:
    rest: tuple[phrases.Phrase, ...] = ()
    found: list[phrases.Phrase] = []
    for step in phrases.growth(words):
        found += step.closed
        rest = step.open
    return [phrase.value for phrase in (*found, *rest) if phrase.value is not None]


def typed_whole(translator: Any, module: Any, texts: list[str], language: str) -> list[str]:
    answers = []
    for start in range(0, len(texts), _BATCH):
        turns = [
            module.Turn(translator.sentence(language), text=text, flush=True)
            for text in texts[start : start + _BATCH]
        ]
        answers += [event.stable for event in translator.advance(turns)]
    return answers


def spoken(
    translator: Any, module: Any, words: list[str], language: str
) -> Iterator[tuple[str, str]]:
    """Stable text so far and tail after each word, and at last after the flush."""
    sentence = translator.sentence(language)
    stable = tail = ""
    for word in [*words, None]:
        turn = module.Turn(sentence, text=f"{word or ''} ", flush=word is None)
        (event,) = translator.advance([turn])
        if event is not None:
            stable, tail = stable + event.stable, event.tail
        yield stable, tail


def references(words: list[str], language: str) -> Iterator[tuple[str, str]]:
    stable = tail = ""
    for step in phrases.growth(words):
        stable += "".join(phrase.spelled(language) for phrase in step.closed)
        tail = "".join(phrase.spelled(language) for phrase in step.open)
        yield stable.strip(), tail if stable else tail.strip()
    yield (stable + tail).strip(), ""


def main() -> int:
    arguments = argparse.ArgumentParser(description="Measure the translator of numbers.")
    arguments.add_argument("--count", type=int, default=2000)
    arguments.add_argument("--seed", type=int, default=99)
    arguments.add_argument("--model", type=Path, default=MODEL, metavar="FOLDER")
    options = arguments.parse_args()
    module = load(MODEL)
    translator = module.Translator(options.model)
    print("language  cardinal    spoken      tail     early      late")
    for language in phrases.LANGUAGES:
        rng = random.Random(options.seed)
        numbers = held_out_numbers(rng, options.count)
        texts = [number_words.english(number, british=rng.random() < 0.5) for number in numbers]
        answers = typed_whole(translator, module, texts, language)
        wanted = [number_words.SPELLERS[language](number) for number in numbers]
        exact = sum(a == w for a, w in zip(answers, wanted, strict=True)) / len(wanted)
        counts = _measure_spoken(translator, module, held_out_sentences(rng, 500), language)
        figures = "".join(f"{value:10.2%}" for value in (exact, *counts))
        print(f"{language:8}{figures}")
    return 0


def _measure_spoken(
    translator: Any, module: Any, many: list[list[str]], language: str
) -> tuple[float, float, float, float]:
    right = tails = early = late = steps = 0
    for words in many:
        told = list(spoken(translator, module, words, language))
        wanted = list(references(words, language))
        right += told[-1][0] == wanted[-1][0]
        for (stable, tail), (sure, rest) in zip(told[:-1], wanted[:-1], strict=True):
            steps += 1
            tails += stable + tail == sure + rest
            early += len(stable) > len(sure)
            late += len(stable) < len(sure)
    return right / len(many), tails / steps, early / steps, late / steps


if __name__ == "__main__":
    sys.exit(main())
