"""The lines of docs/http.md, as somebody types them: each is run, and prints what stands below it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.dev_server import Dev, pool_file, ready_dev
from support.gateway import served

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/http.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```\n\n```\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """The notes, and the photos of the page."""
    folder = tmp_path_factory.mktemp("photos")
    (adapter,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (folder / "photos.py").write_text(adapter)
    photos = pool_file(folder, "photos", "photos:Photos", replicas="1")
    with ready_dev(photos, ROOT / "examples/notes/pool.yaml", "--gateway", "off") as program:
        yield program


async def test_each_line_prints_what_stands_below_it(pages: Dev, tmp_path: Path) -> None:
    assert len(BLOCKS) == PAGE.count("```sh\n")
    async with served(pages.server) as url:
        for lines, printed in BLOCKS:
            process = await asyncio.create_subprocess_exec(
                *("bash", "-euc", lines.replace("localhost:7880", url.removeprefix("http://"))),
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            out, _ = await process.communicate()
            assert (process.returncode, out.decode().rstrip()) == (0, printed.rstrip()), lines
