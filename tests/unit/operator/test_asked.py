"""What a request to the API server is called in metrics, by its method and its address."""

from __future__ import annotations

import pytest

from snakepit_operator.asked import named

POOLS = "/apis/snakepit.dev/v1alpha1"


@pytest.mark.parametrize(
    ("method", "path", "query", "verb", "resource"),
    [
        ("GET", f"{POOLS}/snakepools", {"limit": "200"}, "list", "snakepools"),
        ("GET", f"{POOLS}/namespaces/team/snakepools", {"watch": "true"}, "watch", "snakepools"),
        ("GET", f"{POOLS}/namespaces/team/snakepools/digits", {}, "get", "snakepools"),
        ("PATCH", f"{POOLS}/namespaces/team/snakepools/digits/status", {}, "patch", "snakepools/status"),
        ("GET", "/api/v1/pods", {"watch": "true", "labelSelector": "a"}, "watch", "pods"),
        ("POST", "/api/v1/namespaces/team/events", {}, "create", "events"),
        ("GET", "/api/v1/namespaces", {}, "list", "namespaces"),
        ("GET", "/api/v1/namespaces/team", {}, "get", "namespaces"),
        ("GET", "/api/v1", {}, "get", "discovery"),
        ("GET", "/apis/snakepit.dev/v1alpha1", {}, "get", "discovery"),
        ("GET", "/apis", {}, "get", "discovery"),
        ("GET", "/api", {}, "get", "discovery"),
        ("GET", "/", {}, "get", "discovery"),
        ("TRACE", "/api/v1/pods/p", {}, "other", "pods"),
    ],
)
def test_a_request_has_the_verb_and_the_resource_that_rights_have(
    method: str, path: str, query: dict[str, str], verb: str, resource: str
) -> None:
    assert named(method, path, query) == (verb, resource)
