"""Callers that pass on others' identities: who that makes, and what it needs."""

from __future__ import annotations

import pytest

from snakepit.errors import InvalidArguments
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.policy.impersonation import MOST_GROUPS, impersonated, needed, passed_on
from snakepit_control_plane.policy.rights import AS_ACCOUNT, AS_GROUP, AS_USER, attributes, denied

GATEWAY = Caller("gw", "gw", ("system:authenticated",), 1000.0)


def test_a_request_is_its_bearers_own_unless_it_names_somebody_else() -> None:
    assert passed_on(GATEWAY, [("user-agent", "x")]) is GATEWAY
    ada = passed_on(GATEWAY, [("impersonate-user", "ada"), ("impersonate-group", "ml"), ("impersonate-group", "ops")])
    assert (ada.name, ada.subject, ada.groups) == ("ada", "ada", ("ml", "ops", "system:authenticated"))
    assert (ada.bearer, ada.sender, ada.expires) == (GATEWAY, "gw", 1000.0)


def test_where_nobody_is_asked_who_it_is_nobody_is_passed_on() -> None:
    nobody = Caller("ipv4:127.0.0.1:5")
    assert passed_on(nobody, [("impersonate-user", "ada")]) is nobody


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ([("impersonate-group", "ml")], "impersonate-user is there 0 times"),
        ([("impersonate-user", "a"), ("impersonate-user", "b")], "impersonate-user is there 2 times"),
        ([("impersonate-user", "a"), ("impersonate-uid", "1")], "'impersonate-uid' is not taken"),
        ([("impersonate-user", "")], "a name has 1 to 1024 characters"),
        ([("impersonate-user", "a" * 1025)], "a name has 1 to 1024 characters"),
        ([("impersonate-user", "a\nb")], "characters that can be printed"),
        ([("impersonate-user", "a"), ("impersonate-group", "")], "a name has 1 to 1024 characters"),
        ([("impersonate-user", "a"), *[("impersonate-group", "g")] * (MOST_GROUPS + 1)], "64 are the most"),
    ],
)
def test_what_is_wrong_with_it_is_said(metadata: list[tuple[str, str | bytes]], problem: str) -> None:
    with pytest.raises(InvalidArguments, match=problem):
        passed_on(GATEWAY, metadata)


def test_a_service_account_is_in_its_groups_as_at_the_api_server() -> None:
    account = impersonated(GATEWAY, "system:serviceaccount:shop:web", ())
    assert account.groups == ("system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated")
    assert list(needed(account)) == [(AS_ACCOUNT, "shop/web")]


def test_each_name_needs_its_right_and_what_follows_from_the_subject_none() -> None:
    assert list(needed(impersonated(GATEWAY, "ada", ("a/b", "system:authenticated")))) == [(AS_USER, "/ada"), (AS_GROUP, "/a/b")]
    assert list(needed(impersonated(GATEWAY, "ada", ("system:serviceaccounts",)))) == [
        (AS_USER, "/ada"),
        (AS_GROUP, "/system:serviceaccounts"),
    ]


def test_it_is_asked_for_as_the_api_server_asks_and_a_refusal_says_what_is_missing() -> None:
    assert attributes(AS_GROUP, "/a/b") == {
        "group": "",
        "resource": "groups",
        "subresource": "",
        "verb": "impersonate",
        "namespace": "",
        "name": "a/b",
    }
    said = str(denied("gw", AS_ACCOUNT, "shop/web", ""))
    assert "'gw' may not impersonate serviceaccounts 'shop/web'" in said
    assert "`kubectl auth can-i impersonate serviceaccounts/web -n shop --as=gw`" in said
    assert "`kubectl auth can-i impersonate users/ada --as=gw`" in str(denied("gw", AS_USER, "/ada", ""))
