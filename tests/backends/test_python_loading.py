"""Loading a model's code: `initialize`, what can fail, and models that never meet."""

import importlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamgate.errors import Code, LoadError
from streamgate.model.config import Execution, InstanceKind
from streamgate_python import create
from streamgate_python import triton_python_backend_utils as pb_utils
from tests.backends.python_models import Model, reply_of, request

RETURN_NAME = """
class TritonPythonModel:
    def execute(self, requests):
        array = np.array([NAME], dtype=object)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)])]
"""


pytestmark = pytest.mark.usefixtures("execution")

HERE = pytest.mark.parametrize("execution", [Execution.THREAD], indirect=True)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model(tmp_path)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    path, names = [*sys.path], {*sys.modules}
    yield
    assert sys.path == path
    assert [name for name in {*sys.modules} - names if name.startswith("streamgate_model_")] == []
    assert "my_helper" not in sys.modules


def failure(model: Model) -> str:
    with pytest.raises(LoadError) as caught:
        model.load()
    assert caught.value.code is Code.INTERNAL
    return caught.value.message


def said(model: Model) -> object:
    return model.answer().only.values["OUT"][0]


class TestInitialize:
    def test_arguments_are_strings(self, model: Model) -> None:
        model.write(
            """
            class TritonPythonModel:
                def initialize(self, args):
                    self.args = args

                def execute(self, requests):
                    text = np.array([json.dumps(self.args)], dtype=object)
                    return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", text)])]
            """
        )
        found = json.loads(said(model))  # type: ignore[arg-type]
        assert json.loads(found.pop("model_config")) == {"name": "m", "max_batch_size": 0}
        assert found == {
            "model_instance_kind": "CPU",
            "model_instance_name": "m_0",
            "model_instance_device_id": "0",
            "model_repository": str(model.directory),
            "model_version": "1",
            "model_name": "m",
        }

    @pytest.mark.parametrize(
        ("kind", "device_id", "expected"),
        [
            (InstanceKind.GPU, 1, "GPU 1"),
            (InstanceKind.MODEL, 0, "MODEL 0"),
            (InstanceKind.AUTO, 0, "CPU 0"),
        ],
    )
    def test_kind_and_device(
        self, model: Model, kind: InstanceKind, device_id: int, expected: str
    ) -> None:
        model.kind, model.device_id = kind, device_id
        model.write(
            """
            class TritonPythonModel:
                def initialize(self, args):
                    raise ValueError(
                        args["model_instance_kind"] + " " + args["model_instance_device_id"]
                    )
            """
        )
        assert failure(model).startswith(f"ValueError: {expected}\n")

    def test_an_exception_in_tritons_words(self, model: Model) -> None:
        model.write(
            """
            class TritonPythonModel:
                def initialize(self, args):
                    raise RuntimeError("init fail")
            """,
            header="",
        )
        assert failure(model) == (
            f"RuntimeError: init fail\n\nAt:\n  {model.path}(4): initialize\n"
        )

    def test_an_exit_ends_no_server(self, model: Model) -> None:
        model.write("import sys\nclass TritonPythonModel:\n    pass\nsys.exit('bye')\n")
        assert failure(model).startswith("SystemExit: bye\n\nAt:\n")


class TestFaults:
    def test_no_class(self, model: Model) -> None:
        model.write("")
        assert failure(model) == (
            "AttributeError: module '1.model' has no attribute 'TritonPythonModel'"
        )

    def test_a_syntax_error(self, model: Model) -> None:
        model.write("class TritonPythonModel\n    pass\n", header="")
        assert failure(model) == "SyntaxError: expected ':' (model.py, line 1)"

    def test_no_file_fails_at_once(self, model: Model) -> None:
        assert failure(model) == f"Python model file not found in '{model.path}'"

    def test_no_python_file(self, model: Model) -> None:
        files = model.files
        object.__setattr__(files, "path", model.path.with_suffix(".txt"))
        with pytest.raises(LoadError, match=r"Model name must end with '\.py'"):
            create().auto_complete({}, files)

    def test_a_missing_package(self, model: Model) -> None:
        model.write("import nowhere_to_be_found\n", header="")
        assert failure(model) == (
            "ModuleNotFoundError: No module named 'nowhere_to_be_found'\n\nAt:\n"
            f"  {model.path}(1): <module>\n"
        )

    def test_a_fault_in_a_sibling_shows_both_frames(self, model: Model) -> None:
        model.write("import my_helper\n", header="").add("1/my_helper.py", "1 / 0\n")
        assert failure(model) == (
            "ZeroDivisionError: division by zero\n\nAt:\n"
            f"  {model.path.with_name('my_helper.py')}(1): <module>\n"
            f"  {model.path}(1): <module>\n"
        )

    def test_an_execution_environment_is_not_used_silently(
        self, model: Model, caplog: pytest.LogCaptureFixture
    ) -> None:
        model.parameters = {"EXECUTION_ENV_PATH": "env.tar.gz"}
        with caplog.at_level(logging.WARNING, logger="streamgate_python"):
            model.execute("return [out(1)]").answer()
        assert "EXECUTION_ENV_PATH" in caplog.text


class TestImports:
    @pytest.mark.parametrize("place", ["1", "."])
    @pytest.mark.parametrize(
        "statement",
        [
            "from my_helper import NAME",
            "import my_helper; NAME = my_helper.NAME",
            "import my_helper as short; NAME = short.NAME",
            "from my_helper import *",
            "from .my_helper import NAME",
            "from . import my_helper; NAME = my_helper.NAME",
        ],
    )
    def test_siblings_in_both_folders(self, model: Model, place: str, statement: str) -> None:
        model.write(statement + RETURN_NAME).add(f"{place}/my_helper.py", "NAME = 'mine'\n")
        assert said(model) == b"mine"

    @pytest.mark.parametrize(
        "statement",
        [
            "from my_package.part import NAME",
            "import my_package.part; NAME = my_package.part.NAME",
            "import my_package.part as part; NAME = part.NAME",
            "from my_package import part; NAME = part.NAME",
        ],
    )
    @pytest.mark.parametrize("regular", [True, False], ids=["package", "namespace"])
    def test_packages(self, model: Model, statement: str, *, regular: bool) -> None:
        model.write(statement + RETURN_NAME)
        model.add("1/my_package/part.py", "from my_package.other import NAME\n")
        model.add("1/my_package/other.py", "from .third import NAME\n")
        model.add("1/my_package/third.py", "import my_helper; NAME = my_helper.NAME\n")
        model.add("1/my_helper.py", "NAME = 'deep'\n")
        if regular:
            model.add("1/my_package/__init__.py", "")
        assert said(model) == b"deep"

    def test_the_version_folder_comes_before_the_models(self, model: Model) -> None:
        model.write("from my_helper import NAME" + RETURN_NAME)
        model.add("1/my_helper.py", "NAME = 'version'\n").add("my_helper.py", "NAME = 'model'\n")
        assert said(model) == b"version"

    def test_installed_packages_come_before_the_models(self, model: Model) -> None:
        model.write("import prometheus_client as p; NAME = p.__name__" + RETURN_NAME)
        model.add("1/prometheus_client.py", "").add("1/json.py", "1 / 0")
        assert said(model) == b"prometheus_client"

    def test_imports_inside_execute_and_in_threads(self, model: Model) -> None:
        model.add("1/my_helper.py", "NAME = 'late'\n").write(
            """
            import threading

            class TritonPythonModel:
                def execute(self, requests):
                    names = []

                    def work():
                        from my_helper import NAME
                        names.append(NAME)

                    thread = threading.Thread(target=work)
                    thread.start()
                    thread.join()
                    array = np.array(names, dtype=object)
                    return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)])]
            """
        )
        assert said(model) == b"late"

    def test_a_missing_sibling_of_a_sibling(self, model: Model) -> None:
        model.write("import my_helper\n").add("1/my_helper.py", "import nowhere_to_be_found\n")
        assert "No module named 'nowhere_to_be_found'" in failure(model)

    def test_dataclasses_and_pickles_find_their_module(self, model: Model) -> None:
        model.write(
            """
            import pickle
            from dataclasses import dataclass

            @dataclass
            class Point:
                x: "int"

            class TritonPythonModel:
                def execute(self, requests):
                    return [out(pickle.loads(pickle.dumps(Point(4))).x)]
            """
        )
        assert said(model) == 4

    def test_nothing_is_written_next_to_the_model(self, model: Model) -> None:
        model.write("from my_helper import NAME" + RETURN_NAME)
        model.add("1/my_helper.py", "NAME = 'mine'\n")
        model.answer()
        assert sorted(path.name for path in model.path.parent.iterdir()) == [
            "model.py",
            "my_helper.py",
        ]


class TestIsolation:
    def two(self, folder: Path) -> tuple[Model, Model]:
        models = Model(folder, "a"), Model(folder, "b")
        for model in models:
            model.write("from my_helper import NAME" + RETURN_NAME)
            model.add("1/my_helper.py", f"NAME = '{model.name}'\n")
        return models

    def test_two_models_do_not_see_each_others_modules(self, tmp_path: Path) -> None:
        first, second = self.two(tmp_path)
        sessions = [first.load(), second.load()]
        made = [request(), request()]
        for session, one in zip(sessions, made, strict=True):
            session.execute([one])
        for session in sessions:
            session.close()
        assert [reply_of(one).only.values["OUT"] for one in made] == [[b"a"], [b"b"]]

    @HERE
    def test_not_even_when_one_puts_its_folder_on_the_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = self.two(tmp_path)
        monkeypatch.syspath_prepend(str(first.path.parent))
        session = first.load()
        importlib.import_module("my_helper")
        try:
            assert said(second) == b"b"
            session.close()
            assert said(second) == b"b"
        finally:
            del sys.modules["my_helper"]
            monkeypatch.undo()

    def test_a_helper_of_one_model_is_none_of_the_other(self, tmp_path: Path) -> None:
        first, second = self.two(tmp_path)
        second.path.with_name("my_helper.py").unlink()
        session = first.load()
        assert "No module named 'my_helper'" in failure(second)
        session.close()

    def test_instances_and_versions_have_globals_of_their_own(self, tmp_path: Path) -> None:
        source = """
            COUNT = 0

            class TritonPythonModel:
                def execute(self, requests):
                    global COUNT
                    COUNT += 1
                    return [out(COUNT)]
            """
        models = [
            Model(tmp_path, instance="m_0_0").write(source),
            Model(tmp_path, instance="m_0_1").write(source),
            Model(tmp_path, version="2").write(source),
        ]
        sessions = [model.load() for model in models]
        for session in sessions:
            made = request()
            session.execute([made])
            assert reply_of(made).only.values == {"OUT": [1]}
            session.close()

    def test_a_reload_sees_changed_code_at_once(self, tmp_path: Path) -> None:
        model = Model(tmp_path).write("from my_helper import NAME" + RETURN_NAME)
        for name in ("x", "y", "z"):
            model.add("1/my_helper.py", f"NAME = '{name}'\n")
            assert said(model) == name.encode()

    def test_the_old_instance_serves_on_while_a_new_one_loads(self, tmp_path: Path) -> None:
        model = Model(tmp_path).execute("return [out(1)]")
        old = model.load()
        new = model.execute("return [out(2)]").load()
        answers = []
        for session in (old, new, old):
            made = request()
            session.execute([made])
            answers.append(reply_of(made).only.values["OUT"][0])
        old.close()
        new.close()
        assert answers == [1, 2, 1]


class TestModelDir:
    SOURCE = """
        import threading
        from concurrent.futures import ThreadPoolExecutor

        AT_IMPORT = pb_utils.get_model_dir()

        class TritonPythonModel:
            def initialize(self, args):
                self.at_initialize = pb_utils.get_model_dir()

            def execute(self, requests):
                with ThreadPoolExecutor(1) as pool:
                    in_thread = pool.submit(self.ask).result()
                found = {AT_IMPORT, self.at_initialize, pb_utils.get_model_dir(), in_thread}
                assert len(found) == 1, found
                array = np.array([found.pop()], dtype=object)
                return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)])]

            def ask(self):
                return pb_utils.get_model_dir()
        """

    def test_answers_for_the_calling_model(self, tmp_path: Path) -> None:
        for model in (Model(tmp_path, "a"), Model(tmp_path, "b", version="7")):
            model.write(self.SOURCE)
            assert said(model) == str(model.path.parent).encode()

    def test_outside_all_models(self) -> None:
        with pytest.raises(pb_utils.TritonModelException, match="no model is calling"):
            pb_utils.get_model_dir()


@HERE
def test_prints_go_where_the_servers_go(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    model.execute("print('hello'); return [out(1)]").answer()
    assert capsys.readouterr().out == "hello\n"


def test_log_messages_carry_the_models_name(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    model.execute(
        """
        pb_utils.Logger.log_info("one")
        pb_utils.Logger.log_warn("two")
        pb_utils.Logger.log_error("three")
        pb_utils.Logger.log_verbose("four")
        pb_utils.Logger.log("five %s", pb_utils.Logger.WARNING)
        pb_utils.Logger.log("six")
        return [out(1)]
        """
    )
    with caplog.at_level(logging.DEBUG, logger="streamgate.models"):
        assert model.answer().only.failure is None
    records = [record for record in caplog.records if record.name == "streamgate.models.m"]
    assert [(record.levelname, record.message) for record in records] == [
        ("INFO", "one"),
        ("WARNING", "two"),
        ("ERROR", "three"),
        ("DEBUG", "four"),
        ("WARNING", "five %s"),
        ("INFO", "six"),
    ]
    assert {record.pathname for record in records} == {str(model.path)}
