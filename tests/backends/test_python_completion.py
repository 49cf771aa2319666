"""`auto_complete_config`: what it may add, and what contradicts the configuration."""

import os
from pathlib import Path
from typing import Any

import pytest

from streamgate.errors import Code, LoadError
from streamgate_python import create
from streamgate_python import triton_python_backend_utils as pb_utils
from tests.backends.python_models import Model

IN = {"name": "IN", "data_type": "TYPE_FP32", "dims": [4]}
OUT = {"name": "OUT", "data_type": "TYPE_FP32", "dims": [4]}


def complete(folder: Path, body: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
    model = Model(folder).write(
        f"""
        IN, OUT = {IN!r}, {OUT!r}

        class TritonPythonModel:
            @staticmethod
            def auto_complete_config(config):
                {body}
        """
    )
    return create().auto_complete({} if given is None else given, model.files)


def refused(folder: Path, body: str, given: dict[str, Any] | None = None) -> str:
    with pytest.raises(LoadError) as caught:
        complete(folder, body, given)
    assert caught.value.code is Code.INTERNAL
    return caught.value.message.partition("\n\nAt:")[0]


def test_everything_at_once(tmp_path: Path) -> None:
    body = (
        "config.set_max_batch_size(4); config.add_input(IN); config.add_output(OUT); "
        "config.set_dynamic_batching(); "
        "config.set_model_transaction_policy({'decoupled': True}); return config"
    )
    assert complete(tmp_path, body) == {
        "max_batch_size": 4,
        "input": [IN],
        "output": [OUT],
        "dynamic_batching": {},
        "model_transaction_policy": {"decoupled": True},
    }


def test_without_the_function_nothing_is_added(tmp_path: Path) -> None:
    model = Model(tmp_path).execute("return []")
    given = {"max_batch_size": 3}
    assert create().auto_complete(given, model.files) == given


def test_returning_the_configuration_untouched_adds_nothing(tmp_path: Path) -> None:
    given = {"name": "m", "input": [{"name": "IN"}], "parameters": {"a": {"string_value": "b"}}}
    assert complete(tmp_path, "return config", given) == given


def test_given_entries_are_completed_and_keep_what_else_they_say(tmp_path: Path) -> None:
    given = {"input": [{"name": "IN", "allow_ragged_batch": True, "dims": [4]}]}
    body = "config.add_input({**IN, 'optional': True}); config.add_output(OUT); return config"
    assert complete(tmp_path, body, given) == {
        "input": [{**IN, "optional": True, "allow_ragged_batch": True}],
        "output": [OUT],
    }
    assert given == {"input": [{"name": "IN", "allow_ragged_batch": True, "dims": [4]}]}


def test_the_same_again_is_no_conflict(tmp_path: Path) -> None:
    given = {"max_batch_size": 4, "input": [IN], "dynamic_batching": {"preferred_batch_size": [4]}}
    body = (
        "config.set_max_batch_size(4); config.add_input(IN); config.set_dynamic_batching(); "
        "return config"
    )
    assert complete(tmp_path, body, given) == given


def test_the_function_sees_the_configuration(tmp_path: Path) -> None:
    body = (
        "seen = config.as_dict(); "
        "assert (seen['name'], seen['max_batch_size'], seen['output']) == ('m', 2, []); "
        "assert seen['input'][0]['dims'] == [4]; "
        "assert pb_utils.get_model_dir().endswith('/m/1'); return config"
    )
    complete(tmp_path, body, {"max_batch_size": 2, "input": [IN]})


@pytest.mark.parametrize(
    ("body", "given", "text"),
    [
        (
            "config.set_max_batch_size(2)",
            {"max_batch_size": 4},
            (
                "configuration specified max_batch_size 4, but in auto-complete-config function "
                "for model 'm' specified max_batch_size 2"
            ),
        ),
        (
            "config.set_dynamic_batching()",
            {"sequence_batching": {}},
            (
                "Configuration specified scheduling_choice as 'sequence_batching', but "
                "auto-complete-config function for model 'm' tries to set scheduling_choice as "
                "'dynamic_batching'"
            ),
        ),
        (
            "config.add_input({'name': 'IN', 'data_type': 'TYPE_FP32'})",
            {},
            "input 'IN' in auto-complete-config function for model 'm' is missing 'dims' property.",
        ),
        (
            "config.add_output({'name': 'OUT', 'dims': [1]})",
            {},
            (
                "output 'OUT' in auto-complete-config function for model 'm' is missing "
                "'data_type' property."
            ),
        ),
        (
            "config.add_output({'dims': [1]})",
            {},
            "output in auto-complete-config function for model 'm' is missing 'name' property.",
        ),
        (
            "config.add_input({**IN, 'format': 1})",
            {},
            (
                "input 'IN' in auto-complete-config function for model 'm' contains property other "
                "than 'name', 'data_type', 'dims' and 'optional'."
            ),
        ),
        (
            "config.add_output({**OUT, 'optional': True})",
            {},
            (
                "output 'OUT' in auto-complete-config function for model 'm' contains property "
                "other than 'name', 'data_type' and 'dims'."
            ),
        ),
        (
            "config.add_input({**IN, 'data_type': 'TYPE_INT8'})",
            {"input": [IN]},
            (
                "unable to load model 'm', configuration expects datatype TYPE_FP32 for input "
                "'IN', model provides TYPE_INT8"
            ),
        ),
        (
            "config.add_output({**OUT, 'dims': [5]})",
            {"output": [OUT]},
            (
                "model 'm', tensor 'OUT': the model expects dims [5] but the model configuration "
                "specifies dims [4]"
            ),
        ),
        (
            "config.add_input({**IN, 'optional': True})",
            {"input": [{**IN, "optional": False}]},
            (
                "model 'm', tensor 'IN': the model expects optional True but the model "
                "configuration specifies optional False"
            ),
        ),
        (
            "config.set_model_transaction_policy({'other': 1})",
            {},
            (
                "model transaction property in auto-complete-config function for model 'm' "
                "contains property other than 'decoupled'."
            ),
        ),
        (
            "config.set_model_transaction_policy({'decoupled': True})",
            {"model_transaction_policy": {"decoupled": False}},
            (
                "trying to change decoupled property in auto-complete-config for model 'm', which "
                "is already set to 'False'."
            ),
        ),
    ],
)
def test_contradictions(tmp_path: Path, body: str, given: dict[str, Any], text: str) -> None:
    assert refused(tmp_path, body, given) == f"ValueError: {text}"


@pytest.mark.parametrize("returned", ["None", "{}", "config.as_dict()"])
def test_something_else_than_a_configuration(tmp_path: Path, returned: str) -> None:
    assert refused(tmp_path, f"return {returned}") == (
        "auto_complete_config function in model 'm' must return a valid pb.ModelConfig object."
    )


def test_an_exception_shows_the_models_frames(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"^OSError: gone\n\nAt:\n.*: auto_complete_config\n$"):
        complete(tmp_path, "raise OSError('gone')")


def test_a_missing_model_file_fails_at_once(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="Python model file not found in"):
        create().auto_complete({}, Model(tmp_path).files)


def test_a_model_without_the_class(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="has no attribute 'TritonPythonModel'"):
        create().auto_complete({}, Model(tmp_path).write("").files)


def test_a_configuration_of_its_own(tmp_path: Path) -> None:
    made = pb_utils.ModelConfig('{"name": "x"}')
    made.add_input(IN)
    assert made.as_dict()["input"] == [IN]


PROCESS = {"parameters": {"streamgate.execution": {"string_value": "process"}}}
THREAD = {"parameters": {"streamgate.execution": {"string_value": "thread"}}}
SEVERAL: dict[str, Any] = {"instance_group": [{"count": 2}]}
TOLD = "import os; config.set_max_batch_size(os.getpid()); return config"


class TestInAProcess:
    @pytest.mark.parametrize("given", [PROCESS, SEVERAL, {"instance_group": [{}, {}]}])
    def test_it_is_asked_where_the_model_will_run(
        self, tmp_path: Path, given: dict[str, Any]
    ) -> None:
        assert complete(tmp_path, TOLD, given)["max_batch_size"] != os.getpid()

    @pytest.mark.parametrize("given", [THREAD, SEVERAL | THREAD, {"instance_group": [{}]}])
    def test_and_here_where_it_runs_here(self, tmp_path: Path, given: dict[str, Any]) -> None:
        assert complete(tmp_path, TOLD, given)["max_batch_size"] == os.getpid()

    def test_faults_have_the_same_texts(self, tmp_path: Path) -> None:
        assert refused(tmp_path, "raise OSError('gone')", PROCESS) == "OSError: gone"

    def test_a_crash_is_a_failed_load(self, tmp_path: Path) -> None:
        assert refused(tmp_path, "import os; os._exit(4)", PROCESS) == (
            "Stub process 'm' is not healthy. It ended with exit status 4 while it loaded the "
            "model."
        )
