"""What stands on the page for callers, commands and programs, against `snakepit dev`. The README is in tests/integration/newcomer."""

from __future__ import annotations

import ast
import asyncio
import inspect
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from markdown_it import MarkdownIt

import snakepit
from snakepit.cli.app import run
from snakepit.sync import Client
from support.dev_server import Dev, pool_file, ready_dev

ROOT = Path(__file__).resolve().parents[3]
AUTHORS = """
def train():
    from types import SimpleNamespace

    return SimpleNamespace(predict=lambda images: [len(images[0])])


from snakepit import Adapter, Context, tool
"""
MORE = """

class Pages(Digits):
    @tool
    def charge(self, amount: int) -> int:
        return amount

    @tool
    def order(self, item: str, *, ctx: Context) -> bool:
        return ctx.call_tool("confirm", {"question": f"Buy {item}?"})
"""


def blocks(page: str, language: str, containing: str = "") -> list[str]:
    tokens = MarkdownIt().parse((ROOT / page).read_text())
    return [each.content for each in tokens if each.type == "fence" and each.info == language and containing in each.content]


def commands(text: str) -> list[list[str]]:
    """The words of every `snakepit …` line, but for those that start the server."""
    lines = [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("snakepit ")]
    return [words for words in lines if words[1] != "dev"]


def perform(text: str, server: Dev, names: dict[str, Any]) -> None:
    """Run a program of a page, whose names may be known from the pages around it."""
    code = compile(text.replace("localhost:7800", server.server), "page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    async def whole() -> None:
        async with snakepit.Client(server.server) as client, client.pool("digits").session(delete=True) as session:
            names.update(client=client, pool=client.pool("digits"), session=session)
            done = eval(code, names)
            if inspect.isawaitable(done):
                await done

    asyncio.run(asyncio.wait_for(whole(), 30))


# ---- the page for callers


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("callers")
    (adapter,) = blocks("docs/author.md", "python", "class Digits(Adapter)")
    (folder / "pages.py").write_text(AUTHORS + adapter + MORE)
    with ready_dev(pool_file(folder, "digits", "pages:Pages", replicas="1")) as program:
        yield program


def test_the_programs_of_the_page_for_callers_run_one_after_another(digits: Dev, capsys: pytest.CaptureFixture[str]) -> None:
    async def asked(question: str) -> bool:
        print(question)
        return True

    names: dict[str, Any] = {"pixels": [0.0] * 64, "window": SimpleNamespace(ask=asked), "snakepit": snakepit}
    for text in blocks("docs/caller.md", "python"):
        perform(text, digits, names)
    assert names["digit"] == 64
    assert capsys.readouterr().out.split("\n") == ["0", "1", "2", "Buy tea?", ""]


def test_the_commands_of_the_page_for_callers_run_one_after_another(
    digits: Dev, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SNAKEPIT_SERVER", digits.server)
    monkeypatch.chdir(tmp_path)
    with Client(digits.server) as client:
        (worker,) = client.pool("digits").workers()
    typed = [words for text in blocks("docs/caller.md", "sh") for words in commands(text)]
    assert len(typed) >= 10
    for words in typed:
        code = run([word.replace("WORKER", worker.id) for word in words[1:]])
        assert (code, capsys.readouterr().err) == (0, ""), words
    assert (tmp_path / "user-42.json").exists()
