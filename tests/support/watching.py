"""A pool's pods as the API server told their story: a watch from its beginning, so that nothing between two looks is missed."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import Any

from support.kube import eventually


class PodWatch:
    """Follows a pool's pods while it is open. `most` is the highest number of pods at once that were not on their way out."""

    def __init__(self, pool: str, *, namespace: str) -> None:
        selector = f"snakepit.dev/pool={pool}"
        self._argv = ["kubectl", "get", "pods", "-n", namespace, "-l", selector, "--watch", "--output-watch-events", "-o", "json"]
        self.active: set[str] = set()
        self.seen: set[str] = set()
        self.most = 0
        self.last: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> PodWatch:
        self._kubectl = subprocess.Popen(self._argv, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        eventually(lambda: self.seen, "the watch shows the first pod")
        return self

    def __exit__(self, *_: object) -> None:
        self._kubectl.terminate()
        self._kubectl.wait(timeout=10)
        self._reader.join(timeout=10)
        assert self._kubectl.stdout
        self._kubectl.stdout.close()

    def _read(self) -> None:
        assert self._kubectl.stdout
        for line in self._kubectl.stdout:
            self._take(json.loads(line))

    def _take(self, event: dict[str, Any]) -> None:
        pod = event["object"]
        name = pod["metadata"]["name"]
        self.seen.add(name)
        self.last[name] = pod
        going = event["type"] == "DELETED" or "deletionTimestamp" in pod["metadata"]
        self.active = self.active - {name} if going else self.active | {name}
        self.most = max(self.most, len(self.active))

    def restarts(self) -> dict[str, Any]:
        """The pods of which a container ended and was started again, and how it had ended."""
        return {name: found for name, pod in self.last.items() if (found := [s for s in _statuses(pod) if s["restartCount"]])}

    def exit_codes(self, pod: str) -> dict[str, int]:
        """How each container of the pod ended, as far as they have."""
        return {c["name"]: c["state"]["terminated"]["exitCode"] for c in _statuses(self.last[pod]) if "terminated" in c["state"]}


def _statuses(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["status"].get("initContainerStatuses", []), *pod["status"].get("containerStatuses", [])]
