"""The failing model of the conformance suite, against what a real Triton 2.51 answered.

Only the backend is under test: what a unary gRPC client got is compared with the reply.
"""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from streamgate_python import create
from tests.backends.python_models import Model, RecordingReply, reply_of, request

pytestmark = pytest.mark.usefixtures("execution")

CONFORMANCE = Path(__file__).resolve().parents[1] / "conformance"
GOLDEN = json.loads((CONFORMANCE / "triton-2.51-golden.json").read_text())

# Triton shows the signature of its C++ constructor; ours says what was expected and found.
OTHER_TEXT = {"tensor_from_list", "error_from_text"}

WAYS = [
    name.removeprefix("model_").removeprefix("code_")
    for name, rounds in GOLDEN.items()
    if name.startswith("model_") and isinstance(rounds[0], list) and len(rounds[0]) == 3
    if name not in {"model_recovers", "model_requested_unsent_output"}
]


def expected(way: str) -> dict[str, Any]:
    rounds = GOLDEN.get(f"model_{way}") or GOLDEN[f"model_code_{way}"]
    found: dict[str, Any] = rounds[0][0]
    return found


def asked(way: str, folder: Path) -> RecordingReply:
    model = Model(folder, "errors", outputs=("OUTPUT", "SECOND"), instance="errors_0_0")
    made = request(way.encode(), bytes, name="SELECTOR")
    session = model.load()
    session.execute([made])
    session.close()
    return reply_of(made)


def plain(text: str) -> str:
    """Newer Pythons run a comprehension in its function's own frame."""
    return re.sub(r"  .*: <listcomp>\n", "", text)


def test_there_is_something_to_compare() -> None:
    assert len(WAYS) > 25
    assert create().default_model_filename == "model.py"


@pytest.mark.parametrize("way", WAYS)
def test_the_answer_is_tritons(way: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="streamgate_python")
    sent = asked(way, CONFORMANCE / "models").only
    wanted = expected(way)
    if wanted["status"] == "OK":
        assert sent.failure is None
        assert [
            {
                "name": tensor.name,
                "datatype": tensor.datatype.value,
                "shape": list(tensor.shape),
                "data": tensor.array.ravel().tolist(),
            }
            for tensor in sent.outputs
        ] == wanted.get("outputs", [])
        return
    assert sent.failure is not None
    if way in OTHER_TEXT:
        assert sent.failure.code.value == "INTERNAL"
        assert "message: TypeError: " in sent.failure.message
        assert "message: TypeError: " in wanted["message"]
        return
    text = wanted["message"].replace("<repository>", str(CONFORMANCE / "models"))
    assert plain(sent.failure.message) == plain(text)
