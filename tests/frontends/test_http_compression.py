"""Content encodings of infer requests and answers over real sockets."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import numpy as np
import pytest

from tests.frontends.http_client import HEADER_LENGTH, HttpClient, inputs, tensor, values


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_compressed_requests(http: HttpClient, encoding: str, pack: Any) -> None:
    body = pack(json.dumps(inputs(tensor(1, 2))).encode())
    assert values(http.infer(body, headers={"Content-Encoding": encoding})) == [1.0, 2.0]


def test_a_large_compressed_request(http: HttpClient) -> None:
    body = gzip.compress(json.dumps(inputs(tensor(*range(30_000)))).encode())
    assert len(values(http.infer(body, headers={"Content-Encoding": "gzip"}))) == 30_000


def test_the_length_of_the_json_is_that_of_the_decompressed_body(http: HttpClient) -> None:
    entry = tensor(shape=[1], data=None, parameters={"binary_data_size": 4})
    head = json.dumps(inputs(entry)).encode()
    body = gzip.compress(head + np.float32(2).tobytes())
    headers = {"Content-Encoding": "gzip", HEADER_LENGTH: str(len(head))}
    assert values(http.infer(body, headers=headers)) == [2.0]


@pytest.mark.parametrize("encoding", ["br", "GZIP", "gzip, deflate", "zstd"])
def test_unknown_encodings(http: HttpClient, encoding: str) -> None:
    reply = http.infer(inputs(tensor(1)), headers={"Content-Encoding": encoding})
    assert reply.error == (501, "Unsupported compression type")
    assert reply.headers["Accept-Encoding"] == "gzip, deflate"


def test_identity_is_no_encoding(http: HttpClient) -> None:
    reply = http.infer(inputs(tensor(1)), headers={"Content-Encoding": "identity"})
    assert values(reply) == [1.0]


def test_a_body_that_is_not_compressed_as_told(http: HttpClient) -> None:
    for body in (b"{}", gzip.compress(json.dumps(inputs(tensor(1))).encode())[:-4]):
        status, message = http.infer(body, headers={"Content-Encoding": "gzip"}).error
        assert status == 400
        assert "gzip stream" in message


@pytest.mark.parametrize(
    ("encoding", "unpack"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)]
)
@pytest.mark.parametrize("count", [1, 30_000])
def test_compressed_answers(http: HttpClient, encoding: str, unpack: Any, count: int) -> None:
    body = inputs(tensor(*[1.0] * count), parameters={"binary_data_output": True})
    reply = http.infer(body, headers={"Accept-Encoding": encoding})
    assert reply.headers["Content-Encoding"] == encoding
    whole = unpack(reply.body)
    json_size = int(reply.headers[HEADER_LENGTH])
    assert json.loads(whole[:json_size])["outputs"][0]["shape"] == [count]
    assert whole[json_size:] == np.ones(count, np.float32).tobytes()


def test_errors_and_other_end_points_are_not_compressed(http: HttpClient) -> None:
    reply = http.infer("{bad", headers={"Accept-Encoding": "gzip"})
    assert reply.error[0] == 500
    reply = http.request("GET", "/v2", headers={"Accept-Encoding": "gzip"})
    assert reply.json["name"] == "streamgate"
