"""A gateway in memory for tests of front ends: a few models, everything recorded, no engine.

Models answer in the next turn of the loop, except `manual`, `manual_decoupled` and
`manual_sequence`: their requests wait in `FakeGateway.waiting` until the test answers them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from streamgate._proto import model_config_pb2
from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.model.config import (
    DefaultScheduling,
    DirectStrategy,
    ModelConfig,
    SequenceBatching,
)
from streamgate.model.datatypes import DataType
from streamgate.model.request import ParameterValue, Request, Response, SequenceKey
from streamgate.model.statistics import (
    BatchStatistics,
    Duration,
    Histogram,
    ModelStatistics,
    SlotTable,
    SlotView,
)
from streamgate.model.tensor import Tensor, TensorSpec
from streamgate.session.gateway import (
    ComeSink,
    EndSink,
    GoneSink,
    ModelIndexEntry,
    ModelInfo,
    ResponseSink,
    ServerInfo,
    WarningSink,
)

CANCELLED = Failure(Code.CANCELLED, "request was cancelled")


@dataclass(eq=False)
class FakeCall:
    """One request that the gateway took, and the means to answer it."""

    request: Request
    sink: ResponseSink
    connection: FakeConnection
    cancelled: bool = False
    finished: bool = False

    def cancel(self) -> None:
        self.cancelled = True
        self.connection.gateway.cancelled.append(self.request.id)
        if not self.finished:
            asyncio.get_running_loop().call_soon(self.fail, CANCELLED)

    def send(
        self,
        *outputs: Tensor,
        final: bool = True,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        self._respond(outputs=outputs, final=final, parameters=parameters or {})

    def fail(self, failure: Failure, *, final: bool = True, admitted: bool = True) -> None:
        self._respond(failure=failure, final=final, admitted=admitted)

    def close(self) -> None:
        """The final response that carries nothing."""
        self._respond(empty=True)

    def _respond(
        self,
        *,
        outputs: Sequence[Tensor] = (),
        failure: Failure | None = None,
        final: bool = True,
        empty: bool = False,
        admitted: bool = True,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        if self.finished:
            return
        self.finished = final
        gateway = self.connection.gateway
        if final:
            gateway.waiting = [call for call in gateway.waiting if call is not self]
        self.sink(
            Response(
                self.request,
                self.request.model,
                self.request.version,
                outputs=outputs,
                failure=failure,
                final=final,
                empty=empty,
                admitted=admitted,
                parameters=parameters or {},
            )
        )
        if final and admitted and self.request.end:
            self.connection.end(self.request, EndReason.CLIENT_END)


Behaviour = Callable[[FakeCall], None]


@dataclass(frozen=True)
class FakeModel:
    config: ModelConfig
    behaviour: Behaviour


def identity(call: FakeCall) -> None:
    """Each input `X` comes back as output `X`'s namesake: IN as OUT, IN1 as OUT1."""
    outputs = [
        Tensor(tensor.name.replace("IN", "OUT"), tensor.datatype, tensor.shape, raw=tensor.raw)
        for tensor in call.request.inputs
    ]
    call.send(*outputs)


def failing(call: FakeCall) -> None:
    call.fail(Failure(Code.INVALID_ARG, "boom"))


def parrot(call: FakeCall) -> None:
    """The request's parameters come back as the response's."""
    call.send(parameters=call.request.parameters)


def counting(call: FakeCall) -> None:
    """As many responses as IN says: 0, 1, 2, ... A negative number puts an error after the first.

    The last response is not the final one: that is empty.
    """
    count = int(call.request.inputs[0].array.ravel()[0])
    for index in range(abs(count)):
        call.send(int32("OUT", index), final=False)
        if count < 0 and index == 0:
            call.fail(Failure(Code.INVALID_ARG, "boom 1"), final=False)
    call.close()


def wait(call: FakeCall) -> None:
    call.connection.gateway.waiting.append(call)


def accumulate(call: FakeCall) -> None:
    """The sum of a sequence's values so far."""
    request = call.request
    totals = call.connection.gateway.totals
    if request.start:
        totals[request.sequence] = 0
    totals[request.sequence] += int(request.inputs[0].array.ravel()[0])
    call.send(int32("OUT", totals[request.sequence]))


def int32(name: str, *values: int) -> Tensor:
    return Tensor.of(name, np.array(values, np.int32), DataType.INT32)


def model_config(
    name: str,
    datatype: DataType = DataType.FP32,
    *,
    max_batch_size: int = 0,
    inputs: Sequence[str] = ("IN",),
    labels: Sequence[str] = (),
    decoupled: bool = False,
    sequences: bool = False,
) -> ModelConfig:
    outputs = [each.replace("IN", "OUT") for each in inputs]
    wire = model_config_pb2.ModelConfig(name=name, max_batch_size=max_batch_size, backend="fake")
    return ModelConfig(
        name=name,
        backend="fake",
        platform="",
        max_batch_size=max_batch_size,
        inputs=tuple(TensorSpec(each, datatype, (-1,)) for each in inputs),
        outputs=tuple(TensorSpec(each, datatype, (-1,), labels=tuple(labels)) for each in outputs),
        scheduling=SequenceBatching(DirectStrategy(), 4) if sequences else DefaultScheduling(),
        decoupled=decoupled,
        json=f'{{"name":"{name}","max_batch_size":{max_batch_size},"backend":"fake"}}',
        wire=wire.SerializeToString(),
    )


def standard_models() -> list[FakeModel]:
    int_type = DataType.INT32
    return [
        FakeModel(model_config("identity"), identity),
        FakeModel(model_config("pair", inputs=("IN0", "IN1")), identity),
        FakeModel(model_config("batched", max_batch_size=8, labels=("cat", "dog")), identity),
        *(
            FakeModel(model_config(f"identity_{datatype.value}", datatype), identity)
            for datatype in DataType
        ),
        FakeModel(model_config("failing"), failing),
        FakeModel(model_config("parrot"), parrot),
        FakeModel(model_config("counting", int_type, decoupled=True), counting),
        FakeModel(model_config("accumulate", int_type, sequences=True), accumulate),
        FakeModel(model_config("manual"), wait),
        FakeModel(model_config("manual_decoupled", decoupled=True), wait),
        FakeModel(model_config("manual_sequence", sequences=True), wait),
    ]


@dataclass(eq=False)
class FakeConnection:
    """Records how it was closed: `closed` is None while it is open, then the value of `abort`."""

    gateway: FakeGateway
    on_sequence_end: EndSink | None
    on_warning: WarningSink | None
    calls: list[FakeCall] = field(default_factory=list)
    closed: bool | None = None
    paused: bool = False
    kept: list[tuple[str, SequenceKey]] = field(default_factory=list)

    def submit(self, request: Request, sink: ResponseSink) -> FakeCall:
        assert self.closed is None
        info = self.gateway.model(request.model, request.version)
        model = self.gateway.models[request.model]
        request.version = info.version
        names = {spec.name for spec in info.config.inputs}
        for tensor in request.inputs:
            if tensor.name not in names:
                raise StreamGateError(
                    Code.INVALID_ARG,
                    f"unexpected inference input '{tensor.name}' for model '{request.model}'",
                )
        if info.config.sequences is not None:
            self._admit(request)
        call = FakeCall(request, sink, self)
        self.calls.append(call)
        self.gateway.requests.append(request)
        asyncio.get_running_loop().call_soon(model.behaviour, call)
        return call

    async def reserve(self, model: str, version: str, sequence: SequenceKey) -> None:
        config = self.gateway.model(model, version).config
        if config.sequences is None:
            raise StreamGateError(
                Code.INVALID_ARG, f"model '{model}' has no sequences: no slot can be reserved"
            )
        slots = config.sequences.slots
        if sum(name == model for name, _ in self.gateway.live) >= slots:
            raise StreamGateError(
                Code.UNAVAILABLE, f"all {slots} slots of model '{model}' are taken"
            )
        self.gateway.live[model, sequence] = self

    def keep(self, model: str, version: str, sequence: SequenceKey) -> None:
        """Nothing is ever idle here."""
        del version
        self.kept.append((model, sequence))

    def end_sequence(self, model: str, version: str, sequence: SequenceKey) -> None:
        del version
        self.gateway.live.pop((model, sequence), None)
        if self.on_sequence_end is not None:
            self.on_sequence_end(model, sequence, EndReason.CLIENT_END)

    async def finish(self, model: str, version: str, sequence: SequenceKey) -> EndReason | None:
        if (model, sequence) not in self.gateway.live:
            raise StreamGateError(Code.NOT_FOUND, f"no sequence {sequence} lives")
        self.end_sequence(model, version, sequence)
        return None

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self, *, abort: bool) -> None:
        if self.closed is not None:
            return
        self.closed = abort
        if abort:
            for call in self.calls:
                if not call.finished:
                    call.cancel()
            for key, owner in list(self.gateway.live.items()):
                if owner is self:
                    del self.gateway.live[key]
                    self.gateway.ended.append((*key, EndReason.CLIENT_ABORT))

    def end(self, request: Request, reason: EndReason) -> None:
        """A sequence's last response was given."""
        if self.on_sequence_end is not None and self.closed is None:
            self.on_sequence_end(request.model, request.sequence, reason)

    def _admit(self, request: Request) -> None:
        key = (request.model, request.sequence)
        if not request.sequence:
            raise StreamGateError(
                Code.INVALID_ARG,
                f"inference request to model '{request.model}' must specify a non-zero or "
                "non-empty correlation ID",
            )
        if request.start:
            self.gateway.live[key] = self
        elif key not in self.gateway.live:
            raise StreamGateError(
                Code.INVALID_ARG,
                f"inference request for sequence {request.sequence} to model '{request.model}' "
                "must specify the START flag on the first request of the sequence",
            )
        if request.end:
            del self.gateway.live[key]


@dataclass(eq=False)
class FakeGateway:
    """`requests` are all that were taken; `connections` all that were opened."""

    models: dict[str, FakeModel] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    connections: list[FakeConnection] = field(default_factory=list)
    waiting: list[FakeCall] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    live: dict[tuple[str, SequenceKey], FakeConnection] = field(default_factory=dict)
    ended: list[tuple[str, SequenceKey, EndReason]] = field(default_factory=list)
    totals: dict[SequenceKey, int] = field(default_factory=dict)
    loads: list[tuple[str, str | None, Mapping[str, bytes]]] = field(default_factory=list)
    unloads: list[tuple[str, bool]] = field(default_factory=list)
    ready: bool = True
    accepts: bool = True
    keys: list[str] = field(default_factory=list)
    received_bytes: int = 0
    hold_seconds: float = 0.0

    def __post_init__(self) -> None:
        for model in standard_models():
            self.models.setdefault(model.config.name, model)

    def waiting_for(self, request_id: str) -> FakeCall:
        """The waiting request with this id."""
        return next(call for call in self.waiting if call.request.id == request_id)

    def connect(
        self, on_sequence_end: EndSink | None = None, on_warning: WarningSink | None = None
    ) -> FakeConnection:
        connection = FakeConnection(self, on_sequence_end, on_warning)
        self.connections.append(connection)
        return connection

    def of(self, key: str) -> FakeGateway:
        self.keys.append(key)
        return self

    def owe(self, size_bytes: int) -> float:
        self.received_bytes += size_bytes
        return self.hold_seconds

    def watch_sequences(self, on_gone: GoneSink, on_come: ComeSink) -> None:
        del on_gone, on_come

    def is_live(self) -> bool:
        return True

    def is_accepting(self) -> bool:
        return self.accepts and self.is_live()

    def is_ready(self) -> bool:
        return self.ready

    async def is_model_ready(self, name: str, version: str) -> bool:
        try:
            self.model(name, version)
        except StreamGateError as error:
            if error.code is Code.INVALID_ARG:
                raise
            return False
        return True

    def server_info(self) -> ServerInfo:
        return ServerInfo("streamgate", "1.2.3", ("sequence", "statistics"))

    def model(self, name: str, version: str) -> ModelInfo:
        if version and not version.isdigit():
            raise StreamGateError(
                Code.INVALID_ARG,
                f"failed to get model version from specified version string '{version}' "
                "(details: stol), version should be an integral value > 0",
            )
        model = self.models.get(name)
        if model is None:
            raise StreamGateError(
                Code.NOT_FOUND, f"Request for unknown model: '{name}' is not found"
            )
        if version not in {"", "1", "3"}:
            raise StreamGateError(
                Code.NOT_FOUND,
                f"Request for unknown model: '{name}' version {version} is not found",
            )
        return ModelInfo(model.config, version or "3", ("1", "3"))

    async def slots(self, name: str, version: str) -> Sequence[SlotTable]:
        if name:
            self.model(name, version)
        view = SlotView("m_0", 1, 3, 7, False, 1.5, 0.0, 0.25, 4, 2, True, 64, position=6)
        return [SlotTable(name or "m", "1", 4, 2, 1, (view,), left_out=1)]

    async def statistics(self, name: str, version: str) -> Sequence[ModelStatistics]:
        del version
        if name and name not in self.models:
            raise StreamGateError(Code.INVALID_ARG, f"requested model '{name}' is not available")
        histogram = Histogram((), (0,), 0.0)
        return [
            ModelStatistics(
                name=each,
                version="3",
                last_inference_ms=1_700_000_000_000,
                inference_count=7,
                execution_count=5,
                success=Duration(1, 100),
                fail=Duration(2, 200),
                queue=Duration(3, 300),
                compute_input=Duration(4, 400),
                compute_infer=Duration(5, 500),
                compute_output=Duration(6, 600),
                batches=(BatchStatistics(4, Duration(7, 700), Duration(7, 800), Duration(7, 900)),),
                failures={},
                pending=0,
                occupancy=histogram,
                step_time=histogram,
            )
            for each in ([name] if name else self.models)
        ]

    async def repository_index(self, *, ready_only: bool) -> Sequence[ModelIndexEntry]:
        entries = [
            ModelIndexEntry("identity", "3", "READY"),
            ModelIndexEntry("broken", "1", "UNAVAILABLE", "Internal: no"),
            ModelIndexEntry("never"),
        ]
        return entries[:1] if ready_only else entries

    async def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        if name == "missing":
            raise StreamGateError(
                Code.INTERNAL, "failed to load 'missing', failed to poll from model repository"
            )
        self.loads.append((name, config, dict(files)))

    async def unload_model(self, name: str, *, unload_dependents: bool) -> None:
        self.unloads.append((name, unload_dependents))
