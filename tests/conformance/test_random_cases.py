"""Cases drawn from a seed: repeatable, varied, and free of what Triton decides by chance."""

import os
import subprocess
import sys

import pytest
from google.protobuf import text_format
from tritonclient.grpc import service_pb2

from tests.conformance.random_cases import parse, random_cases
from tests.conformance.records import digest
from tests.conformance.servers import ROOT
from tests.conformance.steps import (
    Exchange,
    HangUp,
    Infer,
    Pause,
    RawGrpc,
    RawGrpcStream,
    Together,
    client_steps,
)

CASES = random_cases(1, 200)


def test_a_seed_gives_the_same_cases_again() -> None:
    assert random_cases(1, 200) == CASES
    assert random_cases(1, 10) == CASES[:10]


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_they_are_the_same_in_every_process(hash_seed: str) -> None:
    code = (
        "from tests.conformance.random_cases import random_cases\n"
        "from tests.conformance.records import digest\n"
        "print(digest(random_cases(1, 200)))"
    )
    environment = {
        **os.environ,
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == digest(CASES)


def test_another_seed_gives_others() -> None:
    assert {case.steps for case in CASES[3::4]} != {
        case.steps for case in random_cases(2, 200)[3::4]
    }


def test_every_message_can_be_encoded() -> None:
    for case in CASES:
        for step in case.steps:
            messages = (
                (step.message,)
                if isinstance(step, RawGrpc)
                else step.messages
                if isinstance(step, RawGrpcStream)
                else ()
            )
            for message in messages:
                assert isinstance(message, str)
                assert text_format.Parse(message, service_pb2.ModelInferRequest()).inputs


def test_programs_are_long_and_varied() -> None:
    programs = [case for case in CASES if case.about == "a program of several clients"]
    assert len(programs) == 150
    assert sum(client_steps(case.steps) for case in programs) > 3000
    kinds = {type(step) for case in programs for step in case.steps}
    assert kinds == {Infer, Exchange, HangUp, Together, Pause}


def test_every_request_on_a_stream_has_an_id_of_its_own() -> None:
    for case in CASES:
        ids = [
            request.id
            for step in case.steps
            if isinstance(step, Exchange)
            for request in step.requests
            if request.id
        ]
        assert len(set(ids)) == len(ids), case.name


def test_no_id_is_started_anew_before_its_end_was_answered() -> None:
    for case in CASES:
        live: set[tuple[str, int | str]] = set()
        for step in case.steps:
            requests = step.requests if isinstance(step, Exchange | Together) else (step,)
            ended: set[tuple[str, int | str]] = set()
            for request in requests:
                if not isinstance(request, Infer) or not request.id or not request.sequence:
                    continue
                key = (request.model, request.sequence.id)
                if request.sequence.start:
                    assert key not in ended, case.name
                    live.add(key)
                if request.sequence.end and key in live:
                    live.discard(key)
                    ended.add(key)


def test_cases_are_asked_for_by_seed_and_count() -> None:
    assert parse("1:10") == CASES[:10]
    for wrong in ("", "7", "7:", ":3", "a:b", "7:-1"):
        with pytest.raises(ValueError, match="SEED:COUNT"):
            parse(wrong)
