"""No line of this repository asks a package index for a name of ours, which is nobody's there or a stranger's."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

import snakepit
from snakepit import _extras

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("sdk", "worker-image", "agent", "control-plane", "operator", "gateway", "local")
INSTALLS = re.compile(r"\bpip3?(?: --python \S+)? (?:install|download|wheel)(?![-\w])(?P<rest>[^\n]*)")
ARGUMENT = {"-r", "-c", "-e", "-i", "--root", "--python", "--find-links", "--index-url", "--wheel-dir", "--target"}
MEANT = {"fastapi", "numpy", "pandas", "pyarrow", "pydantic", "pytest", "scikit-learn", "uvicorn"}
"""Of others, who are known: what a hint or a page means, it gets."""
PAGE = Path("docs/decisions/2026-11-28-names-and-wheels.md")
"""It tells of lines that won't do."""


def ours() -> dict[str, str]:
    tables = [tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"] for folder in FOLDERS]
    return {table["name"]: table["version"] for table in tables}


def lines() -> list[tuple[str, str]]:
    """Each `pip install …` of the tree, to the end of its line or of the quotes that it stands in."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = []
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in (".sum", ".txt", ".lock") or not path.is_file() or path in (ROOT / PAGE, Path(__file__)):
            continue
        text = path.read_text(errors="replace").replace("\\\n", " ")
        found += [(name, match["rest"]) for match in INSTALLS.finditer(text)]
    return found


def fetched(rest: str) -> list[str]:
    """The names that such a line asks an index for."""
    plain = re.split(r"[`;|]|&&|\. |\"\)|, ", rest.replace("$$", "$"), maxsplit=1)[0].partition(" #")[0]
    try:
        words = shlex.split(plain)
    except ValueError:
        words = plain.replace("'", " ").replace('"', " ").split()
    names, skip = [], False
    for word in words:
        if skip or word.startswith(("-", "$", "./", "/", "dist/", "...", "…", "{")) or not word.strip("()\"'.,:}"):
            skip = word in ARGUMENT
            continue
        if word.strip("()[]\"'") and word.strip("()[]\"'") not in MEANT:
            names.append(word)
    return names


def test_the_lines_are_found() -> None:
    places = {name for name, _ in lines()}
    assert {"Dockerfile", "Makefile", "README.md", "docs/author.md", "docs/caller.md", "sdk/src/snakepit/_extras.py"} <= places


@pytest.mark.parametrize(("name", "rest"), lines(), ids=lambda value: str(value).strip()[:60])
def test_no_line_asks_an_index_for_a_name(name: str, rest: str) -> None:
    assert fetched(rest) == [], f"{name}: pip install{rest}"


@pytest.mark.parametrize(
    ("rest", "names"),
    [
        (" 'snakepit[client]'", ["snakepit[client]"]),
        (" snakepit-worker      # brings snakepit", ["snakepit-worker"]),
        (" --find-links dist snakepit-local==0.1.0", ["snakepit-local==0.1.0"]),
        (" snakepit-worker` in it. The container", ["snakepit-worker"]),
        (" dist/*.whl", []),
        (" --require-hashes -r requirements/build.txt && install-dependencies", []),
    ],
)
def test_a_name_is_noticed(rest: str, names: list[str]) -> None:
    assert fetched(rest) == names


def test_distributions_need_each_other_under_our_names_and_in_one_version() -> None:
    names = ours()
    assert set(names.values()) == {snakepit.__version__}
    for folder in FOLDERS:
        for need in tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"].get("dependencies", []):
            if need.startswith("snakepit"):
                name, version = re.sub(r"\[[\w,]+\]", "", need).split("==")
                assert names[name] == version


def test_the_hints_of_programs_name_wheels_that_make_wheels_builds() -> None:
    for extra, hint in (("client", _extras.CLIENT), ("cli", _extras.CLI), ("otel", _extras.OTEL)):
        assert f"dist/snakepit_sdk-{ours()['snakepit-sdk']}-py3-none-any.whl[{extra}]" in hint
    assert "dist/*.whl" in _extras.WHOLE


@pytest.mark.parametrize("page", ["README.md", "docs/author.md", "docs/caller.md", "docs/operations.md"])
def test_a_wheel_that_a_page_names_has_todays_version(page: str) -> None:
    wheels = re.findall(r"dist/snakepit_\w+-([\d.]+)-py3", (ROOT / page).read_text())
    assert set(wheels) <= {snakepit.__version__}


SDK = tomllib.loads((ROOT / "sdk/pyproject.toml").read_text())["project"]["optional-dependencies"]
COMMAND_LINE = {"typer", "rich", "pyyaml", "pydantic"}


def pinned(image: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", (ROOT / f"requirements/{image}.txt").read_text(), re.MULTILINE))


@pytest.mark.parametrize("image", ["agent", "control-plane", "worker"])
def test_an_image_that_nobody_types_in_has_no_command_line(image: str) -> None:
    assert pinned(image) & COMMAND_LINE == set()


@pytest.mark.parametrize(
    ("image", "extras"),
    [
        ("agent", "client metrics otel"),
        ("control-plane", "client metrics otel"),
        ("operator", "client metrics otel"),
        ("gateway", "client metrics otel"),
        ("cli", "cli client"),
    ],
)
def test_what_the_extras_name_is_pinned_for_the_images_that_need_them(image: str, extras: str) -> None:
    wanted = {re.split(r"[><=\[]", need)[0] for extra in extras.split() for need in SDK[extra]} - {"snakepit-sdk"}
    assert wanted <= pinned(image)


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_distribution_but_the_local_one_asks_for_the_command_line(folder: str) -> None:
    needs = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"].get("dependencies", [])
    assert [need for need in needs if re.search(r"\[.*\bcli\b", need)] == (["snakepit-sdk[cli]==0.1.0"] if folder == "local" else [])


def test_pinned_requirements_name_no_index() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        assert not re.search(r"^\s*--(?!hash)|://", path.read_text(), re.MULTILINE), path
