"""Reads source text piece by piece, and says what the network says: many sentences in one step.

There are no rules about numbers here. The network reads one symbol at a time: a source word, FLUSH,
or a piece of its own text, fed back. After each it says the next piece, or READ: that it wants more
to go on. So the network itself decides what is certain; what it said was never taken back, as
nothing here could. The tail comes from a copy of its state that reads FLUSH after the same words.
"""

import base64
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime

_FLUSH = 0  # as an input of the network
_READ = 0  # as its output
_WORD = "<word>"  # a word that the network does not know; it says where the word goes
_MARK = "<mark>"  # the same for punctuation

_MARKS = re.compile(r"[.,;:!?]+$")
_WORD_CHARACTERS_MAX = 200

# No phrase needs more pieces than this between two words: an end for a network that runs astray.
_PIECES_MAX = 100

_VERSION = 1  # of a sentence as bytes


class TextError(ValueError):
    """An input that can't be translated; the text says which and what was expected."""


@dataclass
class Sentence:
    """What is kept of a sequence: the network's state [layers, hidden] and a few words."""

    language: int
    next_language: int
    state: np.ndarray
    read: bool = False  # the network has read a word of this utterance
    said: bool = False  # something of it is stable
    unread: str = ""  # the last word, while nothing tells that it is whole
    copies: list[str] = field(default_factory=list)  # unknown words that were read and not yet said
    tail: str = ""  # as it was shown last

    def to_bytes(self) -> bytes:
        state = base64.b64encode(self.state.tobytes()).decode()
        return json.dumps(vars(self) | {"version": _VERSION, "state": state}).encode()


@dataclass(frozen=True)
class Turn:
    """New text of a sentence. `asked_for`: the end of the utterance is to be told in any case."""

    sentence: Sentence
    text: str = ""
    tail: str = ""
    flush: bool = False
    asked_for: bool = True


@dataclass(frozen=True)
class Event:
    """`stable` is to be appended, `tail` replaces the last tail, `final` ends the utterance."""

    stable: str
    tail: str
    final: bool


@dataclass
class _Lane:
    """One state on its way through the network: symbols to read, and what it said to them."""

    language: int
    state: np.ndarray
    symbols: list[int]
    copies: list[str]
    text: str = ""


class Translator:
    """The network `step.onnx` and its `vocabulary.json` in `folder`. Not for several threads."""

    def __init__(self, folder: str | Path) -> None:
        vocabulary = json.loads((Path(folder) / "vocabulary.json").read_text(encoding="utf-8"))
        self.languages: list[str] = vocabulary["languages"]
        self._pieces: list[str] = vocabulary["pieces"]
        words = vocabulary["source_words"]
        self._words = {word: index for index, word in enumerate(words, start=1)}
        self._first_piece = len(words) + 1
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._network = onnxruntime.InferenceSession(
            Path(folder) / "step.onnx", options, providers=["CPUExecutionProvider"]
        )
        shape = next(i.shape for i in self._network.get_inputs() if i.name == "state")
        self._fresh = np.zeros(shape[1:], np.float32)

    def sentence(self, language: str) -> Sentence:
        index = self.language(language)
        return Sentence(index, index, self._fresh)

    def restored(self, kept: bytes) -> Sentence:
        """The sentence that `Sentence.to_bytes` wrote. Raises ValueError for one of another
        version."""
        fields = json.loads(kept)
        version = fields.pop("version", None)
        if version != _VERSION:
            raise ValueError(f"the sentence is of version {version}, expected {_VERSION}")
        state = np.frombuffer(base64.b64decode(fields["state"]), np.float32)
        return Sentence(**{**fields, "state": state.reshape(self._fresh.shape)})

    def language(self, tag: str) -> int:
        """The index of a language such as "de" or "de-AT". Raises TextError."""
        primary = tag.lower().replace("_", "-").split("-")[0]
        if primary not in self.languages:
            expected = ", ".join(self.languages)
            raise TextError(f"TARGET_LANGUAGE is '{tag}', expected one of {expected}")
        return self.languages.index(primary)

    def check(self, turn: Turn) -> None:
        """Raises TextError for what `advance` would not take."""
        text = turn.sentence.unread + turn.text + turn.tail
        longest = max((len(word) for word in text.split()), default=0)
        if longest > _WORD_CHARACTERS_MAX:
            raise TextError(
                f"a word in TEXT has {longest} characters, expected at most {_WORD_CHARACTERS_MAX}"
            )

    def advance(self, turns: list[Turn]) -> list[Event | None]:
        """Reads the new text of each sentence (each in one turn only) and tells what changed.

        None where there is nothing to tell.
        """
        lanes = [self._reading(turn) for turn in turns]
        self._run(lanes)
        stable = [self._said(turn, lane) for turn, lane in zip(turns, lanes, strict=True)]
        tails = [self._guessing(turn) for turn in turns]
        self._run([lane for lane in tails if lane is not None])
        events = []
        for turn, text, lane in zip(turns, stable, tails, strict=True):
            tail = "" if lane is None else _joined(lane.text, follows=turn.sentence.said)
            events.append(self._event(turn, text, tail))
        return events

    def _reading(self, turn: Turn) -> _Lane:
        """The words that are whole now; with FLUSH all of them."""
        sentence = turn.sentence
        if not sentence.read:
            sentence.language = sentence.next_language
        text = sentence.unread + turn.text + (turn.tail if turn.flush else "")
        words = text.split()
        sentence.unread = words.pop() if words and not turn.flush and not text[-1].isspace() else ""
        symbols, copies = self._symbols(words)
        sentence.read = sentence.read or bool(symbols)
        if turn.flush and sentence.read:
            symbols.append(_FLUSH)
        sentence.copies += copies
        return _Lane(sentence.language, sentence.state, symbols, sentence.copies)

    def _said(self, turn: Turn, lane: _Lane) -> str:
        sentence = turn.sentence
        sentence.state = lane.state.copy()  # else it would keep the whole batch
        text = _joined(lane.text, follows=sentence.said)
        sentence.said = sentence.said or bool(text)
        return text

    def _guessing(self, turn: Turn) -> _Lane | None:
        """What would be said if the utterance ended now, on a copy of the state."""
        sentence = turn.sentence
        symbols, copies = self._symbols((sentence.unread + turn.tail).split())
        if turn.flush or not (sentence.read or symbols):
            return None
        copies = sentence.copies + copies
        return _Lane(sentence.language, sentence.state, [*symbols, _FLUSH], copies)

    def _event(self, turn: Turn, stable: str, tail: str) -> Event | None:
        sentence = turn.sentence
        final = turn.flush and (turn.asked_for or sentence.read)
        changed = stable or tail != sentence.tail or final
        sentence.tail = tail
        if turn.flush:
            fresh = Sentence(sentence.next_language, sentence.next_language, self._fresh)
            vars(sentence).update(vars(fresh))
        return Event(stable, tail, final) if changed else None

    def _symbols(self, words: list[str]) -> tuple[list[int], list[str]]:
        """What the network reads for these words, and those that it is to copy."""
        symbols, copies = [], []
        for word in words:
            bare = _MARKS.sub("", word)
            parts = bare.lower().split("-")
            if all(part in self._words and part[0] != "<" for part in parts):
                symbols += [self._words[part] for part in parts]
            elif bare:
                symbols.append(self._words[_WORD])
                copies.append(bare)
            if bare != word:
                symbols.append(self._words[_MARK])
                copies.append(word[len(bare) :])
        return symbols, copies

    def _run(self, lanes: list[_Lane]) -> None:
        """Greedy steps of all lanes together, until each has read all of its symbols."""
        feeds = [_Feed(lane) for lane in lanes if lane.symbols]
        while feeds:
            said, states = self._network.run(
                ["said", "state_out"],
                {
                    "symbol": np.array([feed.symbol for feed in feeds], np.int64),
                    "language": np.array([feed.lane.language for feed in feeds], np.int64),
                    "state": np.stack([feed.lane.state for feed in feeds]),
                },
            )
            for feed, output, state in zip(feeds, said.tolist(), states, strict=True):
                feed.lane.state = state
                if output != _READ:
                    feed.lane.text += _copied(self._pieces[output - 1], feed.lane.copies)
                feed.go_on(None if output == _READ else self._first_piece + output - 1)
            feeds = [feed for feed in feeds if feed.symbol is not None]


class _Feed:
    """What a lane reads next; `symbol` is None when it is through."""

    def __init__(self, lane: _Lane) -> None:
        self.lane = lane
        self.symbol: int | None = lane.symbols[0]
        self._next = 1
        self._pieces = 0

    def go_on(self, piece: int | None) -> None:
        self._pieces += 1
        if piece is not None and self._pieces < _PIECES_MAX:
            self.symbol = piece
            return
        self._pieces = 0
        more = self._next < len(self.lane.symbols)
        self.symbol = self.lane.symbols[self._next] if more else None
        self._next += 1


def _copied(piece: str, copies: list[str]) -> str:
    if piece not in {_WORD, _MARK}:
        return piece
    return copies.pop(0) if copies else ""


def _joined(text: str, *, follows: bool) -> str:
    """The first text of an utterance has no space in front."""
    return text if follows else text.removeprefix(" ")
