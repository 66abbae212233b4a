"""Settings of pools, as every store keeps them: the operator has the last word."""

from snakepit.v1 import link_pb2
from snakepit_control_plane.store.interface import Store


def settings(pool: str, generation: int, uid: str = "u", *, deleted: bool = False) -> link_pb2.PoolSettings:
    return link_pb2.PoolSettings(pool=pool, uid=uid, generation=generation, spec=f"{generation}", deleted=deleted)


async def test_the_operators_settings_win_unless_they_are_older(store: Store, pool: str) -> None:
    assert (await store.save_pool(settings(pool, 2), override=True)).generation == 2
    assert (await store.save_pool(settings(pool, 1), override=True)).generation == 2
    assert (await store.save_pool(settings(pool, 3), override=True)).generation == 3
    same = settings(pool, 3)
    same.spec = "of another release"
    assert (await store.save_pool(same, override=True)).spec == "of another release"
    assert [(s.generation, s.spec) for s in await store.load_pools() if s.pool == pool] == [(3, "of another release")]


async def test_an_agents_settings_are_kept_where_there_are_none_and_replace_none(store: Store, pool: str) -> None:
    assert (await store.save_pool(settings(pool, 7, "old"), override=False)).generation == 7
    for other in (settings(pool, 8, "old"), settings(pool, 1, "new"), settings(pool, 9, "old", deleted=True)):
        kept = await store.save_pool(other, override=False)
        assert (kept.uid, kept.generation, kept.deleted) == ("old", 7, False)
    assert (await store.save_pool(settings(pool, 1, "new"), override=True)).uid == "new"


async def test_a_deleted_pool_is_not_brought_back_by_its_own_agents(store: Store, pool: str) -> None:
    await store.save_pool(settings(pool, 1), override=True)
    await store.save_pool(settings(pool, 0, deleted=True), override=True)
    assert (await store.save_pool(settings(pool, 1), override=False)).deleted
    assert not (await store.save_pool(settings(pool, 1), override=True)).deleted, "the operator has the last word"
    await store.save_pool(settings(pool, 0, deleted=True), override=True)
    assert [s for s in await store.load_pools() if s.pool == pool] == []
    assert not (await store.save_pool(settings(pool, 1, "made again"), override=True)).deleted
