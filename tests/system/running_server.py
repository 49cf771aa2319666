"""A whole server in this process, on an event loop of its own, for clients that block.

Models find the module `model_gates`: `enter(name)` notes that they came by, and waits where a test
has closed that gate.
"""

import re
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from streamgate.engine.runtime import ModelRuntime
from streamgate.recording.options import RecordingOptions
from streamgate.server.ports import Ports
from streamgate.server.server import Server
from streamgate.server.settings import ControlMode, GrpcTransport, ResumeSettings, Settings
from streamgate.session.tenant import Tenant
from tests.frontends.conftest import LoopThread
from tests.server.model_house import Gates, gates_for_models

WAIT_SECONDS = 30.0


@dataclass
class RunningServer:
    """The server's addresses, and what it and its models have counted."""

    thread: LoopThread
    server: Server
    ports: Ports
    gates: Gates

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.ports.grpc}"

    @property
    def http(self) -> str:
        return f"127.0.0.1:{self.ports.http}"

    @property
    def websocket(self) -> str:
        return f"ws://127.0.0.1:{self.ports.websocket}/v1/sequence"

    def until(self, condition: Callable[[], object]) -> None:
        """Return once the condition holds, which is asked on the server's loop."""
        self.thread.wait_until(condition)

    def pending(self, model: str) -> int:
        """Requests that wait for a step."""
        return self.metric("nv_inference_pending_request_count", model)

    def active(self, model: str) -> int:
        """Sequences that hold a slot."""
        return self.metric("streamgate_sequences_active", model)

    def metrics(self) -> str:
        url = f"http://127.0.0.1:{self.ports.metrics}/metrics"
        with urllib.request.urlopen(url, timeout=WAIT_SECONDS) as answer:
            text: str = answer.read().decode()
        return text

    def metric(self, name: str, model: str, **labels: str) -> int:
        """The value of one sample; 0 when there is none."""
        for line in re.findall(rf"^{name}{{.*", self.metrics(), re.MULTILINE):
            found = dict(re.findall(r'(\w+)="([^"]*)"', line))
            if found.get("model") == model and all(found.get(k) == v for k, v in labels.items()):
                return int(float(line.rpartition(" ")[2]))
        return 0

    def ended(self, model: str, reason: str) -> int:
        """Sequences of a model that ended for this reason."""
        return self.metric("streamgate_sequences_ended_total", model, reason=reason)

    def all_ended(self, model: str) -> int:
        lines = re.findall(
            rf'^streamgate_sequences_ended_total{{model="{model}".*', self.metrics(), re.MULTILINE
        )
        return sum(int(float(line.rpartition(" ")[2])) for line in lines)

    def wake_at(self, model: str) -> int | None:
        """When the model's scheduler has something to do next."""
        routes = self.server._models.table.routes()
        (route,) = [each for each in routes if each.config.name == model]
        runtime = self.server._models.lifecycle._served[route].model
        assert isinstance(runtime, ModelRuntime)
        return runtime._scheduler.wake_at()

    def assert_at_rest(self, model: str, *, never_started: int = 0) -> None:
        """Nothing waits or runs, every slot is free, and what began has ended, once, as have so
        many sequences that never had a slot."""
        assert self.metric("nv_inference_pending_request_count", model) == 0
        assert self.metric("streamgate_sequences_active", model) == 0
        assert self.metric("streamgate_sequences_backlog", model) == 0
        started = self.metric("streamgate_sequences_started_total", model)
        assert started + never_started == self.all_ended(model)


@contextmanager
def running(
    directory: Path,
    transport: GrpcTransport = GrpcTransport.GRPCIO,
    recording: RecordingOptions | None = None,
    *,
    durable: bool = True,
    device_turns: int = 0,
    tenants: Sequence[Tenant] = (),
    resume_seconds: float = 30.0,
) -> Iterator[RunningServer]:
    """Serve the models in `directory`."""
    thread = LoopThread()
    settings = Settings(
        [directory],
        host="127.0.0.1",
        http_port=0,
        grpc_port=0,
        metrics_port=0,
        websocket_port=0,
        grpc_transport=transport,
        control_mode=ControlMode.EXPLICIT,
        load_models=("*",),
        exit_timeout_seconds=2.0,
        recording=recording,
        durable=durable,
        device_turns=device_turns,
        tenants=tenants,
        resume=ResumeSettings(resume_seconds),
    )
    server = Server(settings)
    try:
        with TemporaryDirectory() as folder, gates_for_models(Path(folder)) as gates:
            ports = thread.run(server.start())
            try:
                yield RunningServer(thread, server, ports, gates)
            finally:
                gates.open_all()
                thread.run(server.stop())
    finally:
        thread.close()
