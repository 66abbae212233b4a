"""What the store in memory keeps of sessions that are made and deleted, again and again."""

from __future__ import annotations

from snakepit_control_plane.model.session import SessionRecord
from snakepit_control_plane.store.memory import MOST_DELETED, MemoryStore


async def test_deleted_sessions_leave_nothing_and_the_others_expire_in_their_time() -> None:
    now = 0.0
    store = MemoryStore(lambda: now)
    for number in range(100):
        await store.create_session(SessionRecord("a/b", f"kept-{number}", "u", 0.0, 0.0, 100.0 + number, 1), 10_000)
    for number in range(5 * MOST_DELETED):
        name = f"deleted-{number % 7}"
        await store.create_session(SessionRecord("a/b", name, "u", 0.0, 0.0, 3600.0, 1), 10_000)
        await store.delete_session("a/b", name)
    assert len(store._expiry) <= 2 * MOST_DELETED  # noqa: SLF001
    for seconds, left in ((99.0, 100), (149.5, 50), (300.0, 0)):
        now = seconds
        assert await store.count_sessions("a/b") == left
