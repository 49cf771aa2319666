"""What docs/ensembles.md says in numbers and examples is so."""

from pathlib import Path

from streamgate.engine.ensemble.runs import WAITING_MAX
from streamgate.model.config import Ensemble
from streamgate.repository.ensembles import MAX_INFLIGHT
from streamgate.repository.repository import ModelRepository

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "ensembles.md").read_text()


def test_the_example_is_read(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "config.pbtxt").write_text(TEXT.split("```pbtxt\n")[1].split("```")[0])
    (version,) = ModelRepository([tmp_path]).read("m").versions
    ensemble = version.config.ensemble
    assert ensemble is not None
    assert [step.model for step in ensemble.steps] == ["decode", "detect"]


def test_limits_are_as_written() -> None:
    words = " ".join(TEXT.split())
    assert f"at most {MAX_INFLIGHT} runs of a step are under way" in words
    assert f"A request with more than {WAITING_MAX} responses that wait fails" in words
    pending = Ensemble.__dataclass_fields__["max_pending"].default
    assert f"`streamgate.max_pending_requests` (default {pending})" in words
