"""The registry against distributions that are really installed, in folders of their own."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamgate.backend.registry import GROUP, BackendRegistry
from streamgate.errors import BackendError, Code

Install = Callable[..., None]

GOOD = """
class Backend:
    default_model_filename = "model.bin"
    def auto_complete(self, config, files):
        return config
    def load(self, context):
        raise NotImplementedError
create = Backend
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a distribution with one backend; `source` becomes the module behind it."""

    def install(
        distribution: str, backend: str, module: str, source: str = GOOD, extra: str = ""
    ) -> None:
        root = tmp_path / distribution
        info = root / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir(parents=True)
        provides = f"Provides-Extra: {extra}\n" if extra else ""
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n{provides}"
        )
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{backend} = {module}:create\n")
        (root / f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(str(root))
        monkeypatch.delitem(sys.modules, module, raising=False)

    return install


def refusal(name: str) -> BackendError:
    with pytest.raises(BackendError) as caught:
        BackendRegistry().find(name)
    return caught.value


def test_listing_imports_nothing(install: Install) -> None:
    install("acme-fast", "acme_fast", "acme_fast_module", "raise SystemExit('imported')")
    assert "acme_fast" in BackendRegistry().names()
    assert "acme_fast_module" not in sys.modules


def test_a_backend_is_made_once(install: Install) -> None:
    install("acme-fast", "acme_fast", "acme_fast_module")
    registry = BackendRegistry()
    backend = registry.find("acme_fast")
    assert backend.default_model_filename == "model.bin"
    assert registry.find("acme_fast") is backend
    assert registry.find("acme-fast/acme_fast") is backend
    assert registry.find("Acme_Fast/acme_fast") is backend


def test_an_unknown_backend_gets_tritons_words_and_ours(install: Install) -> None:
    install("acme-fast", "acme_fast", "acme_fast_module")
    error = refusal("nope")
    assert error.code is Code.INVALID_ARG
    assert error.message.startswith(
        "unable to find backend library for backend 'nope', try specifying runtime on the model "
        "configuration."
    )
    assert "acme_fast (acme-fast 1.2)" in error.message
    assert "install one that offers 'nope'" in error.message
    assert "nobody/acme_fast" in refusal("nobody/acme_fast").message


def test_nothing_installed_is_said() -> None:
    with pytest.raises(BackendError, match="Installed backends: none"):
        BackendRegistry(list).find("nope")


def test_two_of_one_name_must_be_chosen_between(install: Install) -> None:
    install("acme-fast", "twice", "acme_twice_module")
    install("zen-slow", "twice", "zen_twice_module", GOOD.replace("model.bin", "model.zen"))
    error = refusal("twice")
    assert error.code is Code.INVALID_ARG
    assert error.message == (
        "backend 'twice' is offered by 2 distributions: acme-fast 1.2, zen-slow 1.2. Say which "
        'one with backend: "acme-fast/twice" or backend: "zen-slow/twice", or uninstall the others.'
    )
    registry = BackendRegistry()
    assert registry.find("acme-fast/twice").default_model_filename == "model.bin"
    assert registry.find("zen_slow/twice").default_model_filename == "model.zen"
    assert registry.names().count("twice") == 1


def test_a_plugin_without_its_library_says_what_to_install(install: Install) -> None:
    install("acme-fast", "quick", "acme_quick_module", "import no_such_library", extra="quick")
    error = refusal("quick")
    assert error.code is Code.INTERNAL
    assert error.message == (
        "backend 'quick' from acme-fast 1.2 (acme_quick_module:create) could not be imported: No "
        "module named 'no_such_library'. Install what it needs with: pip install 'acme-fast[quick]'"
    )


def test_a_library_that_only_create_needs_is_named_too(install: Install) -> None:
    install("acme-fast", "lazy", "acme_lazy_module", "def create():\n    import no_such_library\n")
    message = refusal("lazy").message
    assert message.endswith("could not be imported: No module named 'no_such_library'.")


def test_a_plugin_that_fails_is_named_with_its_version(install: Install) -> None:
    install("acme-fast", "sad", "acme_sad_module", "def create():\n    raise ValueError('no moon')")
    assert refusal("sad").message == (
        "backend 'sad' from acme-fast 1.2 (acme_sad_module:create) failed: ValueError: no moon"
    )


def test_a_failure_is_not_remembered(install: Install, tmp_path: Path) -> None:
    source = "import pathlib\nif not pathlib.Path(__file__).with_name('ready').exists():\n"
    install("acme-fast", "later", "acme_later_module", f"{source}    raise OSError('wait')\n{GOOD}")
    registry = BackendRegistry()
    with pytest.raises(BackendError, match="OSError: wait"):
        registry.find("later")
    (tmp_path / "acme-fast" / "ready").touch()
    assert registry.find("later").default_model_filename == "model.bin"


def test_something_else_than_a_backend_is_refused(install: Install) -> None:
    install("acme-fast", "odd", "acme_odd_module", "create = dict")
    assert refusal("odd").message == (
        "backend 'odd' from acme-fast 1.2 (acme_odd_module:create) made a dict, which is not a "
        "backend: it has no default_model_filename, auto_complete, load"
    )


def test_describe_tries_every_backend(install: Install) -> None:
    install("acme-fast", "good", "acme_good_module")
    install("acme-sad", "sad", "acme_sad_module", "raise ValueError('no moon')")
    found = {each.name: each for each in BackendRegistry().describe()}
    assert (found["good"].distribution, found["good"].version) == ("acme-fast", "1.2")
    assert found["good"].error is None
    assert "ValueError: no moon" in (found["sad"].error or "")
