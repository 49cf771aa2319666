"""Each text of the request checks, and which of two broken rules is told."""

from dataclasses import dataclass

import pytest

from streamgate.errors import Code, StreamGateError
from streamgate.model.config import ControlInput, ControlKind, ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, SequenceKey
from streamgate.model.tensor import Tensor, pack_bytes
from streamgate.session.check import RequestChecker
from tests.session.plain_models import config_of, request_of, spec, texts, zeros

NO_ID = "[request id: <id_unknown>] "
NOTE = (
    "NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be "
    "prepended to each input shape. If you want to specify the full shape including the batch dim "
    "in your input dims config, try setting max_batch_size to zero. See the model configuration "
    "docs for more info on max_batch_size."
)
PLEASE = "Please provide all required input(s)."

ONE = config_of(spec("I", 4))
TWO = config_of(spec("A", 4), spec("B", 4))
OPTIONAL = config_of(spec("A", 4), spec("B", 4, optional=True))
UNBATCHED = config_of(spec("I", 4), max_batch=0)
VARYING = config_of(spec("I", -1))
CUBE = config_of(spec("I", -1, -1, -1))
VARYING_UNBATCHED = config_of(spec("I", -1), max_batch=0)
TEXT = config_of(spec("I", -1, datatype=DataType.BYTES))


@dataclass(frozen=True)
class Case:
    config: ModelConfig
    request: Request
    text: str


def untyped(request: Request) -> Request:
    """The request as if the type of its input I were a word that is no type."""
    request.unknown_types = {"I"}
    return request


def strings(raw: bytes, count: int = 1) -> Request:
    return request_of(texts("I", raw, 1, count))


CASES = {
    "unknown output": Case(
        ONE,
        request_of(zeros("I", 1, 4), outputs=["O", "X"]),
        "unexpected inference output 'X' for model 'm'",
    ),
    "no input": Case(
        ONE,
        request_of(),
        f"{NO_ID}expected 1 inputs but got 0 inputs for model 'm'. Got input(s) [], but missing "
        f"required input(s) ['I']. {PLEASE}",
    ),
    "no input of any size": Case(
        VARYING_UNBATCHED,
        request_of(),
        f"{NO_ID}expected 1 inputs but got 0 inputs for model 'm'. Got input(s) [], but missing "
        f"required input(s) ['I']. {PLEASE}",
    ),
    "one of two": Case(
        TWO,
        request_of(zeros("B", 1, 4), id="seven"),
        "[request id: seven] expected 2 inputs but got 1 inputs for model 'm'. Got input(s) "
        f"['B'], but missing required input(s) ['A']. {PLEASE}",
    ),
    "both missing": Case(
        TWO,
        request_of(),
        f"{NO_ID}expected 2 inputs but got 0 inputs for model 'm'. Got input(s) [], but missing "
        f"required input(s) ['A','B']. {PLEASE}",
    ),
    "one too many": Case(
        TWO,
        request_of(zeros("C", 1, 4), zeros("B", 1, 4), zeros("A", 1, 4)),
        f"{NO_ID}expected 2 inputs but got 3 inputs for model 'm'. Got input(s) ['C','B','A'], "
        f"but missing required input(s) ]. {PLEASE}",
    ),
    "none where one is optional": Case(
        OPTIONAL,
        request_of(),
        f"{NO_ID}expected number of inputs between 1 and 2 but got 0 inputs for model 'm'. Got "
        f"input(s) [], but missing required input(s) ['A']. {PLEASE}",
    ),
    # Triton counts inputs only, and hands this to the model.
    "only the optional one": Case(
        OPTIONAL,
        request_of(zeros("B", 1, 4)),
        f"{NO_ID}expected number of inputs between 1 and 2 but got 1 inputs for model 'm'. Got "
        f"input(s) ['B'], but missing required input(s) ['A']. {PLEASE}",
    ),
    "unknown input": Case(
        ONE, request_of(zeros("X", 1, 4)), "unexpected inference input 'X' for model 'm'"
    ),
    "two unknown inputs": Case(
        TWO,
        request_of(zeros("Y", 1, 4), zeros("X", 1, 4)),
        "unexpected inference input 'Y' for model 'm'",
    ),
    "unknown beside the optional one": Case(
        OPTIONAL,
        request_of(zeros("B", 1, 4), zeros("X", 1, 4)),
        "unexpected inference input 'X' for model 'm'",
    ),
    "input given twice": Case(
        TWO,
        request_of(zeros("A", 1, 4), zeros("A", 1, 4), id="7"),
        "[request id: 7] input 'A' already exists in request",
    ),
    "input given twice and an unknown output": Case(
        TWO,
        request_of(zeros("A", 1, 4), zeros("A", 1, 4), outputs=["X"]),
        f"{NO_ID}input 'A' already exists in request",
    ),
    "no shape": Case(
        ONE,
        request_of(zeros("I", size=4)),
        f"{NO_ID}input 'I' has no shape but model requires batch dimension for 'm'",
    ),
    "batches differ": Case(
        TWO,
        request_of(zeros("A", 2, 4), zeros("B", 3, 4)),
        f"{NO_ID}input 'B' batch size does not match other inputs for 'm'",
    ),
    "batch too large": Case(
        ONE,
        request_of(zeros("I", 9, 4)),
        f"{NO_ID}inference request batch-size must be <= 8 for 'm'",
    ),
    # Triton keeps 32 bits of the batch dimension and runs this as a request without one.
    "batch dimension of 2^62": Case(
        ONE,
        request_of(zeros("I", 2**62, 4, size=16)),
        f"{NO_ID}inference request batch-size must be <= 8 for 'm'",
    ),
    "batch dimension of 2^32": Case(
        ONE,
        request_of(zeros("I", 2**32, 4, size=0)),
        f"{NO_ID}inference request batch-size must be <= 8 for 'm'",
    ),
    "batch dimension 0": Case(
        ONE,
        request_of(zeros("I", 0, 4)),
        f"{NO_ID}input 'I' has batch dimension 0, expected 1 to 8 for 'm'",
    ),
    # Triton never answers this one.
    "batch dimension 0 of an input of any size": Case(
        VARYING,
        request_of(zeros("I", 0, 0)),
        f"{NO_ID}input 'I' has batch dimension 0, expected 1 to 8 for 'm'",
    ),
    "batch dimension 0 of the first of two": Case(
        TWO,
        request_of(zeros("A", 0, 4), zeros("B", 2, 4)),
        f"{NO_ID}input 'A' has batch dimension 0, expected 1 to 8 for 'm'",
    ),
    "batch dimension -1": Case(
        ONE,
        request_of(zeros("I", -1, 4, size=16)),
        f"{NO_ID}input 'I' has batch dimension -1, expected 1 to 8 for 'm'",
    ),
    "wrong type": Case(
        ONE,
        request_of(zeros("I", 1, 4, datatype=DataType.INT32)),
        f"{NO_ID}inference input 'I' data-type is 'INT32', but model 'm' expects 'FP32'",
    ),
    "size left open": Case(
        VARYING,
        request_of(zeros("I", 1, -1, size=4)),
        f"{NO_ID}All input dimensions should be specified for input 'I' for model 'm', got [1,-1]",
    ),
    "size left open though the model does so too": Case(
        VARYING_UNBATCHED,
        request_of(zeros("I", -1, size=4)),
        f"{NO_ID}All input dimensions should be specified for input 'I' for model 'm', got [-1]",
    ),
    "negative size": Case(
        VARYING,
        request_of(zeros("I", 1, -4, size=16)),
        f"{NO_ID}unexpected shape for input 'I' for model 'm'. Expected [-1,-1], got [1,-4]. "
        f"{NOTE}",
    ),
    "wrong size": Case(
        ONE,
        request_of(zeros("I", 1, 5)),
        f"{NO_ID}unexpected shape for input 'I' for model 'm'. Expected [-1,4], got [1,5]. {NOTE}",
    ),
    "batch dimension forgotten": Case(
        ONE,
        request_of(zeros("I", 4)),
        f"{NO_ID}unexpected shape for input 'I' for model 'm'. Expected [-1,4], got [4]. {NOTE}",
    ),
    "wrong size without a batch dimension": Case(
        UNBATCHED,
        request_of(zeros("I", 1, 4)),
        f"{NO_ID}unexpected shape for input 'I' for model 'm'. Expected [4], got [1,4]. ",
    ),
    "no shape without a batch dimension": Case(
        UNBATCHED,
        request_of(zeros("I", size=4)),
        f"{NO_ID}unexpected shape for input 'I' for model 'm'. Expected [4], got []. ",
    ),
    "too many bytes": Case(
        ONE,
        request_of(zeros("I", 1, 4, size=20)),
        f"{NO_ID}input byte size mismatch for input 'I' for model 'm'. Expected 16, got 20",
    ),
    "too few bytes": Case(
        UNBATCHED,
        request_of(zeros("I", 4, size=15)),
        f"{NO_ID}input byte size mismatch for input 'I' for model 'm'. Expected 16, got 15",
    ),
    # Triton's product overflows: it expects 0 bytes.
    "more bytes than there are": Case(
        VARYING,
        request_of(zeros("I", 1, 2**62, size=16)),
        f"{NO_ID}byte size for tensor 'I' exceeds maximum size of {2**63 - 1}",
    ),
    # No bytes fill it, and yet no array can be made of it.
    "a vast shape with a size of 0": Case(
        CUBE,
        request_of(zeros("I", 1, 0, 2**62, 2**62, size=0)),
        f"{NO_ID}byte size for tensor 'I' exceeds maximum size of {2**63 - 1}",
    ),
    "too few strings": Case(
        TEXT,
        strings(pack_bytes([b"one"]), 2),
        f"{NO_ID}expected 2 string elements for inference input 'I' for model 'm', got 1",
    ),
    "too many strings": Case(
        TEXT,
        strings(pack_bytes([b"one", b"two"])),
        f"{NO_ID}unexpected number of string elements 2 for inference input 'I' for model 'm', "
        "expecting 1",
    ),
    "length of a string cut": Case(
        TEXT,
        strings(b"\x01\x00"),
        f"{NO_ID}incomplete string length indicator for inference input 'I' for model 'm', "
        "expecting 4 bytes but only 2 bytes available. Please make sure the string length "
        "indicator is in one buffer.",
    ),
    "garbage after the last string": Case(
        TEXT,
        strings(pack_bytes([b"one"]) + b"\0"),
        f"{NO_ID}incomplete string length indicator for inference input 'I' for model 'm', "
        "expecting 4 bytes but only 1 bytes available. Please make sure the string length "
        "indicator is in one buffer.",
    ),
    "string cut": Case(
        TEXT,
        strings(pack_bytes([b"hello"])[:-3]),
        "incomplete string data for inference input 'I', expecting string of length 5 but only "
        "2 bytes available",
    ),
    "a string cut where two are expected": Case(
        TEXT,
        strings(pack_bytes([b"hello"])[:-3], 2),
        f"{NO_ID}expected 2 string elements for inference input 'I' for model 'm', got 1",
    ),
    "the second of two strings cut": Case(
        TEXT,
        strings(pack_bytes([b"one", b"two"])[:-1], 2),
        "incomplete string data for inference input 'I', expecting string of length 3 but only "
        "2 bytes available",
    ),
    "no datatype": Case(
        ONE,
        untyped(request_of(zeros("I", 1, 4), id="seven")),
        "[request id: seven] inference input 'I' data-type is '<invalid>', but model 'm' expects "
        "'FP32'",
    ),
    "an unknown output before no datatype": Case(
        ONE,
        untyped(request_of(zeros("I", 1, 4), outputs=["X"])),
        "unexpected inference output 'X' for model 'm'",
    ),
    "too large a batch before no datatype": Case(
        ONE,
        untyped(request_of(zeros("I", 9, 4))),
        f"{NO_ID}inference request batch-size must be <= 8 for 'm'",
    ),
    "more strings than memory": Case(
        TEXT,
        strings(pack_bytes([b"one"]), 2**62),
        f"{NO_ID}expected {2**62} string elements for inference input 'I' for model 'm', got 1",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_wrong_is_told_in_tritons_words(case: Case) -> None:
    with pytest.raises(StreamGateError) as raised:
        RequestChecker(case.config).check(case.request)
    assert raised.value.message == case.text
    assert raised.value.code is Code.INVALID_ARG


ACCEPTED: dict[str, tuple[ModelConfig, list[Tensor], int]] = {
    "plain": (ONE, [zeros("I", 3, 4)], 3),
    "largest batch": (ONE, [zeros("I", 8, 4)], 8),
    "two inputs in any order": (TWO, [zeros("B", 2, 4), zeros("A", 2, 4)], 2),
    "optional input given": (OPTIONAL, [zeros("A", 2, 4), zeros("B", 2, 4)], 2),
    "optional input left out": (OPTIONAL, [zeros("A", 2, 4)], 2),
    "without a batch dimension": (UNBATCHED, [zeros("I", 4)], 1),
    "any size": (VARYING, [zeros("I", 2, 9)], 2),
    "size 0": (VARYING, [zeros("I", 1, 0)], 1),
    "no inputs declared": (config_of(), [], 1),
    "no inputs declared and no batch": (config_of(max_batch=0), [], 1),
    "strings": (TEXT, [texts("I", pack_bytes([b"one", b""]), 1, 2)], 1),
    "scalar": (config_of(spec("I"), max_batch=0), [zeros("I")], 1),
}


@pytest.mark.parametrize(("config", "inputs", "rows"), ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_right_is_accepted_with_its_rows(
    config: ModelConfig, inputs: list[Tensor], rows: int
) -> None:
    request = request_of(*inputs, outputs=["O2"])
    RequestChecker(config).check(request)
    assert request.rows == rows


def test_requests_that_can_share_a_batch_have_equal_signatures() -> None:
    checker = RequestChecker(
        config_of(spec("A", -1), spec("B", 4), spec("R", -1, ragged=True, optional=True))
    )

    def signature(*inputs: Tensor) -> object:
        request = request_of(*inputs)
        checker.check(request)
        return request.signature

    fixed = zeros("B", 1, 4)
    plain = signature(zeros("A", 1, 3), fixed)
    assert signature(fixed, zeros("A", 1, 3)) == plain
    assert signature(zeros("A", 2, 3), zeros("B", 2, 4)) == plain
    assert signature(zeros("A", 1, 5), fixed) != plain
    ragged = signature(zeros("A", 1, 3), fixed, zeros("R", 1, 7))
    assert ragged != plain
    assert signature(zeros("A", 1, 3), fixed, zeros("R", 1, 9)) == ragged


@pytest.mark.parametrize(
    ("control", "key", "found"),
    [
        (DataType.BYTES, 7, "UINT64"),
        (DataType.UINT64, "seven", "BYTES"),
        (DataType.INT32, "seven", "BYTES"),
    ],
)
def test_a_correlation_id_has_the_type_of_the_control(
    control: DataType, key: SequenceKey, found: str
) -> None:
    corrid = ControlInput("CORRID", ControlKind.CORRID, control)
    checker = RequestChecker(config_of(spec("I", 4), controls=(corrid,)))
    request = request_of(zeros("I", 1, 4))
    request.sequence = key
    with pytest.raises(StreamGateError) as raised:
        checker.check(request)
    assert raised.value.message == (
        f"{NO_ID}sequence batching control 'CORRID' data-type is '{found}', but model 'm' expects "
        f"'{control.value}'"
    )
    request.sequence = "seven" if control is DataType.BYTES else 7
    checker.check(request)
