"""Models that call other models: what comes back, whoever calls from wherever."""

import asyncio

import pytest

from tests.server.calling_models import (
    HEADER,
    PREFIX,
    caller,
    config,
    execute,
    text,
)
from tests.server.model_house import Gates, Models, model_house
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("execution")


@pytest.fixture
def models(models: Models) -> Models:
    models.write("plain", 10)
    return models


CALLS = [
    "return text(got(made(value_of(request), 'plain').exec()))",
    "return text(got(asyncio.run(made(value_of(request), 'plain').async_exec())))",
    """
    [response] = made(value_of(request), 'plain').exec(decoupled=True)
    return text(got(response))
    """,
    """
    answers = []
    call = lambda: answers.append(got(made(value_of(request), 'plain').exec()))
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(10)
    return text(answers[0])
    """,
]


@pytest.mark.parametrize("body", CALLS)
async def test_a_model_calls_another(models: Models, body: str) -> None:
    caller(models, body)
    async with model_house(models.directory) as house:
        assert await text(house, value=3) == "13"
        assert await text(house, value=4) == "14"


async def test_a_coroutine_calls_another(models: Models) -> None:
    body = "return text(got(await made(value_of(request), 'plain').async_exec()))"
    caller(models, body, keyword="async def")
    async with model_house(models.directory) as house:
        assert await text(house, value=3) == "13"


async def test_calls_of_one_coroutine_run_at_the_same_time(models: Models, gates: Gates) -> None:
    body = """
    calls = [made(value_of(request), name).async_exec() for name in ("first", "second")]
    return text([got(response) for response in await asyncio.gather(*calls)])
    """
    models.write("first", 10)
    models.write("second", 20)
    caller(models, body, keyword="async def")
    async with model_house(models.directory) as house:
        gates.close("execute first 10")
        gates.close("execute second 20")
        answer = asyncio.create_task(text(house, value=1))
        # Neither is answered before both are asked.
        await gates.wait_entered("execute first 10")
        await gates.wait_entered("execute second 20")
        gates.open_all()
        assert await answer == "['11', '21']"


async def test_all_outputs_come_unless_some_are_named(models: Models) -> None:
    body = """
    asked = value_of(request)
    names = {1: ["OUT"], 2: ["TEXT"], 3: []}[asked]
    response = made(asked, 'both', requested_output_names=names).exec()
    return text(sorted(tensor.name() for tensor in response.output_tensors()))
    """
    both = (
        "return pb_utils.InferenceResponse([*out(1).output_tensors(), *text(2).output_tensors()])"
    )
    caller(models, both, name="both")
    caller(models, body)
    async with model_house(models.directory) as house:
        assert await text(house, value=1) == "['OUT']"
        assert await text(house, value=2) == "['TEXT']"
        assert await text(house, value=3) == "['OUT', 'TEXT']"


async def test_parameters_go_there_and_come_back(models: Models) -> None:
    answer = """
    response = out(1)
    seen = json.loads(request.parameters())
    return pb_utils.InferenceResponse(response.output_tensors(), parameters=seen | {"back": True})
    """
    body = """
    response = made(1, 'echo', parameters={"number": 7, "word": "a"}).exec()
    return text(sorted(json.loads(response.parameters()).items()))
    """
    caller(models, answer, name="echo")
    caller(models, body)
    async with model_house(models.directory) as house:
        assert await text(house) == "[('back', True), ('number', 7), ('word', 'a')]"


async def test_outputs_may_be_handed_on(models: Models) -> None:
    body = "return made(value_of(request), 'plain').exec()"
    caller(models, body)
    async with model_house(models.directory) as house:
        assert await house.ask("caller", 7).value() == 17


REFUSED = [
    ("nobody", "", "Failed for execute the inference request. Model 'nobody' is not ready."),
    (
        "plain",
        ", model_version=7",
        "Failed for execute the inference request. Model 'plain' is not ready.",
    ),
    (
        "many",
        "",
        (
            "Model many is using the decoupled. The current BLS request call doesn't support "
            "models using the decoupled transaction policy. Please use 'decoupled=True' argument "
            "to the 'exec' or 'async_exec' calls for decoupled models.'"
        ),
    ),
    (
        "plain",
        ", requested_output_names=['NOTHING']",
        "unexpected inference output 'NOTHING' for model 'plain'",
    ),
]


@pytest.mark.parametrize(("name", "more", "message"), REFUSED)
async def test_a_refused_call_is_a_response_with_an_error(
    models: Models, name: str, more: str, message: str
) -> None:
    body = f"""
    response = made(1, '{name}'{more}).exec()
    assert response.output_tensors() == []
    return text([int(response.error().code()), response.error().message()])
    """
    models.write("many", config=config(decoupled=True), code=execute("return None"))
    caller(models, body)
    async with model_house(models.directory) as house:
        assert await text(house) == str([1, PREFIX.format(name) + message])


async def test_an_error_of_the_called_model_keeps_its_text(models: Models) -> None:
    answer = """
    error = pb_utils.TritonError("no such thing", pb_utils.TritonError.NOT_FOUND)
    return pb_utils.InferenceResponse([], error)
    """
    caller(models, answer, name="failing")
    caller(models, "return text(got(made(1, 'failing').exec()))")
    async with model_house(models.directory) as house:
        assert await text(house) == "error: no such thing"


STREAMING = """
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            threading.Thread(target=self.count, args=(value_of(request), sender)).start()

    def count(self, value, sender):
        for number in range(value):
            if number % 3 == 1:
                error = pb_utils.TritonError(f"error {number}")
                sender.send(pb_utils.InferenceResponse([], error))
            else:
                sender.send(out(number))
        sender.send(flags=FINAL)
"""


@pytest.mark.parametrize(
    "body",
    [
        "return text([got(each) for each in made(value_of(request), 'many').exec(decoupled=True)])",
        """
        async def all_of(call):
            return [got(each) async for each in await call.async_exec(decoupled=True)]

        return text(asyncio.run(all_of(made(value_of(request), 'many'))))
        """,
    ],
)
async def test_errors_among_many_responses_are_delivered(models: Models, body: str) -> None:
    models.write("many", config=config(decoupled=True), code=HEADER + STREAMING)
    caller(models, body)
    async with model_house(models.directory) as house:
        assert (
            await text(house, value=5) == "['0', 'error: error 1', '2', '3', 'error: error 4', '']"
        )
        assert await text(house, value=0) == "['']"


async def test_an_iterator_is_over_when_it_is_over(models: Models) -> None:
    body = """
    responses = made(1, 'plain').exec(decoupled=True)
    first = [got(response) for response in responses]
    return text([first, list(responses)])
    """
    caller(models, body)
    async with model_house(models.directory) as house:
        assert await text(house) == "[['11'], []]"


async def test_a_decoupled_coroutine_streams_what_it_asks_for(models: Models) -> None:
    code = """
    async def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            call = made(value_of(request), 'many')
            async for response in await call.async_exec(decoupled=True):
                sender.send(text(got(response)))
            sender.send(flags=FINAL)
    """
    models.write("many", config=config(decoupled=True), code=HEADER + STREAMING)
    models.write("caller", config=config(decoupled=True), code=HEADER + code)
    async with model_house(models.directory) as house:
        responses = await house.ask_many("caller", 2)
    texts = [bytes(each.outputs[0].array.ravel()[0]) for each in responses if each.outputs]
    assert texts == [b"0", b"error: error 1", b""]


async def test_a_thread_of_a_model_calls_after_execute_has_returned(
    models: Models, gates: Gates
) -> None:
    code = """
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            threading.Thread(target=self.work, args=(value_of(request), sender)).start()
        model_gates.enter("returned")

    def work(self, value, sender):
        model_gates.enter("thread")
        sender.send(out(int(got(made(value, 'plain').exec()))), flags=FINAL)
    """
    models.write("caller", config=config(decoupled=True), code=HEADER + code)
    async with model_house(models.directory) as house:
        gates.close("thread")
        answer = house.ask("caller", 5)
        await until(lambda: gates.count("returned"))
        gates.open("thread")
        assert await answer.value() == 15
