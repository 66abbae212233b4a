"""Callers that pass on calls of their own callers: with their tokens, or, with a right to, by their names as the API server has it. Pure.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from snakepit._values.strings import quoted
from snakepit.errors import InvalidArguments
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.policy.rights import AS_ACCOUNT, AS_GROUP, AS_USER, Right

PREFIX = "impersonate-"
USER, GROUP = "impersonate-user", "impersonate-group"

MOST_GROUPS = 64
MOST_CHARACTERS = 1024

_ACCOUNT = "system:serviceaccount:"
_ACCOUNTS = "system:serviceaccounts"
_AUTHENTICATED = "system:authenticated"


def passed_on(bearer: Caller, metadata: Sequence[tuple[str, str | bytes]]) -> Caller:
    """Whose the request is, by its metadata: its bearer's own, or that of the one whom it names. Raises InvalidArguments."""
    said = [(key, str(value)) for key, value in metadata if key.startswith(PREFIX)]
    if not said or not bearer.subject:
        return bearer
    if unknown := [key for key, _ in said if key not in (USER, GROUP)]:
        raise InvalidArguments(f"metadata {quoted(unknown[0])} is not taken: name whose call it is by {USER} and {GROUP}")
    users = [value for key, value in said if key == USER]
    if len(users) != 1:
        raise InvalidArguments(f"metadata {USER} is there {len(users)} times: name one, whose call it is")
    return impersonated(bearer, users[0], [value for key, value in said if key == GROUP])


def impersonated(bearer: Caller, subject: str, groups: Sequence[str]) -> Caller:
    """The subject in the groups that the API server would have it in; whether `bearer` may is not asked here. Raises InvalidArguments."""
    if len(groups) > MOST_GROUPS:
        raise InvalidArguments(f"a caller is passed on in {len(groups)} groups: {MOST_GROUPS} are the most")
    for name in (subject, *groups):
        if not 0 < len(name) <= MOST_CHARACTERS or not name.isprintable():
            most = f"1 to {MOST_CHARACTERS} characters that can be printed"
            raise InvalidArguments(f"a caller is passed on with a subject or a group {quoted(name)}: a name has {most}")
    given = tuple(groups)
    if not given and (account := _account(subject)):
        given = (_ACCOUNTS, f"{_ACCOUNTS}:{account[0]}")
    if _AUTHENTICATED not in given:
        given = (*given, _AUTHENTICATED)
    return Caller(subject, subject, given, bearer.expires, bearer)


def with_token(bearer: Caller, shown: Caller) -> Caller:
    """Whom a token names that `bearer` has passed on: whoever has somebody's token is that somebody, so no right is needed."""
    return Caller(shown.name, shown.subject, shown.groups, shown.expires, bearer, has_token=True)


def needed(caller: Caller) -> Iterator[tuple[Right, str]]:
    """What its bearer needs for passing it on: rights, each on `namespace/name` or `/name`. What follows from the subject is free."""
    if caller.has_token:
        return
    account = _account(caller.subject)
    yield (AS_ACCOUNT, "/".join(account)) if account else (AS_USER, f"/{caller.subject}")
    free = {_AUTHENTICATED, *((_ACCOUNTS, f"{_ACCOUNTS}:{account[0]}") if account else ())}
    for group in caller.groups:
        if group not in free:
            yield AS_GROUP, f"/{group}"


def _account(subject: str) -> tuple[str, str] | None:
    """Namespace and name of a service account."""
    namespace, _, name = subject.removeprefix(_ACCOUNT).partition(":")
    return (namespace, name) if subject.startswith(_ACCOUNT) and namespace and name else None
