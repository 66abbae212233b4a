"""Asks the API server whether somebody may do something: a review over plain HTTPS, as the signing keys are fetched.

On pools of the local kind, so that a Role in their namespace is enough to ask with. On who may pass others' identities on, of the kind
for the whole cluster: users and groups are in no namespace.
https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/local-subject-access-review-v1/
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from snakepit.errors import ServerUnavailable
from snakepit_control_plane.authorization.rights import AT_A_TIME
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.policy.rights import RESOURCE, Answer, Right, attributes

GROUP = "authorization.k8s.io/v1"
ASK_SECONDS = 3.0
MOST_BYTES = 64 * 1024

FORBIDDEN = 403
NEVER = (400, 422)
"""It is there, and will say nothing else of such a question: a strange name, say."""

MAY_NOT_ASK = Answer(allowed=False, reason="the control plane may not create subjectaccessreviews, so nobody's identity is passed on here")
"""In an installation that has no ClusterRoles."""


class Reviews:
    """`server`: the API server's URL; `token_file` holds our own token, and is read each time, as tokens rotate."""

    def __init__(self, server: str, token_file: str, ca_file: str) -> None:
        self._server = server.rstrip("/")
        self._token_file = Path(token_file)
        self._context = ssl.create_default_context(cafile=ca_file or None)
        self._threads = ThreadPoolExecutor(AT_A_TIME, "ask for a right")

    async def ask(self, caller: Caller, right: Right, pool: str) -> Answer:
        """Raises ServerUnavailable."""
        what = attributes(right, pool)
        body = {"apiVersion": GROUP, "spec": {"user": caller.subject, "groups": list(caller.groups), "resourceAttributes": what}}
        url = f"{self._server}/apis/{GROUP}"
        if right.resource == RESOURCE:
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
            raise ServerUnavailable(f"the API server can't be asked who may do what: {error or type(error).__name__}") from None

    def _post(self, url: str, body: bytes) -> bytes | Answer:
        headers = {"Authorization": f"Bearer {self._token_file.read_text().strip()}", "Content-Type": "application/json"}
        request = urllib.request.Request(url, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=ASK_SECONDS, context=self._context) as answer:
                data: bytes = answer.read(MOST_BYTES)
        except urllib.error.HTTPError as error:
            if error.code == FORBIDDEN and url.endswith("/subjectaccessreviews"):
                return MAY_NOT_ASK
            if error.code in NEVER:
                return Answer(allowed=False, reason=f"the API server answers {error.code} {error.reason}")
            raise OSError(f"it answers {error.code} {error.reason}") from None
        except urllib.error.URLError as error:
            raise OSError(f"{error.reason}") from None
        return data
