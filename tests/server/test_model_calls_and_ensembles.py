"""Models that call ensembles, and ensembles of models that call others."""

import pytest

from tests.server.calling_models import caller, text
from tests.server.model_house import Models, model_house
from tests.server.test_ensembles_loading import ensemble, write_chain

pytestmark = pytest.mark.timeout(60)


async def test_a_model_calls_an_ensemble(models: Models) -> None:
    write_chain(models)
    caller(models, "return text(got(made(value_of(request), 'e').exec()))")
    async with model_house(models.directory) as house:
        assert await text(house, value=100) == "111"


async def test_an_ensemble_of_a_model_that_calls_others(models: Models) -> None:
    write_chain(models)
    caller(models, "return made(value_of(request), 'e').exec()")
    models.write_ensemble("outer", ensemble("one", "caller"))
    async with model_house(models.directory) as house:
        assert await house.ask("outer", 100).value() == 112


async def test_a_circle_through_an_ensemble_is_refused(models: Models) -> None:
    body = """
    if not value_of(request):
        return out(0)
    return pb_utils.InferenceResponse(error=made(1, 'outer').exec().error())
    """
    write_chain(models)
    caller(models, body)
    models.write_ensemble("outer", ensemble("one", "caller"))
    async with model_house(models.directory) as house:
        failure = (await house.ask("caller", 1).response()).failure
        assert failure is not None
        assert "model 'caller' would wait for itself: what 'outer' needs" in failure.message
        assert await house.ask("caller", 0).value() == 0
