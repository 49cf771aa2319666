import pytest

from streamgate.speech.phrases import ROOT, PhraseBonus


def earned_each(bonus: PhraseBonus, tokens: list[int]) -> list[float]:
    node, amounts = ROOT, []
    for token in tokens:
        node, amount = bonus.step(node, token)
        amounts.append(amount)
    return [*amounts, bonus.leave(node)]


def test_each_token_earns_at_once_and_a_phrase_keeps_it() -> None:
    bonus = PhraseBonus.of([([1, 2], 0.5)])
    assert earned_each(bonus, [1, 2, 3]) == [0.5, 0.5, 0.0, 0.0]


def test_a_phrase_that_breaks_off_gives_it_back() -> None:
    bonus = PhraseBonus.of([([1, 2, 3], 0.5)])
    assert earned_each(bonus, [1, 2, 4]) == [0.5, 0.5, -1.0, 0.0]
    assert earned_each(bonus, [1, 2]) == [0.5, 0.5, -1.0]


def test_the_end_of_one_attempt_may_begin_the_next() -> None:
    bonus = PhraseBonus.of([([1, 1, 2], 1.0)])
    # The third 1 breaks off 1 1 2, and its last two 1 go on.
    assert earned_each(bonus, [1, 1, 1, 2]) == [1.0, 1.0, 0.0, 1.0, 0.0]


def test_a_phrase_within_a_longer_one_is_kept() -> None:
    bonus = PhraseBonus.of([([1], 1.0), ([1, 2, 3], 1.0)])
    assert earned_each(bonus, [1, 2, 9]) == [1.0, 1.0, -1.0, 0.0]


def test_nothing_is_earned_without_phrases() -> None:
    assert earned_each(PhraseBonus(), [1, 2]) == [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="at least one token"):
        PhraseBonus.of([([], 1.0)])
