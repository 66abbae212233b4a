"""Python that pages of docs/ show and that no other test runs: tools of docs/how-to/large-data.md and docs/libraries.md, called through
`snakepit dev`, and programs of docs/observe.md and docs/logs.md that look at those calls.
"""

from __future__ import annotations

import ast
import contextlib
import http.server
import inspect
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest

import snakepit
from support.dev_server import Dev, pool_file, ready_dev
from support.eventually import eventually
from support.pages import blocks

LARGE, LIBRARIES = "docs/how-to/large-data.md", "docs/libraries.md"
MADE_UP = "http://weather:8080"
"""The server that a page makes up."""


class Weather(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # The name is http.server's.
        body = b'{"asked": "%s"}' % self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def weather() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Weather) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, weather: str) -> Iterator[Dev]:
    """A pool of each adapter; `/data` is a folder of ours."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "lines.txt").write_text("one\ntwo\nthree\n")
    numbers, files = (block.text for block in blocks(LARGE, "python"))
    (asked,) = (block.text for block in blocks(LIBRARIES, "python", "Asynchronous clients"))
    assert MADE_UP in asked
    modules = {
        "numbers": ("Numbers", numbers),
        "files": ("Files", files.replace('"/data"', repr(str(folder)))),
        "weather": ("Weather", f"import snakepit\n{asked.replace(MADE_UP, weather)}"),
    }
    for name, (_, text) in modules.items():
        (folder / f"its_{name}.py").write_text(text)
    pools = [pool_file(folder, name, f"its_{name}:{adapter}", replicas="1") for name, (adapter, _) in modules.items()]
    with ready_dev(*pools) as program:
        yield program


@pytest.fixture
def client(server: Dev) -> Iterator[snakepit.sync.Client]:
    with snakepit.sync.Client(server.server) as client:
        yield client


def test_arrays_and_tables_come_and_go_as_they_are_and_lists_do_too(client: snakepit.sync.Client) -> None:
    pool = client.pool("numbers")
    for values in (numpy.array([1.0, 2.0]), [1.0, 2.0]):
        assert pool.call("scale", {"values": values, "by": 2.0}).tolist() == [2.0, 4.0]
    orders = pandas.DataFrame({"item": ["tea", "milk", "tea"], "count": [1, 2, 3]})
    totals = pool.call("totals", {"orders": orders})
    assert totals.to_dict("records") == [{"item": "milk", "count": 2}, {"item": "tea", "count": 4}]


@pytest.mark.parametrize("path", ["lines.txt", "/etc/../lines.txt"])
def test_the_beginning_of_a_file_is_read_from_the_volume_and_from_nowhere_else(client: snakepit.sync.Client, path: str) -> None:
    assert client.pool("files").call("head", {"path": path, "lines": 2}) == ["one", "two"]


def test_a_client_that_all_calls_of_a_worker_share_asks_its_server(client: snakepit.sync.Client) -> None:
    assert client.pool("weather").call("today", {"city": "Bern"}) == {"asked": "/today?city=Bern"}


async def run(text: str, names: dict[str, Any]) -> str:
    """What it has printed."""
    done = eval(compile(text, "page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.isawaitable(done):
        await done
    return names["printed"].getvalue()


async def failed(pool: snakepit.Pool) -> str:
    """The id of a call that its tool ended by raising."""
    with pytest.raises(snakepit.ToolError) as error:
        await pool.call("head", {"path": "nowhere.txt"})
    return error.value.call_id


async def test_what_was_called_is_looked_at_as_the_page_says(server: Dev) -> None:
    (page,) = (block.text for block in blocks("docs/observe.md", "python", "Calls"))
    assert 'reason="WORKER_LOST", slower_than=1.0' in page
    page = page.replace('reason="WORKER_LOST", slower_than=1.0', 'reason="TOOL_ERROR"')
    async with snakepit.Client(server.server) as client:
        pool = client.pool("files")
        await failed(pool)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            said = await run(page, {"pool": pool, "printed": printed})
    assert " head files-0" in said, "when, which tool, on which worker"
    assert "what='answered', detail='TOOL_ERROR'" in said
    assert "PoolHistory(minutes=[Minute(" in said


async def test_lines_of_a_call_are_read_as_the_page_says(server: Dev) -> None:
    (page,) = (block.text for block in blocks("docs/logs.md", "python"))
    async with snakepit.Client(server.server) as client:
        pool = client.pool("files")
        call = await failed(pool)
        worker = (await pool.call_info(call)).worker
        await eventually(lambda: pool.log_lines(worker, call_id=call), "the capsule has what its worker wrote")
        for written, here in (("digits-x7k2p/0", worker), ("aae2186ebe1d0633", call)):
            assert written in page
            page = page.replace(written, here)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            said = await run(page, {"pool": pool, "printed": printed})
    assert "raised FileNotFoundError: " in said


def test_a_pool_whose_arguments_are_msgpack_is_made_as_the_page_says(server: Dev, client: snakepit.sync.Client) -> None:
    (page,) = (block.text for block in blocks("docs/payloads.md", "python"))
    pool = eval(page.replace("default/digits", "files"), {"client": client})
    assert pool.call("head", {"path": Path("lines.txt"), "lines": 1}) == ["one"]
