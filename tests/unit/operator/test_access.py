"""Rights that the API server is asked for, and for how long its answers hold."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import pytest

from snakepit_operator import access as access_module
from snakepit_operator.access import Access
from snakepit_operator.front_proxy import User
from snakepit_operator.kube import Kube, KubeError, Object, Resource

READS = {"nonResourceAttributes": {"path": "/apis", "verb": "get"}}


class Reviewer:
    """An API server that allows what `allowed` does."""

    def __init__(self) -> None:
        self.allowed = {"ann"}
        self.asked: Counter[str] = Counter()
        self.is_away = False

    async def create(self, _resource: Resource, _namespace: str | None, body: Object) -> Object:
        if self.is_away:
            raise KubeError(0, "Unreachable", "nobody is there")
        name = body["spec"]["user"]
        self.asked[name] += 1
        return {"status": {"allowed": name in self.allowed, "reason": "" if name == "mute" else "no"}}


@pytest.fixture
def reviewer() -> Reviewer:
    return Reviewer()


@pytest.fixture
def access(reviewer: Reviewer) -> Access:
    return Access(cast(Kube, reviewer))


async def test_an_answer_holds_for_the_same_user_and_the_same_deed(access: Access, reviewer: Reviewer) -> None:
    for _ in range(3):
        assert await access.refusal(User("ann"), READS) is None
        assert await access.refusal(User("bob"), READS) == "no"
        assert await access.refusal(User("mute"), READS) == "no rule allows it"
    assert reviewer.asked == {"ann": 1, "bob": 1, "mute": 1}
    await access.refusal(User("ann", groups=("one",)), READS)
    await access.refusal(User("ann", extra=(("scopes", "a"),)), READS)
    other: dict[str, Any] = {"nonResourceAttributes": {"path": "/api", "verb": "get"}}
    await access.refusal(User("ann"), other)
    assert reviewer.asked["ann"] == 4


async def test_it_does_not_hold_for_ever(access: Access, reviewer: Reviewer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_module, "ANSWER_SECONDS", 0.0)
    assert await access.refusal(User("ann"), READS) is None
    reviewer.allowed.clear()
    assert await access.refusal(User("ann"), READS) == "no"


async def test_an_api_server_that_says_nothing_has_allowed_nothing(access: Access, reviewer: Reviewer) -> None:
    reviewer.is_away = True
    for _ in range(2):
        with pytest.raises(KubeError):
            await access.refusal(User("ann"), READS)
    reviewer.is_away = False
    assert await access.refusal(User("ann"), READS) is None


async def test_only_so_many_answers_are_kept(access: Access, reviewer: Reviewer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_module, "ANSWERS", 2)
    for name in ("ann", "bob", "eve"):
        await access.refusal(User(name), READS)
    for name in ("eve", "bob", "ann"):
        await access.refusal(User(name), READS)
    assert reviewer.asked == {"ann": 2, "bob": 1, "eve": 1}
