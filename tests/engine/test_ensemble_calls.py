"""One request through an ensemble, its models answering when and how the test says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.engine.ensemble.runs import WAITING_MAX
from streamgate.engine.ensemble.runtime import EnsembleRuntime
from streamgate.errors import Code, Failure, StreamGateError
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import ParameterValue, Request, Response
from streamgate.model.tensor import Tensor, TensorSpec
from streamgate.repository.composition import compose
from streamgate.session.routing import READY, ModelTable, Route, VersionState
from tests.engine.ensemble_house import HASH, ensemble, stateful, stateless, step, word
from tests.engine.play_host import PlayHost
from tests.session.fake_link import FakeLink


@dataclass
class Stage:
    """An ensemble `e` over links to no engine."""

    links: dict[str, FakeLink]
    host: PlayHost
    table: ModelTable
    runtime: EnsembleRuntime
    answers: list[Response] = field(default_factory=list)

    @classmethod
    def of(cls, config: ModelConfig, *models: ModelConfig) -> "Stage":
        host, table = PlayHost(), ModelTable()
        links = {model.name: FakeLink(model) for model in models}
        for name, link in links.items():
            table.set(name, 1, VersionState(READY, route=Route(link)))
        composed = compose(config, {model.name: model for model in models})
        return cls(links, host, table, EnsembleRuntime(composed, "1", table.route, host))

    def ask(self, value: int = 1, **fields: object) -> RequestNumber:
        """Submit a request as a route would. Returns its number."""
        tensor = Tensor("INPUT", DataType.UINT64, (1, 1), raw=word(value))
        request = Request("e", "1", inputs=[tensor], **fields)  # type: ignore[arg-type]
        number = self.runtime.submit(request, self.answers.append, OwnerNumber(0), -1)
        assert len(self.answers) == 0 or self.answers[-1].request is not request
        self.host.settle()
        return number

    def asked(self, model: str) -> list[Request]:
        return [request for request, *_ in self.links[model].submitted]

    def answer(
        self,
        model: str,
        value: int | None = 0,
        *,
        place: int = -1,
        final: bool = True,
        failure: Failure | None = None,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        """Let a model answer one of its requests; value None only closes it."""
        request, sink, _, position = self.links[model].submitted[place]
        outputs: Sequence[Tensor] = ()
        if value is not None and failure is None:
            array = np.full((1, 1), value, np.uint64)
            outputs = [Tensor.of("HASH", array, DataType.UINT64)]
        response = Response(request, model, "1", outputs, failure, final, position=position)
        response.empty = value is None
        response.parameters = parameters or {}
        sink(response)
        self.host.settle()

    @property
    def values(self) -> list[int | None]:
        """What came out: the words of answers, None for one without outputs."""
        return [
            int(answer.outputs[0].array.ravel()[0]) if answer.outputs else None
            for answer in self.answers
        ]


def chain(**changes: object) -> Stage:
    config = ensemble(step("a", "INPUT", "t"), step("b", "t", "HASH"), **changes)  # type: ignore[arg-type]
    return Stage.of(config, stateless("a"), stateless("b"))


def streamed(**changes: object) -> Stage:
    config = ensemble(step("d", "INPUT", "t"), step("b", "t", "HASH"), **changes)  # type: ignore[arg-type]
    return Stage.of(config, stateless("d", decoupled=True), stateless("b"))


def test_a_step_gets_what_the_request_has() -> None:
    stage = chain()
    stage.ask(5, id="r", parameters={"p": 1}, sequence=9, start=True, priority=3, timeout_us=77)
    stage.answer("a", 6)
    for model, value in (("a", 5), ("b", 6)):
        (request,) = stage.asked(model)
        assert (request.model, request.version, request.id) == (model, "1", "r")
        assert (request.priority, request.timeout_us, request.parameters) == (3, 77, {"p": 1})
        assert (request.sequence, request.start, request.end) == (9, True, False)
        assert request.requested_outputs == ("HASH",)
        assert [(t.name, t.shape, bytes(t.raw)) for t in request.inputs] == [
            ("INPUT", (1, 1), word(value))
        ]
        assert stage.links[model].submitted[0][2:] == (0, -1)
    stage.answer("b", 7)
    assert stage.values == [7]
    assert stage.answers[0].final


def test_steps_that_need_nothing_of_each_other_run_at_once() -> None:
    joined = stateless(
        "c", inputs=(TensorSpec("X", DataType.UINT64, (1,)), TensorSpec("Y", DataType.UINT64, (1,)))
    )
    config = ensemble(
        step("a", "INPUT", "t"),
        step("b", "INPUT", "u"),
        type(step("c", "t", "HASH"))("c", "", {"X": "t", "Y": "u"}, {"HASH": "HASH"}),
    )
    stage = Stage.of(config, stateless("a"), stateless("b"), joined)
    stage.ask()
    assert [len(stage.asked(name)) for name in "abc"] == [1, 1, 0]
    stage.answer("b", 2)
    stage.answer("a", 1)
    assert [int(t.array.ravel()[0]) for t in stage.asked("c")[0].inputs] == [1, 2]


def test_a_failing_step_ends_the_request_and_cancels_the_others() -> None:
    config = ensemble(
        step("a", "INPUT", "HASH"),
        step("b", "INPUT", "P"),
        outputs=(HASH, TensorSpec("P", DataType.UINT64, (1,))),
    )
    stage = Stage.of(config, stateless("a"), stateless("b"))
    stage.ask()
    stage.answer("a", failure=Failure(Code.NOT_FOUND, "boom"))
    assert [answer.failure for answer in stage.answers] == [
        Failure(Code.NOT_FOUND, "in ensemble 'e', boom")
    ]
    assert stage.links["b"].cancelled == [1]
    stage.answer("b", failure=Failure(Code.CANCELLED, ""))
    assert len(stage.answers) == 1


def test_a_sequences_step_is_not_cancelled_for_the_failure_of_another() -> None:
    config = ensemble(
        step("a", "INPUT", "HASH"),
        step("s", "INPUT", "P"),
        outputs=(HASH, TensorSpec("P", DataType.UINT64, (1,))),
    )
    stage = Stage.of(config, stateless("a"), stateful("s"))
    stage.ask(sequence=7, start=True)
    stage.answer("a", failure=Failure(Code.NOT_FOUND, "boom"))
    assert stage.links["s"].cancelled == []
    assert stage.answers[0].final


def test_a_cancelled_request_cancels_its_steps() -> None:
    stage = chain()
    number = stage.ask()
    stage.runtime.cancel(number)
    assert stage.links["a"].cancelled == [1]
    assert [answer.failure for answer in stage.answers] == [Failure(Code.CANCELLED, "")]
    stage.answer("a")
    assert stage.asked("b") == []
    stage.runtime.cancel(number)
    assert len(stage.answers) == 1


def test_a_request_cancelled_before_it_starts_asks_nobody() -> None:
    stage = chain()
    request = Request("e", inputs=[Tensor("INPUT", DataType.UINT64, (1, 1), raw=word(1))])
    number = stage.runtime.submit(request, stage.answers.append, OwnerNumber(0), -1)
    stage.runtime.cancel(number)
    stage.host.settle()
    assert stage.asked("a") == []
    assert len(stage.answers) == 1


def test_a_step_that_does_not_fit_fails_with_the_models_words() -> None:
    stage = chain()
    stage.ask()
    request, sink, _, _ = stage.links["a"].submitted[0]
    wide = Tensor.of("HASH", np.zeros((1, 2), np.uint64), DataType.UINT64)
    sink(Response(request, "a", "1", [wide]))
    stage.host.settle()
    failure = stage.answers[0].failure
    assert failure is not None
    assert failure.code is Code.INVALID_ARG
    assert failure.message.startswith(
        "in ensemble 'e', [request id: <id_unknown>] unexpected shape for input 'INPUT'"
    )


def test_a_model_that_is_gone() -> None:
    stage = chain()
    stage.table.set("b", 1, VersionState("UNAVAILABLE"))
    stage.ask()
    assert stage.asked("a") == []
    failure = stage.answers[0].failure
    assert failure == Failure(
        Code.NOT_FOUND,
        "in ensemble 'e', Request for unknown model: 'b' has no available versions",
    )


def test_each_response_of_a_decoupled_step_is_answered_in_order() -> None:
    stage = streamed()
    stage.ask()
    for value in (1, 2, 3):
        stage.answer("d", value, final=value == 3)
    assert len(stage.asked("b")) == 3
    for place in (2, 0, 1):
        stage.answer("b", 10 + place, place=place)
    assert stage.values == [10, 11, 12]
    assert [answer.final for answer in stage.answers] == [False, False, True]
    assert [answer.index for answer in stage.answers] == [0, 1, 2]


def test_a_final_flag_that_comes_alone_closes_the_request() -> None:
    stage = streamed()
    stage.ask()
    stage.answer("d", 1, final=False)
    stage.answer("b", 10)
    stage.answer("d", None)
    assert stage.values == [10, None]
    assert [(answer.final, answer.empty) for answer in stage.answers] == [
        (False, False),
        (True, True),
    ]


def test_an_error_of_a_decoupled_step_is_the_last_answer() -> None:
    stage = streamed()
    stage.ask()
    stage.answer("d", 1, final=False)
    stage.answer("b", 10)
    stage.answer("d", failure=Failure(Code.INTERNAL, "boom 1"), final=False)
    stage.answer("d", 3)
    assert [answer.final for answer in stage.answers] == [False, True]
    assert stage.answers[1].failure == Failure(Code.INTERNAL, "in ensemble 'e', boom 1")
    assert stage.links["d"].cancelled == [1]
    assert len(stage.asked("b")) == 1


def test_responses_wait_while_too_many_are_under_way() -> None:
    stage = streamed(max_inflight=2)
    stage.ask()
    for value in range(5):
        stage.answer("d", value, final=False)
    assert len(stage.asked("b")) == 2
    assert stage.links["d"].paused == [1]
    stage.answer("b", 10, place=0)
    stage.answer("b", 11, place=1)
    assert len(stage.asked("b")) == 4
    assert stage.links["d"].paused == []
    for place in (2, 3, 4):
        stage.answer("b", 10 + place, place=place)
    stage.answer("d", None)
    assert stage.values == [10, 11, 12, 13, 14, None]


def test_responses_that_wait_are_limited() -> None:
    stage = streamed(max_inflight=1)
    stage.ask()
    for value in range(WAITING_MAX + 1):
        stage.answer("d", value, final=False)
    assert stage.answers == []
    stage.answer("d", 1, final=False)
    failure = stage.answers[0].failure
    assert failure is not None
    assert failure.code is Code.UNAVAILABLE
    assert f"is {WAITING_MAX} responses behind" in failure.message
    assert stage.links["d"].cancelled == [1]


def test_a_client_that_does_not_read_holds_up_its_steps() -> None:
    stage = chain()
    number = stage.ask()
    stage.runtime.pause((number,))
    assert stage.links["a"].paused == [1]
    stage.answer("a")
    assert stage.links["b"].paused == [1]
    stage.runtime.resume((number,))
    assert stage.links["b"].paused == []


def test_a_model_may_tell_another_place_in_a_sequence() -> None:
    config = ensemble(step("a", "INPUT", "t"), step("s", "t", "HASH"))
    stage = Stage.of(config, stateless("a"), stateful("s"))
    stage.ask(sequence=7, start=True)
    stage.answer("a", 1, parameters={"sequence_id": 8, "sequence_start": True})
    (request,) = stage.asked("s")
    assert (request.sequence, request.start, request.end) == (8, True, False)
    stage.answer("s", 2)
    assert stage.answers[0].parameters == {
        "sequence_id": 8,
        "sequence_start": True,
        "sequence_end": False,
    }


def test_start_and_end_of_a_sequence_behind_a_decoupled_step() -> None:
    config = ensemble(step("d", "INPUT", "t"), step("s", "t", "HASH"))
    stage = Stage.of(config, stateless("d", decoupled=True), stateful("s"))
    stage.ask(sequence=7, start=True, end=True)
    stage.answer("d", 1, final=False)
    stage.answer("d", 2, final=False)
    stage.answer("d", 3)
    flags = [(request.start, request.end) for request in stage.asked("s")]
    assert flags == [(True, False), (False, False), (False, True)]


def test_an_end_that_no_request_could_carry() -> None:
    config = ensemble(step("d", "INPUT", "t"), step("s", "t", "HASH"))
    stage = Stage.of(config, stateless("d", decoupled=True), stateful("s"))
    stage.ask(sequence=7, start=True, end=True)
    stage.answer("d", 1, final=False)
    stage.answer("s", 1)
    assert stage.links["s"].ended == []
    stage.answer("d", None)
    assert [(key, reason.value) for key, reason, _ in stage.links["s"].ended] == [(7, "client_end")]


def test_requests_under_way_are_limited() -> None:
    stage = chain(max_pending=2)
    for _ in range(3):
        stage.ask(id="r")
    (refused,) = stage.answers
    assert refused.failure == Failure(
        Code.UNAVAILABLE, "[request id: r] Exceeds maximum queue size"
    )
    assert not refused.admitted


def test_statistics_count_requests_once() -> None:
    # Triton counts an ensemble's failed request twice (facts 13.2, 19).
    stage = chain()
    for failure in (None, Failure(Code.INTERNAL, "boom")):
        stage.ask()
        stage.host.sleep(1000)
        stage.answer("a", 1, failure=failure)
        if failure is None:
            stage.host.sleep(500)
            stage.answer("b")
    number = stage.ask()
    stage.runtime.cancel(number)
    counted = stage.runtime.statistics()
    assert (counted.success.count, counted.success.total_ns) == (1, 1500)
    assert (counted.queue.count, counted.queue.total_ns) == (1, 0)
    assert (counted.compute_infer.count, counted.compute_infer.total_ns) == (1, 1500)
    assert (counted.inference_count, counted.execution_count) == (1, 1)
    assert [(batch.batch_size, batch.compute_infer.count) for batch in counted.batches] == [(1, 1)]
    assert counted.fail.count == 2
    assert counted.failures == {"REJECTED": 0, "CANCELED": 1, "BACKEND": 0, "OTHER": 1}


async def test_it_is_ready_when_its_models_are() -> None:
    stage = chain()
    assert await stage.runtime.is_ready()
    stage.links["b"].says_ready = False
    assert not await stage.runtime.is_ready()
    stage.table.set("b", 1, VersionState("UNAVAILABLE"))
    with pytest.raises(StreamGateError):
        stage.table.route("b", "")
    assert not await stage.runtime.is_ready()


def test_a_drained_ensemble_takes_nothing_new() -> None:
    stage = chain()
    stage.ask()
    stage.runtime.drain()
    stage.ask()
    (refused,) = stage.answers
    assert refused.failure is not None
    assert refused.failure.message.startswith("Server is stopping")
    stage.answer("a", place=0)
    stage.answer("b")
    assert stage.values == [None, 0]
