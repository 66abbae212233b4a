"""Asks the API server whether somebody may do something: a review over HTTPS, on connections that are kept for a while.

On pools and pods of the local kind, so that a Role in their namespace is enough to ask with. On who may pass others' identities on, of
the kind for the whole cluster: users and groups are in no namespace.
https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/local-subject-access-review-v1/
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from snakepit.errors import ServerUnavailable
from snakepit_control_plane.authorization.rights import AT_A_TIME, Unanswerable, Unreachable
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.policy.rights import Answer, Right, attributes

GROUP = "authorization.k8s.io/v1"
ASK_SECONDS = 3.0
MOST_BYTES = 64 * 1024

CONNECTION_SECONDS = 60.0
"""A connection is used for so long: then another one may lead to another API server, and its certificate is looked at again."""

CANT_ASK = "the API server can't be asked who may do what"

CREATED = (200, 201)

FORBIDDEN = 403
NEVER = (400, 413, 422)
"""It is there, and will say nothing else of such a question: a strange name, say, or one that is too long."""

MAY_NOT_ASK = Answer(allowed=False, reason="the control plane may not create subjectaccessreviews, so nobody's identity is passed on here")
"""In an installation that has no ClusterRoles."""


class Reviews:
    """`server`: the API server's URL; `token_file` holds our own token, and is read each time, as tokens rotate."""

    def __init__(self, server: str, token_file: str, ca_file: str, clock: Callable[[], float] = time.monotonic) -> None:
        where = urlsplit(server)
        self._secure, self._host, self._port = where.scheme == "https", where.hostname or "", where.port
        self._path = where.path.rstrip("/")
        self._token_file = Path(token_file)
        self._context = ssl.create_default_context(cafile=ca_file or None)
        self._threads = ThreadPoolExecutor(AT_A_TIME, "ask for a right")
        self._clock, self._closed = clock, False
        self._kept: list[tuple[http.client.HTTPConnection, float]] = []

    def close(self) -> None:
        """No connection is kept any more."""
        self._closed = True
        while self._kept:
            self._kept.pop()[0].close()

    async def ask(self, caller: Caller, right: Right, pool: str) -> Answer:
        """Raises ServerUnavailable; Unreachable where no connection comes about, and Unanswerable where we may not ask it."""
        what = attributes(right, pool)
        body = {"apiVersion": GROUP, "spec": {"user": caller.subject, "groups": list(caller.groups), "resourceAttributes": what}}
        url = f"{self._path}/apis/{GROUP}"
        if right.verb != "impersonate":
            body |= {"kind": "LocalSubjectAccessReview", "metadata": {"namespace": what["namespace"]}}
            url += f"/namespaces/{what['namespace']}/localsubjectaccessreviews"
        else:
            body |= {"kind": "SubjectAccessReview"}
            url += "/subjectaccessreviews"
        try:
            async with asyncio.timeout(ASK_SECONDS + 1):
                said = await asyncio.get_running_loop().run_in_executor(self._threads, self._post, url, json.dumps(body).encode())
            if isinstance(said, Answer):
                return said
            status = json.loads(said)["status"]
            return Answer(bool(status.get("allowed")), str(status.get("reason") or status.get("evaluationError") or ""))
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ServerUnavailable(f"{CANT_ASK}: {error or type(error).__name__}") from None

    def _post(self, path: str, body: bytes) -> bytes | Answer:
        headers = {"Authorization": f"Bearer {self._token_file.read_text().strip()}", "Content-Type": "application/json"}
        status, reason, data = self._exchange(path, body, headers)
        if status in CREATED:
            return data
        if status == FORBIDDEN and path.endswith("/subjectaccessreviews"):
            return MAY_NOT_ASK
        if status in NEVER:
            return Answer(allowed=False, reason=f"the API server answers {status} {reason}")
        if status == FORBIDDEN:
            raise Unanswerable(f"{CANT_ASK}: it answers {status} {reason} to {path}")
        raise OSError(f"it answers {status} {reason}")

    def _exchange(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str, bytes]:
        """Over a connection that is open, if there is one: a handshake takes longer than an answer. Raises OSError or HTTPException."""
        while (kept := self._open()) is not None:
            with contextlib.suppress(ConnectionError, ssl.SSLError):  # It was hung up meanwhile.
                return self._over(*kept, path, body, headers)
        made: http.client.HTTPConnection
        if self._secure:
            made = http.client.HTTPSConnection(self._host, self._port, timeout=ASK_SECONDS, context=self._context)
        else:
            made = http.client.HTTPConnection(self._host, self._port, timeout=ASK_SECONDS)
        return self._over(made, self._clock(), path, body, headers)

    def _open(self) -> tuple[http.client.HTTPConnection, float] | None:
        while self._kept:
            with contextlib.suppress(IndexError):  # Another thread was first.
                connection, opened = self._kept.pop()
                if self._clock() - opened < CONNECTION_SECONDS:
                    return connection, opened
                connection.close()
        return None

    def _over(
        self, connection: http.client.HTTPConnection, opened: float, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, str, bytes]:
        try:
            if connection.sock is None:
                _connect(connection)
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            data = answer.read(MOST_BYTES)
        except BaseException:
            connection.close()
            raise
        if answer.isclosed() and connection.sock is not None and not self._closed:
            self._kept.append((connection, opened))
        else:
            connection.close()
        return answer.status, answer.reason, data


def _connect(connection: http.client.HTTPConnection) -> None:
    """Raises Unreachable; TimeoutError: it may be slow, for one connection of many."""
    try:
        connection.connect()
    except TimeoutError:
        raise
    except OSError as error:
        raise Unreachable(f"{CANT_ASK}: {error or type(error).__name__}") from error
