"""Runs a recorded sequence again, on the models of a repository, in this process and on no port.

Steps are sent one by one, each when the one before has had its last response. Steps that shared a
batch with others are alone now: where one differs, both batches are told.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from streamgate.core.ids import NO_OWNER
from streamgate.errors import Code, Failure, StreamGateError
from streamgate.link.contract import ModelRoute
from streamgate.model.request import Batch, Request, Response
from streamgate.recording.bundle import Bundle, RecordedStep
from streamgate.recording.compare import Difference, compare_results, config_changes
from streamgate.recording.format import BundleError
from streamgate.recording.values import Batched, Origin, Result, StoredTensor
from streamgate.server.server import Server
from streamgate.server.settings import ControlMode, Settings
from streamgate.session.gateway import Connection, Gateway
from streamgate.session.recorded import batched
from streamgate.snapshot.codec import CodecError, decode_snapshot

EXIT_SECONDS: Final = 5.0
"""How long models may take over being closed."""

_GATEWAYS_OWN: Final = frozenset({Code.CANCELLED, Code.UNAVAILABLE})
"""Failures that say what the gateway did at the time (limits, ends, cancellation)."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """`version` "" is the recorded one; `load_models` are further models that the recorded one
    calls; `tolerance` is absolute, for floats."""

    repositories: Sequence[Path]
    version: str = ""
    load_models: Sequence[str] = ()
    backend_directory: Path | None = None
    tolerance: float = 0.0
    step_seconds: float = 60.0


@dataclass(slots=True)
class Outcome:
    """What came of it: how much was run again, what differs first (None: nothing), what to know."""

    steps: int = 0
    responses: int = 0
    difference: Difference | None = None
    notes: list[str] = field(default_factory=list)


async def replay(bundle: Bundle, options: ReplayOptions) -> Outcome:
    """Raises BundleError for a bundle that can't be run again, StreamGateError for models that
    can't be loaded."""
    if bundle.redacted:
        raise BundleError(
            f"{bundle.path}: a redacted bundle holds hashes, no inputs: it can't be run again, "
            "only compared (--compare)"
        )
    if not bundle.steps:
        raise BundleError(f"{bundle.path}: no step was recorded")
    server = Server(
        Settings(
            options.repositories,
            control_mode=ControlMode.EXPLICIT,
            load_models=(bundle.header.model, *options.load_models),
            backend_directory=options.backend_directory,
            allow_http=False,
            allow_grpc=False,
            allow_metrics=False,
            allow_websocket=False,
            exit_timeout_seconds=EXIT_SECONDS,
        )
    )
    await server.start()
    try:
        rerun = _Rerun(server.gateway, bundle, options)
        if bundle.origin is not None:
            route = server.route(bundle.header.model, rerun.version)
            await _restore(route, bundle, bundle.origin, options.step_seconds)
        return await rerun.run()
    finally:
        await server.stop()


async def _restore(route: ModelRoute, bundle: Bundle, origin: Origin, seconds: float) -> None:
    """Bring the sequence to the state in which its recording began. Raises BundleError."""
    assert origin.snapshot is not None, "a redacted bundle is not run"
    answer: asyncio.Future[Failure | None] = asyncio.get_running_loop().create_future()
    try:
        snapshot = decode_snapshot(origin.snapshot)
        key = bundle.header.sequence
        route.restore(key, NO_OWNER, None, snapshot, answer.set_result)
        async with asyncio.timeout(seconds):
            failure = await answer
    except (CodecError, StreamGateError) as error:
        failure = Failure(Code.INVALID_ARG, str(error))
    except TimeoutError:
        failure = Failure(Code.UNAVAILABLE, f"no answer within {seconds:g} s (--step-timeout)")
    if failure is not None:
        raise BundleError(
            f"{bundle.path}: the state behind position {origin.position}, with which it begins, "
            f"can't be restored: {failure.message}"
        )


class _Rerun:
    """One run of a bundle's steps."""

    def __init__(self, gateway: Gateway, bundle: Bundle, options: ReplayOptions) -> None:
        self._gateway = gateway
        self._bundle = bundle
        self._options = options
        self.version = options.version or bundle.header.version
        self._outcome = Outcome()

    async def run(self) -> Outcome:
        self._note_changes()
        if self._bundle.cut:
            self._outcome.notes.append(f"the recording is not whole: {self._bundle.cut}")
        connection = self._gateway.connect()
        try:
            for recorded in self._bundle.steps:
                if _was_not_run(recorded):
                    self._note_left_out(recorded)
                    continue
                found = await self._run_step(connection, recorded)
                self._outcome.steps += 1
                self._outcome.responses += len(found)
                difference = compare_results(recorded, found, self._options.tolerance)
                if difference is not None:
                    self._outcome.difference = difference
                    batches = _batches(recorded.results, found)
                    self._outcome.notes += [batches] if batches else []
                    break
        finally:
            connection.close(abort=True)
        if not self._outcome.steps:
            raise BundleError(f"{self._bundle.path}: the model had answered none of its steps")
        return self._outcome

    async def _run_step(self, connection: Connection, recorded: RecordedStep) -> list[Result]:
        """The responses to the step, or what was raised in their place, as one."""
        found: list[Result] = []
        over = asyncio.Event()

        def receive(response: Response) -> None:
            found.append(_stored(response, recorded))
            if response.final:
                over.set()

        try:
            call = connection.submit(self._request(recorded), receive)
        except StreamGateError as error:
            return [Result(recorded.step.number, 0, 0, failure=error.failure)]
        try:
            async with asyncio.timeout(self._options.step_seconds):
                await over.wait()
        except TimeoutError:
            # What comes from here on, by the cancellation, is of no interest.
            late = list(found)
            call.cancel()
            seconds = self._options.step_seconds
            text = f"no last response within {seconds:g} s (--step-timeout)"
            failure = Failure(Code.UNAVAILABLE, text)
            return [*late, Result(recorded.step.number, len(late), 0, failure=failure)]
        return found

    def _request(self, recorded: RecordedStep) -> Request:
        step = recorded.step
        return Request(
            self._bundle.header.model,
            self.version,
            step.id,
            [tensor.tensor for tensor in step.inputs],
            list(step.requested_outputs),
            dict(step.parameters),
            self._bundle.header.sequence,
            step.start,
            step.end,
            step.priority,
            batch=Batch(),
        )

    def _note_changes(self) -> None:
        header = self._bundle.header
        pairs = [(header.model, self.version, header.config)]
        pairs += [(each.name, each.version, each.config) for each in header.composing]
        for name, version, config in pairs:
            found = self._gateway.model(name, version).config.json
            changed = config_changes(config, found)
            if changed:
                names = ", ".join(changed)
                self._outcome.notes.append(
                    f"model '{name}' has another configuration than was recorded: {names}"
                )

    def _note_left_out(self, recorded: RecordedStep) -> None:
        failure = recorded.results[-1].failure
        assert failure is not None
        self._outcome.notes.append(
            f"position {recorded.step.position} is left out: the gateway answered it at the time "
            f"({failure.code.value}: {failure.message})"
        )


def _was_not_run(recorded: RecordedStep) -> bool:
    """Whether the gateway answered in the model's place. A step that was cancelled may have run: if
    so, and it changed the state, the next step differs."""
    if len(recorded.results) != 1:
        return False
    failure = recorded.results[0].failure
    return failure is not None and (
        not recorded.results[0].admitted or failure.code in _GATEWAYS_OWN
    )


def _stored(response: Response, recorded: RecordedStep) -> Result:
    return Result(
        recorded.step.number,
        response.index,
        0,
        [StoredTensor.of(tensor) for tensor in response.outputs],
        response.failure,
        response.final,
        response.empty,
        response.admitted,
        dict(response.parameters),
        batched(response.request),
    )


def _batches(expected: Sequence[Result], found: Sequence[Result]) -> str:
    """In which batch a step ran when it was recorded, and in which now."""
    pair = [next((each.batch for each in some if each.batch), None) for some in (expected, found)]
    then, now = pair
    if then is None or now is None:
        return ""
    return f"the step that differs ran {_batch_text(then)} then, {_batch_text(now)} now"


def _batch_text(batch: Batched) -> str:
    text = f"in a batch of {batch.rows} on '{batch.instance}'"
    if batch.sequences < 2:
        return text
    named = [repr(key) if key else "no sequence" for key in batch.others]
    more = batch.sequences - 1 - len(named)
    return f"{text} with {', '.join([*named, *([f'{more} others'] if more else [])])}"
