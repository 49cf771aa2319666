"""Each defect of Triton 2.51 that sequences, batching or Python models can meet, and its test.

The numbers are those of the project's list of defects (facts, section 13.2). A test that is named
here for a number fails if the defect comes back; this module checks that none of them is lost.
"""

import ast
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.conformance.cases import CASES
from tests.conformance.servers import ROOT

Place = tuple[str, str]

TESTS: Final[dict[tuple[int, str], tuple[Place, ...]]] = {
    (1, "a queue policy makes each dispatch wait for up to 500 ms"): (
        (
            "core/test_core_stateless.py",
            "TestDynamicBatching::test_defect_1_free_instance_with_a_queue_policy_is_used_at_once",
        ),
    ),
    (2, "expired requests are told at the next tick of 500 ms, or never"): (
        (
            "core/test_core_stateless.py",
            "TestQueuePolicies::test_defect_2_rejection_is_exact_with_all_instances_busy",
        ),
        (
            "core/test_core_queueing.py",
            "test_defect_2_timeouts_are_exact_and_removed_with_their_requests",
        ),
    ),
    (3, "a request's timeout is ignored where the model has no default"): (
        (
            "core/test_core_queueing.py",
            "test_defect_3_own_timeout_counts_where_it_may_and_is_shorter",
        ),
    ),
    (5, "execution and waiting for a slot count as idleness"): (
        ("core/test_core_tenancies.py", "TestIdle::test_defect_5_execution_is_not_idleness"),
        (
            "core/test_core_tenancies.py",
            "TestIdle::test_defect_5_waiting_behind_other_slots_is_not_idleness",
        ),
        (
            "core/test_core_tenancies.py",
            "TestIdle::test_defect_5_time_in_the_backlog_is_not_idleness",
        ),
    ),
    (6, "a START overtakes the queued END of its id"): (
        (
            "core/test_core_tenancies.py",
            "TestSameId::test_defect_6_start_waits_for_the_end_before_it",
        ),
        (
            "core/test_core_tenancies.py",
            "TestSameId::test_defect_6_direct_never_has_one_id_in_two_slots",
        ),
    ),
    (7, "a cancelled step takes its whole sequence along, a waiting one lingers"): (
        (
            "core/test_core_cancellation.py",
            "TestCancel::test_defect_7_queued_request_goes_at_once_and_alone",
        ),
        (
            "core/test_core_cancellation.py",
            "TestCancel::test_defect_7_start_in_the_backlog_makes_room_at_once",
        ),
        (
            "core/test_core_sequence.py",
            "test_defect_7_only_what_needs_a_cancelled_start_goes_with_it",
        ),
    ),
    (8, "padding rows and initial states show memory of others"): (
        ("engine/test_arena.py", "test_null_rows_see_nobodys_state"),
        ("engine/test_canary.py", "test_a_scratch_row_that_was_written_to_is_wiped"),
    ),
    (9, "a model that answers nothing leaves its client waiting"): (
        ("frontends/test_grpc_stream.py", "test_a_plain_model_that_answers_nothing"),
        ("backends/test_python_execute.py", "test_a_decoupled_model_that_forgets_its_request"),
    ),
    (10, "shapes of 0 are never answered, batches of 2**32 wrap, inputs are only counted"): (
        ("session/test_request_checks.py", "test_what_is_wrong_is_told_in_tritons_words"),
    ),
    (11, "a model's process that dies stays dead, and is called ready"): (
        (
            "system/test_worker_processes.py",
            "test_a_crash_fails_its_request_and_the_model_is_loaded_again",
        ),
    ),
    (12, "a missing model.py blocks loading for minutes"): (
        ("backends/test_python_loading.py", "TestFaults::test_no_file_fails_at_once"),
        ("backends/test_python_completion.py", "test_a_missing_model_file_fails_at_once"),
    ),
    (13, "the server dies of a model that goes on after its error ended the stream"): (
        (
            "system/test_decoupled.py",
            "test_defect_13_a_model_that_goes_on_after_its_error_has_ended_the_stream",
        ),
    ),
    (14, "the server dies of initial states that do not fit"): (
        ("repository/test_repository_own_texts.py", "test_own_text"),
        ("repository/test_repository_values.py", "test_an_initial_state_of_the_wrong_size"),
    ),
    (15, "the server dies of the metrics of a dead model"): (
        ("backends/test_python_process_ways.py", "TestMetrics::test_a_crash_takes_no_counter_back"),
    ),
    (18, "texts with stray brackets, which clients know and we keep"): (
        ("session/test_request_checks.py", "test_what_is_wrong_is_told_in_tritons_words"),
    ),
    (23, "a slow sequence holds up the others of its stream"): (
        ("frontends/test_grpc_stream.py", "test_sequences_do_not_wait_for_each_other"),
        ("system/test_sequences.py", "test_sequences_of_one_stream_do_not_wait_for_each_other"),
    ),
    (29, "sequences without slot may be without end"): (
        ("core/test_core_admission.py", "TestAdmission::test_limit_of_the_backlog"),
    ),
    (30, "errors among a called model's responses are lost"): (
        ("server/test_models_calling_models.py", "test_errors_among_many_responses_are_delivered"),
    ),
    (32, "a server that stops takes new sequences for a while"): (
        (
            "core/test_core_admission.py",
            "TestAdmission::test_stopping_refuses_starts_and_takes_the_rest_of_live_sequences",
        ),
    ),
}
"""Number and defect: tests, by module below tests/ and name."""

CASES_OF: Final = {
    1: "queue_priorities",
    3: "queue_timeout_longer",
    5: "sequence_long_step_is_not_idle",
    6: "sequence_end_then_start_pipelined",
    7: "sequence_cancelled_in_the_middle",
    9: "model_sender_nothing",
    10: "odd_shapes",
    18: "extra_input_grpc",
    19: "model_error_counted",
    23: "stream_order",
}
"""Number: the case that shows the defect, or what we keep of it, beside Triton."""


@cache
def named_in(path: Path) -> frozenset[str]:
    """The tests of a module, those of classes as "Class::test"."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}::{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            }
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
    return frozenset(found)


@pytest.mark.parametrize(("number", "about"), TESTS, ids=[f"defect_{key[0]}" for key in TESTS])
def test_each_defect_has_its_tests(number: int, about: str) -> None:
    for module, test in TESTS[number, about]:
        assert test in named_in(ROOT / "tests" / module), f"{module}::{test}"


@pytest.mark.parametrize(("number", "name"), CASES_OF.items())
def test_each_case_of_a_defect_is_there(number: int, name: str) -> None:
    assert name in {case.name for case in CASES}, f"defect {number}"


def test_every_defect_of_this_path_is_named() -> None:
    named = {number for number, _ in TESTS} | CASES_OF.keys()
    assert named == {1, 2, 3, *range(5, 16), 18, 19, 23, 29, 30, 32}
