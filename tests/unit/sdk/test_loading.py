"""What was meant by a `worker.adapter` that names no adapter."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from snakepit import AdapterError
from snakepit.author import tracebacks
from snakepit.author.loading import load

TOOLS = "from snakepit import Adapter, tool\nclass {}(Adapter):\n    @tool\n    def f(self) -> int: ...\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    package = tmp_path / "greetings_for_tests"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "tools.py").write_text(TOOLS.format("Greetings"))
    (package / "needy.py").write_text("import numpie\n")
    (package / "toolless.py").write_text("x = 1\n")
    (tmp_path / "top_for_tests.py").write_text(TOOLS.format("Top"))
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in {each for each in sys.modules if "for_tests" in each} - before:
        del sys.modules[name]  # The next test has modules of these names in a folder of its own.


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("greetings_for_tests/tools.py:Greetings", "write greetings_for_tests.tools:Greetings"),
        ("./greetings_for_tests/tools.py", "write greetings_for_tests.tools"),
        ("greetings_for_tests/tools:Greetings", "write greetings_for_tests.tools:Greetings"),
        ("top_for_tests.py:Top", "write top_for_tests:Top"),
        ("greetings_for_tests.tools.Greetings", "write greetings_for_tests.tools:Greetings"),
        ("top_for_tests.Top", "write top_for_tests:Top"),
        ("greetings_for_tests.tools:Greeting", "did you mean greetings_for_tests.tools:Greetings?"),
        ("greetings_for_tests.tools:Xyz", "module 'greetings_for_tests.tools' has no 'Xyz'; it has Greetings"),
        ("greetings_for_tests.toolless:A", "has no 'A', and no class that derives from snakepit.Adapter"),
        ("greetings_for_test.tools:Greetings", "no module is named 'greetings_for_test': did you mean greetings_for_tests?"),
        ("greetings_for_tests.tolls:Greetings", "no module is named 'greetings_for_tests.tolls': did you mean greetings_for_tests.tools?"),
        (
            "greetings_for_tests.xyz:Greetings",
            "there are greetings_for_tests.needy, greetings_for_tests.toolless, greetings_for_tests.tools",
        ),
        (":A", "worker.adapter ':A' must be package.module:Class or package.module"),
    ],
)
def test_the_right_form_and_the_nearest_name_are_suggested(path: str, sentence: str) -> None:
    with pytest.raises(AdapterError) as caught:
        load(path)
    assert sentence in str(caught.value)


def test_a_module_that_is_nowhere_names_a_few_of_those_that_are_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(30):
        (folder / f"qq{n:02}.py").touch()
    monkeypatch.setattr("sys.path", [str(folder)])
    with pytest.raises(AdapterError) as caught:
        load("xyzzy:A")
    said = str(caught.value)
    assert said == (
        f"no module is named 'xyzzy': in {folder} there are greetings_for_tests, qq00, qq01, qq02, qq03, qq04, qq05, qq06 and 24 more"
    )


def test_a_folder_without_an_init_file_is_a_package_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "bare_for_tests").mkdir()
    (folder / "bare_for_tests" / "tools.py").write_text(TOOLS.format("Bare"))
    (folder / "bare_of_modules").mkdir()
    monkeypatch.setattr("sys.path", [str(folder), str(folder), str(folder / "nowhere"), str(folder / "top_for_tests.py")])
    with pytest.raises(AdapterError, match="no module is named 'bare_for_test': did you mean bare_for_tests"):
        load("bare_for_test.tools:Bare")
    with pytest.raises(AdapterError) as caught:
        load("bare_for_tests.tols:Bare")
    own = folder / "bare_for_tests"
    assert str(caught.value) == (
        f"no module is named 'bare_for_tests.tols': did you mean bare_for_tests.tools? (in {own} there is bare_for_tests.tools)"
    )


def test_a_library_that_is_missing_stays_the_authors_error_with_a_note() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'numpie'\n") as caught:
        load("greetings_for_tests.needy:A")
    text = tracebacks.text(caught.value, (*tracebacks.machinery(), __file__))
    assert "import numpie" in text
    note = f"numpie is not installed in {sys.prefix}: install what brings it, with pip; or did you mean numpy? (in "
    assert note in text.splitlines()[-1]


def test_a_module_that_is_missing_in_the_authors_own_package_is_looked_for_there(folder: Path) -> None:
    (folder / "greetings_for_tests" / "split.py").write_text("from .tolls import f\n")
    with pytest.raises(ModuleNotFoundError) as caught:
        load("greetings_for_tests.split:A")
    assert "did you mean greetings_for_tests.tools? (in " in tracebacks.text(caught.value, ())
