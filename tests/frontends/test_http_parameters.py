"""The parameters of infer requests and of requested outputs: types, values, refusals."""

from __future__ import annotations

import pytest

from tests.frontends.conftest import HttpService
from tests.frontends.http_client import HttpClient, inputs, tensor

NOT_BOOL = "attempt to access JSON non-boolean as boolean"
NOT_UNSIGNED = "attempt to access JSON non-unsigned-integer as unsigned-integer"
NOT_TEXT = "attempt to access JSON non-string as string"
SHARED_MEMORY_OFF = (
    "Client shared memory is disabled. StreamGate does not serve it yet: send the data inline."
)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sequence_id", -1, f"Unable to parse 'sequence_id': {NOT_TEXT}"),
        ("sequence_id", 1.5, f"Unable to parse 'sequence_id': {NOT_TEXT}"),
        ("sequence_id", True, f"Unable to parse 'sequence_id': {NOT_TEXT}"),
        ("sequence_id", 2**64, f"Unable to parse 'sequence_id': {NOT_TEXT}"),
        ("sequence_start", 1, f"Unable to parse 'sequence_start': {NOT_BOOL}"),
        ("sequence_end", "true", f"Unable to parse 'sequence_end': {NOT_BOOL}"),
        ("priority", "x", f"Unable to parse 'priority': {NOT_UNSIGNED}"),
        ("priority", -1, f"Unable to parse 'priority': {NOT_UNSIGNED}"),
        ("timeout", 1.0, f"Unable to parse 'timeout': {NOT_UNSIGNED}"),
        ("timeout", -1, f"Unable to parse 'timeout': {NOT_UNSIGNED}"),
        ("binary_data_output", "yes", f"Unable to parse 'binary_data_output': {NOT_BOOL}"),
    ],
)
def test_known_parameters_of_a_wrong_type(
    http: HttpClient, key: str, value: object, message: str
) -> None:
    assert http.infer(inputs(tensor(1), parameters={key: value})).error == (500, message)


@pytest.mark.parametrize("key", ["triton_enable_empty_final_response", "triton_zzz"])
def test_reserved_parameters(http: HttpClient, key: str) -> None:
    assert http.infer(inputs(tensor(1), parameters={key: True})).error == (
        400,
        (
            "parameter keys starting with 'triton_' are reserved for Triton usage and should not "
            "be specified."
        ),
    )


@pytest.mark.parametrize("value", [None, [1], {}, 10**400])
def test_parameters_that_a_model_can_not_get(http: HttpClient, value: object) -> None:
    body = inputs(tensor(1), parameters={"custom": value})
    assert http.infer(body).error == (
        400,
        "parameter 'custom' has invalid type. It should be either 'int', 'bool', or 'string'.",
    )


def test_a_models_own_parameters_reach_it_and_come_back(http: HttpClient) -> None:
    custom = {"a": 1, "b": "text", "c": 1.5, "d": True, "e": 2**63, "f": -(2**63), "g": 2**64}
    reply = http.infer(inputs(tensor(1), parameters=custom), "parrot")
    found = reply.json["parameters"]
    assert found == custom
    assert [type(value) for value in found.values()] == [int, str, float, bool, int, int, float]


def test_scheduling_parameters_reach_the_request(
    http: HttpClient, http_service: HttpService
) -> None:
    parameters = {"priority": 3, "timeout": 2**64 - 1, "sequence_id": 7, "sequence_end": True}
    http.infer(inputs(tensor(1), parameters=parameters))
    request = http_service.gateway.requests[-1]
    assert (request.priority, request.timeout_us) == (3, 2**64 - 1)
    assert (request.sequence, request.start, request.end) == (7, False, True)
    assert request.parameters == {}


def test_a_text_correlation_id_has_128_bytes_at_most(http: HttpClient) -> None:
    body = inputs(tensor(1), parameters={"sequence_id": "ü" * 64})
    assert http.infer(body).status == 200
    body = inputs(tensor(1), parameters={"sequence_id": "ü" * 64 + "x"})
    expected = "string correlation ID cannot be longer than 128 characters"
    assert http.infer(body).error == (501, expected)


@pytest.mark.parametrize(
    ("parameters", "status", "message"),
    [
        ({"binary_data": 1}, 500, f"Unable to parse 'binary_data': {NOT_BOOL}"),
        ({"classification": -1}, 500, f"Unable to set 'classification': {NOT_UNSIGNED}"),
        ({"classification": "2"}, 500, f"Unable to set 'classification': {NOT_UNSIGNED}"),
        ({"shared_memory_region": "r"}, 501, SHARED_MEMORY_OFF),
        (
            {"shared_memory_region": "r", "binary_data": True},
            400,
            "Output can't set both 'shared_memory_region' and 'binary_data'",
        ),
        (
            {"shared_memory_region": "r", "classification": 1},
            400,
            "Output can't set both 'shared_memory_region' and 'classification'",
        ),
    ],
)
def test_parameters_of_outputs_that_are_refused(
    http: HttpClient, parameters: dict[str, object], status: int, message: str
) -> None:
    body = inputs(tensor(1), outputs=[{"name": "OUT", "parameters": parameters}])
    assert http.infer(body).error == (status, message)
