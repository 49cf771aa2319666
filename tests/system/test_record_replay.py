"""Sequences are recorded on a whole server, over every wire, and run again by the command line."""

import asyncio
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamgate._proto import grpc_service_pb2 as pb
from streamgate.cli import main
from streamgate.errors import Code, Failure
from streamgate.recording.bundle import Bundle, read_bundle, read_entries
from streamgate.recording.format import MAGIC
from streamgate.recording.options import RecordingOptions
from streamgate.recording.values import Result, encode
from streamgate.server.settings import GrpcTransport, SpeechSettings
from tests.frontends.grpc_client import Stub, infer_request
from tests.frontends.websocket_client import connected
from tests.speech.dialects.peer import dialled, pieces
from tests.speech.house import speech_house
from tests.speech.tones import REPOSITORY, s16le, tones
from tests.system.numbers_client import NumbersClient, recording
from tests.system.recorded_models import change_weight, write_models
from tests.system.running_server import WAIT_SECONDS, RunningServer, running
from tests.waiting import wait

DEMO_MODELS = Path(__file__).resolve().parents[2] / "demos" / "models"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_models(tmp_path / "models")
    return tmp_path / "models"


@contextmanager
def recorded(
    repository: Path, transport: GrpcTransport = GrpcTransport.GRPCIO, **options: Any
) -> Iterator[RunningServer]:
    settings = RecordingOptions(repository.parent / "bundles", **options)
    with running(repository, transport, settings) as server:
        yield server


def bundles(models: Path) -> dict[str, Bundle]:
    """One for each model."""
    paths = sorted((models.parent / "bundles").iterdir())
    found = {bundle.header.model: bundle for bundle in map(read_bundle, paths)}
    assert len(found) == len(paths)
    return found


def request(
    model: str, sequence: int | str, value: int, flags: str = "", **parameters: Any
) -> pb.ModelInferRequest:
    """One of IN, with START for S and END for E."""
    message = infer_request(
        model,
        value,
        dtype="INT32",
        sequence_id=sequence,
        sequence_start="S" in flags,
        sequence_end="E" in flags,
        **parameters,
    )
    message.inputs[0].shape[:] = [1, 1]
    return message


def converse(
    server: RunningServer, model: str, values: Sequence[int], key: int | str = 7, **parameters: Any
) -> list[pb.ModelStreamInferResponse]:
    """A whole sequence on a stream, all steps on their way at once."""
    flags = ["S", *[""] * (len(values) - 2), "E"]
    with Stub(server.grpc) as stub:
        stream = stub.stream()
        for value, flag in zip(values, flags, strict=True):
            stream.send(request(model, key, value, flag, **parameters))
        stream.half_close()
        return stream.rest()


def replay(bundle: Bundle, models: Path, *flags: str) -> int:
    return main(["replay", str(bundle.path), "--model-repository", str(models), *flags])


def sums(bundle: Bundle) -> list[list[int]]:
    """What was answered, by step."""
    return [
        [int(t.tensor.array.item()) for each in step.results for t in each.outputs]
        for step in bundle.steps
    ]


@pytest.mark.parametrize("transport", GrpcTransport)
def test_over_grpc(
    models: Path, transport: GrpcTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    with recorded(models, transport) as server:
        converse(server, "sum", [1, 2, 3, 4, 5], "a caller", priority=0, mine="yes")
    (bundle,) = bundles(models).values()
    assert bundle.header.sequence == "a caller"
    assert [step.step.position for step in bundle.steps] == [0, 1, 2, 3, 4]
    assert [step.step.start for step in bundle.steps] == [True, False, False, False, False]
    assert [step.step.end for step in bundle.steps] == [False, False, False, False, True]
    assert dict(bundle.steps[1].step.parameters) == {"mine": "yes"}
    assert sums(bundle) == [[1], [3], [6], [10], [15]]
    assert (bundle.reason, bundle.cut) == ("client_end", "")
    times = [step.step.at_ns for step in bundle.steps]
    assert times == sorted(times)
    assert replay(bundle, models) == 0
    assert capsys.readouterr().out == "same: 5 steps, 5 responses\n"
    change_weight(models, "sum", 3)
    assert replay(bundle, models) == 1
    assert capsys.readouterr().out == (
        "differs at position 3, response 0, output 'OUT', element [0, 0]: expected 10, found 14\n"
    )


def test_over_websocket(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The running hash takes its ID from nobody, and each byte that was ever sent counts."""
    payloads = [np.arange(n, dtype="<i2").tobytes() for n in (3, 1, 8)]

    async def talk(url: str) -> list[int]:
        async with connected(url) as client:
            await client.open("fake")
            for payload in payloads:
                await client.frame(payload)
            hashes = [(await client.hear())["outputs"][0]["data"][0] for _ in payloads]
            await client.say("end")
            await client.hear_end()
            return hashes

    with recorded(models) as server:
        hashes = asyncio.run(talk(server.websocket))
    (bundle,) = bundles(models).values()
    assert [step.step.inputs[0].raw for step in bundle.steps] == payloads
    assert [int(s.results[0].outputs[0].tensor.array.item()) for s in bundle.steps] == hashes
    assert bundle.reason == "client_end"
    assert replay(bundle, models) == 0
    assert "same: 3 steps" in capsys.readouterr().out


def test_a_byte_of_state_that_begins_as_another(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with recorded(models) as server:
        converse(server, "sum", [1, 1, 1])
    (bundle,) = bundles(models).values()
    config = models / "sum" / "config.pbtxt"
    initial = 'dims: 2 initial_state { name: "i" data_type: TYPE_INT32 dims: 2 data_file: "begin" }'
    config.write_text(config.read_text().replace("dims: 2", initial))
    (models / "sum" / "initial_state").mkdir()
    (models / "sum" / "initial_state" / "begin").write_bytes(bytes([0] * 5 + [1, 0, 0]))
    assert replay(bundle, models) == 1
    told = capsys.readouterr()
    assert "differs at position 0, response 0" in told.out
    assert "expected 1, found 257" in told.out
    assert "note: model 'sum' has another configuration than was recorded: seq" in told.err


def test_an_ensemble(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with recorded(models) as server:
        converse(server, "both", [1, 2, 3])
        wait(lambda: server.all_ended("first") == 1)
    found = bundles(models)
    assert set(found) == {"both", "first", "second"}, "its models' sequences are such, too"
    bundle = found["both"]
    assert [each.name for each in bundle.header.composing] == ["first", "second"]
    assert '"first"' in bundle.header.composing[0].config
    assert sums(bundle) == [[1], [4], [10]]
    assert replay(bundle, models) == 0
    change_weight(models, "second", 1)
    assert replay(bundle, models) == 1
    assert "position 1, response 0, output 'OUT', element [0, 0]: expected 4, found 7" in (
        capsys.readouterr().out
    )
    assert replay(found["first"], models) == 0
    assert replay(found["second"], models) == 1


def test_a_decoupled_model(models: Path) -> None:
    with recorded(models) as server:
        converse(server, "several", [2, 0, 3])
    (bundle,) = bundles(models).values()
    assert sums(bundle) == [[20, 21], [], [50, 51, 52]]
    assert [[r.index for r in step.results] for step in bundle.steps] == [
        [0, 1, 2],
        [0],
        [0, 1, 2, 3],
    ]
    assert [step.results[-1].empty for step in bundle.steps] == [True, True, True]
    assert replay(bundle, models) == 0


def test_steps_that_fail(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the model's text, and the state as it was."""
    with recorded(models) as server:
        converse(server, "sum", [1, -2, 3])
    (bundle,) = bundles(models).values()
    failure = bundle.steps[1].results[0].failure
    assert failure is not None
    assert "less than nothing" in failure.message
    assert replay(bundle, models) == 0
    code = models / "sum" / "1" / "model.py"
    code.write_text(code.read_text().replace("less than nothing", "nothing"))
    assert replay(bundle, models) == 1
    assert re.search(
        "position 1, response 0, failure: expected .*less than nothing, found .*nothing",
        capsys.readouterr().out,
    )


def test_sequences_that_end_otherwise(models: Path) -> None:
    """A START on a live ID, and a connection that is lost: each has its own bundle and reason."""
    with recorded(models) as server, Stub(server.grpc) as stub:
        stream = stub.stream()
        stream.send(request("sum", 9, 1, "S"), request("sum", 9, 2, "S"), request("sum", 9, 3))
        for _ in range(3):
            stream.receive()
        stream.call.cancel()
        wait(lambda: server.ended("sum", "client_abort") == 1)
    paths = (models.parent / "bundles").iterdir()
    found = {bundle.reason: bundle for bundle in map(read_bundle, paths)}
    assert {reason: sums(bundle) for reason, bundle in found.items()} == {
        "superseded": [[1]],
        "client_abort": [[2], [5]],
    }
    assert [replay(bundle, models) for bundle in found.values()] == [0, 0]


def test_a_sequence_over_several_connections_and_a_server_that_stops(models: Path) -> None:
    with recorded(models) as server:
        for flag, value in (("S", 1), ("", 2)):
            with Stub(server.grpc) as stub:
                stream = stub.stream()
                stream.send(request("sum", 9, value, flag))
                stream.half_close()
                stream.rest()
    (bundle,) = bundles(models).values()
    assert sums(bundle) == [[1], [3]]
    assert bundle.reason == "drained"
    assert replay(bundle, models) == 0


def test_steps_that_no_model_saw_are_left_out(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with recorded(models) as server:
        converse(server, "sum", [1, 2, 3])
    (bundle,) = bundles(models).values()
    # The gateway's answer to a step whose time in the queue was over.
    entries = [
        Result(1, 0, 5, failure=Failure(Code.UNAVAILABLE, "Request timeout expired"))
        if isinstance(entry, Result) and entry.step == 1
        else entry
        for entry in read_entries(bundle.path)
    ]
    bundle.path.write_bytes(MAGIC + b"".join(map(encode, entries)))
    assert replay(bundle, models) == 1
    told = capsys.readouterr()
    assert "note: position 1 is left out" in told.err
    assert "position 2, response 0, output 'OUT', element [0, 0]: expected 6, found 4" in told.out


class TestWhatIsRecorded:
    def test_models_and_requests_that_ask_for_it(self, models: Path) -> None:
        with recorded(models, models=("sum", "fake"), rate=0.0, on_request=True) as server:
            converse(server, "sum", [1, 2], 1)
            converse(server, "sum", [1, 2], 2, streamgate_record=True)
            converse(server, "sum", [1, 2], 3, streamgate_record=False)
            converse(server, "several", [1, 2], 4, streamgate_record=True)
        assert [bundle.header.sequence for bundle in bundles(models).values()] == [2]

    def test_a_request_that_wants_none(self, models: Path) -> None:
        with recorded(models, on_request=True) as server:
            converse(server, "sum", [1, 2], 1, streamgate_record=False)
            converse(server, "sum", [1, 2], 2)
        assert [bundle.header.sequence for bundle in bundles(models).values()] == [2]

    def test_a_request_decides_nothing_unless_it_may(self, models: Path) -> None:
        with recorded(models, rate=0.0) as server:
            converse(server, "sum", [1, 2], 1, streamgate_record=True)
        assert bundles(models) == {}

    def test_a_share(self, models: Path) -> None:
        with recorded(models, rate=0.5) as server:
            for key in range(1, 41):
                converse(server, "sum", [1, 2], key)
        assert 4 <= len(list((models.parent / "bundles").iterdir())) <= 36

    def test_what_is_beyond_the_bound_ends_the_recording_not_the_sequence(
        self, models: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with recorded(models) as server:
            converse(server, "sum", [1] * 8)
        (whole,) = bundles(models).values()
        size = whole.path.stat().st_size - 1000
        whole.path.unlink()
        with recorded(models, bundle_bytes=size) as server:
            answers = converse(server, "sum", [1] * 8)
            assert [bool(answer.error_message) for answer in answers] == [False] * 8
            wait(lambda: server.ended("sum", "client_end") == 1)
        (bundle,) = bundles(models).values()
        assert bundle.cut == f"a bundle may have {size} bytes"
        assert 0 < len(bundle.steps) <= 8
        assert replay(bundle, models) == 0
        assert "note: the recording is not whole: a bundle may have" in capsys.readouterr().err


class TestRedacted:
    def test_it_is_compared_and_never_run(
        self, models: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with recorded(models) as server:
            converse(server, "sum", [1, 2, 3])
        (full,) = bundles(models).values()
        shutil.move(models.parent / "bundles", models.parent / "full")
        full = read_bundle(models.parent / "full" / full.path.name)
        with recorded(models, redacted=True) as server:
            converse(server, "sum", [1, 2, 3], 99)
        (redacted,) = bundles(models).values()
        assert redacted.redacted
        assert replay(redacted, models) == 2
        assert "can't be run again" in capsys.readouterr().err
        assert main(["replay", str(full.path), "--compare", str(redacted.path)]) == 0
        assert main(["replay", str(redacted.path), "--compare", str(full.path)]) == 0
        copy = models.parent / "copy"
        assert main(["replay", str(full.path), "--redact", str(copy)]) == 0
        assert main(["replay", str(copy), "--compare", str(redacted.path)]) == 0
        shutil.rmtree(models.parent / "bundles")
        with recorded(models, redacted=True) as server:
            converse(server, "sum", [1, 2, 4], 99)
        (other,) = bundles(models).values()
        capsys.readouterr()
        assert main(["replay", str(copy), "--compare", str(other.path)]) == 1
        assert "position 2, the request, input 'IN': expected sha256" in capsys.readouterr().out


class TestUnusable:
    def test_no_bundle(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "b").write_bytes(b"something")
        flags = ["--model-repository", str(tmp_path)]
        assert main(["replay", str(tmp_path / "b"), *flags]) == 2
        assert "not a bundle" in capsys.readouterr().err

    def test_no_such_model_or_version(
        self, models: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with recorded(models) as server:
            converse(server, "sum", [1, 2])
        (bundle,) = bundles(models).values()
        assert replay(bundle, models, "--model-version", "4") == 2
        assert "version 4 is not found" in capsys.readouterr().err
        shutil.rmtree(models / "sum")
        assert replay(bundle, models) == 2
        assert "sum" in capsys.readouterr().err

    def test_a_model_that_never_answers(
        self, models: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with recorded(models) as server:
            converse(server, "several", [1, 2])
        (bundle,) = bundles(models).values()
        code = models / "several" / "1" / "model.py"
        code.write_text(
            code.read_text().replace(
                "sender.send(flags", "self.kept = sender, (lambda flags: 0)(flags"
            )
        )
        assert replay(bundle, models, "--step-timeout", "0.2") == 1
        assert "no last response within 0.2 s" in capsys.readouterr().out


def test_speech_dialects_are_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def talk() -> None:
        ports = SpeechSettings(ports={"vosk": 0})
        options = RecordingOptions(tmp_path / "bundles")
        async with (
            speech_house(speech=ports, recording=options) as house,
            dialled(house.ports.dialects["vosk"]) as peer,
        ):
            await peer.say('{ "config" : { "sample_rate" : 16000.0 } }')
            for frame in pieces(s16le(tones()), 8000):
                await peer.say(frame)
                await peer.hear()
            await peer.say('{"eof" : 1}')
            await peer.hear_all()

    asyncio.run(talk())
    (path,) = (tmp_path / "bundles").iterdir()
    bundle = read_bundle(path)
    assert bundle.reason == "client_end"
    assert len(bundle.steps) > 10
    assert replay(bundle, REPOSITORY) == 0
    assert f"same: {len(bundle.steps)} steps" in capsys.readouterr().out


def test_spoken_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A graph that ran in batches with others runs alone: floats may differ in rounding, texts and
    times must not."""
    models = tmp_path / "models"
    for name in ("numbers", "numbers_graph", "numbers_text"):
        shutil.copytree(DEMO_MODELS / name, models / name)
    with (
        recorded(models, models=("numbers",)) as server,
        closing(NumbersClient(server.grpc, WAIT_SECONDS)) as client,
    ):
        client.hear([recording("phone_16k.wav")])
    (bundle,) = bundles(models).values()
    assert replay(bundle, models) == 0
    assert f"same: {len(bundle.steps)} steps" in capsys.readouterr().out
