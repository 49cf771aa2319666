"""A plain HTTP client for tests, over one connection that is never opened again."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any, Self

WAIT_SECONDS = 20.0
HEADER_LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body's JSON, which ends where its header says."""
        length = self.headers.get(HEADER_LENGTH)
        return json.loads(self.body[: int(length)] if length else self.body)

    @property
    def tail(self) -> bytes:
        """The binary data after the JSON."""
        return self.body[int(self.headers[HEADER_LENGTH]) :]

    @property
    def error(self) -> tuple[int, str]:
        """Status and text of an error, whose body has nothing else."""
        found = self.json
        assert isinstance(found, dict)
        assert found.keys() == {"error"}
        return self.status, found["error"]


class HttpClient:
    """Fails when the server closes the connection between requests."""

    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self._connection = http.client.HTTPConnection(host, int(port), timeout=WAIT_SECONDS)
        self._connection.connect()
        self._connection.auto_open = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def request(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Bytes and text are sent as they are, anything else as JSON."""
        if body is not None and not isinstance(body, bytes | str):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        self._connection.request(method, path, body, headers or {})
        response = self._connection.getresponse()
        return Reply(response.status, response.headers, response.read())

    def get(self, path: str) -> Reply:
        return self.request("GET", path)

    def post(self, path: str, body: object = b"", headers: dict[str, str] | None = None) -> Reply:
        return self.request("POST", path, body, headers)

    def infer(
        self, body: object, model: str = "identity", headers: dict[str, str] | None = None
    ) -> Reply:
        return self.post(f"/v2/models/{model}/infer", body, headers)

    def infer_binary(
        self, document: object, tail: bytes, model: str = "identity", length: str | None = None
    ) -> Reply:
        """JSON and binary data after it; `length` None tells the true length of the JSON."""
        head = json.dumps(document).encode()
        return self.infer(
            head + tail, model, {HEADER_LENGTH: str(len(head)) if length is None else length}
        )


def tensor(*values: object, datatype: str = "FP32", **changes: Any) -> dict[str, Any]:
    """An input `IN`; a change to None takes the member away."""
    entry: dict[str, Any] = {
        "name": "IN",
        "datatype": datatype,
        "shape": [len(values)],
        "data": list(values),
    }
    return {key: value for key, value in (entry | changes).items() if value is not None}


def binary_tensor(size: object, *shape: int, **changes: Any) -> dict[str, Any]:
    """An input `IN` whose data is in the binary tail."""
    return tensor(shape=list(shape), data=None, parameters={"binary_data_size": size}, **changes)


def inputs(*entries: object, **members: Any) -> dict[str, Any]:
    """An infer request."""
    return {"inputs": list(entries), **members}


def values(reply: Reply) -> list[Any]:
    """The data of the only output of an answer, in JSON."""
    assert reply.status == 200, reply.body
    (output,) = reply.json["outputs"]
    data = output["data"]
    assert isinstance(data, list)
    return data
