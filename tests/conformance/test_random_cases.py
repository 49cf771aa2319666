"""Cases drawn from a seed: repeatable, varied, and free of what Triton decides by chance."""

import pytest
from google.protobuf import text_format
from tritonclient.grpc import service_pb2

from tests.conformance.perform import requests_of
from tests.conformance.random_cases import SEQUENCES_MAX, parse, random_cases
from tests.conformance.steps import Await, Infer, RawGrpc, RawGrpcStream, Stream

CASES = random_cases(1, 200)


def test_a_seed_gives_the_same_cases_again() -> None:
    assert random_cases(1, 200) == CASES
    assert random_cases(1, 10) == CASES[:10]


def test_another_seed_gives_others() -> None:
    assert {case.steps for case in CASES[1::2]} != {
        case.steps for case in random_cases(2, 200)[1::2]
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


def test_no_case_has_more_sequences_than_slots() -> None:
    for case in CASES:
        ids = {request.sequence.id for request in requests_of(case.steps) if request.sequence}
        assert len(ids) <= SEQUENCES_MAX


def test_no_stream_reuses_an_id_before_its_end_was_answered() -> None:
    streams = [step for case in CASES for step in case.steps if isinstance(step, Stream)]
    assert any(isinstance(part, Await) for stream in streams for part in stream.parts)
    for stream in streams:
        ended: set[int | str] = set()
        for part in stream.parts:
            if isinstance(part, Await):
                ended.clear()
            elif isinstance(part, Infer) and part.sequence:
                assert part.sequence.id not in ended
                if part.sequence.end:
                    ended.add(part.sequence.id)


def test_cases_are_asked_for_by_seed_and_count() -> None:
    assert parse("1:10") == CASES[:10]
    for wrong in ("", "7", "7:", ":3", "a:b", "7:-1"):
        with pytest.raises(ValueError, match="SEED:COUNT"):
            parse(wrong)
