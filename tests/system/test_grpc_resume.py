"""An unmodified tritonclient whose connection is cut, and that goes on where it was."""

import queue
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as tc

from streamgate.server.settings import GrpcTransport
from tests.durable.models import hashes, write_graph
from tests.system.cable import cable
from tests.system.running_server import RunningServer, running

SEQUENCES = (7, 8, "nine")
STEPS = 40


@pytest.fixture(scope="module", params=list(GrpcTransport), ids=lambda transport: transport.value)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    repository = tmp_path_factory.mktemp("repository")
    write_graph(repository)
    with running(repository, request.param) as started:
        yield started


class Client:
    """What its user writes around tritonclient: what it has sent, what it has got."""

    def __init__(self, script: list[tuple[int | str, int]]) -> None:
        self.script = script
        self.sent = 0
        self.token = ""
        self.last_event = 0
        self.answers: dict[int | str, list[int]] = {}
        self.places: list[tuple[int, int]] = []
        self._came: queue.Queue[tuple[Any, Any]] = queue.Queue()
        self._client: tc.InferenceServerClient | None = None

    def connect(self, address: str) -> None:
        self._client = tc.InferenceServerClient(address)
        headers = {"streamgate-resume-seconds": "30"}
        if self.token:
            headers = {
                "streamgate-resume": self.token,
                "streamgate-last-event": str(self.last_event),
            }
        came: queue.Queue[tuple[Any, Any]] = queue.Queue()
        self._came = came
        self._client.start_stream(lambda result, error: came.put((result, error)), headers=headers)

    def send(self, count: int) -> None:
        assert self._client is not None
        for key, value in self.script[self.sent : self.sent + count]:
            numbers = [n for n, (other, _) in enumerate(self.script) if other == key]
            tensor = tc.InferInput("IN", [1, 1], "INT64")
            tensor.set_data_from_numpy(np.array([[value]], np.int64))
            self._client.async_stream_infer(
                "hash",
                [tensor],
                sequence_id=key,
                sequence_start=self.sent == numbers[0],
                sequence_end=self.sent == numbers[-1],
                request_id=str(key),
            )
            self.sent += 1

    def read(self) -> bool:
        """Take one message. False for the error of a lost connection."""
        result, error = self._came.get(timeout=20)
        if error is not None:
            return False
        message = result.get_response()
        parameters = message.parameters
        if "streamgate_resume" in parameters:
            self.token = parameters["streamgate_resume"].string_param
        if "streamgate_received" in parameters:
            self.sent = parameters["streamgate_received"].int64_param
            return True
        self.last_event += 1
        assert parameters["streamgate_event"].int64_param == self.last_event
        key = next(key for key in SEQUENCES if str(key) == message.id)
        answers = self.answers.setdefault(key, [])
        assert parameters["streamgate_position"].int64_param == len(answers)
        assert parameters["streamgate_index"].int64_param == 0
        answers.append(int(result.as_numpy("OUT").item()))
        return True

    def close(self) -> None:
        assert self._client is not None
        self._client.stop_stream()
        self._client.close()

    @property
    def count(self) -> int:
        return sum(map(len, self.answers.values()))


def test_its_answers_are_those_of_an_unbroken_stream(server: RunningServer) -> None:
    chance = random.Random(1)
    script = [(key, chance.randrange(1000)) for _ in range(STEPS) for key in SEQUENCES]
    client = Client(script)
    for turn in range(6):
        with cable(server.grpc) as wire:
            client.connect(wire.address)
            is_last = turn == 5
            if turn:
                assert client.read(), "the greeting"
            while client.count < len(script):
                client.send(chance.randrange(8))
                if client.sent > client.count:
                    assert client.read()
                if not is_last and client.count > 18 * (turn + 1):
                    break
            if not is_last:
                client.send(3)
                wire.cut()
        client.close()
    for key in SEQUENCES:
        assert client.answers[key] == hashes(value for other, value in script if other == key)
