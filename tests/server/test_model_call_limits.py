"""What ends a call that would not end by itself, and which calls are refused for that reason."""

import asyncio

import pytest

from streamgate.errors import Code
from streamgate.model.config import Execution
from tests.server.calling_models import (
    HEADER,
    PREFIX,
    caller,
    config,
    execute,
    text,
)
from tests.server.model_house import SEQUENCES, Gates, Models, model_house
from tests.waiting import until

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("execution")]

STUCK = "execute plain 10"
"""The gate at which the called model is held up."""


@pytest.fixture
def models(models: Models) -> Models:
    models.write("plain", 10)
    return models


# -- time


WAYS = ["made(1, 'plain', {}).exec()", "asyncio.run(made(1, 'plain', {}).async_exec())"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_ends_when_its_timeout_has_passed(
    models: Models, gates: Gates, way: str
) -> None:
    call = way.format("timeout=150_000")
    caller(models, f"return text(got({call}))")
    async with model_house(models.directory) as house:
        gates.close(STUCK)
        answer = await text(house)
        assert answer == "error: " + PREFIX.format("plain") + "Request timeout expired"
        gates.open_all()


async def test_a_timeout_runs_while_the_model_waits(models: Models) -> None:
    body = """
    responses = made(1, 'slow', timeout=300_000).exec(decoupled=True)
    answers = []
    for response in responses:
        answers.append(got(response))
        # Longer than the timeout, and the next response comes after that.
        threading.Event().wait(0.5)
    return text(answers)
    """
    code = """
    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.send, args=(request.get_response_sender(),)).start()

    def send(self, sender):
        sender.send(out(1))
        threading.Event().wait(0.6)
        sender.send(out(2), flags=FINAL)
    """
    models.write("slow", config=config(decoupled=True), code=HEADER + code)
    caller(models, body)
    async with model_house(models.directory) as house:
        assert await text(house) == "['1', '2']"


async def test_a_slow_model_is_waited_for(models: Models, gates: Gates) -> None:
    caller(models, "return text(got(made(1, 'plain').exec()))")
    async with model_house(models.directory) as house:
        gates.close(STUCK)
        answer = asyncio.create_task(text(house))
        await gates.wait_entered(STUCK)
        # Longer than one look at the clock takes.
        await asyncio.sleep(0.25)
        assert not answer.done()
        gates.open_all()
        assert await answer == "11"


# -- cancellation


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_ends_when_nobody_wants_its_request(
    models: Models, gates: Gates, way: str
) -> None:
    body = f"""
    response = {way.format("")}
    model_gates.enter(f"{{request.is_cancelled()}} {{int(response.error().code())}}")
    model_gates.enter(response.error().message())
    return text("nobody reads this")
    """
    caller(models, body)
    async with model_house(models.directory) as house:
        gates.close(STUCK)
        answer = house.ask("caller")
        await gates.wait_entered(STUCK)
        house.connection.close(abort=True)
        failure = (await answer.response()).failure
        assert failure is not None
        assert failure.code is Code.CANCELLED
        # 7 is the code CANCELLED. The called model is still held up.
        await until(lambda: gates.count("True 7"))
        told = PREFIX.format("plain") + "the request that the call was made for is cancelled"
        await until(lambda: gates.count(told))
        gates.open_all()


async def test_a_model_may_tidy_up_for_a_request_that_is_cancelled(
    models: Models, gates: Gates
) -> None:
    body = """
    model_gates.enter("begun")
    assert request.is_cancelled()
    model_gates.enter("tidied: " + got(made(1, 'plain').exec()))
    return text("nobody reads this")
    """
    caller(models, body)
    async with model_house(models.directory) as house:
        gates.close("begun")
        gates.close(STUCK)
        house.ask("caller")
        await gates.wait_entered("begun")
        house.connection.close(abort=True)
        gates.open("begun")
        await gates.wait_entered(STUCK)
        await asyncio.sleep(0.25)
        gates.open(STUCK)
        await until(lambda: gates.count("tidied: 11"))


ENDLESS = """
    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.count, args=(request.get_response_sender(),)).start()

    def count(self, sender):
        number = 0
        while not sender.is_cancelled():
            sender.send(out(number))
            model_gates.enter("sent")
            number += 1
        sender.send(flags=FINAL)
        model_gates.enter("stopped")
"""


async def test_an_iterator_is_cancelled(models: Models, gates: Gates) -> None:
    body = """
    responses = made(1, 'endless').exec(decoupled=True)
    first = got(next(responses))
    responses.cancel()
    responses.cancel()
    *_, last = responses
    return text([first, int(last.error().code()), last.error().message(), list(responses)])
    """
    models.write("endless", config=config(decoupled=True), code=HEADER + ENDLESS)
    caller(models, body)
    async with model_house(models.directory) as house:
        told = PREFIX.format("endless") + "the call was cancelled"
        assert await text(house) == str(["0", 7, told, []])
        await until(lambda: gates.count("stopped"))


async def test_an_iterator_that_is_dropped_cancels_its_call(models: Models, gates: Gates) -> None:
    body = """
    for response in made(1, 'endless').exec(decoupled=True):
        return text(got(response))
    """
    models.write("endless", config=config(decoupled=True), code=HEADER + ENDLESS)
    caller(models, body)
    async with model_house(models.directory) as house:
        assert await text(house) == "0"
        await until(lambda: gates.count("stopped"))


@pytest.mark.parametrize("execution", [Execution.THREAD], indirect=True)
async def test_responses_that_nobody_reads_end_the_call(
    models: Models, gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgate_python.calls.UNREAD_MAX", 5)
    body = """
    responses = made(1, 'endless').exec(decoupled=True)
    model_gates.enter("begun")
    return text([got(response) for response in responses])
    """
    models.write("endless", config=config(decoupled=True), code=HEADER + ENDLESS)
    caller(models, body)
    async with model_house(models.directory) as house:
        gates.close("begun")
        answer = asyncio.create_task(text(house))
        await until(lambda: gates.count("stopped"))
        gates.open("begun")
        told = "error: " + PREFIX.format("endless") + "more than 5 responses were left unread"
        assert await answer == str(["0", "1", "2", "3", "4", told])


async def test_a_coroutine_that_is_cancelled_cancels_its_call(models: Models, gates: Gates) -> None:
    body = """
    async def give_up(call):
        task = asyncio.create_task(call.async_exec())
        await asyncio.sleep(0)
        await asyncio.to_thread(model_gates.enter, "begun")
        task.cancel()
        [raised] = await asyncio.gather(task, return_exceptions=True)
        return type(raised).__name__

    return text(asyncio.run(give_up(made(1, 'plain'))))
    """
    caller(models, body)
    async with model_house(models.directory) as house:
        gates.close(STUCK)
        gates.close("begun")
        answer = asyncio.create_task(text(house))
        await gates.wait_entered(STUCK)
        gates.open("begun")
        assert await answer == "CancelledError"
        plain = house.runtime("plain")
        await until(lambda: plain.statistics().failures.get("CANCELED", None))
        gates.open_all()


# -- the end


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_that_stops_waits_for_no_call(
    models: Models, gates: Gates, way: str
) -> None:
    body = f"""
    response = {way.format("")}
    model_gates.enter(got(response))
    return text("nobody reads this")
    """
    caller(models, body)
    async with model_house(models.directory) as house:
        gates.close(STUCK)
        answer = house.ask("caller")
        await gates.wait_entered(STUCK)
        await house.lifecycle.stop(0)
        # The called model is still held up, and the caller is not.
        assert (await answer.response()).failure is not None
        await until(lambda: any("error: " in passed for passed in gates.passed))
        gates.open_all()


async def test_a_server_that_stops_lets_calls_under_way_be_made(
    models: Models, gates: Gates
) -> None:
    body = """
    first = got(made(1, 'plain').exec())
    model_gates.enter("begun")
    return text([first, got(made(2, 'plain').exec())])
    """
    caller(models, body)
    async with model_house(models.directory) as house:
        assert await text(house) == "['11', '12']"
        gates.close("begun")
        answer = asyncio.create_task(text(house))
        await gates.wait_entered("begun")
        stopping = asyncio.create_task(house.lifecycle.stop(20))
        await asyncio.sleep(0.05)
        gates.open("begun")
        assert await answer == "['11', '12']"
        await stopping


async def test_calls_end_with_the_instance_that_makes_them(models: Models, gates: Gates) -> None:
    code = """
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            threading.Thread(target=self.work).start()
            sender.send(out(1), flags=FINAL)

    def work(self):
        model_gates.enter(got(made(1, 'plain').exec()))
    """
    models.write("caller", config=config(decoupled=True), code=HEADER + code)
    async with model_house(models.directory) as house:
        gates.close(STUCK)
        await house.ask("caller").response()
        await gates.wait_entered(STUCK)
        await house.unload("caller")
        await until(lambda: gates.count("error: "))
        gates.open_all()


# -- circles


async def test_a_model_that_would_wait_for_itself_is_told(models: Models) -> None:
    body = """
    value = value_of(request)
    return text(got(made(value - 1, 'caller', requested_output_names=[]).exec()))
    """
    caller(models, body)
    async with model_house(models.directory) as house:
        answer = await text(house)
        assert "model 'caller' would wait for itself: what 'caller' needs" in answer


ROUND = """
value = value_of(request)
if not value:
    return text("end")
response = made(value - 1, '{}', requested_output_names=["TEXT"]).exec()
return text(text_in(response))
"""
TEXT_IN = """
def text_in(response):
    if response.has_error():
        return "refused"
    return response.output_tensors()[0].as_numpy()[0].decode()

"""


def recursive(models: Models, name: str, target: str, instances: int = 1) -> None:
    code = execute(ROUND.format(target)).replace("class Triton", TEXT_IN + "class Triton")
    models.write(name, config=config(instances=instances), code=code)


async def test_one_may_call_itself_as_deep_as_it_has_instances(models: Models) -> None:
    recursive(models, "caller", "caller", instances=3)
    async with model_house(models.directory) as house:
        assert await text(house, value=2) == "end"
        assert await text(house, value=3) == "refused"


async def test_a_circle_of_two_models_is_refused_where_it_closes(models: Models) -> None:
    recursive(models, "caller", "other")
    recursive(models, "other", "caller")
    async with model_house(models.directory) as house:
        assert await text(house, value=1) == "end"
        assert await text(house, value=2) == "refused"
        # Nothing is left of it.
        assert await text(house, value=1) == "end"


async def test_free_instances_that_do_not_serve_the_circle_open_none(models: Models) -> None:
    recursive(models, "caller", "other")
    recursive(models, "other", "caller", instances=3)
    async with model_house(models.directory) as house:
        assert await text(house, value=2) == "refused"
        assert await text(house, value=1) == "end"


SEQUENCE_STEP = """
value = int(value_of(request))
if not value:
    return batched(request.correlation_id())
flags = 1 if value == 1 else 0
call = made(0, 'steps', correlation_id=VALUE, flags=flags)
call.inputs()[0] = pb_utils.Tensor("IN", np.array([[0]], np.int32))
return batched(-1 if call.exec().has_error() else call.correlation_id())
"""
BATCHED = """
def batched(value):
    return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([[value]], np.int32))])

"""


async def test_a_sequence_that_is_bound_to_the_instance_that_asks_is_refused(
    models: Models,
) -> None:
    # Each sequence asks sequence 1: with itself, on the same instance, for the second step.
    code = execute(SEQUENCE_STEP.replace("VALUE", "1"))
    code = code.replace("class Triton", BATCHED + "class Triton")
    wanted = SEQUENCES.replace("KIND_CPU", "KIND_CPU count: 2")
    models.write("steps", config=wanted, code=code)
    async with model_house(models.directory) as house:
        assert await house.ask("steps", 0, key=1, start=True).value() == 1
        assert await house.ask("steps", 2, key=1).value() == -1
        assert await house.ask("steps", 0, key=1).value() == 1


async def test_several_requests_at_a_time_never_hang_in_a_circle(models: Models) -> None:
    recursive(models, "caller", "caller", instances=2)
    async with model_house(models.directory) as house:
        answers = await asyncio.gather(*(text(house, value=1) for _ in range(40)))
        assert set(answers) <= {"end", "refused"}
        assert "end" in answers


# -- inline

INLINE = 'parameters { key: "streamgate.execution" value { string_value: "inline" } }\n'
INLINE_CALLS = [
    "made(1, 'plain').exec()",
    "made(1, 'plain').exec(decoupled=True)",
    "pb_utils.is_model_ready('plain')",
    "pb_utils.load_model('plain')",
    "pb_utils.unload_model('plain')",
]


@pytest.mark.parametrize("call", INLINE_CALLS)
async def test_a_model_on_the_engines_thread_is_refused(models: Models, call: str) -> None:
    body = f"""
    try:
        {call}
    except pb_utils.TritonModelException as error:
        return text(error)
    """
    models.write("caller", config=config(more=INLINE), code=execute(body))
    async with model_house(models.directory) as house:
        answer = await text(house)
        assert (
            "from a model with 'streamgate.execution: inline', which runs on the thread" in answer
        )


async def test_nor_may_a_coroutine_that_the_engines_thread_waits_for(models: Models) -> None:
    body = """
    try:
        await made(1, 'plain').async_exec()
    except pb_utils.TritonModelException as error:
        return text(error)
    """
    models.write("caller", config=config(more=INLINE), code=execute(body, keyword="async def"))
    async with model_house(models.directory) as house:
        assert "other models can't be called from a model with" in await text(house)


async def test_a_thread_of_an_inline_model_may_call(models: Models, gates: Gates) -> None:
    code = """
    def execute(self, requests):
        for request in requests:
            arguments = value_of(request), request.get_response_sender()
            threading.Thread(target=self.work, args=arguments).start()

    def work(self, value, sender):
        sender.send(out(int(got(made(value, 'plain').exec()))), flags=FINAL)
    """
    models.write("caller", config=config(decoupled=True, more=INLINE), code=HEADER + code)
    async with model_house(models.directory) as house:
        assert await house.ask("caller", 5).value() == 15
