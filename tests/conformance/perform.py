"""Carries out the steps of a case against one server and returns its answers.

Uses the unmodified tritonclient where a step says so, and bare gRPC and HTTP for the requests
that tritonclient refuses to send. Knows addresses only: the server may be any that speaks
Triton's KServe v2 dialect.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self, assert_never

import grpc
import numpy as np
import tritonclient.grpc as client_grpc
import tritonclient.http as client_http
from google.protobuf import text_format
from tritonclient.grpc import service_pb2
from tritonclient.grpc._utils import _get_inference_request
from tritonclient.utils import InferenceServerException

from tests.conformance.answers import (
    DTYPES,
    Answer,
    by_lane,
    grpc_failure,
    http_body,
    http_infer_response,
    in_any_order,
    infer_response,
    plain,
    stream_response,
    without_paths,
)
from tests.conformance.open_streams import OpenStream
from tests.conformance.steps import (
    Await,
    Case,
    Counted,
    Exchange,
    HangUp,
    Infer,
    Join,
    Pause,
    RawGrpc,
    RawGrpcStream,
    RawHttp,
    RequestedOutput,
    SequenceStep,
    Start,
    Step,
    Stream,
    Tensor,
    Together,
)

LIMIT_SECONDS: Final = 20.0
SETTLE_SECONDS: Final = 0.1
SERVICE: Final = "/inference.GRPCInferenceService/"


@dataclass(frozen=True, slots=True)
class Target:
    """A running server: its name for reports, its addresses and where its models lie."""

    name: str
    grpc: str
    http: str
    repository: Path


def perform(case: Case, target: Target) -> Answer:
    """The answers to the steps of `case`, one entry per step that has an answer."""
    with Performance(target) as performance:
        answers = [performance.run(step) for step in case.steps]
        answers.append(performance.hang_up())
        performance.end_sequences()
    kept: list[Answer] = [answer for answer in answers if answer is not None]
    return without_paths(kept, target.repository.resolve())


class Performance:
    """One run of one case: its clients, its background steps and its open sequences."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._client = client_grpc.InferenceServerClient(target.grpc)
        self._channel = grpc.insecure_channel(
            target.grpc, options=(("grpc.use_local_subchannel_pool", 1),)
        )
        self._threads = ThreadPoolExecutor(max_workers=16)
        self._background: dict[str, Future[Answer]] = {}
        self._streams: dict[str, OpenStream] = {}
        self._open: dict[tuple[str, int | str], Infer] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()
        self._channel.close()
        self._client.close()

    def run(self, step: Step) -> Answer:
        """The step's answer; None for a step that has none."""
        match step:
            case Infer():
                self._note(step)
                return self._infer(step)
            case Stream():
                for part in step.parts:
                    if isinstance(part, Infer):
                        self._note(part)
                return self._stream(step)
            case RawGrpc():
                return self._raw_grpc(step)
            case RawGrpcStream():
                return self._raw_grpc_stream(step)
            case RawHttp():
                return self._raw_http(step)
            case Pause(duration_ms):
                time.sleep(duration_ms / 1000)
                return None
            case Start(name, inner):
                self._background[name] = self._threads.submit(self.run, inner)
                return None
            case Join(name):
                return self._background.pop(name).result(LIMIT_SECONDS)
            case Exchange():
                return self._exchange(step)
            case HangUp(name, cancel):
                return list(self._streams.pop(name).hang_up(cancel=cancel))
            case Together(requests):
                running = [self._threads.submit(self.run, request) for request in requests]
                return [answer.result(LIMIT_SECONDS) for answer in running]
            case Counted(model, steps):
                return self._counted(model, steps)
            case _:
                assert_never(step)

    def hang_up(self) -> Answer:
        """Half-close the streams that are still open, and take what nobody has awaited."""
        names = sorted(self._streams)
        return {name: self.run(HangUp(name)) for name in names} or None

    def end_sequences(self) -> None:
        """Send END to every sequence that the case left open, so that the next finds free slots."""
        for (_, key), request in self._open.items():
            ending = replace(
                request,
                sequence=SequenceStep(key, end=True),
                via="grpc",
                json=False,
                deadline_ms=None,
                cancel_after_ms=None,
            )
            self._stream(Stream((ending,)))

    def _note(self, request: Infer) -> None:
        if request.sequence is None or request.sequence.id in (0, ""):
            return
        key = (request.model, request.sequence.id)
        if request.sequence.end:
            self._open.pop(key, None)
        else:
            self._open[key] = request

    def _infer(self, step: Infer) -> Answer:
        try:
            if step.via == "http":
                return self._infer_http(step)
            if step.cancel_after_ms is not None:
                return self._infer_cancelled(step)
            result = self._client.infer(
                **_request(step, client_grpc),
                compression_algorithm=step.compression,
                client_timeout=_deadline_seconds(step),
            )
            return {"status": "OK", **infer_response(result.get_response())}
        except InferenceServerException as error:
            return _failure(error)

    def _infer_http(self, step: Infer) -> Answer:
        client = client_http.InferenceServerClient(
            self._target.http,
            connection_timeout=LIMIT_SECONDS,
            network_timeout=LIMIT_SECONDS,
        )
        try:
            result = client.infer(
                **_request(step, client_http),
                request_compression_algorithm=step.compression,
                response_compression_algorithm=step.compression,
            )
            header = result.get_response()
            arrays = {
                output["name"]: result.as_numpy(output["name"])
                for output in header.get("outputs", [])
            }
            answer = http_infer_response(header, arrays)
        finally:
            client.close()
        assert isinstance(answer, dict)
        return {"status": "200", **answer}

    def _infer_cancelled(self, step: Infer) -> Answer:
        arrived: Future[Answer] = Future()

        def keep(result: Any, error: InferenceServerException | None) -> None:
            if error is not None:
                arrived.set_result(_failure(error))
            else:
                response = infer_response(result.get_response())
                arrived.set_result({"status": "OK", **response})

        call = self._client.async_infer(**_request(step, client_grpc), callback=keep)
        assert step.cancel_after_ms is not None
        time.sleep(step.cancel_after_ms / 1000)
        call.cancel()
        return arrived.result(LIMIT_SECONDS)

    def _stream(self, step: Stream) -> Answer:
        answers: list[Answer] = []
        changed = threading.Condition()

        def keep(result: Any, error: InferenceServerException | None) -> None:
            if error is not None:
                answer = {"error": _failure(error)}
            else:
                answer = infer_response(result.get_response())
            with changed:
                answers.append(answer)
                changed.notify_all()

        client = client_grpc.InferenceServerClient(self._target.grpc)
        metadata = {"triton_grpc_error": "true"} if step.grpc_error else None
        client.start_stream(keep, stream_timeout=LIMIT_SECONDS, headers=metadata)
        try:
            for part in step.parts:
                match part:
                    case Infer():
                        request = _request(part, client_grpc)
                        if part.empty_final:
                            request["enable_empty_final_response"] = True
                        client.async_stream_infer(**request)
                    case Pause(duration_ms):
                        time.sleep(duration_ms / 1000)
                    case Await(responses):
                        with changed:
                            changed.wait_for(lambda: len(answers) >= responses, LIMIT_SECONDS)
                    case _:
                        assert_never(part)
        except InferenceServerException as error:
            answers.append({"client": _failure(error)})
        client.stop_stream(cancel_requests=step.cancel)
        client.close()
        return in_any_order(answers) if step.any_order else answers

    def _exchange(self, step: Exchange) -> Answer:
        messages = []
        for request in step.requests:
            self._note(request)
            messages.append(_message(request))
        if step.stream not in self._streams:
            self._streams[step.stream] = OpenStream(self._channel, LIMIT_SECONDS)
        return by_lane(self._streams[step.stream].exchange(messages, step.responses))

    def _raw_grpc(self, step: RawGrpc) -> Answer:
        message, response_type = _encode(step.method, step.message)
        path = step.method if step.method.startswith("/") else SERVICE + step.method
        call = self._channel.unary_unary(
            path, request_serializer=bytes, response_deserializer=response_type
        )
        try:
            response = call(message, timeout=LIMIT_SECONDS, metadata=step.metadata)
        except grpc.RpcError as error:
            return grpc_failure(error.code().name, error.details())
        if step.method == "ModelInfer":
            return {"status": "OK", **infer_response(response)}
        if isinstance(response, bytes):
            return {"status": "OK", "bytes": response.hex()}
        return {"status": "OK", "message": text_format.MessageToString(response)}

    def _raw_grpc_stream(self, step: RawGrpcStream) -> Answer:
        call = self._channel.stream_stream(
            SERVICE + "ModelStreamInfer",
            request_serializer=bytes,
            response_deserializer=service_pb2.ModelStreamInferResponse.FromString,
        )
        messages = [_encode("ModelInfer", message)[0] for message in step.messages]
        answers: list[Answer] = []
        try:
            responses = call(iter(messages), timeout=LIMIT_SECONDS, metadata=step.metadata)
            answers.extend(stream_response(response) for response in responses)
        except grpc.RpcError as error:
            answers.append(grpc_failure(error.code().name, error.details()))
        else:
            answers.append({"status": "OK"})
        return answers

    def _raw_http(self, step: RawHttp) -> Answer:
        body = step.body.encode() if isinstance(step.body, str) else step.body
        host, port = self._target.http.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=LIMIT_SECONDS)
        try:
            connection.request(step.method, step.path, body or None, dict(step.headers))
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        header_length = response.headers.get("Inference-Header-Content-Length")
        answer: dict[str, Answer] = {"status": response.status}
        if response.status == 200 and content:
            answer["content_type"] = response.headers.get("Content-Type")
        if (encoding := response.headers.get("Content-Encoding")) is not None:
            answer["content_encoding"] = encoding
            answer["body"] = {"compressed": True}
        elif (value := http_body(content, header_length)) is not None:
            answer["body"] = value
        return answer

    def _counted(self, model: str, steps: tuple[Infer | Stream, ...]) -> Answer:
        before = self._counters(model)
        answers = [self.run(step) for step in steps]
        time.sleep(SETTLE_SECONDS)
        after = self._counters(model)
        grown = {
            name: count - before.get(name, 0)
            for name, count in after.items()
            if count != before.get(name, 0)
        }
        return {"answers": answers, "grown": plain(grown)}

    def _counters(self, model: str) -> dict[str, int]:
        statistics = self._client.get_inference_statistics(model).model_stats[0]
        counters = {
            "inference_count": statistics.inference_count,
            "execution_count": statistics.execution_count,
        }
        for field, value in statistics.inference_stats.ListFields():
            counters[field.name] = value.count
        for batch in statistics.batch_stats:
            counters[f"batch_{batch.batch_size}"] = batch.compute_infer.count
        return counters


def _request(step: Infer, client: Any) -> dict[str, Any]:
    """The keyword arguments of tritonclient's `infer`, for the gRPC or the HTTP client."""
    keywords: dict[str, Any] = {
        "model_name": step.model,
        "inputs": [_input(tensor, client, step.json) for tensor in step.inputs],
        "model_version": step.version,
        "request_id": step.id,
        "priority": step.priority,
        "timeout": step.timeout_us,
        "parameters": dict(step.parameters) or None,
    }
    if step.outputs:
        keywords["outputs"] = [_output(output, client, step.json) for output in step.outputs]
    if step.sequence is not None:
        keywords["sequence_id"] = step.sequence.id
        if client is client_grpc:
            keywords["sequence_id"] = _signed(step.sequence.id)
        keywords["sequence_start"] = step.sequence.start
        keywords["sequence_end"] = step.sequence.end
    return keywords


def _message(step: Infer) -> bytes:
    """The message that tritonclient's `async_stream_infer` would send."""
    keywords = _request(step, client_grpc)
    parameters = keywords.pop("parameters")
    for name in ("sequence_id", "sequence_start", "sequence_end", "outputs"):
        keywords.setdefault(name, 0 if name == "sequence_id" else None)
    message = _get_inference_request(**keywords, parameters=parameters)
    if step.empty_final:
        message.parameters["triton_enable_empty_final_response"].bool_param = True
    encoded: bytes = message.SerializeToString()
    return encoded


def _signed(key: int | str) -> int | str:
    """An id as gRPC carries it: the 64 bits of a number as a signed one."""
    return key - 2**64 if isinstance(key, int) and key >= 2**63 else key


def _input(tensor: Tensor, client: Any, json: bool) -> Any:
    value = client.InferInput(tensor.name, list(tensor.shape), tensor.datatype)
    if tensor.datatype == "BYTES":
        array = np.array(tensor.data, dtype=np.object_)
    else:
        array = np.array(tensor.data, dtype=DTYPES[tensor.datatype])
    arguments = {"binary_data": not json} if client is client_http else {}
    value.set_data_from_numpy(array.reshape(tensor.shape), **arguments)
    return value


def _output(output: RequestedOutput, client: Any, json: bool) -> Any:
    if client is client_http:
        return client.InferRequestedOutput(
            output.name, binary_data=output.binary and not json, class_count=output.class_count
        )
    return client.InferRequestedOutput(output.name, class_count=output.class_count)


def _deadline_seconds(step: Infer) -> float:
    return LIMIT_SECONDS if step.deadline_ms is None else step.deadline_ms / 1000


def _failure(error: InferenceServerException) -> Answer:
    status = (error.status() or "").removeprefix("StatusCode.")
    return {"status": status, "message": error.message()}


def _encode(method: str, message: str | bytes) -> tuple[bytes, Any]:
    """The request's bytes, and a function from a response's bytes to its message."""
    request_type = getattr(service_pb2, f"{method}Request", None)
    response_type = getattr(service_pb2, f"{method}Response", None)
    decode = bytes if response_type is None else response_type.FromString
    if isinstance(message, bytes):
        return message, decode
    if request_type is None:
        raise ValueError(f"{method} has no known request message: give bytes")
    encoded: bytes = text_format.Parse(message, request_type()).SerializeToString()
    return encoded, decode


def requests_of(steps: tuple[Step, ...]) -> Iterator[Infer]:
    """Every tritonclient request in `steps`, nested ones included."""
    for step in steps:
        match step:
            case Infer():
                yield step
            case Stream(parts):
                yield from (part for part in parts if isinstance(part, Infer))
            case Start(_, inner):
                yield from requests_of((inner,))
            case Exchange(_, requests, _) | Together(requests):
                yield from requests
            case Counted(_, inner_steps):
                yield from requests_of(inner_steps)
            case _:
                pass
