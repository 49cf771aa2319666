"""How a model's calls deal with a server that is quick, slow or gone; no engine is there."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from streamgate.backend.contract import LoadContext
from streamgate.errors import Code, Failure, StreamGateError
from streamgate.model.config import Instance, InstanceKind
from streamgate.model.request import Request, Response
from streamgate_python import create
from streamgate_python.calls import Call
from streamgate_python.session import PythonSession
from tests.backends.python_models import Model, reply_of, request

CALL = 'pb_utils.InferenceRequest(model_name="x", inputs=[], requested_output_names=[])'


class Server:
    """Gives every call as many responses as it is told, before `infer` returns."""

    def __init__(self, responses: int = 0, failure: Failure | None = None) -> None:
        self.responses = responses
        self.failure = failure
        self.asked: list[tuple[Request, bool, bool]] = []
        self.cancelled = 0
        self.closed = 0
        self.loaded: list[tuple[str, str | None, Mapping[str, bytes]]] = []

    def infer(
        self,
        request: Request,
        on_response: Callable[[Response], None],
        *,
        decoupled: bool,
        holds_instance: bool,
    ) -> "Server":
        self.asked.append((request, decoupled, holds_instance))
        for _ in range(self.responses):
            on_response(Response(request, "x", "1", final=False))
        if self.failure is not None:
            on_response(Response(request, "x", "1", failure=self.failure))
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    def is_model_ready(self, name: str, version: str) -> bool:
        raise StreamGateError(Code.UNAVAILABLE, f"no word of {name} {version}")

    def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        self.loaded.append((name, config, files))

    def unload_model(self, name: str, *, unload_dependents: bool) -> None:
        raise StreamGateError(Code.UNAVAILABLE, f"{name} stays, dependents {unload_dependents}")

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model(tmp_path)


def load(model: Model, server: Server) -> PythonSession:
    instance = Instance("m_0", InstanceKind.CPU)
    session = create().load(LoadContext(model.config(), model.files, instance, server))
    assert isinstance(session, PythonSession)
    return session


def run(model: Model, server: Server) -> str:
    """What the model answers, or why not."""
    session = load(model, server)
    asked = request()
    session.execute([asked])
    session.close()
    sent = reply_of(asked).only
    return sent.failure.message if sent.failure else str(sent.values["OUT"][0])


def test_too_many_responses_end_a_call_that_has_just_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamgate_python.calls.UNREAD_MAX", 2)
    server = Server(responses=3)
    call = Call(Request("x"), None)
    call.start(server, decoupled=True)
    assert server.cancelled == 1


@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.UNAVAILABLE, Code.CANCELLED])
def test_every_code_of_a_model_is_internal(model: Model, code: Code) -> None:
    model.execute(f"return [out({CALL}.exec().error().code() == pb_utils.TritonError.INTERNAL)]")
    assert run(model, Server(failure=Failure(code, "no"))) == "1"


def test_what_is_asked_of_the_server(model: Model) -> None:
    model.execute(
        """
        pb_utils.InferenceRequest(
            model_name="x",
            model_version=3,
            request_id="r",
            correlation_id=7,
            flags=3,
            timeout=9,
            parameters={"a": 1},
            inputs=[pb_utils.Tensor("I", np.zeros(2, np.float32))],
            requested_output_names=["B", "A"],
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_GPU, 1),
            trace=requests[0].trace(),
        ).exec(decoupled=True)
        return [out(1)]
        """
    )
    server = Server(failure=Failure(Code.INTERNAL, "no"))
    assert run(model, server) == "1"
    [(asked, decoupled, holds_instance)] = server.asked
    assert (decoupled, holds_instance) == (True, True)
    assert (asked.model, asked.version, asked.id, asked.timeout_us) == ("x", "3", "r", 9)
    assert (asked.sequence, asked.start, asked.end) == (7, True, True)
    assert list(asked.requested_outputs) == ["B", "A"]
    assert dict(asked.parameters) == {"a": 1}
    [tensor] = asked.inputs
    assert (tensor.name, tensor.array.tolist()) == ("I", [0, 0])


def test_a_thread_of_the_models_own_holds_nothing(model: Model) -> None:
    model.execute(
        f"""
        import threading
        thread = threading.Thread(target=lambda: {CALL}.exec())
        thread.start()
        thread.join(10)
        return [out(1)]
        """
    )
    server = Server(failure=Failure(Code.INTERNAL, "no"))
    assert run(model, server) == "1"
    assert [holds for _, _, holds in server.asked] == [False]


def test_the_session_closes_its_server_once_finalize_is_done(model: Model) -> None:
    model.write(
        """
        class TritonPythonModel:
            def finalize(self):
                pb_utils.load_model("late", files={"file:1/a": b"A", "1/b": b"B"})
        """
    )
    server = Server()
    session = load(model, server)
    assert server.closed == 0
    session.close()
    assert server.closed == 1
    assert server.loaded == [("late", None, {"1/a": b"A", "1/b": b"B"})]


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("is_model_ready('x', '2')", "Failed to check readiness of model: {}no word of x 2"),
        (
            "unload_model('x', unload_dependents=True)",
            "Failed to unload model: {}x stays, dependents True",
        ),
    ],
)
def test_failures_are_exceptions(model: Model, question: str, text: str) -> None:
    model.execute(f"pb_utils.{question}")
    told = text.format("Failed to process the request for model 'm_0', message: ")
    assert f"TritonModelException: {told}" in run(model, Server())
