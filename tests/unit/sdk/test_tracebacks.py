"""Which frames an author is shown: their own, whoever runs them."""

from __future__ import annotations

import asyncio
import importlib
import re
from pathlib import Path

import pytest

from snakepit import AdapterError
from snakepit.author import tracebacks
from snakepit.author.loading import load

MACHINERY = tracebacks.machinery()


def files(text: str) -> set[str]:
    return {Path(each).name for each in re.findall(r'File "(.*?)", line', text)}


async def _divide() -> float:
    return await asyncio.wait_for(_fail(), 5)


async def _fail() -> float:
    try:
        return 1 / 0
    except ZeroDivisionError as error:
        raise LookupError("none") from error


def test_asyncio_is_left_out_and_causes_stay() -> None:
    with pytest.raises(LookupError) as caught:
        asyncio.run(_divide())
    text = tracebacks.text(caught.value, MACHINERY)
    assert files(text) == {"test_tracebacks.py"}
    assert "ZeroDivisionError: division by zero" in text
    assert "direct cause" in text
    assert text.endswith("LookupError: none\n")


def test_the_parts_of_a_group_are_the_authors_too() -> None:
    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_divide())
            group.create_task(_divide())

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(both())
    text = tracebacks.text(caught.value, MACHINERY)
    assert files(text) == {"test_tracebacks.py"}
    assert text.count("LookupError: none") == 2


def test_importlib_is_left_out_and_a_syntax_error_shows_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outer_module.py").write_text("import inner_module\n")
    (tmp_path / "inner_module.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SyntaxError) as caught:
        importlib.import_module("outer_module")
    text = tracebacks.text(caught.value, MACHINERY)
    assert files(text) == {"test_tracebacks.py", "outer_module.py", "inner_module.py"}
    with pytest.raises(SyntaxError) as caught:
        load("inner_module")
    assert "def f(:" in tracebacks.text(caught.value, (*MACHINERY, __file__))


def test_where_no_code_of_the_authors_was_reached_there_is_no_traceback() -> None:
    with pytest.raises(AdapterError) as caught:
        load("json:Nothing")
    assert tracebacks.text(caught.value, (*MACHINERY, __file__)) == ""
