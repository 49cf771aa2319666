import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgate.speech.states import pack, unpack
from streamgate.speech.text import (
    AgreementState,
    LocalAgreement,
    StableState,
    StableText,
    TextUpdate,
    spaced,
)

hypotheses = st.lists(st.lists(st.sampled_from("abc"), max_size=6), min_size=1, max_size=8)


def test_stable_text_grows_by_what_is_new() -> None:
    state, update = StableText.update(StableState(), "one", " tw")
    assert update == TextUpdate("one", " tw")
    state, update = StableText.update(state, "one two", "")
    assert update == TextUpdate(" two", "")
    state, update = StableText.finish(state, "one two three")
    assert update == TextUpdate(" three", "")
    assert state == StableState()


def test_stable_text_is_never_taken_back() -> None:
    state, _ = StableText.update(StableState(), "one two", "")
    with pytest.raises(ValueError, match="'one two' became 'one too'"):
        StableText.update(state, "one too", "")


@given(hypotheses)
def test_what_two_hypotheses_agree_on_stays(sequence: list[list[str]]) -> None:
    agreement = LocalAgreement()
    state, text = AgreementState(), ""
    for words in sequence:
        before = state
        state, update = agreement.update(state, words)
        state = unpack(AgreementState, pack(state))
        text += update.stable
        assert text == spaced(state.stable)
        # Nothing becomes stable that one hypothesis alone has seen.
        new = state.stable[len(before.stable) :]
        assert tuple(words[len(before.stable) :][: len(new)]) == new
        assert (before.last or ())[: len(new)] == new
        if len(words) >= len(state.stable):
            assert spaced((*state.stable, *words[len(state.stable) :])) == text + update.tail
    after, last = agreement.finish(state)
    assert after == AgreementState()
    assert last.tail == ""
    assert text + last.stable == spaced((*state.stable, *(state.last or ())))


def test_a_last_hypothesis_ends_the_utterance() -> None:
    agreement = LocalAgreement()
    state, first = agreement.update(AgreementState(), ["so", "it"])
    assert first == TextUpdate("", "so it")
    state, second = agreement.update(state, ["so", "is", "it"])
    assert second == TextUpdate("so", " is it")
    assert agreement.finish(state, ["so", "it", "goes"])[1] == TextUpdate(" it goes", "")


def test_chinese_and_japanese_have_no_blanks() -> None:
    assert spaced(["\u4f60", "\u597d", "world", "hi", "\u3044"]) == ("\u4f60\u597d world hi \u3044")
    assert spaced(["\u597d"], after="\u4f60") == "\u597d"
    assert spaced(["\u597d"], after="so") == " \u597d"
    assert spaced(["\uc548\ub155", "\uc138\uc0c1"]) == "\uc548\ub155 \uc138\uc0c1"
