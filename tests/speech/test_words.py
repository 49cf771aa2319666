from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgate.speech.states import pack, unpack
from streamgate.speech.tokens import Token, Vocabulary, moved
from streamgate.speech.words import Word, WordJoiner, WordState, joined_text

PIECES = Vocabulary.parse(
    [
        "<blk> 0",
        "\u2581HE 1",
        "LLO 2",
        "\u2581WORLD 3",
        "<unk> 4",
        "<0xC3> 5",
        "<0xA9> 6",
        "\u2581 7",
    ]
)


def tokens(*ids: int) -> list[Token]:
    return [Token(each, frame, 0.5) for frame, each in enumerate(ids)]


def test_pieces_make_words_with_times_and_confidences() -> None:
    joiner = WordJoiner(PIECES, 0.04)
    found = [Token(1, 2, 0.9), Token(2, 4, 0.4), Token(3, 10, 1.0)]
    hello, world = joiner.words(found)
    assert (hello.text, hello.start) == ("HELLO", 0.08)
    assert (hello.end, hello.confidence) == pytest.approx((0.2, 0.6))
    assert world == Word("WORLD", 0.4, 11 * 0.04, 1.0)


@given(st.lists(st.sampled_from([1, 2, 3, 5, 6, 7]), max_size=9), st.integers(1, 3))
def test_words_do_not_depend_on_cuts(ids: list[int], step: int) -> None:
    joiner = WordJoiner(PIECES, 0.04)
    state, words, found = WordState(), [], tokens(*ids)
    for at in range(0, len(found), step):
        state, more = joiner.feed(state, found[at : at + step])
        state = unpack(WordState, pack(state))
        words += more
    assert words + joiner.finish(state)[1] == joiner.words(found)


def test_characters() -> None:
    letters = Vocabulary.parse(["<pad> 0", "| 1", "H 2", "I 3"])
    words = WordJoiner(letters, 0.02, "characters").words(tokens(1, 2, 3, 1, 1, 2))
    assert [(each.text, each.start) for each in words] == [("HI", 0.02), ("H", 0.1)]


def test_word_tokens() -> None:
    numbers = Vocabulary.parse(["<blk> 0", "one 1", "two 2"])
    words = WordJoiner(numbers, 0.04, "words").words(tokens(1, 1, 2))
    assert [each.text for each in words] == ["one", "one", "two"]


def test_silent_tokens_are_left_out() -> None:
    joiner = WordJoiner(PIECES, 0.04, silent=frozenset(("<unk>",)))
    assert [each.text for each in joiner.words(tokens(1, 4, 2))] == ["HELLO"]


def test_bytes_are_joined_to_characters() -> None:
    assert [each.text for each in WordJoiner(PIECES, 0.04).words(tokens(1, 5, 6))] == ["HE\u00e9"]
    assert joined_text(["<0xC3>"]) == "\ufffd"


def test_an_unknown_kind_and_token() -> None:
    with pytest.raises(ValueError, match="expected a kind of pieces, characters, words"):
        WordJoiner(PIECES, 0.04, "phones")
    with pytest.raises(ValueError, match="token 9 is not among the 8"):
        WordJoiner(PIECES, 0.04).words(tokens(9))


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["a b"], "line 1: expected a token and its number, found 'a b'"),
        (["<blk> 0", "a 0"], "line 2: there is another token with number 0"),
        (["<blk> 0", "a 2"], "expected tokens with the numbers 0 to 1"),
        (["a 0"], "expected a blank token named <blk>"),
    ],
)
def test_no_vocabulary(tmp_path: Path, lines: list[str], complaint: str) -> None:
    path = tmp_path / "tokens.txt"
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=complaint) as raised:
        Vocabulary.read(path)
    assert str(path) in str(raised.value)


def test_vocabularies_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    path.write_text("\u2581THE 1\n  0\n<blk> 2\n", encoding="utf-8")
    found = Vocabulary.read(path)
    assert found.texts == (" ", "\u2581THE", "<blk>")
    assert found.blank == 2
    assert moved([Token(1, 3, 1.0)], 4) == (Token(1, 7, 1.0),)


def test_each_chinese_character_is_a_word() -> None:
    mixed = Vocabulary.parse(["<blk> 0", "\u4f60 1", "\u597d 2", "\u2581HI 3", "ER 4"])
    words = WordJoiner(mixed, 0.04).words(tokens(1, 2, 3, 4, 1))
    assert [each.text for each in words] == ["\u4f60", "\u597d", "HIER", "\u4f60"]
