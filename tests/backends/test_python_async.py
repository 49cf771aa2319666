"""Models whose `execute` is a coroutine."""

import logging
from pathlib import Path

import pytest

from tests.backends.python_models import Model, reply_of, request

pytestmark = pytest.mark.usefixtures("execution")

PREFIX = "Failed to process the request(s) for model 'm_0', message: "


@pytest.fixture
def plain(tmp_path: Path) -> Model:
    return Model(tmp_path)


@pytest.fixture
def decoupled(tmp_path: Path) -> Model:
    return Model(tmp_path, decoupled=True)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="streamgate_python")


def coroutine(model: Model, body: str) -> Model:
    model.execute(body)
    text = model.path.read_text().replace("    def execute", "    async def execute")
    model.path.write_text("import asyncio\n" + text)
    return model


def test_returned_responses_are_sent_when_the_coroutine_ends(plain: Model) -> None:
    coroutine(plain, "await asyncio.sleep(0); return [out(7) for _ in requests]")
    assert [reply.only.values for reply in plain.run(request(), request())] == [{"OUT": [7]}] * 2


def test_an_exception_in_the_coroutine(plain: Model) -> None:
    coroutine(plain, "await asyncio.sleep(0); raise ValueError('text')")
    message = plain.answer().message
    assert message.startswith(f"{PREFIX}ValueError: text\n\nAt:\n  {plain.path}(")
    assert message.endswith("): execute\n")
    assert message.count("\n") == 4


@pytest.mark.parametrize("way", ["sys.exit(3)", "raise asyncio.CancelledError"])
def test_the_loop_survives_what_ends_a_task(plain: Model, way: str) -> None:
    coroutine(
        plain,
        f"""
        import sys
        await asyncio.sleep(0)
        if requests[0].flags():
            {way}
        return [out(1)]
        """,
    )
    session = plain.load()
    bad, good = request(flags=1), request()
    session.execute([bad])
    session.execute([good])
    session.close()
    assert reply_of(bad).message.startswith(PREFIX)
    assert reply_of(good).only.values == {"OUT": [1]}


def test_a_decoupled_coroutine_runs_on_after_execute_returned(decoupled: Model) -> None:
    decoupled.write(
        """
        import asyncio
        from pathlib import Path

        class TritonPythonModel:
            def initialize(self, args):
                self.go = Path(args["model_repository"], "go")

            async def execute(self, requests):
                sender = requests[0].get_response_sender()
                sender.send(out(1))
                async with asyncio.timeout(20):
                    while not self.go.exists():
                        await asyncio.sleep(0.01)
                sender.send(out(2), FINAL)
        """
    )
    session = decoupled.load()
    made = request()
    session.execute([made])
    reply = reply_of(made)
    with reply._changed:
        assert reply._changed.wait_for(lambda: reply.sent, timeout=20)
    assert not reply.finished
    decoupled.add("go", "")
    reply.wait()
    session.close()
    assert [sent.values for sent in reply.sent] == [{"OUT": [1]}, {"OUT": [2]}]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("raise ValueError('text')", "ValueError: text"),
        (
            "return [out(1)]",
            (
                "Python model 'm_0' is using the decoupled mode and the execute function must "
                "return None."
            ),
        ),
        ("pass", "execute returned no response for the request and took no response sender"),
        (
            "requests[0].get_response_sender()",
            "the response sender was released before the final response was sent",
        ),
    ],
)
def test_faults_of_a_background_coroutine_reach_the_client(
    decoupled: Model, body: str, text: str
) -> None:
    coroutine(decoupled, f"await asyncio.sleep(0)\n{body}")
    session = decoupled.load()
    made = request()
    session.execute([made])
    reply_of(made).wait()
    session.close()
    assert reply_of(made).message.startswith(PREFIX + text)


def test_closing_cancels_what_still_runs(decoupled: Model) -> None:
    coroutine(decoupled, "await asyncio.Event().wait()")
    assert decoupled.answer().message.startswith(f"{PREFIX}CancelledError")


def test_coroutines_of_one_model_run_together(decoupled: Model) -> None:
    decoupled.write(
        """
        import asyncio

        class TritonPythonModel:
            def initialize(self, args):
                self.waiting = []

            async def execute(self, requests):
                mine = asyncio.Event()
                self.waiting.append(mine)
                if len(self.waiting) == 3:
                    for event in self.waiting:
                        event.set()
                await mine.wait()
                requests[0].get_response_sender().send(out(len(self.waiting)), FINAL)
        """
    )
    session = decoupled.load()
    batch = [request() for _ in range(3)]
    for made in batch:
        session.execute([made])
    for made in batch:
        reply_of(made).wait()
    session.close()
    assert {reply_of(made).only.values["OUT"][0] for made in batch} == {3}


def test_the_calling_model_is_known_in_its_tasks(plain: Model) -> None:
    coroutine(
        plain,
        """
        async def where():
            return pb_utils.get_model_dir()
        assert await asyncio.create_task(where()) == pb_utils.get_model_dir()
        return [out(1)]
        """,
    )
    assert plain.answer().only.failure is None
