"""A Python model that sends a request through the scheduler again, beside others."""

import asyncio

import pytest

from tests.server.calling_models import HEADER, config
from tests.server.model_house import Models, model_house

pytestmark = pytest.mark.timeout(60)

ITERATIVE = """
sequence_batching {
  iterative_sequence: true
  max_sequence_idle_microseconds: 30000000
  oldest { max_candidate_sequences: 4 }
}
max_batch_size: 4
"""
# Counts up to IN, one call of `execute` for each.
COUNTING = """
    counts = {}

    def execute(self, requests):
        model_gates.enter(f"{len(requests)} together")
        return [self.step(request) for request in requests]

    def step(self, request):
        wanted = int(value_of(request))
        key = request.correlation_id()
        self.counts[key] = self.counts.get(key, 0) + 1
        if self.counts[key] < wanted:
            request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            return None
        count = self.counts.pop(key)
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("OUT", np.array([[count]], np.int32))]
        )
"""


async def test_requests_go_through_the_scheduler_as_often_as_they_want(models: Models) -> None:
    models.write("m", config=config(more=ITERATIVE), code=HEADER + COUNTING)
    async with model_house(models.directory) as house:
        wanted = [1, 5, 3, 9, 2]
        answers = [
            house.ask("m", value, key=number, start=True, end=True)
            for number, value in enumerate(wanted, start=1)
        ]
        assert await asyncio.gather(*(answer.value() for answer in answers)) == wanted
