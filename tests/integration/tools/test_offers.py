"""Workers call tools that clients offer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

import snakepit
import snakepit.sync
from snakepit import AsyncContext, Client, Context, Pool
from snakepit_control_plane.model.catalogue import Scope
from snakepit_control_plane.server import Running
from support.control_plane import eventually, replica
from support.nesting import Hanging, asking

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Running]:
    async with replica() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server: Running) -> AsyncIterator[Client]:
    async with Client(server.address) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(server: Running, client: Client) -> AsyncIterator[Pool]:
    async with asking(server, client) as pool:
        yield pool


async def shout(text: str) -> str:
    """Louder."""
    return text.upper()


def add(a: int, b: int = 1) -> int:
    return a + b


def numbers(to: int) -> Iterator[int]:
    yield from range(to)


async def ask(pool: Pool | snakepit.Session, name: str, **arguments: Any) -> Any:
    return await pool.call("ask", {"name": name, "arguments": arguments}, timeout=10)


async def refusal(pool: Pool | snakepit.Session, name: str, **arguments: Any) -> Any:
    return await pool.call("refused", {"name": name, "arguments": arguments}, timeout=10)


# ---- values and errors


async def test_a_worker_calls_functions_of_a_client_blocking_or_not(client: Client, pool: Pool) -> None:
    async with client.offer([shout, add], pool="asking"):
        assert await ask(pool, "shout", text="hey") == "HEY"
        assert await pool.call("ask_later", {"name": "shout", "arguments": {"text": "ho"}}, timeout=10) == "HO"
        assert await ask(pool, "add", a=2) == 3


async def test_values_arrive_as_from_any_tool(client: Client, pool: Pool) -> None:
    def same(value: Any) -> Any:
        return value

    value = {"bytes": b"\0\1", "deep": [1, 2.5, None, "ü"]}
    async with client.offer(same, pool=pool):
        assert await ask(pool, "same", value=value) == value
        assert len(await ask(pool, "same", value=b"x" * 300_000)) == 300_000


async def test_many_calls_of_one_tool_run_at_the_same_time(client: Client, pool: Pool) -> None:
    together = asyncio.Barrier(20)

    async def meet(value: int) -> int:
        async with asyncio.timeout(10):
            await together.wait()
        return value

    async with client.offer(meet, pool=pool):
        assert await pool.call("ask_all", {"name": "meet", "values": list(range(20))}, timeout=15) == list(range(20))


async def test_blocking_functions_leave_the_clients_loop_free(client: Client, pool: Pool) -> None:
    free = asyncio.Event()
    loop = asyncio.get_running_loop()

    def block() -> str:
        """Waits for what only the loop can do."""
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(free.wait(), 10), loop).result(10) and "went on"

    async with client.offer(block, pool=pool):
        call = asyncio.create_task(ask(pool, "block"))
        loop.call_later(0.05, free.set)
        assert await call == "went on"


async def test_an_exception_of_the_function_arrives_as_a_tool_error_in_the_tool_and_with_its_caller(client: Client, pool: Pool) -> None:
    def broken() -> None:
        raise LookupError("not here")

    async with client.offer(broken, pool=pool):
        kind, reason, started, message, _ = await refusal(pool, "broken")
        assert (kind, reason, started, message) == ("ToolError", "TOOL_ERROR", "YES", "LookupError: not here")
        with pytest.raises(snakepit.ToolError, match="LookupError: not here"):
            await ask(pool, "broken")


async def test_arguments_are_checked_against_the_functions_signature(client: Client, pool: Pool) -> None:
    async with client.offer(add, pool=pool):
        kind, reason, started, message, _ = await refusal(pool, "add", a="one")
        assert (kind, reason, started) == ("InvalidArguments", "INVALID_ARGUMENTS", "NO")
        assert "`a`" in message


async def test_an_error_that_a_tool_lets_through_keeps_its_reason(client: Client, pool: Pool) -> None:
    with pytest.raises(snakepit.ToolNotFound, match="no client offers one") as caught:
        await ask(pool, "nobody")
    assert caught.value.started is snakepit.Started.YES


async def test_a_result_over_the_limit_is_refused_with_its_name(client: Client, pool: Pool) -> None:
    def enormous() -> bytes:
        return b"x" * 5_000_000

    async with client.offer(enormous, pool=pool):
        kind, _, started, message, details = await refusal(pool, "enormous")
        assert (kind, started, details["limit"]) == ("PayloadTooLarge", "YES", "maxPayloadBytes"), message


# ---- what comes with the call


async def test_the_function_sees_session_metadata_and_a_deadline_that_shrinks(client: Client, pool: Pool) -> None:
    def about(*, ctx: Context) -> list[Any]:
        return [ctx.session_id, dict(ctx.metadata), ctx.remaining()]

    async def about_later(*, ctx: AsyncContext) -> list[Any]:
        return [ctx.session_id, dict(ctx.metadata), ctx.remaining()]

    async with client.offer([about, about_later], pool=pool), pool.session(delete=True) as session:
        for name in ("about", "about_later"):
            answer = await session.call("ask", {"name": name}, timeout=7, metadata={"who": "me"})
            assert answer[:2] == [session.id, {"who": "me"}]
            assert 0 < answer[2] < 7


async def test_a_call_may_be_shorter_than_its_parent(client: Client, pool: Pool) -> None:
    hanging = Hanging()
    async with client.offer(hanging.hang, pool=pool):
        assert await pool.call("brief", {"name": "hang", "timeout": 4.0}, timeout=20) == "DEADLINE"
        async with asyncio.timeout(20):
            await hanging.stopped.wait()


@pytest.mark.parametrize("how", ["cancelled", "deadline", "given up"])
async def test_when_the_call_around_it_ends_the_function_is_cancelled(client: Client, pool: Pool, how: str) -> None:
    hanging = Hanging()
    async with client.offer(hanging.hang, pool=pool):
        if how == "given up":
            assert await pool.call("give_up", {"name": "hang", "seconds": 4.0}, timeout=20) == "gave up"
        else:
            call = asyncio.create_task(pool.call("ask", {"name": "hang"}, timeout=4.0 if how == "deadline" else 30))
            async with asyncio.timeout(20):
                await hanging.began.wait()
            if how == "cancelled":
                call.cancel()
            with pytest.raises(asyncio.CancelledError if how == "cancelled" else snakepit.DeadlineExceeded):
                await call
        async with asyncio.timeout(20):
            await hanging.stopped.wait()


async def test_a_tool_says_how_far_it_is_to_callers_who_want_to_know(pool: Pool) -> None:
    heard: list[tuple[float, str]] = []
    assert await pool.call("steps", timeout=10, on_progress=lambda *said: heard.append(said)) == "done"
    assert heard == [(0.0, "step 0"), (0.25, "step 1"), (0.5, "step 2"), (0.75, "step 3")]


# ---- scopes, names, and leaving


async def test_tools_leave_with_the_block_and_with_the_client(server: Running, client: Client, pool: Pool) -> None:
    async with client.offer(shout, pool=pool):
        assert await ask(pool, "shout", text="a") == "A"
    assert (await refusal(pool, "shout", text="a"))[0] == "ToolNotFound"
    async with Client(server.address) as other:
        await other.offer(shout, pool="asking").__aenter__()
        assert await ask(pool, "shout", text="b") == "B"
    await eventually(lambda: not server.flow.nested.catalogue.tools(Scope("default/asking")))
    assert (await refusal(pool, "shout", text="a"))[0] == "ToolNotFound"


async def test_a_call_in_flight_to_a_client_that_goes_away_fails_with_worker_lost(server: Running, pool: Pool) -> None:
    began = asyncio.Event()

    async def hang() -> None:
        began.set()
        await asyncio.sleep(60)

    async with Client(server.address) as other, other.offer(hang, pool="asking"):
        call = asyncio.create_task(refusal(pool, "hang"))
        async with asyncio.timeout(20):
            await began.wait()
        await other.close()
        kind, reason, started, message, details = await call
    assert (kind, reason, started, details) == ("WorkerLost", "WORKER_LOST", "MAYBE", {"how": "client gone"})
    assert "the client that offers tool 'hang'" in message


async def test_leaving_the_block_cancels_what_runs_and_who_waits_gets_worker_lost(client: Client, pool: Pool) -> None:
    hanging = Hanging()
    async with client.offer(hanging.hang, pool=pool):
        call = asyncio.create_task(refusal(pool, "hang"))
        async with asyncio.timeout(20):
            await hanging.began.wait()
    assert hanging.stopped.is_set()
    kind, _, started, message, details = await call
    assert (kind, started, details) == ("WorkerLost", "MAYBE", {"how": "client gone"})
    assert "withdrew it" in message


async def test_a_sessions_tools_are_for_its_calls_alone_and_come_before_the_pools(client: Client, pool: Pool) -> None:
    @snakepit.tool(name="who")
    def for_all() -> str:
        return "pool"

    @snakepit.tool(name="who")
    def for_one() -> str:
        return "session"

    async with pool.session(delete=True) as mine, pool.session(delete=True) as theirs, client.offer(for_one, session=mine):
        assert await ask(mine, "who") == "session"
        assert (await refusal(theirs, "who"))[0] == "ToolNotFound"
        assert (await refusal(pool, "who"))[0] == "ToolNotFound"
        async with client.offer(for_all, pool=pool):
            assert [await ask(each, "who") for each in (mine, theirs, pool)] == ["session", "pool", "pool"]
            assert {(t.name, t.session_id) for t in await mine.tools() if t.provider == "client"} == {("who", ""), ("who", mine.id)}


async def test_a_taken_name_refuses_the_whole_batch(server: Running, client: Client, pool: Pool) -> None:
    async with Client(server.address) as other, other.offer(shout, pool=pool.name):
        with pytest.raises(snakepit.InvalidArguments, match="tool 'shout' is offered already for pool default/asking"):
            async with client.offer([add, shout], pool=pool):
                pass
        assert (await refusal(pool, "add", a=1))[0] == "ToolNotFound", "none of the batch is there"
    with pytest.raises(snakepit.InvalidArguments, match="the workers of pool default/asking have a tool 'count' themselves"):
        async with client.offer(snakepit.tool(name="count")(lambda: None), pool=pool):
            pass
    with pytest.raises(snakepit.InvalidArguments, match="'add' is twice in this offer"):
        client.offer([add, add], pool=pool)
    async with client.offer([add, shout], pool=pool):
        assert await ask(pool, "add", a=1) == 2


async def test_offers_that_can_not_be_are_refused_with_a_sentence(client: Client, pool: Pool) -> None:
    with pytest.raises(snakepit.PoolNotFound, match="default/nowhere"):
        async with client.offer(add, pool="nowhere"):
            pass
    for offered, sentence in [
        ([], "nothing to offer"),
        ([snakepit.tool(name="Loud")(lambda: None)], "tool name 'Loud' must be"),
        ([int], "can't be offered as a tool"),
    ]:
        with pytest.raises(snakepit.InvalidArguments, match=sentence):
            client.offer(offered, pool=pool)  # type: ignore[arg-type]
    with pytest.raises(snakepit.InvalidArguments, match="pool= or session="):
        client.offer(add)


async def test_the_catalogue_shows_who_runs_what(client: Client, pool: Pool) -> None:
    async with client.offer([shout, numbers], pool=pool):
        tools = {each.name: each for each in await pool.tools()}
        assert tools["ask"].provider == "worker"
        assert (tools["shout"].provider, tools["shout"].description) == ("client", "Louder.")
        assert tools["shout"].input_schema["properties"]["text"] == {"type": "string"}
        assert tools["numbers"].streaming
        assert (await pool.tool("shout")).provider == "client"
    assert "shout" not in {each.name for each in await pool.tools()}


async def test_tools_are_back_after_a_broken_link(server: Running, client: Client, pool: Pool) -> None:
    async with client.offer(shout, pool=pool):
        old = [link for link, peer in server.links.links.items() if peer.role == "client"]
        for link in old:
            link.close("broken by the test")
        await eventually(lambda: not any(link in server.links.links for link in old), "the link is gone")
        await eventually(lambda: server.flow.nested.catalogue.tools(Scope("default/asking")), "the tools are on offer again")
        assert await ask(pool, "shout", text="again") == "AGAIN"


async def test_without_await_a_program_offers_tools_too(server: Running, pool: Pool) -> None:
    def program() -> Any:
        with snakepit.sync.Client(server.address) as client:
            own = client.pool("asking")
            with client.offer(add, pool="asking") as offer, own.session(delete=True) as session, client.offer(nested, session=session):
                assert offer.names == ["add"]
                here.append(own)
                return session.call("ask", {"name": "nested"}, timeout=10)

    here: list[Any] = []

    def nested() -> Any:
        """A call out of the function, from its thread."""
        return here[0].call("ask", {"name": "add", "arguments": {"a": 1}}, timeout=10)

    assert await asyncio.to_thread(program) == 2
