"""Who asks, behind the API server's aggregation layer."""

from __future__ import annotations

from typing import Any

import pytest

from snakepit_operator.front_proxy import FrontProxy, User, front_proxy

EVERYBODY = "system:authenticated"
SHOWN = {"subject": ((("organizationName", "system:masters"),), (("commonName", "front-proxy-client"),))}


def config_map(**changed: str) -> dict[str, Any]:
    """As kubeadm's clusters have it."""
    data = {
        "client-ca-file": "the authority",
        "allowed-names": '["front-proxy-client"]',
        "username-headers": '["X-Remote-User"]',
        "uid-headers": '["X-Remote-Uid"]',
        "group-headers": '["X-Remote-Group"]',
        "extra-headers-prefix": '["X-Remote-Extra-"]',
    }
    changes = {name.replace("_", "-"): value for name, value in changed.items()}
    return {"data": {"client-ca-file": "of users", **{f"requestheader-{name}": value for name, value in (data | changes).items()}}}


def proxy(**changed: str) -> FrontProxy:
    found = front_proxy(config_map(**changed))
    assert found is not None
    return found


def user(*headers: tuple[str, str], **changed: str) -> User | None:
    return proxy(**changed).user(SHOWN, headers)


def test_user_groups_uid_and_whatever_else_the_api_server_says_are_read() -> None:
    found = user(
        ("x-remote-user", "ann"),
        ("X-Remote-Uid", "42"),
        ("X-REMOTE-GROUP", "one"),
        ("X-Remote-Group", "two"),
        ("X-Remote-Extra-Scopes", "b"),
        ("X-Remote-Extra-Example.com%2fscopes", "a"),
        ("X-Remote-Extra-Scopes", "c"),
        ("X-Other", "d"),
    )
    assert found is not None
    extra = {"scopes": ["b", "c"], "example.com/scopes": ["a"]}
    assert found.subject() == {"user": "ann", "uid": "42", "groups": ["one", "two", EVERYBODY], "extra": extra}


@pytest.mark.parametrize(
    ("name", "groups"),
    [("system:anonymous", ["system:unauthenticated"]), ("system:anonymous", []), ("ann", ["system:unauthenticated"]), ("ann", [EVERYBODY])],
)
def test_who_has_logged_in_is_in_the_group_of_all_who_have_and_nobody_else(name: str, groups: list[str]) -> None:
    found = user(("X-Remote-User", name), *(("X-Remote-Group", group) for group in groups))
    assert found is not None
    assert found.groups == tuple(groups)


def test_the_headers_are_those_that_the_api_server_says_and_the_first_that_is_there_counts() -> None:
    names = '["X-One", " X-Two "]'
    assert user(("X-Two", "ann"), username_headers=names) == User("ann", groups=(EVERYBODY,))
    assert user(("X-Two", "ann"), ("X-One", "bob"), username_headers=names) == User("bob", groups=(EVERYBODY,))
    assert user(("X-Two", "ann"), ("X-One", ""), username_headers=names) == User("ann", groups=(EVERYBODY,))
    assert user(("X-Remote-User", "ann"), username_headers=names) is None


def shown(key: str, name: str) -> dict[str, Any]:
    return {"subject": (((key, name),),)}


STRANGERS = [None, {}, shown("commonName", "somebody"), shown("organizationName", "front-proxy-client")]


@pytest.mark.parametrize("certificate", STRANGERS)
def test_nobody_is_believed_without_a_certificate_of_that_name(certificate: dict[str, Any] | None) -> None:
    assert proxy().user(certificate, [("X-Remote-User", "ann")]) is None


def test_without_names_every_certificate_of_the_authority_is_believed() -> None:
    assert proxy(allowed_names="[]").user(shown("commonName", "somebody"), [("X-Remote-User", "ann")]) is not None


def test_an_api_server_that_does_not_aggregate_is_known() -> None:
    assert front_proxy({}) is None
    assert front_proxy({"data": {"client-ca-file": "of users"}}) is None


@pytest.mark.parametrize("names", ["front-proxy-client", '{"a": 1}', "[1]"])
def test_names_that_can_not_be_read_are_not_taken_for_none(names: str) -> None:
    with pytest.raises(ValueError, match=r"is no list of words|Expecting value"):
        front_proxy(config_map(allowed_names=names))
