"""A model with a pace on a whole server: one stream too many is refused, the others go on, and what
the model can serve is learned anew when it changes. A step sleeps for as long as its VALUE says."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tritonclient.utils import InferenceServerException

from streamgate.core.step_times import KNOWN_AFTER, WARM_UP
from tests.system.running_server import RunningServer, running
from tests.system.tally import TallyCalls, TallyHttp, setting, write_tally
from tests.waiting import wait

_CODE = """
import time
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        values = [pb_utils.get_input_tensor_by_name(each, "VALUE").as_numpy() for each in requests]
        time.sleep(max(value.item() for value in values) / 1000)
        return [self.answer(each, value) for each, value in zip(requests, values)]

    def answer(self, request, value):
        total = pb_utils.get_input_tensor_by_name(request, "TOTAL_IN").as_numpy() + value
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("TOTAL", total), pb_utils.Tensor("TOTAL_OUT", total)]
        )
"""
SLOW_MS = 250
"""Two steps of this are more than 0.85 of the pace, one is less."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    write_tally(tmp_path, code=_CODE, rest=setting("pace_ms", "500"))
    with running(tmp_path) as server:
        yield server


def headroom(server: RunningServer) -> int:
    return server.metric("streamgate_streams_headroom", "tally")


def test_one_too_many_is_refused_and_the_others_go_on(server: RunningServer) -> None:
    with closing(TallyCalls(server.grpc)) as calls, closing(TallyHttp(server.http)) as other:
        assert headroom(server) == 4
        calls.total(1, SLOW_MS, "S")
        # Nothing is known yet: who comes now is let in.
        assert other.total(2, 0, "S") == 0
        for _ in range(WARM_UP + KNOWN_AFTER):
            total = calls.total(1, SLOW_MS)
        assert headroom(server) == 0
        for late in (calls, other):
            with pytest.raises(InferenceServerException, match="the pace of one more") as refusal:
                late.total(3, 0, "S")
            assert refusal.value.message().endswith(
                "model 'tally' can't keep the pace of one more stream beside the 2 that it serves; "
                "try again soon"
            )
        assert calls.total(1, 1) == total + 1
        assert other.total(2, 5, "E") == 5

        def is_let_in() -> bool:
            calls.total(1, 0)
            return headroom(server) > 0

        wait(is_let_in)
        assert other.total(3, 7, "SE") == 7
        calls.total(1, 0, "E")
    wait(lambda: server.metric("streamgate_sequences_active", "tally") == 0)
    server.assert_at_rest("tally")
