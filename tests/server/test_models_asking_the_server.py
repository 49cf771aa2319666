"""What models ask of the server beside inference, and sequences that they open on others."""

import asyncio

import pytest

from streamgate.errors import EndReason
from streamgate.server.lifecycle import LOADS_AT_A_TIME
from streamgate.server.settings import ControlMode
from tests.server.calling_models import HEADER, caller, config, text
from tests.server.model_house import BROKEN, SEQUENCES, Gates, Models, model_house
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("execution")

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def models(models: Models) -> Models:
    models.write("plain", 10)
    return models


ATTEMPT = """
try:
    answer = {}
except Exception as error:
    answer = f"{{type(error).__name__}}: {{error}}"
return text(answer)
"""

# -- loading


async def test_a_model_loads_and_unloads_another(models: Models) -> None:
    caller(models, ATTEMPT.format("pb_utils.load_model('plain')"), name="loader")
    caller(models, ATTEMPT.format("pb_utils.unload_model('plain')"), name="unloader")
    caller(models, ATTEMPT.format("pb_utils.is_model_ready('plain')"))
    wanted = ["caller", "loader", "unloader"]
    async with model_house(models.directory, wanted=wanted) as house:
        assert await text(house) == "False"
        assert await text(house, "loader") == "None"
        assert await text(house) == "True"
        assert await house.ask("plain", 1).value() == 11
        assert await text(house, "unloader") == "None"
        assert await text(house) == "False"
        await house.until_state("UNAVAILABLE unloaded", "plain")
        # As in Triton, unloading what is not there succeeds.
        assert await text(house, "unloader") == "None"


async def test_a_load_may_override_configuration_and_files(models: Models) -> None:
    code = models.directory / "plain" / "1" / "model.py"
    load = f"""
    files = {{"file:1/model.py": {code.read_text().replace("10", "30").encode()!r}}}
    override = json.dumps({{
        "backend": "python",
        "input": [{{"name": "IN", "data_type": "TYPE_INT32", "dims": [1]}}],
        "output": [{{"name": "OUT", "data_type": "TYPE_INT32", "dims": [1]}}],
    }})
    pb_utils.load_model(model_name="plain", config=override, files=files)
    return text(got(made(1, "plain").exec()))
    """
    caller(models, load)
    async with model_house(models.directory, wanted=["caller"]) as house:
        assert await text(house) == "31"


LOAD_FAILURES = [
    (
        "pb_utils.load_model('nope')",
        (
            "TritonModelException: Failed to load model: Failed to process the request for model "
            "'caller_0_0', message: failed to load 'nope', failed to poll from model repository"
        ),
    ),
    (
        "pb_utils.load_model('broken')",
        (
            "TritonModelException: Failed to load model: Failed to process the request for model "
            "'caller_0_0', message: load failed for model 'broken': version 1 is at UNAVAILABLE "
            "state: Internal: ValueError: no such luck"
        ),
    ),
    (
        "pb_utils.is_model_ready('plain', 'one')",
        (
            "TritonModelException: Failed to check readiness of model: Failed to process the "
            "request for model 'caller_0_0', message: failed to get model version from specified "
            "version"
        ),
    ),
]


@pytest.mark.parametrize(("question", "message"), LOAD_FAILURES)
async def test_a_failure_is_told(models: Models, question: str, message: str) -> None:
    models.write("broken", code=BROKEN)
    caller(models, ATTEMPT.format(question))
    async with model_house(models.directory, wanted=["caller"]) as house:
        assert (await text(house)).startswith(message)


@pytest.mark.parametrize("action", ["load", "unload"])
async def test_loading_is_refused_where_clients_may_not(models: Models, action: str) -> None:
    caller(models, ATTEMPT.format(f"pb_utils.{action}_model('plain')"))
    async with model_house(models.directory, ControlMode.NONE) as house:
        assert await text(house) == (
            f"TritonModelException: Failed to {action} model: Failed to process the request for "
            "model 'caller_0_0', message: explicit model load / unload is not allowed if polling "
            "is enabled"
        )


LOADING = """
    def initialize(self, args):
        target = args["model_name"].replace("caller", "target")
        self.was_ready = pb_utils.is_model_ready(target)
        pb_utils.load_model(target)
        self.is_ready_now = pb_utils.is_model_ready(target)
"""


async def test_models_load_others_while_they_are_loaded(models: Models) -> None:
    numbers = range(LOADS_AT_A_TIME + 2)
    for number in numbers:
        body = "return text([self.was_ready, self.is_ready_now])"
        caller(models, body, name=f"caller{number}", rest=LOADING)
        models.write(f"target{number}", 20)
    wanted = [f"caller{number}" for number in numbers]
    async with model_house(models.directory, wanted=wanted) as house:
        for number in numbers:
            assert await text(house, f"caller{number}") == "[False, True]"


async def test_a_model_that_loads_itself_while_it_is_loaded_is_told(models: Models) -> None:
    rest = """
    def initialize(self, args):
        pb_utils.load_model(args["model_name"])
    """
    caller(models, "return out(1)", rest=rest)
    async with model_house(models.directory, wanted=[]) as house:
        error = await house.load_error("caller")
        assert "message: 'caller' is being loaded" in error.message


async def test_a_server_that_stops_gives_up_what_models_load(models: Models, gates: Gates) -> None:
    rest = """
    def initialize(self, args):
        try:
            pb_utils.load_model("plain")
        except pb_utils.TritonModelException as error:
            model_gates.enter("told")
            raise
    """
    caller(models, "return out(1)", rest=rest)
    async with model_house(models.directory, wanted=[]) as house:
        gates.close("initialize plain 10")
        loading = asyncio.create_task(house.load("caller"))
        await gates.wait_entered("initialize plain 10")
        await house.lifecycle.stop(0)
        await until(lambda: gates.count("told"))
        gates.open_all()
        [raised] = await asyncio.gather(loading, return_exceptions=True)
        assert isinstance(raised, BaseException)


async def test_a_model_may_reload_itself(models: Models) -> None:
    caller(models, ATTEMPT.format("pb_utils.load_model('caller', config=CONFIG)"), rest="")
    folder = models.directory / "caller"
    code = (folder / "1" / "model.py").read_text()
    override = (
        '{"backend": "python", "input": [{"name": "IN", "data_type": "TYPE_INT32", "dims": [1]}], '
        '"output": [{"name": "OUT", "data_type": "TYPE_INT32", "dims": [1]}, '
        '{"name": "TEXT", "data_type": "TYPE_STRING", "dims": [1]}], '
        '"parameters": {"again": {"string_value": "yes"}}}'
    )
    models.write("caller", config=config(), code=code.replace("CONFIG", repr(override)))
    async with model_house(models.directory) as house:
        first = house.runtime("caller")
        assert await text(house) == "None"
        assert house.runtime("caller") is not first


# -- only while a model serves


async def test_calls_are_for_execute_only(models: Models, gates: Gates) -> None:
    rest = """
    def initialize(self, args):
        self.attempt("initialize")

    def finalize(self):
        self.attempt("finalize")

    def attempt(self, when):
        try:
            made(1, "plain").exec()
        except pb_utils.TritonModelException as error:
            model_gates.enter(f"{when}: {error}")
    """
    caller(models, "return out(1)", rest=rest)
    async with model_house(models.directory):
        pass
    for when in ("initialize", "finalize"):
        told = f"{when}: BLS is only supported during the 'execute' function."
        assert gates.count(told) == 1


# -- sequences


SUM = """
    sums = {}

    def execute(self, requests):
        return [self.step(request) for request in requests]

    def step(self, request):
        key = request.correlation_id()
        if request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START:
            self.sums[key] = 0
        self.sums[key] += value_of(request)
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("OUT", np.array([[self.sums[key]]], np.int32))]
        )
"""
STEP = """
value = value_of(request)
flags = {1: 1, 4: 2}.get(value, 0)
call = made(value, "sum", correlation_id=KEY, flags=flags)
call.inputs()[0] = pb_utils.Tensor("IN", np.array([[value]], np.int32))
return text(got(call.exec()))
"""


@pytest.mark.parametrize("key", ["77", "'a talk'"])
async def test_a_model_steps_through_a_sequence_of_another(models: Models, key: str) -> None:
    models.write("sum", config=SEQUENCES, code=HEADER + SUM)
    caller(models, STEP.replace("KEY", key))
    async with model_house(models.directory) as house:
        answers = [await text(house, value=value) for value in (1, 2, 3, 4)]
        assert answers == ["1", "3", "6", "10"]
        assert "must specify the START flag" in await text(house, value=2)
        statistics = house.runtime("sum").statistics().sequences
        assert statistics is not None
        assert statistics.ended[EndReason.CLIENT_END] == 1


async def test_what_a_model_has_open_ends_with_its_instance(models: Models) -> None:
    models.write("sum", config=SEQUENCES, code=HEADER + SUM)
    caller(models, STEP.replace("KEY", "77"))
    async with model_house(models.directory) as house:
        assert await text(house, value=1) == "1"
        sums = house.runtime("sum")
        statistics = sums.statistics().sequences
        assert statistics is not None
        assert statistics.active == 1
        await house.unload("caller")

        def aborted() -> int:
            found = sums.statistics().sequences
            assert found is not None
            return found.ended[EndReason.CLIENT_ABORT]

        await until(aborted)


RELAY = """
    def execute(self, requests):
        return [self.step(request) for request in requests]

    def step(self, request):
        return self.ask(value_of(request), request.correlation_id(), request.flags())

    def on_sequence_end(self, correlation_id, reason):
        if reason != "client_end":
            assert not self.ask(0, correlation_id, 2).has_error()

    def ask(self, value, key, flags):
        call = made(value, "sum", correlation_id=key, flags=flags)
        call.inputs()[0] = pb_utils.Tensor("IN", np.array([[value]], np.int32))
        return call.exec()
"""


async def test_a_model_ends_what_it_has_elsewhere_for_a_sequence(models: Models) -> None:
    models.write("sum", config=SEQUENCES, code=HEADER + SUM)
    models.write("relay", config=SEQUENCES, code=HEADER + RELAY)
    async with model_house(models.directory) as house:
        assert await house.ask("relay", 4, key=9, start=True).value() == 4
        assert await house.ask("relay", 3, key=9).value() == 7
        house.connection.close(abort=True)
        sums = house.runtime("sum")

        def ended() -> int:
            found = sums.statistics().sequences
            assert found is not None
            return found.ended[EndReason.CLIENT_END]

        await until(ended)
