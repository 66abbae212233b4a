"""Asks the API server whether a user may read something (SubjectAccessReview), and remembers the answer for a while. No decisions."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from snakepit_operator.front_proxy import User
from snakepit_operator.kube import REVIEWS, Kube

ANSWER_SECONDS = 30.0
"""The API server has checked the same before it hands a request on, and never from memory: there a right that was taken ends at once."""
ANSWERS = 1024

Attributes = dict[str, Any]
"""`resourceAttributes` or `nonResourceAttributes`, with what is in them."""


class Access:
    """What the API server has said, until it is ANSWER_SECONDS old; the last ANSWERS of it."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._said: dict[tuple[User, str], tuple[float, str]] = {}

    async def refusal(self, user: User, attributes: Attributes) -> str | None:
        """Why not; None: the user may. Raises KubeError."""
        key, now = (user, json.dumps(attributes, sort_keys=True)), asyncio.get_running_loop().time()
        said_at, refusal = self._said.get(key, (now - ANSWER_SECONDS, ""))
        if now - said_at >= ANSWER_SECONDS:
            refusal = await self._ask(user, attributes)
            self._said.pop(key, None)
            self._said[key] = now, refusal
            if len(self._said) > ANSWERS:
                del self._said[next(iter(self._said))]
        return refusal or None

    async def _ask(self, user: User, attributes: Attributes) -> str:
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {**user.subject(), **attributes}}
        status = (await self._kube.create(REVIEWS, None, body)).get("status") or {}
        return "" if status.get("allowed") else status.get("reason") or "no rule allows it"
