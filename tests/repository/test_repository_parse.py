"""Syntax: place, field and expectation of every mistake in a text or JSON configuration."""

import pytest

from streamgate.errors import ConfigError, ConfigPhase
from streamgate.repository.parse import parse_dict, parse_json, parse_text
from tests.repository.conftest import Models

TEXT_MISTAKES = [
    (
        'name: "m"\n max_batch: 3',
        "line 2, column 2: ModelConfig has no field 'max_batch'; did you mean 'max_batch_size'?",
    ),
    (
        "input [ { dim: 3 } ]",
        "line 1, column 11: ModelInput has no field 'dim'; did you mean 'dims'?",
    ),
    (
        "model_transaction_policy { zzz: true }",
        "line 1, column 28: ModelTransactionPolicy has no field 'zzz'; expected one of decoupled",
    ),
    (
        "max_batch_size: big",
        "line 1, column 17: field 'max_batch_size': Couldn't parse integer: big",
    ),
    (
        "input {\n  dims: [ 1, x ]\n}",
        "line 2, column 14: field 'dims': Couldn't parse integer: x",
    ),
    (
        "max_batch_size: 99999999999",
        "line 1, column 17: field 'max_batch_size': Value out of range: 99999999999",
    ),
    (
        "input {\n data_type: TYPE_FP31 }",
        "line 2, column 13: field 'data_type': unknown value TYPE_FP31; did you mean 'TYPE_FP32'?",
    ),
    (
        "instance_group { kind: TPU }",
        (
            "line 1, column 24: field 'kind': unknown value TPU; expected one of KIND_AUTO, "
            "KIND_CPU, KIND_GPU, KIND_MODEL"
        ),
    ),
    (
        'name: "a" name: "b"',
        (
            "line 1, column 17: field 'name': Message type \"ModelConfig\" should not have "
            'multiple "name" fields.'
        ),
    ),
    ('input { name: "a"', 'line 1, column 15: Expected "}".'),
    ('parameters { key: "a" value: "x" }', "line 1, column 30: field 'value': Expected \"{\"."),
    ("optimization { priority: 7 }", "field 'optimization.priority': unknown value 7; expected"),
    ("input { data_type: 99 }", "field 'input.data_type': unknown value 99; expected one of"),
]


@pytest.mark.parametrize(("text", "what"), TEXT_MISTAKES)
def test_text_mistakes(text: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_text(text, "m/config.pbtxt")
    assert caught.value.message.startswith("failed to read text proto from m/config.pbtxt: " + what)
    assert caught.value.phase is ConfigPhase.POLL
    assert "streamgate.wire" not in caught.value.message


def test_two_schedulers() -> None:
    with pytest.raises(ConfigError, match='"sequence_batching" is specified along with'):
        parse_text("dynamic_batching { } sequence_batching { }", "c")


JSON_MISTAKES = [
    ("{bad", "line 1, column 2: Expecting property name"),
    ('{\n"name": }', "line 2, column 9: Expecting value"),
    ("[]", "expected an object (ModelConfig), found list"),
    ("3", "expected an object (ModelConfig), found int"),
    (
        '{"max_batch": 1}',
        "ModelConfig has no field 'max_batch'; did you mean 'max_batch_size'?",
    ),
    (
        '{"input": [{"name": "A"}, {"dimz": [1]}]}',
        "field 'input[1]': ModelInput has no field 'dimz'; did you mean 'dims'?",
    ),
    (
        '{"parameters": {"a": "b"}}',
        "field 'parameters[a]': expected an object (ModelParameter), found str",
    ),
    ('{"dynamic_batching": 1}', "field 'dynamic_batching': expected an object"),
    ('{"input": {"name": "A"}}', "Failed to parse input field"),
    ('{"max_batch_size": "x"}', "Failed to parse max_batch_size field"),
    ('{"name": 3}', "Failed to parse name field"),
    ('{"name": "a", "name": "b"}', "field 'name' is given twice in one object"),
    ('{"input": [{"data_type": "TYPE_FP31"}]}', "Failed to parse input field"),
    ('{"input": [{"data_type": 99}]}', "field 'input.data_type': unknown value 99"),
    ('{"dynamic_batching": {}, "sequence_batching": {}}', 'Message type "ModelConfig" should not'),
    ("[" * 100_000, "maximum recursion depth exceeded"),
]


@pytest.mark.parametrize(("text", "what"), JSON_MISTAKES)
def test_json_mistakes(text: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_json(text, "the load request")
    message = caught.value.message
    assert message.startswith("failed to read JSON from the load request: " + what)
    assert caught.value.phase is ConfigPhase.POLL
    assert "streamgate.wire" not in message


def test_json_takes_numbers_strings_and_camel_case() -> None:
    message = parse_json('{"maxBatchSize": 3, "input": [{"dims": ["3", 4]}]}', "c")
    assert message.max_batch_size == 3
    assert list(message.input[0].dims) == [3, 4]


def test_a_dict_keeps_its_phase() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_dict({"nope": 1}, "c", ConfigPhase.LOAD)
    assert caught.value.phase is ConfigPhase.LOAD


def test_a_file_that_is_not_utf_8(models: Models) -> None:
    folder = models.write("m", None)
    (folder / "config.pbtxt").write_bytes(b'name: "\xff"')
    with pytest.raises(ConfigError, match=r"m/config\.pbtxt: byte 7 is not UTF-8"):
        models.source()


def test_the_file_is_named_once(models: Models) -> None:
    error = models.refused("nonsense: 1")
    assert error.message.count("config.pbtxt") == 1


def test_a_configuration_is_needed_without_completion(models: Models) -> None:
    models.write("m", None)
    with pytest.raises(ConfigError, match=r"m/config\.pbtxt: No such file or directory") as caught:
        models.source(auto_complete=False)
    assert caught.value.phase is ConfigPhase.POLL
