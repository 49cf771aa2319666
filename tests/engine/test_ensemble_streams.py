"""Decoupled steps on the real engine: every response flows on alone, in order, to its own end."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.backend.fake import Step, expected_answers
from streamgate.backend.fake.hashing import scramble
from streamgate.errors import EndReason
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response
from streamgate.model.tensor import Tensor
from tests.engine.ensemble_house import (
    EnsembleHouse,
    ensemble,
    instances,
    stateful,
    stateless,
    step,
    word,
)
from tests.engine.play_host import PlayWorker

RESPONSES = 3
STREAM = stateless(
    "stream",
    1,
    decoupled=True,
    parameters={"style": "request", "responses": str(RESPONSES)},
)


def stream_of(value: int, *, start: bool = False, end: bool = False) -> list[int]:
    """What the decoupled model answers to a word; it mixes in the flags that it inherits."""
    (first,) = expected_answers([Step([word(value)], start, end)])
    return [first, *(scramble(first + index) for index in range(1, RESPONSES))]


def middle_of(value: int) -> int:
    """What a stateless model answers to a word."""
    return expected_answers([Step([word(value)])])[0]


@dataclass
class Asked:
    """A request and what came of it."""

    value: int
    responses: list[Response] = field(default_factory=list)

    @property
    def words(self) -> list[int]:
        return [
            int(response.outputs[0].array.ravel()[0])
            for response in self.responses
            if response.outputs
        ]

    def check_final(self) -> None:
        finals = [response.final for response in self.responses]
        assert finals == [False] * (len(finals) - 1) + [True]
        assert [response.index for response in self.responses] == list(range(len(finals)))
        assert all(response.failure is None for response in self.responses)


def ask(house: EnsembleHouse, value: int, key: int = 0, *, start: bool, end: bool) -> Asked:
    asked = Asked(value)
    tensor = Tensor("INPUT", DataType.UINT64, (1, 1), raw=word(value))
    request = Request("e", inputs=[tensor], sequence=key, start=start, end=end)
    house.connection().submit(request, asked.responses.append)
    house.host.settle()
    return asked


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 4))
def test_responses_keep_their_order_whatever_overtakes(data: st.DataObject, limit: int) -> None:
    chain = ensemble(step("stream", "INPUT", "a"), step("middle", "a", "HASH"), max_inflight=limit)
    house = EnsembleHouse.open((STREAM, stateless("middle", 3)), chain)
    asked = [ask(house, value, start=False, end=False) for value in (5, 6, 7)]
    while house.host.busy():
        house.host.work(data.draw(st.sampled_from(house.host.busy())))
    for each in asked:
        assert each.words == [middle_of(value) for value in stream_of(each.value)]
        each.check_final()
    house.check_empty()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_sequence_behind_a_decoupled_step(data: st.DataObject) -> None:
    chain = ensemble(
        step("stream", "INPUT", "a"), step("middle", "a", "b"), step("last", "b", "HASH")
    )
    models = (STREAM, stateless("middle", 3), stateful("last", instances=instances("last", 2)))
    house = EnsembleHouse.open(models, chain)
    asked: dict[int, list[Asked]] = {1: [], 2: []}
    while True:
        unsent = [key for key, sent in asked.items() if len(sent) < 3]
        moves: list[int | PlayWorker] = [*unsent, *house.host.busy()]
        if not moves:
            break
        move = data.draw(st.sampled_from(moves))
        if isinstance(move, PlayWorker):
            house.host.work(move)
            continue
        sent = asked[move]
        value = 10 * move + len(sent)
        sent.append(ask(house, value, move, start=not sent, end=len(sent) == 2))
    for key, sent in asked.items():
        heard = [
            middle_of(value)
            for place, each in enumerate(sent)
            for value in stream_of(each.value, start=place == 0, end=place == 2)
        ]
        # The final flag comes behind the last response, so that no request can carry END.
        history = [Step([word(value)], place == 0, False, key) for place, value in enumerate(heard)]
        assert [value for each in sent for value in each.words] == expected_answers(history)
        for each in sent:
            each.check_final()
    assert sorted(house.ended) == [(1, EndReason.CLIENT_END), (2, EndReason.CLIENT_END)]
    house.check_empty()
