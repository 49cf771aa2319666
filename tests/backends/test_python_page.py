"""The models on docs/python-models.md do what the page says."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from streamgate.backend.contract import LoadContext, ModelRequest, RequestSession
from streamgate.errors import LoadError
from streamgate.repository.repository import ModelRepository
from streamgate_python import create
from tests.backends.python_models import RecordingReply, received, reply_of
from tests.server.model_house import model_house

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python-models.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = {
    path: block
    for block, path in re.findall(
        r"^```(?:python)?\n(# (models/[^\s:]+).*?)^```$", TEXT, re.MULTILINE | re.DOTALL
    )
}
SPELL_CONFIG = """
backend: "python"
input [ { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "LETTER" data_type: TYPE_STRING dims: [ 1 ] } ]
model_transaction_policy { decoupled: true }
"""


SPREAD_CONFIG = """
backend: "python"
max_batch_size: 8
input [ { name: "INPUT" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [
  { name: "FIRST" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "SECOND" data_type: TYPE_FP32 dims: [ -1 ] }
]
"""


def write(folder: Path, others: Mapping[str, str]) -> None:
    for path, text in {**BLOCKS, **others}.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    (folder / "models" / "spell" / "config.pbtxt").write_text(SPELL_CONFIG)


def load(folder: Path, name: str, others: Mapping[str, str] | None = None) -> RequestSession:
    write(folder, others or {})
    source = ModelRepository([folder / "models"], find_backend=lambda _: create()).read(name)
    [version] = source.versions
    return create().load(LoadContext(version.config, version.files, version.config.instances[0]))


def run(
    session: RequestSession, name: str, *values: object, dtype: type = np.float32
) -> ModelRequest:
    made = ModelRequest([received(name, np.array([*values], dtype=dtype))], RecordingReply())
    session.execute([made])
    reply_of(made).wait()
    return made


def test_the_page_has_its_models() -> None:
    assert sorted(BLOCKS) == [
        "models/scale/1/model.py",
        "models/scale/config.pbtxt",
        "models/spell/1/model.py",
        "models/spread/1/model.py",
        "models/total/1/model.py",
        "models/total/config.pbtxt",
    ]


def test_scale(tmp_path: Path) -> None:
    session = load(tmp_path, "scale")
    made = run(session, "INPUT", [1, 2, 3])
    session.close()
    assert reply_of(made).only.values == {"OUTPUT": [[2.5, 5, 7.5]]}


def test_the_text_of_an_error(tmp_path: Path) -> None:
    with pytest.raises(LoadError) as caught:
        load(tmp_path, "scale", {"models/scale/config.pbtxt": 'backend: "python"'})
    shown = caught.value.message.replace(f"{tmp_path}/", "/")
    assert f"```\n{shown}```\n" in TEXT


def test_spell(tmp_path: Path) -> None:
    session = load(tmp_path, "spell")
    made = run(session, "TEXT", b"abc", dtype=np.object_)
    session.close()
    sent = reply_of(made).sent
    assert [one.values.get("LETTER") for one in sent] == [[b"a"], [b"b"], [b"c"], None]
    assert [one.final for one in sent] == [False, False, False, True]


def test_total(tmp_path: Path) -> None:
    session = load(tmp_path, "total")
    total = np.zeros(1, np.float32)
    for value in (1, 2, 3):
        made = ModelRequest(
            [
                received("INPUT", np.array([value], np.float32)),
                received("TOTAL_IN", total),
            ],
            RecordingReply(),
        )
        session.execute([made])
        total = made.states["TOTAL_OUT"]
    session.close()
    assert reply_of(made).only.values == {"OUTPUT": [6]}


async def test_spread(tmp_path: Path) -> None:
    write(tmp_path, {"models/spread/config.pbtxt": SPREAD_CONFIG})
    async with model_house(tmp_path / "models", wanted=["scale", "spread"]) as house:
        answer = house.ask_with("spread", received("INPUT", np.array([[2]], np.float32)))
        outputs = (await answer.response()).outputs
    assert {tensor.name: tensor.array.tolist() for tensor in outputs} == {
        "FIRST": [[5]],
        "SECOND": [[12.5]],
    }
