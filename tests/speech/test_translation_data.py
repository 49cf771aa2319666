"""What the translator of numbers is trained with: the reading of sentences, pieces, examples, and
the graph that its weights are written into."""

import random
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from streamgate.model.tensor import Array
from translation import graph, number_words, phrases, pieces, sentences, symbols


@pytest.mark.parametrize("british", [False, True])
def test_every_number_is_read_as_one(british: bool) -> None:
    for number in range(0, number_words.LIMIT, 97):
        words = tuple(number_words.english(number, british=british).split())
        (phrase,) = phrases.phrases_of(words)
        assert phrase.value == number


@pytest.mark.parametrize(
    ("text", "closed", "rest"),
    [
        ("twenty one forty five", "twenty one", "forty five"),
        ("one hundred two hundred", "one hundred", "two hundred"),
        ("five thousand two hundred thousand", "five thousand", "two hundred thousand"),
        ("one hundred and", "", "one hundred | and"),
        ("one hundred and six hundred", "one hundred | and", "six hundred"),
        ("twenty five hundred", "twenty", "five hundred"),
        ("three point", "three | point", ""),
        ("three point one four", "three | point | one", "four"),
        ("thousand six <word>", "thousand | six | <word>", ""),
    ],
)
def test_what_is_certain_while_a_sentence_grows(text: str, closed: str, rest: str) -> None:
    steps = list(phrases.growth(text.split()))
    found = [phrase for step in steps for phrase in step.closed]
    assert " | ".join(" ".join(phrase.words) for phrase in found) == closed
    assert " | ".join(" ".join(phrase.words) for phrase in steps[-1].open) == rest


def test_what_was_certain_is_read_so_in_the_end() -> None:
    rng = random.Random(1)
    for _ in range(500):
        words = sentences.sentence(rng)
        whole = "".join(phrase.spelled("es") for phrase in phrases.phrases_of(tuple(words)))
        assert phrases.translation(words, "es") == whole


def test_pieces_are_learned_and_put_together_again() -> None:
    texts = [" vierundvierzig", " vier vierzig <word>", " null<mark> vier"]
    learned = pieces.Pieces(pieces.learn(texts, 40))
    assert {"<word>", "<mark>", " vier"} <= set(learned.pieces)
    for text in texts:
        assert learned.decode(learned.encode(text)) == text
    with pytest.raises(KeyError):
        learned.encode(" zehn")


def test_an_example_says_each_phrase_when_it_is_certain() -> None:
    known = symbols.Symbols(pieces.Pieces(pieces.learn([" eins zwei Komma"], 60)))
    example = known.example(["one", "point", "two"], "de")
    one, point, two = (known.word(word) for word in ("one", "point", "two"))
    said = [known.pieces.pieces.index(text) for text in (" eins", " Komma", " zwei")]
    eins, komma, zwei = (known.input_count - len(known.pieces) + index for index in said)
    assert example.inputs == [one, point, eins, komma, two, symbols.FLUSH, zwei]
    eins, komma, zwei = (1 + index for index in said)
    read = symbols.READ
    assert example.outputs == [read, eins, komma, read, read, zwei, read]


def test_the_graph_is_the_recurrence_that_was_trained(tmp_path: Path) -> None:
    """Two layers of torch's GRU, written out in numpy, over random weights."""
    rng = np.random.default_rng(3)
    shapes = {
        "symbols.weight": (9, 4),
        "languages.weight": (3, 4),
        "output.weight": (7, 5),
        "output.bias": (7,),
    }
    for layer, width in enumerate((4, 5)):
        shapes |= {
            f"recurrent.weight_ih_l{layer}": (15, width),
            f"recurrent.weight_hh_l{layer}": (15, 5),
            f"recurrent.bias_ih_l{layer}": (15,),
            f"recurrent.bias_hh_l{layer}": (15,),
        }
    weights = {n: rng.normal(size=shape).astype(np.float32) for n, shape in shapes.items()}
    graph.write(weights, 2, tmp_path / "step.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "step.onnx", providers=["CPUExecutionProvider"]
    )
    state = rng.normal(size=(2, 2, 5)).astype(np.float32)
    feeds = {"symbol": np.array([8, 1]), "language": np.array([2, 0]), "state": state}
    said, after = session.run(["said", "state_out"], feeds)
    values = weights["symbols.weight"][[8, 1]] + weights["languages.weight"][[2, 0]]
    for layer in range(2):
        values = gru_step(weights, layer, values, state[:, layer])
        np.testing.assert_allclose(after[:, layer], values, atol=1e-5)
    scores = values @ weights["output.weight"].T + weights["output.bias"]
    assert said.tolist() == scores.argmax(1).tolist()


def gru_step(weights: dict[str, Array], layer: int, values: Array, hidden: Array) -> Array:
    """As torch documents it, gates in the order reset, update, new."""

    def product(kind: str, vector: Array) -> list[Array]:
        matrix = weights[f"recurrent.weight_{kind}_l{layer}"]
        return np.split(vector @ matrix.T + weights[f"recurrent.bias_{kind}_l{layer}"], 3, axis=1)

    from_input, from_hidden = product("ih", values), product("hh", hidden)
    reset, update = (
        1 / (1 + np.exp(-(a + b))) for a, b in zip(from_input[:2], from_hidden[:2], strict=True)
    )
    new = np.tanh(from_input[2] + reset * from_hidden[2])
    return np.asarray((1 - update) * new + update * hidden)
