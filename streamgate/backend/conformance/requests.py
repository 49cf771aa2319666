"""Checks of request sessions: models that see requests and answer through their replies."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from streamgate.backend.conformance.report import Broken, Unfit
from streamgate.backend.conformance.samples import control_values, initial_states
from streamgate.backend.conformance.subject import Check, Subject, check_array
from streamgate.backend.conformance.tensors import in_thread
from streamgate.backend.contract import ModelRequest, RequestSession
from streamgate.errors import Failure
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import FLAG_SEQUENCE_START, ParameterValue
from streamgate.model.tensor import Array, Tensor

Answer = list[dict[str, Array]]
"""The responses to one request, each its outputs by name."""


@dataclass(slots=True, eq=False)
class _KitReply:
    """The reply of one request: keeps what it is sent and notes what must not happen."""

    responses: list[Sequence[Tensor]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def send(
        self,
        outputs: Sequence[Tensor],
        failure: Failure | None = None,
        *,
        final: bool,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        if self.done.is_set():
            return
        if failure is not None:
            self.failures.append(failure)
        else:
            self.responses.append(outputs)
        if final:
            self.done.set()

    def finish(self) -> None:
        self.done.set()

    def is_cancelled(self) -> bool:
        return False


def answers_one(subject: Subject) -> None:
    """One request gets every output with its declared type and shape."""
    with subject.request_session() as session:
        (answer,) = _execute(subject, session, [_request(subject, 0, 0)])
        _check_answer(subject, answer)


def answers_batch(subject: Subject) -> None:
    """Each request of a batch gets every output with its declared type and shape."""
    with subject.request_session() as session:
        for answer in _execute(subject, session, _batch(subject, range(subject.rows), 0)):
            _check_answer(subject, answer)


def requests_are_apart(subject: Subject) -> None:
    """A request alone and among others gets the same answer."""
    subject.require_deterministic()
    together = _histories(subject, [range(subject.rows)])
    alone = _histories(subject, [[key] for key in range(subject.rows)])
    _compare_histories(subject, alone, together, ("alone", "among others"))


def null_requests_are_harmless(subject: Subject) -> None:
    """Null requests are answered and do not disturb the others."""
    if subject.config.sequences is None:
        raise Unfit("only sequence models get null requests")
    subject.require_deterministic()
    rows = subject.rows
    expected = _histories(subject, [range(rows)])
    found: dict[int, list[Answer]] = {key: [] for key in range(1, rows)}
    with subject.request_session() as session:
        for step in range(subject.samples.steps):
            # The first sequence has only one step; after it there is a gap in its place.
            gap = step > 0
            batch = [_request(subject, key, step, null=gap and key == 0) for key in range(rows)]
            answers = _execute(subject, session, batch)
            for key, history in found.items():
                history.append(answers[key])
    _compare_histories(subject, found, expected, ("beside null requests", "beside others"))


def repeats_itself(subject: Subject) -> None:
    """A sequence that starts again gets the same answers."""
    subject.require_deterministic()
    steps = range(subject.samples.steps)
    with subject.request_session() as session:
        runs = [
            [_execute(subject, session, [_request(subject, 0, step)])[0] for step in steps]
            for _ in range(2)
        ]
    _compare_histories(subject, {0: runs[0]}, {0: runs[1]}, ("at first", "when started again"))


def takes_raw_inputs(subject: Subject) -> None:
    """Inputs may come as raw bytes that can't be written to."""
    with subject.request_session() as session:
        request = _request(subject, 0, 0)
        raw = [
            Tensor(tensor.name, tensor.datatype, tensor.shape, raw=bytes(tensor.raw))
            for tensor in request.inputs
        ]
        request.inputs = raw
        (answer,) = _execute(subject, session, [request])
        _check_answer(subject, answer)


def leaves_inputs(subject: Subject) -> None:
    """A step leaves its inputs alone."""
    with subject.request_session() as session:
        request = _request(subject, 0, 0)
        before = [tensor.array.copy() for tensor in request.inputs]
        _execute(subject, session, [request])
        for tensor, array in zip(request.inputs, before, strict=True):
            if not np.array_equal(tensor.array, array, equal_nan=array.dtype.kind == "f"):
                raise Broken(f"the step changed its input '{tensor.name}' in place")


def leaves_answers(subject: Subject) -> None:
    """A later step leaves earlier answers alone."""
    with subject.request_session() as session:
        (first,) = _execute(subject, session, [_request(subject, 0, 0)])
        kept = [{name: array.copy() for name, array in each.items()} for each in first]
        _execute(subject, session, [_request(subject, 0, 1)])
        for response, copy in zip(first, kept, strict=True):
            for name, array in response.items():
                if not np.array_equal(array, copy[name], equal_nan=array.dtype.kind == "f"):
                    raise Broken(f"the next step overwrote the answer '{name}' in place")


def answers_what_is_wanted(subject: Subject) -> None:
    """Every wanted output comes back."""
    with subject.request_session() as session:
        for spec in subject.config.outputs:
            request = _request(subject, 0, 0)
            request.requested_outputs = (spec.name,)
            (answer,) = _execute(subject, session, [request])
            for response in answer:
                if spec.name not in response:
                    raise Broken(f"'{spec.name}' was wanted, but {list(response)} came back")


def survives_wrong_inputs(subject: Subject) -> None:
    """A request without inputs is an error with a message, and the next one runs."""
    if not subject.config.inputs:
        raise Unfit("the model has no inputs")
    with subject.request_session() as session:
        wrong = _request(subject, 0, 0)
        wrong.inputs = ()
        reply = wrong.reply
        assert isinstance(reply, _KitReply)
        try:
            session.execute([wrong])
        except Exception as error:
            if not str(error).strip():
                raise Broken(f"it raised {type(error).__name__} without a message") from error
        except SystemExit as error:
            raise Broken(f"it raised {type(error).__name__}, which ends threads") from error
        else:
            _wait(subject, reply)
            if any(not failure.message.strip() for failure in reply.failures):
                raise Broken("it answered with a failure without a message")
        (answer,) = _execute(subject, session, [_request(subject, 1, 0)])
        _check_answer(subject, answer)


def changes_threads(subject: Subject) -> None:
    """A session runs in another thread than it was loaded in."""
    with subject.request_session() as session:

        def work() -> Mapping[str, Array]:
            (answer,) = _execute(subject, session, [_request(subject, 0, 0)])
            _check_answer(subject, answer)
            return {}

        in_thread(subject, work)


def instances_are_apart(subject: Subject) -> None:
    """Two instances do not disturb each other."""
    subject.require_deterministic()
    expected = _histories(subject, [[0]])
    with subject.request_session() as one, subject.request_session() as other:
        found: dict[int, list[list[Answer]]] = {0: [], 1: []}
        for step in range(subject.samples.steps):
            for number, session in enumerate((one, other)):
                found[number].append(_execute(subject, session, [_request(subject, 0, step)]))
    for number in (0, 1):
        history = [answers[0] for answers in found[number]]
        how = ("beside another instance", "without one")
        _compare_histories(subject, {0: history}, expected, how)


def close_is_final(subject: Subject) -> None:
    """A request after close is an error."""
    with subject.request_session() as session:
        _execute(subject, session, [_request(subject, 0, 0)])
    request = _request(subject, 0, 0)
    reply = request.reply
    assert isinstance(reply, _KitReply)
    try:
        session.execute([request])
    except Exception:  # noqa: BLE001 - any error will do
        return
    _wait(subject, reply)
    if not reply.failures:
        raise Broken("a closed session still answers")


REQUEST_CHECKS: tuple[Check, ...] = (
    answers_one,
    answers_batch,
    requests_are_apart,
    null_requests_are_harmless,
    repeats_itself,
    takes_raw_inputs,
    leaves_inputs,
    leaves_answers,
    answers_what_is_wanted,
    survives_wrong_inputs,
    changes_threads,
    instances_are_apart,
    close_is_final,
)


def _batch(subject: Subject, keys: Sequence[int], step: int) -> list[ModelRequest]:
    return [_request(subject, key, step) for key in keys]


def _request(subject: Subject, key: int, step: int, *, null: bool = False) -> ModelRequest:
    """The `step`-th request of the `key`-th sequence, or a null request in its place."""
    config = subject.config
    sequence = config.sequences is not None
    inputs = _inputs(subject, key, step, null=null)
    if null or not sequence:
        names = () if null else tuple(spec.name for spec in config.outputs)
        return ModelRequest(inputs, _KitReply(), null=null, requested_outputs=names)
    return ModelRequest(
        inputs,
        _KitReply(),
        request_id=f"{key}-{step}",
        correlation_id=key + 1,
        flags=FLAG_SEQUENCE_START if step == 0 else 0,
        requested_outputs=tuple(spec.name for spec in config.outputs),
    )


def _inputs(subject: Subject, key: int, step: int, *, null: bool) -> list[Tensor]:
    config = subject.config
    count = max(1, min(subject.samples.rows, config.max_batch_size))
    arrays = subject.samples.batch(config, count, step)
    rows = slice(key % count, key % count + 1) if config.batches else slice(None)
    found = []
    for spec in config.inputs:
        array = arrays[spec.name][rows]
        if null:
            empty = b"" if spec.datatype is DataType.BYTES else 0
            array = np.full(array.shape, empty, array.dtype)
        found.append(Tensor.of(spec.name, array, spec.datatype))
    lead = (1,) if config.batches else ()
    ready = np.array([not null])
    for control in config.controls:
        keys = np.array([key + 1])
        array = control_values(control, lead, start=step == 0, ready=ready, keys=keys)
        found.append(Tensor.of(control.name, array, control.datatype))
    states = initial_states(config, 1)
    found.extend(Tensor.of(s.input_name, states[s.input_name], s.datatype) for s in config.states)
    return found


def _execute(
    subject: Subject, session: RequestSession, requests: Sequence[ModelRequest]
) -> list[Answer]:
    """Each request's responses; a failure, or no final response in time, is a finding."""
    session.execute(requests)
    answers = []
    for number, request in enumerate(requests):
        reply = request.reply
        assert isinstance(reply, _KitReply)
        _wait(subject, reply)
        if reply.failures:
            raise Broken(f"request {number} of {len(requests)} failed: {reply.failures[0].message}")
        answers.append([{t.name: t.array for t in outputs} for outputs in reply.responses])
        if not request.null:
            _check_declared(subject.config, reply)
    return answers


def _wait(subject: Subject, reply: _KitReply) -> None:
    seconds = subject.samples.timeout_ns / 1e9
    if not reply.done.wait(seconds):
        raise Broken(f"a request had no final response within {seconds:g} s")


def _check_declared(config: ModelConfig, reply: _KitReply) -> None:
    declared = {spec.name: spec for spec in config.outputs}
    for outputs in reply.responses:
        for tensor in outputs:
            spec = declared.get(tensor.name)
            if spec is None:
                raise Broken(f"the answer holds '{tensor.name}', which is not declared")
            if tensor.datatype is not spec.datatype:
                raise Broken(
                    f"output '{tensor.name}' is {tensor.datatype.value}, expected "
                    f"{spec.datatype.value}"
                )


def _check_answer(subject: Subject, answer: Answer) -> None:
    """The responses to a whole request: as many as are allowed, each output as declared."""
    config = subject.config
    if len(answer) != 1 and not config.decoupled:
        raise Broken(f"{len(answer)} responses to one request, but the model is not decoupled")
    for response in answer:
        for spec in config.outputs:
            if spec.name not in response:
                raise Broken(f"there is no '{spec.name}' among the answers {list(response)}")
            lead = (1,) if config.batches else ()
            shape = (*lead, *spec.model_shape)
            check_array(f"output '{spec.name}'", response[spec.name], spec.datatype, shape)


def _histories(subject: Subject, batches: Sequence[Sequence[int]]) -> dict[int, list[Answer]]:
    """The answers of each sequence, when those of one batch run side by side in one session."""
    found: dict[int, list[Answer]] = {}
    for keys in batches:
        with subject.request_session() as session:
            for step in range(subject.samples.steps):
                answers = _execute(subject, session, _batch(subject, keys, step))
                for key, answer in zip(keys, answers, strict=True):
                    found.setdefault(key, []).append(answer)
    return found


def _compare_histories(
    subject: Subject,
    one: Mapping[int, Sequence[Answer]],
    other: Mapping[int, Sequence[Answer]],
    how: tuple[str, str],
) -> None:
    for key, history in one.items():
        for step, (answer, twin) in enumerate(zip(history, other[key], strict=True)):
            if len(answer) != len(twin):
                raise Broken(
                    f"step {step} has {len(answer)} responses {how[0]}, but {len(twin)} {how[1]}"
                )
            for response, match in zip(answer, twin, strict=True):
                for spec in subject.config.outputs:
                    if spec.name in response and spec.name in match:
                        what = f"output '{spec.name}' of step {step}"
                        values = response[spec.name], match[spec.name]
                        subject.compare(what, spec.datatype, *values, how)
