"""Sentences for failures that only the caller's side sees."""

from __future__ import annotations

import pytest

from snakepit.client.local_errors import no_server
from snakepit.errors import ServerUnavailable

ALL = "no answer from the control plane: failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1:"


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        (f"{ALL} Failed to connect to remote host: connect: Connection refused (111)", "connection refused"),
        (f"{ALL} Failed to connect to remote host: Connection refused", "connection refused"),
        ("127.0.0.1:1 did not answer the Hello within 5 s", "127.0.0.1:1 did not answer the Hello within 5 s"),
    ],
    ids=["iomgr", "event engine", "ours"],
)
def test_where_nobody_answers_the_cause_is_what_the_system_said(told: str, cause: str) -> None:
    sentence = str(no_server("127.0.0.1:1", ServerUnavailable(told)))
    assert sentence == f"no control plane answers at 127.0.0.1:1: is `snakepit dev` running, or is SNAKEPIT_SERVER wrong? ({cause})"


def test_only_of_a_name_without_an_address_it_is_said_that_it_has_none() -> None:
    assert str(no_server("cp:7800", None)).endswith("(the name has no address)")
    assert str(no_server("127.0.0.1:7800", None, is_dialling=True)).endswith("(nothing has been heard from there)")


def test_in_a_pod_the_label_that_lets_its_namespace_through_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    assert "is this pod's namespace labelled snakepit.dev/caller=true" in str(no_server("snakepit.snakepit-system:7800", None))
