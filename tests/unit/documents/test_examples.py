"""What a reader copies out of the documents works: Python compiles, adapters have their tools, pools are valid, values exist."""

from __future__ import annotations

import ast
import contextlib
import sys
import textwrap
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from snakepit import Adapter
from snakepit.author.tools import discover
from snakepit.spec import load_pools
from snakepit.testing import start
from support import pages

ROOT = Path(__file__).resolve().parents[3]


def blocks(language: str, containing: str = "") -> list[Any]:
    found = [block for page in pages.PAGES for block in pages.blocks(page, language)]
    return [pytest.param(block.text, id=block.id) for block in found if containing in block.text and not block.excerpt]


EXCERPTS = [pytest.param(block, id=block.id) for page in pages.PAGES for block in pages.blocks(page) if block.excerpt]


@pytest.mark.parametrize("text", blocks("python"))
def test_every_piece_of_python_compiles(text: str) -> None:
    compile(text, "document", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("text", blocks("python", "(Adapter)"))
def test_every_adapter_offers_the_tools_that_it_shows(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("copied")
    monkeypatch.setitem(sys.modules, "copied", module)
    exec(compile(text, "document", "exec"), module.__dict__)
    (adapter,) = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Adapter) and each is not Adapter]
    assert len(discover(adapter())) == text.count("@tool")


def shown(page: str, heading: str) -> str:
    """The one piece of Python there."""
    (block,) = pages.blocks(ROOT / page, "python", heading)
    return block.text


def test_a_tool_that_calls_others_finds_a_clients_and_another_pools() -> None:
    tools: dict[str, Any] = {}
    exec(f"from snakepit import Adapter, Context, tool\n{shown('docs/author.md', 'Tools that call tools')}", tools)
    for yes, said in ((True, "3 for tea"), (False, "not bought")):

        def confirm(question: str, yes: bool = yes) -> bool:
            return yes and question == "Buy tea?"

        def charge(item: str) -> str:
            return f"3 for {item}"

        with start(type("Shop", (Adapter,), {"order": tools["order"]})) as shop:
            shop.offer(confirm)
            shop.offer(charge, pool="shop/payments")
            assert shop.call("order", {"item": "tea"}) == said


def test_a_model_is_loaded_at_import_and_asked_by_the_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    """By stand-ins for torch and transformers, which are too large to be here: they have what the page asks them for."""
    model = SimpleNamespace(to=lambda device: lambda cpu: SimpleNamespace(last_hidden_state={(0, 0): Vector([float(len(cpu))])}))
    named = {
        "AutoTokenizer": lambda text, return_tensors: SimpleNamespace(to=lambda device: {device: text}),
        "AutoModel": SimpleNamespace(eval=lambda: model),
    }
    made = {name: SimpleNamespace(from_pretrained={"/models/small": each}.__getitem__) for name, each in named.items()}
    cuda = SimpleNamespace(is_available=lambda: False)
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(**made))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, inference_mode=contextlib.nullcontext, Tensor=Vector))
    module: dict[str, Any] = {}
    exec(f"import snakepit\n{shown('docs/libraries.md', 'torch and transformers')}", module)
    with start(module["Embeddings"]) as embeddings:
        assert embeddings.call("embed", {"text": "tea"}) == [3.0]


class Vector(list[float]):
    def cpu(self) -> Vector:
        return self


@pytest.mark.parametrize("block", EXCERPTS)
def test_what_a_page_shows_of_an_example_is_in_the_file_that_runs(block: pages.Block) -> None:
    """As it stands there, or a part of a class without its indent."""
    text = (ROOT / block.excerpt).read_text()
    assert block.text.strip() in text or textwrap.indent(block.text, "    ").strip() in text


def test_there_are_excerpts() -> None:
    assert {each.values[0].page for each in EXCERPTS} >= {"docs/author.md", "docs/session-memory.md"}


@pytest.mark.parametrize("text", blocks("yaml", "\nkind: SnakePool\n"))
def test_every_pool_is_valid(text: str) -> None:
    assert load_pools(text)


def _values_of_the_table() -> list[str]:
    section = (ROOT / "docs/operations.md").read_text().split("### Values")[1].split("\n#")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [name.strip(" `") for row in rows for name in row.split(",")]


@pytest.mark.parametrize("name", _values_of_the_table())
def test_every_value_that_the_table_names_exists(name: str) -> None:
    value = yaml.safe_load((ROOT / "charts/snakepit/values.yaml").read_text())
    for part in name.removesuffix(".*").split("."):
        assert part in value, name
        value = value[part]


def pins(path: Path) -> dict[str, set[str]]:
    """The hashes of each `name==version`; markers say where it is needed, and differ."""
    lines = [line.strip(" \\") for line in path.read_text().splitlines() if line.partition("#")[0].strip()]
    found: dict[str, set[str]] = {}
    for line in lines:
        if line.startswith("--hash="):
            found[list(found)[-1]].add(line)
        else:
            found[line.partition(" ;")[0]] = set()
    return found


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*/requirements.txt")), ids=lambda path: path.parent.name)
def test_what_an_example_pins_is_what_its_tests_run_with(path: Path) -> None:
    """But for what Linux has no use for."""
    wanted, there = pins(path), pins(ROOT / "requirements/dev.txt")
    elsewhere = {line.partition(" ;")[0] for line in path.read_text().splitlines() if "; sys_platform == 'win32'" in line}
    assert {name: wanted[name] for name in wanted.keys() - elsewhere} == {name: there.get(name) for name in wanted.keys() - elsewhere}
    assert wanted.keys() - elsewhere
    assert all(wanted.values())
