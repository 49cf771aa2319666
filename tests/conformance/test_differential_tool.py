"""The differential tool itself: its cases, its record, how it compares and what it allows."""

import fnmatch
import struct
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from tests.conformance.allowed_differences import ALLOWED
from tests.conformance.answers import (
    Answer,
    http_body,
    infer_response,
    plain,
    tensor_data,
    without_paths,
)
from tests.conformance.cases import CASES, select
from tests.conformance.compare import ABSENT, AllowedDifference, Difference, differences, judge
from tests.conformance.differential import RECORDED, compare, nearest, report, unordered
from tests.conformance.open_defects import OPEN
from tests.conformance.perform import requests_of
from tests.conformance.records import (
    PROGRAMS,
    merged,
    merged_variants,
    read_golden,
    read_random,
    recorded,
)
from tests.conformance.servers import MODELS, ROOT
from tests.conformance.shrink import shortest
from tests.conformance.steps import (
    Case,
    Counted,
    Exchange,
    Infer,
    Join,
    Pause,
    RawGrpcStream,
    Start,
    Step,
    Stream,
    Together,
    client_steps,
)

CASE_NAMES = [case.name for case in CASES]


def test_there_are_many_cases_and_each_has_its_own_name() -> None:
    assert len(CASES) >= 350
    assert len(set(CASE_NAMES)) == len(CASE_NAMES)
    assert all(name.isidentifier() for name in CASE_NAMES)


def test_every_model_that_a_case_names_is_in_the_repository() -> None:
    present = {path.name for path in MODELS.iterdir()}
    named = {request.model for case in CASES for request in requests_of(case.steps)}
    assert named - present == {"nobody"}


def test_every_background_step_is_waited_for() -> None:
    for case in CASES:
        started = [step.name for step in case.steps if isinstance(step, Start)]
        joined = [step.name for step in case.steps if isinstance(step, Join)]
        assert sorted(started) == sorted(joined), case.name


def test_the_record_holds_exactly_the_cases() -> None:
    golden = read_golden()
    assert list(golden) == CASE_NAMES
    assert all(variants for variants in golden.values())


def test_the_record_holds_no_case_that_broke_off() -> None:
    assert [name for name, variants in read_golden().items() if "broke_off" in str(variants)] == []


def test_every_allowance_names_a_case_and_a_reason() -> None:
    for entry in ALLOWED:
        assert fnmatch.filter(CASE_NAMES, entry.case), f"no case {entry.case}"
        assert len(entry.reason) > 20, entry


def test_every_allowance_is_documented_and_no_other() -> None:
    page = (ROOT / "docs" / "conformance.md").read_text()
    table = page.partition("| cases | reason |\n|---|---|\n")[2].partition("\n\n")[0]
    reasons = [line.strip("| ").rpartition(" | ")[2] for line in table.splitlines()]
    assert reasons == list(dict.fromkeys(entry.reason for entry in ALLOWED))


def test_every_open_defect_names_a_case() -> None:
    assert set(OPEN) <= set(CASE_NAMES)
    assert all(len(defect.reason) > 20 for defect in OPEN.values())


class TestSelect:
    def test_without_patterns_everything(self) -> None:
        assert select(()) == CASES

    def test_by_beginning(self) -> None:
        chosen = select(("http_health", "stream_or"))
        assert {case.name for case in chosen} == {"http_health", "stream_order"}

    def test_a_pattern_that_selects_nothing_is_an_error(self) -> None:
        with pytest.raises(LookupError, match="zzz"):
            select(("zzz",))


class TestDifferences:
    def test_equal_answers_have_none(self) -> None:
        answer: Answer = [{"status": "OK", "outputs": [{"data": [1, 2]}]}]
        assert differences("c", answer, answer) == []

    def test_the_innermost_place_is_named(self) -> None:
        left = [{"outputs": [{"data": [1, 2]}]}]
        right = [{"outputs": [{"data": [1, 3]}]}]
        assert differences("c", left, right) == [Difference("c", "0/outputs/0/data/1", 2, 3)]

    def test_a_key_on_one_side_only(self) -> None:
        found = differences("c", [{"a": 1}], [{"b": 2}])
        assert found == [Difference("c", "0/a", 1, ABSENT), Difference("c", "0/b", ABSENT, 2)]

    def test_answers_of_different_kinds_differ_as_a_whole(self) -> None:
        result: Answer = {"status": "OK", "id": "i", "outputs": []}
        refusal: Answer = {"status": "INTERNAL", "message": "m"}
        assert differences("c", [result], [refusal]) == [Difference("c", "0", result, refusal)]

    def test_lists_of_different_length_differ_as_a_whole(self) -> None:
        assert differences("c", [1], [1, 2]) == [Difference("c", "", [1], [1, 2])]

    @pytest.mark.parametrize(("left", "right"), [(1, 1.0), (1, True), (0, False), ("1", 1)])
    def test_equal_numbers_of_different_types_differ(self, left: Answer, right: Answer) -> None:
        assert len(differences("c", [left], [right])) == 1


class TestJudge:
    FOUND = Difference("http_generate", "2/status", 200, 400)

    def test_what_nothing_allows_is_unexpected(self) -> None:
        assert judge([self.FOUND], (), ["http_generate"]).unexpected == (self.FOUND,)

    def test_an_allowance_covers_by_patterns(self) -> None:
        entry = AllowedDifference("http_*", "*/status", "reason", "400")
        verdict = judge([self.FOUND], (entry,), ["http_generate"])
        assert verdict.unexpected == ()
        assert verdict.allowed == ((self.FOUND, entry),)
        assert verdict.unused == ()

    def test_an_allowance_promises_what_streamgate_says_instead(self) -> None:
        entry = AllowedDifference("http_*", "*/status", "reason", "404")
        verdict = judge([self.FOUND], (entry,), ["http_generate"])
        assert verdict.unexpected == (self.FOUND,)
        assert verdict.unused == (entry,)

    def test_an_allowance_of_chance_is_never_stale(self) -> None:
        entry = AllowedDifference("http_generate", "2/status", "reason", "400", by_chance=True)
        assert judge([], (entry,), ["http_generate"]).unused == ()
        assert judge([self.FOUND], (entry,), ["http_generate"]).unexpected == ()

    def test_an_allowance_for_a_case_that_did_not_run_is_not_stale(self) -> None:
        entry = AllowedDifference("other", "*", "reason")
        assert judge([], (entry,), ["http_generate"]).unused == ()


class TestVariants:
    def test_runs_are_merged_without_repetition(self) -> None:
        runs = [{"a": [1], "b": [1]}, {"a": [1], "b": [2]}]
        assert merged(runs) == {"a": [[1]], "b": [[1], [2]]}

    def test_collections_are_merged_likewise(self) -> None:
        assert merged_variants({"a": [[1]]}, {"a": [[1], [2]], "b": [[3]]}) == {
            "a": [[1], [2]],
            "b": [[3]],
        }

    def test_a_record_keeps_what_chance_did_not_show_this_time(self) -> None:
        assert recorded({"a": [[1], [2]], "b": [[9]]}, {"a": [[2], [3]]}) == {
            "a": [[1], [2], [3]],
            "b": [[9]],
        }

    def test_a_record_forgets_a_case_that_has_changed(self) -> None:
        assert recorded({"a": [[1], [2]]}, {"a": [[5]]}) == {"a": [[5]]}

    def test_the_order_within_a_stream_can_be_left_out(self) -> None:
        first: Answer = [{"status": "OK"}, [{"id": "b"}, {"id": "a"}]]
        second: Answer = [{"status": "OK"}, [{"id": "a"}, {"id": "b"}]]
        assert unordered(first) == unordered(second) == second

    def test_the_nearest_variant_counts(self) -> None:
        variants = [[{"x": 1, "y": 1}], [{"x": 2, "y": 2}]]
        assert nearest("c", variants, [{"x": 2, "y": 3}]) == [Difference("c", "0/y", 2, 3)]

    def test_a_record_of_random_cases_tells_which(self) -> None:
        assert read_random(RECORDED).keys() == {PROGRAMS, *(case.name for case in RECORDED)}
        with pytest.raises(LookupError, match="other programs"):
            read_random(RECORDED[1:])

    def test_a_case_without_record_differs(self) -> None:
        case = Case("new", "about", ())
        verdict = compare((case,), {}, {"new": [1]})
        assert len(verdict.unexpected) == 1
        assert "DIFFERENT new" in report(verdict, (case,))
        assert "1 differ" in report(verdict, (case,))


class TestAnswers:
    def test_tensors_are_decoded(self) -> None:
        assert tensor_data("INT32", struct.pack("<2i", 1, -1)) == [1, -1]
        assert tensor_data("BOOL", b"\x00\x01") == [False, True]
        assert tensor_data("BYTES", b"\x02\x00\x00\x00ab") == ["ab"]

    def test_what_cannot_be_decoded_is_kept_in_hexadecimal(self) -> None:
        assert tensor_data("INT32", b"abc") == {"hex": "616263"}
        assert tensor_data("BYTES", b"\x05\x00\x00\x00ab") == {"hex": "050000006162"}
        assert tensor_data("BF16", b"\x80\x3f") == {"hex": "803f"}

    def test_large_tensors_are_digested(self) -> None:
        values = np.arange(1000, dtype="<i4")
        shown = tensor_data("INT32", values.tobytes())
        assert isinstance(shown, dict)
        assert shown["count"] == 1000
        assert shown["first"] == [0, 1, 2, 3]
        values[999] = 0
        assert tensor_data("INT32", values.tobytes()) != shown

    def test_numbers_that_json_lacks_become_text(self) -> None:
        assert plain([float("inf"), float("nan"), 0.5]) == ["inf", "nan", 0.5]

    def test_a_response_message(self) -> None:
        message = service_pb2.ModelInferResponse(model_name="m", model_version="1")
        message.parameters["p"].bool_param = False
        message.outputs.add(name="o", datatype="INT32", shape=[2])
        message.raw_output_contents.append(struct.pack("<2i", 1, 2))
        assert infer_response(message) == {
            "model_name": "m",
            "model_version": "1",
            "parameters": {"p": {"bool_param": False}},
            "outputs": [{"name": "o", "datatype": "INT32", "shape": [2], "data": [1, 2]}],
        }

    def test_http_bodies(self) -> None:
        assert http_body(b"", None) is None
        assert http_body(b'{"a": 1}', None) == {"a": 1}
        assert http_body(b'{"a": 1}\x01\x02', "8") == {"json": {"a": 1}, "tail": "0102"}
        assert http_body(b'data: {"a": 1}\n\ndata: x\n\n', None) == {
            "events": [{"a": 1}, {"text": "x"}]
        }
        assert http_body(b"plain", None) == {"text": "plain"}

    def test_the_repository_place_is_hidden(self, tmp_path: Path) -> None:
        answer = [{"message": f"At: {tmp_path}/m/1/model.py(3)"}]
        assert without_paths(answer, tmp_path) == [{"message": "At: <repository>/m/1/model.py(3)"}]


class TestShortest:
    STEPS = tuple(Pause(number) for number in range(20))

    @pytest.mark.parametrize("needed", [{0}, {19}, {3, 4}, {0, 7, 19}, set(range(20))])
    def test_only_what_is_needed_stays(self, needed: set[int]) -> None:
        def differs(steps: tuple[Step, ...]) -> bool:
            return needed <= {step.duration_ms for step in steps if isinstance(step, Pause)}

        assert shortest(self.STEPS, differs) == tuple(Pause(number) for number in sorted(needed))


def test_steps_are_counted_by_what_they_send() -> None:
    request = Infer("m", ())
    steps = (
        request,
        Stream((request, Pause(1), request)),
        Start("s", request),
        Exchange("a", (request, request), 2),
        Together((request, request)),
        Counted("m", (request,)),
        RawGrpcStream(("", "")),
        Join("s"),
    )
    assert client_steps(steps) == 11
    assert len(list(requests_of(steps))) == 9


def test_requests_are_found_in_every_kind_of_step() -> None:
    request = Infer("m", ())
    nested = Start("s", request)
    assert list(requests_of((request, nested))) == [request, request]
