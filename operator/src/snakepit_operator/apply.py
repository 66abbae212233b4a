"""Writes what was decided: pods, budgets, status and Events. It decides nothing: what could not be done is planned again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import msgspec

from snakepit.spec.fields import SnakePool
from snakepit.spec.status import SnakePoolStatus
from snakepit_operator.events import NewEvent, event_object
from snakepit_operator.kube import BUDGETS, CONFIG_MAPS, EVENTS, NETWORK_POLICIES, PODS, POOLS, ROLE_BINDINGS, Kube, KubeError, Object
from snakepit_operator.model import Creation, Deletion, Outcome, Plan, Reason
from snakepit_operator.observe import Found
from snakepit_operator.pods import (
    AgentImage,
    authority_map,
    callers_binding,
    capsule_policy,
    disruption_budget,
    grace_seconds,
    in_template,
    one_of,
    pod,
)

T = TypeVar("T")

_PARALLEL = 10

log = logging.getLogger(__name__)


class Applier:
    """Writes for pools; `agent` is what new pods get, `caller_role` the ClusterRole of those who may call; empty: nobody is bound.

    `policy` is what capsules may dial, as the setting says it.
    """

    def __init__(self, kube: Kube, agent: AgentImage, caller_role: str = "", policy: Object | None = None) -> None:
        self._kube, self._agent, self._caller_role, self._policy = kube, agent, caller_role, policy or {}

    async def carry_out(self, pool: SnakePool, plan: Plan) -> Outcome:
        """Delete, then create. New pods take the place of those that go: while one can't be deleted, none is created.

        Raises KubeError for anything but the API server's refusal of a pod.
        """
        deleted = await _all(partial(self._delete, pool), plan.deletions)
        creations = plan.creations if all(done is True for done in deleted) else ()
        created = await _all(partial(self._create, pool), creations)
        failures = [each for each in (*deleted, *created) if isinstance(each, KubeError)]
        for failure in failures:
            if not failure.refused:
                raise failure
        return Outcome(
            tuple(each for each, done in zip(creations, created, strict=True) if done is True),
            tuple(each for each, done in zip(plan.deletions, deleted, strict=True) if done is True),
            (Reason.POD_REFUSED, failures[0].message) if failures else None,
        )

    async def budget(self, pool: SnakePool, size: int) -> None:
        """The PodDisruptionBudget of a pool that should have so many capsules. Raises KubeError."""
        body = disruption_budget(pool, size)
        await self._kube.apply(BUDGETS, pool.metadata.namespace, body["metadata"]["name"], body)

    async def callers(self, pool: SnakePool) -> None:
        """The RoleBinding of who may call the pools of its namespace, if anybody is to be bound. Raises KubeError."""
        if self._caller_role:
            body = callers_binding(pool, self._caller_role)
            await self._kube.apply(ROLE_BINDINGS, pool.metadata.namespace, body["metadata"]["name"], body, part=pool.metadata.name)

    async def network(self, pool: SnakePool) -> None:
        """The NetworkPolicy of the capsules of its namespace, or none any more. Raises KubeError."""
        if not self._policy:
            return
        name = self._policy["metadata"]["name"]
        if "spec" not in self._policy:
            await self._kube.delete(NETWORK_POLICIES, pool.metadata.namespace, name)
            return
        body = capsule_policy(pool, self._policy)
        await self._kube.apply(NETWORK_POLICIES, pool.metadata.namespace, name, body, part=pool.metadata.name)

    async def authority(self, pool: SnakePool, bundle: str) -> None:
        """The ConfigMap by which whoever dials the control plane from the pool's namespace knows it. Raises KubeError."""
        namespace = pool.metadata.namespace
        body = authority_map(self._agent.authority, bundle, namespace, one_of(pool))
        await self._kube.apply(CONFIG_MAPS, namespace, body["metadata"]["name"], body, part=pool.metadata.name)

    async def status(self, found: Found, status: SnakePoolStatus) -> Object | None:
        """Write the status if the pool that was found has another one: the pool as it is then; None: it hasn't.

        Raises KubeError, a conflict among them.
        """
        after: Object = {key: value for key, value in msgspec.to_builtins(status).items() if value is not None}
        after["conditions"] = list(after["conditions"])
        if after == found.status:
            return None
        metadata = found.pool.metadata
        written = await self._kube.apply_status(POOLS, metadata.namespace, metadata.name, found.told(after))
        if written["status"] == after:
            return written
        # What others have put into it stays when it is applied.
        return await self._kube.merge_status(POOLS, metadata.namespace, metadata.name, _without(written, after))

    async def tell(self, pool: SnakePool, events: Iterable[NewEvent]) -> None:
        """Write Events; the same again is the same Event with a higher count. One that can't be written is logged: they decide nothing."""
        for event in events:
            try:
                await self._write(pool, event)
            except KubeError as error:
                if not error.ending:  # Else nothing can be made in that namespace, and nobody will read it.
                    log.warning("event %s of %s could not be written: %s", event.reason, pool.metadata.name, error)

    async def _write(self, pool: SnakePool, event: NewEvent) -> None:
        body, namespace = event_object(pool, event, datetime.now(UTC)), pool.metadata.namespace
        name = body["metadata"]["name"]
        try:
            await self._kube.create(EVENTS, namespace, body)
        except KubeError as error:
            if not error.exists:
                raise
            there = await self._kube.list(EVENTS, namespace, fields=f"metadata.name={name}")
            count = 1 + max((int(each.get("count") or 1) for each in there), default=1)
            latest = {each: body[each] for each in ("lastTimestamp", "message")}
            await self._kube.merge(EVENTS, namespace, name, {"count": count, **latest})

    async def _delete(self, pool: SnakePool, deletion: Deletion) -> bool:
        of = {"pool": f"{pool.metadata.namespace}/{pool.metadata.name}", "capsule": deletion.name}
        log.info("deleting capsule %s: %s %s", deletion.name, deletion.reason, deletion.message, extra=of)
        grace = grace_seconds(pool.spec.drain)
        await self._kube.delete(PODS, pool.metadata.namespace, deletion.name, deletion.uid, grace)
        return True

    async def _create(self, pool: SnakePool, creation: Creation) -> bool:
        """False: there is one already, made by an earlier pass."""
        body = pod(pool, creation, self._agent)
        try:
            await self._kube.create(PODS, pool.metadata.namespace, body)
        except KubeError as error:
            if error.exists:
                return False
            if error.refused:
                raise KubeError(error.code, error.reason, in_template(error.message, body)) from error
            raise
        log.info(
            "created capsule %s", creation.name, extra={"pool": f"{pool.metadata.namespace}/{pool.metadata.name}", "capsule": creation.name}
        )
        return True


async def _all(act: Callable[[T], Awaitable[bool]], on: Iterable[T]) -> list[bool | KubeError]:
    """Act on each, on a few at a time; of each what was returned, or its failure."""
    gate = asyncio.Semaphore(_PARALLEL)

    async def one(each: T) -> bool | KubeError:
        async with gate:
            try:
                return await act(each)
            except KubeError as error:
                return error

    return await asyncio.gather(*map(one, on))


def _without(written: Object, status: Object) -> Object:
    """A patch that takes what isn't in `status` out of the pool."""
    kept = {"resourceVersion": written["metadata"]["resourceVersion"]}
    return {"metadata": kept, "status": {**dict.fromkeys(written["status"]), **status}}
