import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streamgate.backend.contract import ModelRequest, TensorStep
from streamgate.backend.fake import (
    Block,
    Crash,
    Fail,
    FakeBackend,
    Nan,
    Plan,
    Step,
    create,
    expected_answers,
)
from streamgate.backend.fake.hashing import digest, digest_rows
from streamgate.backend.fake.request import FakeRequestSession
from streamgate.backend.fake.tensor import FakeTensorSession
from streamgate.errors import BackendError, Code, ConfigError
from streamgate.model.datatypes import DataType
from streamgate.model.request import FLAG_SEQUENCE_END, FLAG_SEQUENCE_START
from streamgate.model.tensor import Array, Tensor, TensorSpec
from tests.backend.fake_models import (
    CONTROLS,
    CORRID,
    HASH_STATE,
    KeptReply,
    fake_config,
    fake_context,
    request_config,
    stateless_config,
)

ALL = ("HASH", "COUNT", "LEVEL", "hash_out", "count_out")


def samples(*values: int) -> Array:
    return np.array(values, np.int16)


def tensor_session(plan: Plan | None = None, **changes: object) -> FakeTensorSession:
    session = FakeBackend(plan).load(fake_context(fake_config(**changes)))
    assert isinstance(session, FakeTensorSession)
    return session


def request_session(plan: Plan | None = None, **changes: object) -> FakeRequestSession:
    session = FakeBackend(plan).load(fake_context(request_config(**changes)))
    assert isinstance(session, FakeRequestSession)
    return session


def tensor_step(
    audio: Array,
    hashes: Sequence[int],
    counts: Sequence[int],
    keys: Sequence[int],
    start: bool | Sequence[bool] = False,
    end: bool | Sequence[bool] = False,
    ready: bool | Sequence[bool] = True,
) -> TensorStep:
    rows = len(audio)

    def column(values: object, dtype: type) -> Array:
        return np.broadcast_to(np.array(values, dtype), (rows,)).reshape(rows, 1).copy()

    inputs = {
        "INPUT": audio,
        "START": column(start, np.int32),
        "END": column(end, np.bool_),
        "READY": column(ready, np.float32),
        "CORRID": column(keys, np.uint64),
        "hash": column(hashes, np.uint64),
        "count": column(counts, np.int64).reshape(1, rows),
    }
    return TensorStep(inputs, ALL, rows)


def request(
    audio: Array, key: int, start: bool = False, end: bool = False, null: bool = False
) -> ModelRequest:
    controls = {
        "START": np.array([[start]], np.int32),
        "END": np.array([[end]], np.bool_),
        "READY": np.array([[not null]], np.float32),
        "CORRID": np.array([[key]], np.uint64),
    }
    inputs = [Tensor.of("INPUT", audio.reshape(1, -1), DataType.INT16)]
    inputs += [Tensor.of(c.name, controls[c.name], c.datatype) for c in CONTROLS]
    flags = (FLAG_SEQUENCE_START if start else 0) | (FLAG_SEQUENCE_END if end else 0)
    return ModelRequest(inputs, KeptReply(), correlation_id=key, flags=flags, null=null)


def answers(requests: Sequence[ModelRequest]) -> list[int]:
    replies = [request.reply for request in requests]
    assert all(isinstance(reply, KeptReply) and reply.final for reply in replies)
    return [int(reply.outputs[0]["HASH"][0, 0]) for reply in replies]  # type: ignore[attr-defined]


@given(data=st.lists(st.binary(max_size=40), min_size=1, max_size=4))
def test_numpy_and_python_digest_alike(data: list[bytes]) -> None:
    width = max(map(len, data))
    rows = [each.ljust(width, b"x") for each in data]
    array = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), width)
    assert digest_rows(array, len(rows)).tolist() == [digest(row) for row in rows]


@given(
    steps=st.lists(
        arrays(np.int16, st.tuples(st.just(3), st.integers(0, 9))), min_size=1, max_size=5
    )
)
def test_a_batch_of_sequences_answers_as_the_reference_says(steps: list[Array]) -> None:
    session = tensor_session()
    hashes, counts, keys = [0, 0, 0], [0, 0, 0], [7, 2**64 - 1, 9]
    found: list[list[int]] = []
    for place, audio in enumerate(steps):
        start, end = place == 0, place == len(steps) - 1
        result = session.run(tensor_step(audio, hashes, counts, keys, start, end))
        hashes = result["hash_out"].ravel().tolist()
        counts = result["count_out"].ravel().tolist()
        assert result["count_out"].shape == (1, 3)
        assert result["HASH"].shape == (3, 1)
        found.append(result["HASH"].ravel().tolist())
        np.testing.assert_array_equal(result["COUNT"], np.full((3, 1), place + 1))
        np.testing.assert_array_equal(result["LEVEL"].ravel(), np.array(hashes) // 2**40 / 2**24)
    for row, key in enumerate(keys):
        history = [
            Step([audio[row].tobytes()], place == 0, place == len(steps) - 1, key)
            for place, audio in enumerate(steps)
        ]
        assert [answer[row] for answer in found] == expected_answers(history)


def test_both_styles_answer_alike() -> None:
    history = [
        Step([samples(1, 2).tobytes()], start=True, correlation_id=5),
        Step([samples(3).tobytes()], correlation_id=5),
        Step([samples().tobytes()], end=True, correlation_id=5),
    ]
    session = request_session()
    steps = [
        request(samples(1, 2), 5, start=True),
        request(samples(3), 5),
        request(samples(), 5, end=True),
    ]
    for step in steps:
        session.execute([step])
    assert answers(steps) == expected_answers(history)
    assert session.open_sequences == []


def test_every_disturbance_changes_every_later_answer() -> None:
    steps = [Step([bytes([n])], start=n == 0) for n in range(4)]
    true = expected_answers(steps)
    lost = expected_answers([steps[0], *steps[2:]])
    repeated = expected_answers([*steps[:2], *steps[1:]])
    reordered = expected_answers([steps[0], steps[2], steps[1], steps[3]])
    restarted = expected_answers([steps[0], replace(steps[1], start=True), *steps[2:]])
    ended = expected_answers([steps[0], replace(steps[1], end=True), *steps[2:]])
    for other in (lost, repeated[1:], reordered, restarted, ended):
        assert other[-1] != true[-1]
        assert len({*true, *other}) > len(true)
    assert expected_answers(steps, state=1)[-1] != true[-1]


def test_a_null_row_hands_back_a_state_that_must_not_be_kept() -> None:
    audio = np.zeros((2, 3), np.int16)
    ready, null = tensor_session(), tensor_session()
    kept = ready.run(tensor_step(audio, [11, 12], [1, 2], [5, 6]))
    step = tensor_step(audio, [11, 12], [1, 2], [5, 6], ready=[True, False])
    result = null.run(step)
    assert result["hash_out"][0] == kept["hash_out"][0]
    assert result["hash_out"][1] not in (kept["hash_out"][1], 12)
    assert result["count_out"].tolist() == [[2, -1]]


def test_a_request_model_keeps_its_sequences_apart() -> None:
    session = request_session()
    first = [request(samples(1), 5, start=True), request(samples(1), 6, start=True)]
    second = [request(samples(2), 6), request(samples(2), 5)]
    session.execute(first)
    session.execute(second)

    def expected(key: int) -> list[int]:
        data = [samples(1).tobytes(), samples(2).tobytes()]
        return expected_answers(
            Step([d], start=place == 0, correlation_id=key) for place, d in enumerate(data)
        )

    assert answers(first) == [expected(5)[0], expected(6)[0]]
    assert answers(second) == [expected(6)[1], expected(5)[1]]
    assert sorted(map(str, session.open_sequences)) == ["5", "6"]


def test_a_step_of_an_unknown_sequence_fails_alone() -> None:
    session = request_session()
    requests = [request(samples(1), 5), request(samples(1), 6, start=True)]
    session.execute(requests)
    reply = requests[0].reply
    assert isinstance(reply, KeptReply)
    assert (
        reply.failures[0].message
        == "a step of 1 rows for sequence 5, but there is no such sequence"
    )
    assert answers(requests[1:]) == expected_answers(
        [Step([samples(1).tobytes()], start=True, correlation_id=6)]
    )


def test_controls_must_agree_with_flags() -> None:
    session = request_session()
    lying = request(samples(1), 5, start=True)
    lying.flags = 0
    session.execute([lying])
    assert isinstance(lying.reply, KeptReply)
    assert "CONTROL_SEQUENCE_START is [True]" in lying.reply.failures[0].message


def test_a_null_request_is_answered_and_forgotten() -> None:
    session = request_session()
    null = request(samples(0), 0, null=True)
    session.execute([null])
    assert len(answers([null])) == 1
    assert session.open_sequences == []


def test_a_decoupled_model_sends_what_it_is_told() -> None:
    session = request_session(decoupled=True, parameters={"responses": "3"})
    step = request(samples(1), 5, start=True)
    session.execute([step])
    assert isinstance(step.reply, KeptReply)
    hashes = [int(each["HASH"][0, 0]) for each in step.reply.outputs]
    assert len(set(hashes)) == 3
    assert hashes[0] == expected_answers([Step([samples(1).tobytes()], True, False, 5)])[0]
    assert step.reply.final
    silent = request_session(decoupled=True, parameters={"responses": "0"})
    step = request(samples(1), 5, start=True)
    silent.execute([step])
    assert isinstance(step.reply, KeptReply)
    assert (step.reply.outputs, step.reply.final) == ([], True)


def test_a_stateless_model_hashes_each_request_for_itself() -> None:
    session = create().load(fake_context(stateless_config()))
    assert isinstance(session, FakeTensorSession)
    audio = np.array([[1, 2], [1, 2], [3, 4]], np.int16)
    result = session.run(TensorStep({"INPUT": audio}, ["HASH", "COUNT"], 3))
    expected = [expected_answers([Step([row.tobytes()])])[0] for row in audio]
    assert result["HASH"].ravel().tolist() == expected
    assert result["COUNT"].ravel().tolist() == [1, 1, 1]
    assert set(result) == {"HASH", "COUNT"}


def test_text_and_left_out_inputs_count_too() -> None:
    text = TensorSpec("TEXT", DataType.BYTES, (2,))
    extra = TensorSpec("EXTRA", DataType.FP64, (1,), optional=True)
    config = stateless_config(inputs=(text, extra), max_batch_size=0)
    session = create().load(fake_context(config))
    assert isinstance(session, FakeTensorSession)
    words = np.array([b"ab", "c"], np.object_)
    raw = b"\x02\0\0\0ab\x01\0\0\0c"
    result = session.run(TensorStep({"TEXT": words}, ["HASH"], 1))["HASH"]
    assert result.tolist() == expected_answers([Step([raw, None])])
    number = np.array([2.5])
    result = session.run(TensorStep({"TEXT": words, "EXTRA": number}, ["HASH"], 1))["HASH"]
    assert result.tolist() == expected_answers([Step([raw, number.tobytes()])])


def test_a_string_key_counts_as_its_text() -> None:
    text = replace(CORRID, datatype=DataType.BYTES)
    config = fake_config(controls=(text,), states=(HASH_STATE,))
    session = create().load(fake_context(config))
    assert isinstance(session, FakeTensorSession)
    inputs = {
        "INPUT": np.zeros((1, 1), np.int16),
        "CORRID": np.array([[b"call-7"]], np.object_),
        "hash": np.zeros((1, 1), np.uint64),
    }
    result = session.run(TensorStep(inputs, ["HASH"], 1))["HASH"]
    assert result.ravel().tolist() == expected_answers([Step([bytes(2)], correlation_id="call-7")])


def test_a_step_can_be_told_to_fail() -> None:
    plan = Plan(
        {1: Fail("no", Code.UNAVAILABLE), ("fake_0", 2): Crash("boom"), ("other", 3): Nan()}
    )
    session = tensor_session(plan)
    step = tensor_step(np.zeros((1, 1), np.int16), [3], [4], [5])
    good = session.run(step)["HASH"]
    with pytest.raises(BackendError, match=r"^no$") as caught:
        session.run(step)
    assert caught.value.code is Code.UNAVAILABLE
    with pytest.raises(RuntimeError, match=r"^boom$"):
        session.run(step)
    result = session.run(step)
    assert result["HASH"] == good
    assert not np.isnan(result["LEVEL"]).any()
    assert list(plan.steps) == [("fake_0", number, 1) for number in range(4)]


def test_a_step_can_be_told_to_answer_nan() -> None:
    session = tensor_session(Plan({0: Nan()}))
    step = tensor_step(np.zeros((2, 1), np.int16), [3, 4], [4, 5], [5, 6])
    spoiled, good = session.run(step), session.run(step)
    assert np.isnan(spoiled["LEVEL"]).all()
    np.testing.assert_array_equal(spoiled["hash_out"], good["hash_out"])


def test_one_request_of_a_batch_can_be_told_to_fail() -> None:
    session = request_session(Plan({0: Fail("no", row=1)}))
    requests = [request(samples(1), key, start=True) for key in (5, 6, 7)]
    session.execute(requests)
    bad = requests[1].reply
    assert isinstance(bad, KeptReply)
    assert [failure.message for failure in bad.failures] == ["no"]
    assert len(answers([requests[0], requests[2]])) == 2
    assert 6 not in session.open_sequences


def test_a_step_can_be_held_until_released() -> None:
    block = Block()
    session = tensor_session(Plan({0: block}))
    step = tensor_step(np.zeros((1, 1), np.int16), [3], [4], [5])
    found: list[Array] = []
    thread = threading.Thread(target=lambda: found.append(session.run(step)["HASH"]))
    thread.start()
    assert block.entered.wait(10)
    assert found == []
    block.release.set()
    thread.join(10)
    assert found[0] == tensor_session().run(step)["HASH"]


def test_a_held_step_gives_up_at_last() -> None:
    session = tensor_session(Plan({0: Block(timeout_ns=1)}))
    with pytest.raises(BackendError, match="step 0 of instance 'fake_0' was not released"):
        session.run(tensor_step(np.zeros((1, 1), np.int16), [3], [4], [5]))


def test_latency_goes_to_the_given_sleep() -> None:
    slept: list[float] = []
    session = tensor_session(Plan(latency_ns=2_500_000, sleep=slept.append))
    session.run(tensor_step(np.zeros((1, 1), np.int16), [3], [4], [5]))
    assert slept == [0.0025]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("INPUT", np.zeros((1, 1)), r"input 'INPUT' is float64 \[1, 1\], expected int16 \[1, -1\]"),
        ("INPUT", np.zeros((2, 1), np.int16), r"input 'INPUT' is int16 \[2, 1\]"),
        ("INPUT", None, "input 'INPUT' is missing"),
        ("START", None, "sequence control 'START' is missing"),
        ("START", np.array([[2]], np.int32), r"sequence control 'START' is \[2\], expected 0 or 1"),
        ("hash", None, "state 'hash' is missing"),
        ("count", np.zeros((1, 2), np.int64), r"state 'count' is int64 \[1, 2\], expected int64"),
    ],
)
def test_a_wrong_step_is_named(name: str, value: Array | None, message: str) -> None:
    step = tensor_step(np.zeros((1, 1), np.int16), [3], [4], [5])
    inputs = dict(step.inputs)
    if value is None:
        del inputs[name]
    else:
        inputs[name] = value
    with pytest.raises(BackendError, match=message) as caught:
        tensor_session().run(replace(step, inputs=inputs))
    assert caught.value.code is Code.INVALID_ARG


def test_a_configuration_without_meaning_is_refused() -> None:
    backend = create()
    text = r"state 'hash/hash_out' .* is FP32 \[1\], expected UINT64"
    wrong = replace(HASH_STATE, datatype=DataType.FP32)
    with pytest.raises(ConfigError, match=text):
        backend.load(fake_context(fake_config(states=(wrong,))))
    wide = TensorSpec("Y", DataType.UINT64, (2,))
    with pytest.raises(ConfigError, match=r"output 'Y' of a fake model is UINT64 \[2\], expected"):
        backend.load(fake_context(fake_config(outputs=(wide,))))
    with pytest.raises(ConfigError, match="parameter 'style' is 'modern'"):
        backend.load(fake_context(fake_config(parameters={"style": "modern"})))
    with pytest.raises(ConfigError, match="keeps its state itself"):
        backend.load(fake_context(fake_config(parameters={"style": "request"})))


def test_closed_is_closed() -> None:
    tensor, requests = tensor_session(), request_session()
    tensor.close()
    requests.close()
    with pytest.raises(BackendError, match="is closed"):
        tensor.run(tensor_step(np.zeros((1, 1), np.int16), [3], [4], [5]))
    with pytest.raises(BackendError, match="is closed"):
        requests.execute([request(samples(1), 5, start=True)])


def test_an_empty_configuration_is_completed() -> None:
    given = {"name": "fake", "backend": "fake", "max_batch_size": 3}
    completed = create().auto_complete(dict(given), fake_context(fake_config()).files)
    assert {key: completed[key] for key in given} == given
    assert completed["input"] == [{"name": "INPUT", "data_type": "TYPE_UINT8", "dims": [-1]}]
    assert completed["output"] == [{"name": "HASH", "data_type": "TYPE_UINT64", "dims": [1]}]
