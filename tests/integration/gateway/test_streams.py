"""Streams and progress, as SSE and NDJSON."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from support.eventually import eventually

SSE, NDJSON = {"Accept": "text/event-stream"}, {"Accept": "application/x-ndjson"}


async def test_chunks_come_as_events_and_the_end_says_how_many(pools: httpx.AsyncClient) -> None:
    await pools.put("notes/sessions/read")
    for text in ("tea", "milk"):
        await pools.post("notes/tools/add", json={"text": text}, headers={"Snakepit-Session": "read"})
    answer = await pools.post("notes/tools/read", headers={**SSE, "Snakepit-Session": "read"})
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.text == 'event: chunk\ndata: "tea"\n\nevent: chunk\ndata: "milk"\n\nevent: end\ndata: {"chunks":2}\n\n'
    lines = (await pools.post("notes/tools/read", headers={**NDJSON, "Snakepit-Session": "read"})).text.splitlines()
    assert [json.loads(line) for line in lines] == [{"chunk": "tea"}, {"chunk": "milk"}, {"end": {"chunks": 2}}]


async def test_who_accepts_no_stream_gets_all_of_it(pools: httpx.AsyncClient) -> None:
    await pools.put("notes/sessions/all")
    await pools.post("notes/tools/add", json={"text": "tea"}, headers={"Snakepit-Session": "all"})
    assert (await pools.post("notes/tools/read", headers={"Snakepit-Session": "all"})).json() == ["tea"]


async def test_who_accepts_json_as_well_gets_a_stream_only_of_a_tool_that_streams(pools: httpx.AsyncClient) -> None:
    both = {"Accept": "application/json, text/event-stream"}
    whole = await pools.post("front/tools/steps", json={"count": 2}, headers=both)
    assert (whole.headers["Content-Type"], whole.json()) == ("application/json", 2)
    stream = await pools.post("front/tools/broken", headers=both)
    assert (stream.headers["Content-Type"], stream.text.count("event: chunk")) == ("text/event-stream", 2)


async def test_progress_comes_before_the_result(pools: httpx.AsyncClient) -> None:
    lines = [json.loads(line) for line in (await pools.post("front/tools/steps", json={"count": 2}, headers=NDJSON)).text.splitlines()]
    assert lines[-1] == {"result": 2}
    assert lines[:-1][-1] == {"progress": {"fraction": 1.0, "message": "step 2"}}


@pytest.mark.parametrize(("accept", "said"), [(NDJSON, '{"progress":{"fraction":0.5,'), (SSE, 'data: {"fraction":0.5,')])
async def test_progress_of_a_tool_that_streams_comes_while_a_chunk_is_waited_for(
    pools: httpx.AsyncClient, tmp_path: Path, accept: dict[str, str], said: str
) -> None:
    lines = []
    async with pools.stream("POST", "front/tools/awaited", json={"path": str(tmp_path / "go")}, headers=accept) as answer:
        async for line in answer.aiter_lines():
            lines.append(line)
            if line.startswith(said):
                (tmp_path / "go").touch()
    if accept is NDJSON:
        found = [json.loads(line) for line in lines]
        assert found == [{"chunk": 1}, {"progress": {"fraction": 0.5, "message": "half"}}, {"chunk": 2}, {"end": {"chunks": 2}}]
    else:
        kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event")]
        assert kinds == ["chunk", "progress", "chunk", "end"]


async def test_what_can_not_be_carried_is_told_beside_it(pools: httpx.AsyncClient) -> None:
    """In a header of a result that comes as a whole, and in an event before that of a stream."""
    whole = await pools.post("front/tools/model")
    assert whole.headers["Snakepit-Warning"].startswith("$.lock is a _thread.lock, which can't be carried")
    assert whole.json()["name"] == "m"
    lines = (await pools.post("front/tools/model", headers=NDJSON)).text.splitlines()
    assert [json.loads(line) for line in lines] == [{"warning": whole.headers["Snakepit-Warning"]}, {"result": whole.json()}]
    answer = await pools.post("front/tools/models", headers=SSE)
    assert [line for line in answer.text.splitlines() if line.startswith("event")] == [
        f"event: {each}" for each in ("warning", "chunk", "chunk", "end")
    ]


async def test_an_error_after_the_first_chunk_is_an_event_with_the_problem(pools: httpx.AsyncClient) -> None:
    answer = await pools.post("front/tools/broken", headers=NDJSON)
    *chunks, last = [json.loads(line) for line in answer.text.splitlines()]
    assert (answer.status_code, chunks) == (200, [{"chunk": 1}, {"chunk": 2}])
    assert (last["error"]["reason"], last["error"]["errorType"]) == ("TOOL_ERROR", "LookupError")


@pytest.mark.parametrize(("tool", "status"), [("picture", 404), ("nothing", 404)])
async def test_an_error_before_that_has_a_status(pools: httpx.AsyncClient, tool: str, status: int) -> None:
    answer = await pools.post(f"front/tools/{tool}", headers={**SSE, "Snakepit-Session": "nobody"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")


async def test_who_leaves_a_stream_stops_its_generator(pools: httpx.AsyncClient, tmp_path: Path) -> None:
    told = tmp_path / "told"
    async with pools.stream("POST", "front/tools/endless", json={"path": str(told), "size": 1}, headers=NDJSON) as answer:
        async for line in answer.aiter_lines():
            if "9" in line:
                break
    await eventually(told.exists, "the generator was stopped")


async def test_who_reads_slowly_holds_the_generator_back(pools: httpx.AsyncClient, tmp_path: Path) -> None:
    told = tmp_path / "told"
    arguments = {"path": str(told), "size": 100_000}
    async with pools.stream("POST", "front/tools/endless", json=arguments, headers=NDJSON):
        await asyncio.sleep(1)  # It would make thousands of them.
    await eventually(told.exists, "the generator was stopped")
    assert int(told.read_text()) < 200
