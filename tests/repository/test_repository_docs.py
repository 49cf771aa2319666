"""The examples in docs/configuration.md are true."""

from pathlib import Path

import pytest

from streamgate.errors import ConfigError
from streamgate.model.config import SequenceBatching
from streamgate.repository.unserved import IGNORED_FIELDS
from tests.repository.conftest import Models

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "configuration.md").read_text()


def blocks(language: str) -> list[str]:
    fenced = TEXT.split("```")[1::2]
    return [
        body for first, _, body in (part.partition("\n") for part in fenced) if first == language
    ]


@pytest.mark.parametrize("config", blocks("pbtxt"))
def test_configurations_load(models: Models, config: str) -> None:
    made = models.made(config, {"1/model.onnx": b""})
    assert made.inputs
    if made.sequences is not None:
        assert [state.batch_axis for state in made.states] == [1, 0]
        assert [state.initial_value for state in made.states] == [0.0, -1.0]
        assert (made.sequences.slots, made.sequences.max_backlog) == (128, 500)


@pytest.mark.parametrize("config", blocks("json"))
def test_overrides_load(models: Models, config: str) -> None:
    (version,) = models.repository().read("m", config, {"1/model.py": b""}).versions
    assert version.config.max_batch_size == 4


def test_messages_are_as_shown(models: Models) -> None:
    shown = [block.strip() for block in blocks("") if "models/sum" in block]
    found = []
    for config in (
        'backend: "python"\nmax_batch: 8',
        'backend: "python" max_batch_size: 4 dynamic_batching { preferred_batch_size: 8 }',
    ):
        models.write("sum", config)
        with pytest.raises(ConfigError) as caught:
            models.source("sum")
        found.append(caught.value.message.replace(str(models.directory), "models"))
    assert found == shown


def test_defaults_are_as_shown() -> None:
    defaults = SequenceBatching.__dataclass_fields__
    for parameter, field in (
        ("streamgate.max_backlog_sequences", "max_backlog"),
        ("streamgate.max_pending_requests", "max_pending"),
    ):
        assert f"| `{parameter}` | {defaults[field].default} |" in TEXT


def test_what_is_ignored_is_listed() -> None:
    for field in IGNORED_FIELDS:
        assert f"`{field.removesuffix('.enable').removeprefix('instance_group.')}`" in TEXT
