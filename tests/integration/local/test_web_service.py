"""The web service of docs/how-to/web-service.md, word by word, before the pool of docs/start/first-tool.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from fastapi.testclient import TestClient

from support.dev_server import Dev, ready_dev, wait_until
from support.pages import blocks

PAGE = "docs/how-to/web-service.md"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("web")
    for block in blocks("docs/start/first-tool.md"):
        if block.file:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text)
    with ready_dev(folder / "pool.yaml") as server:
        yield server


@pytest.fixture(scope="module")
def web(server: Dev) -> Iterator[TestClient]:
    (app,) = blocks(PAGE, "python")
    module = sys.modules["app"] = ModuleType("app")
    try:
        exec(compile(app.text.replace("localhost:7800", server.server), app.file, "exec"), module.__dict__)
        with TestClient(module.app, raise_server_exceptions=False) as client:
            yield client
    finally:
        del sys.modules["app"]


def test_a_request_is_a_call(web: TestClient) -> None:
    assert web.get("/hello/Ada").json() == "Hello, Ada!"
    assert web.get("/readyz").json() == {"links": 1}


def test_repeats_of_a_request_are_one_call(web: TestClient) -> None:
    once = [web.get("/hello/Ada", headers={"Idempotency-Key": "one"}).json() for _ in range(2)]
    assert once == ["Hello, Ada!"] * 2
    other = web.get("/hello/Bob", headers={"Idempotency-Key": "one"})
    assert (other.status_code, other.json()["reason"]) == (400, "INVALID_ARGUMENTS"), "it is known to the pool as another call's"


def test_without_a_control_plane_it_says_so_and_is_not_ready(web: TestClient, server: Dev) -> None:
    server.end()
    wait_until(lambda: web.get("/readyz").status_code == 503, "it has no link")
    failed = web.get("/hello/Ada")
    assert (failed.status_code, failed.json()["started"]) == (503, "no")
