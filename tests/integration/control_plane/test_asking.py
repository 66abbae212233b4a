"""Rights are asked for over connections that stay open, few of them, and none for long."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from snakepit.errors import ServerUnavailable
from snakepit_control_plane.authorization import reviews as module
from snakepit_control_plane.authorization.reviews import CONNECTION_SECONDS, Reviews
from snakepit_control_plane.authorization.rights import AT_A_TIME, Unanswerable, Unreachable
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.policy.rights import AS_ACCOUNT, AS_USER, CALL, READ_LOGS
from support.authority import Authority
from support.issuer import Clock
from support.reviewer import Reviewer, reviewer

ADA = Caller("ada", "ada")
POOL = "shop/digits"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(authority: Authority) -> Iterator[Reviewer]:
    """It speaks TLS, as an API server does."""
    files = authority.files()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    with reviewer(context) as serving:
        serving.give("ada", CALL)
        yield serving


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reviews(server: Reviewer, authority: Authority, clock: Clock, tmp_path: Path) -> Iterator[Reviews]:
    (tmp_path / "token").write_text("own")
    made = Reviews(server.url, str(tmp_path / "token"), str(authority.ca_file), clock)
    yield made
    made.close()


async def ask(reviews: Reviews) -> bool:
    return (await reviews.ask(ADA, CALL, POOL)).allowed


async def test_questions_one_after_another_take_one_connection_and_many_at_once_no_more_than_may_be_asked(
    reviews: Reviews, server: Reviewer
) -> None:
    assert all([await ask(reviews) for _ in range(20)])
    assert server.connections == 1
    assert all(await asyncio.gather(*(ask(reviews) for _ in range(100))))
    assert server.connections <= AT_A_TIME


async def test_a_connection_ends_after_a_while(reviews: Reviews, server: Reviewer, clock: Clock) -> None:
    await ask(reviews)
    clock.now += CONNECTION_SECONDS - 1
    await ask(reviews)
    assert server.connections == 1
    clock.now += 1
    assert await ask(reviews)
    assert server.connections == 2


async def test_one_that_was_hung_up_costs_no_answer(reviews: Reviews, server: Reviewer) -> None:
    server.hangs_up = True
    assert all([await ask(reviews) for _ in range(5)])
    assert server.connections == 5


async def test_a_question_that_fails_is_told_and_the_next_one_is_asked(reviews: Reviews, server: Reviewer) -> None:
    server.status = 503
    with pytest.raises(ServerUnavailable, match="it answers 503"):
        await ask(reviews)
    server.status = 403
    with pytest.raises(Unanswerable, match=r"it answers 403 Forbidden to .*/namespaces/shop/localsubjectaccessreviews"):
        await ask(reviews)
    for never in (413, 422):
        server.status = never
        assert not await ask(reviews)
    server.status = 201
    assert await ask(reviews)


async def test_what_is_in_a_namespace_is_asked_there_so_that_a_role_in_it_is_enough(reviews: Reviews, server: Reviewer) -> None:
    """The chart gives no other right to ask with where it has `watchNamespaces`."""
    for right, what in ((CALL, POOL), (READ_LOGS, "shop/digits-0"), (AS_USER, "/bob"), (AS_ACCOUNT, "shop/web")):
        await reviews.ask(ADA, right, what)
    local, everywhere = "namespaces/shop/localsubjectaccessreviews", "subjectaccessreviews"
    assert [each.partition("/v1/")[2] for each in server.paths] == [local, local, everywhere, everywhere]


async def test_whoever_does_not_answer_in_time_is_away_and_no_answer_goes_to_another_question(
    reviews: Reviews, server: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await ask(reviews)
    server.answers.clear()
    with monkeypatch.context() as hasty:
        hasty.setattr(module, "ASK_SECONDS", 1.0)
        with pytest.raises(ServerUnavailable):
            await ask(reviews)
    server.take("ada", CALL)
    server.answers.set()
    assert not await ask(reviews)


async def test_nobody_is_there_where_no_connection_comes_about(server: Reviewer, tmp_path: Path) -> None:
    (tmp_path / "own").write_text("own")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nowhere = Reviews(f"http://127.0.0.1:{taken.getsockname()[1]}", str(tmp_path / "own"), "")
        with pytest.raises(Unreachable, match=r"can't be asked who may do what: .*refused"):
            await ask(nowhere)


async def test_nothing_is_kept_open_afterwards(reviews: Reviews, server: Reviewer) -> None:
    await ask(reviews)
    reviews.close()
    assert await ask(reviews)
    assert server.connections == 2
