"""Which pools there are, and by whose word: the operator's is final, then the store's; an agent is believed where nobody else knows.

The operator's word is taken whole, without waiting for anything; the store learns of it afterwards. It is what a replica that has just
started knows before the operator has spoken to it, and nothing that it gives back ever replaces what the operator has said here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from snakepit._wire.messages import settings_digest
from snakepit.errors import InvalidArguments, PoolNotFound, StoreUnavailable
from snakepit.spec import InvalidPool, SnakePoolSpec, decode_spec
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.pools import RETURN_SECONDS, Pools
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.store.interface import Store

TICK_SECONDS = 0.25
LEASES_SECONDS = 1.0
"""Between two looks at who is alive elsewhere, after a start."""

SWEEP_SECONDS = 60.0
"""Between two looks for pools that only the store knows."""

GONE_REMEMBERED = 10_000
UNSAVED_REMEMBERED = 10_000
SAVED_AT_ONCE = 100

log = logging.getLogger(__name__)


class Roster:
    """`ended` is told each pool that is gone, `configured` each that has other settings, `changed` each that may be different."""

    def __init__(
        self,
        pools: Pools,
        store: Store,
        ended: Callable[[Pool], None],
        configured: Callable[[Pool], None],
        changed: Callable[[str], None],
    ) -> None:
        self._pools = pools
        self._clock = asyncio.get_running_loop().time
        self._store = store
        self._ended, self._configured, self._changed = ended, configured, changed
        self.refused: dict[str, str] = {}
        """Pools that the operator has told of in settings that can't be read, and why."""
        self._streams = 0
        self._away_since = self._clock()
        self._gone: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._unsaved: OrderedDict[str, link_pb2.PoolSettings] = OrderedDict()
        self._perhaps_new: set[str] = set()
        self._strange: set[tuple[str, str]] = set()
        self._swept = self._clock()
        self._work = asyncio.Event()
        self._loaded = False

    # ---- the operator

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """An operator's stream is open that has said everything: what it doesn't know isn't there."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1
            self._away_since = self._clock()

    @property
    def is_told(self) -> bool:
        """Is it an operator's word what is known here, and not just what was known before?"""
        return self._streams > 0

    @property
    def away_seconds(self) -> float:
        """For how long no operator has been here; 0: one is."""
        return 0.0 if self.is_told else self._clock() - self._away_since

    def tell(self, settings: Sequence[link_pb2.PoolSettings], names: Collection[str], *, complete: bool) -> None:
        """The operator's word. With `complete`, pools that are neither in `settings` nor in `names` are gone."""
        for each in settings:
            is_new = each.pool not in self._pools
            try:
                pool = self._put(each)
                if is_new and not self._pools.told:
                    self._perhaps_new.add(pool.name)
                    self._be_patient(pool)
            except InvalidArguments as error:
                self.refused[each.pool] = error.message
            else:
                self.refused.pop(each.pool, None)
                self._gone.pop((each.pool, each.uid), None)
                self._save_later(each)
        if complete:
            if not self._pools.told and not self._pools.alive:
                # Of pools that were not known before, nobody has been looked for.
                self._pools.alive = None
                self._work.set()
            self._pools.told = True
            self._keep_only({each.pool for each in settings}.union(names))

    def _keep_only(self, named: Collection[str]) -> None:
        for pool in [pool for name, pool in self._pools.items() if name not in named]:
            del self._pools[pool.name]
            self._perhaps_new.discard(pool.name)
            self._remember_gone(pool)
            self._delete_later(pool.name, pool.settings.uid)
            self._ended(pool)
        self.refused = {name: why for name, why in self.refused.items() if name in named}

    def _put(self, settings: link_pb2.PoolSettings) -> Pool:
        """Raises InvalidArguments when the spec can't be read."""
        spec = read_spec(settings)
        pool = self._pools.get(settings.pool)
        if pool is None:
            pool = self._pools[settings.pool] = Pool(settings, spec, self._clock(), time.time() - self._clock())
        elif pool.digest != settings_digest(settings):
            if pool.settings.uid != settings.uid:
                self._remember_gone(pool)
            pool.configure(settings, spec, self._clock())
            self._configured(pool)
        self._changed(pool.name)
        return pool

    def _remember_gone(self, pool: Pool) -> None:
        self._gone[pool.name, pool.settings.uid] = None
        if len(self._gone) > GONE_REMEMBERED:
            self._gone.popitem(last=False)

    def _be_patient(self, pool: Pool) -> None:
        """Just after a start its agents may be about to link: calls wait for them, so long and no longer."""
        pool.patient_until = self._pools.started + RETURN_SECONDS

    def reported(self, pool: Pool) -> None:
        """An agent has: a pool that was as new to the store as to us, and has no ready worker, is a new one."""
        if pool.name in self._perhaps_new:
            self._perhaps_new.discard(pool.name)
            if not pool.ready_workers:
                pool.patient_until = -math.inf

    # ---- agents

    async def adopt(self, about: link_pb2.Capsule) -> Pool:
        """The pool of an agent that links. Raises PoolNotFound, or InvalidArguments for a spec that can't be read."""
        pool = self._known(about)
        if pool is not None:
            return pool
        if not about.settings.spec:
            raise PoolNotFound(f"capsule {about.name} belongs to pool {about.pool!r}, which does not exist")
        read_spec(about.settings)
        kept = about.settings
        try:
            kept = await self._store.save_pool(kept, override=False)
        except StoreUnavailable as error:
            log.warning("settings of pool %s are not stored: %s", about.pool, error)
        if kept.deleted:
            raise _deleted(about)
        # Meanwhile the operator may have spoken.
        return self._known(about) or self._put(kept)

    def _known(self, about: link_pb2.Capsule) -> Pool | None:
        if (about.pool, about.settings.uid) in self._gone:
            raise _deleted(about)
        pool = self._pools.get(about.pool)
        if not self._streams:
            return pool
        if pool is None:
            raise PoolNotFound(f"capsule {about.name} belongs to pool {about.pool!r}, which the operator does not know")
        if about.settings.uid and about.settings.uid != pool.settings.uid:
            raise _deleted(about)
        return pool

    # ---- the store

    async def run(self) -> None:
        """Keep the store and this replica in step; ends when cancelled."""
        while True:
            self._work.clear()
            if not self._loaded:
                await self.load()
            saved = await self._save()
            if self._loaded and not self._pools.returned():
                await self._see_who_is_alive()
            if saved and self._streams and self._clock() - self._swept >= SWEEP_SECONDS:
                await self._sweep()
            pause = TICK_SECONDS if not self._loaded else SWEEP_SECONDS / 2 if saved and self._pools.returned() else LEASES_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._work.wait()

    async def load(self) -> None:
        """Take over the pools that the store knows. While it is away, pools are known from the operator and from hellos."""
        try:
            known = await self._store.load_pools()
        except StoreUnavailable as error:
            log.debug("pools were not loaded: %s", error)
            return
        self._loaded = True
        for settings in known:
            # What the operator has not named does not come back.
            if not self._pools.told and settings.pool not in self._pools:
                try:
                    self._be_patient(self._put(settings))
                except InvalidArguments as error:
                    log.error("the store's pool %s is left out: %s", settings.pool, error)
        await self._see_who_is_alive([settings.pool for settings in known])

    def _save_later(self, settings: link_pb2.PoolSettings) -> None:
        self._unsaved[settings.pool] = settings
        if len(self._unsaved) > UNSAVED_REMEMBERED:
            self._unsaved.popitem(last=False)
        self._work.set()

    def _delete_later(self, pool: str, uid: str) -> None:
        self._save_later(link_pb2.PoolSettings(pool=pool, uid=uid, deleted=True))

    async def _sweep(self) -> None:
        """What the store has lost, it is given again. What it has twice in a row and the operator doesn't know was deleted while somebody
        didn't reach the store.

        Once isn't enough: the operator may have told another replica a moment earlier.
        """
        self._swept = self._clock()
        try:
            known = await self._store.load_pools()
        except StoreUnavailable as error:
            log.debug("the store was not looked through: %s", error)
            return
        strange = {(each.pool, each.uid) for each in known if each.pool not in self._pools}
        for name, uid in strange & self._strange:
            self._delete_later(name, uid)
        self._strange = strange
        stored = {each.pool: settings_digest(each) for each in known}
        for pool in self._pools.values():
            if stored.get(pool.name) != pool.digest and pool.name not in self.refused:
                self._save_later(pool.settings)

    async def _save(self) -> bool:
        """False: not all, the store is away."""
        while self._unsaved:
            batch = list(self._unsaved.values())[:SAVED_AT_ONCE]
            saves = [self._store.save_pool(each, override=True) for each in batch]
            for settings, outcome in zip(batch, await asyncio.gather(*saves, return_exceptions=True), strict=True):
                if isinstance(outcome, StoreUnavailable):
                    log.debug("settings of pool %s are not stored: %s", settings.pool, outcome)
                    return False
                if isinstance(outcome, BaseException):
                    raise outcome
                if self._unsaved.get(settings.pool) is settings:
                    del self._unsaved[settings.pool]
        return True

    # ---- after a start

    async def _see_who_is_alive(self, pools: Iterable[str] | None = None) -> None:
        try:
            alive = await self._store.live_agents(list(self._pools if pools is None else pools))
        except StoreUnavailable as error:
            log.debug("who is alive is not known: %s", error)
            return
        self._pools.alive = set(alive)


def read_spec(settings: link_pb2.PoolSettings) -> SnakePoolSpec:
    """Raises InvalidArguments when it can't be read."""
    try:
        return decode_spec(settings.spec)
    except InvalidPool as error:
        raise InvalidArguments(f"settings of pool {settings.pool!r} can't be read: {error}") from error


def _deleted(about: link_pb2.Capsule) -> PoolNotFound:
    return PoolNotFound(f"capsule {about.name} belongs to a pool {about.pool!r} that has been deleted")
