"""Who asks, where requests come through the API server's aggregation layer: whom it names, and by what it is known itself. Pure.

All of that stands in the ConfigMap extension-apiserver-authentication of kube-system, and may change there at any time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from msgspec import Struct

CONFIG_MAP = ("kube-system", "extension-apiserver-authentication")
_KEY = "requestheader-"
_ANONYMOUS, _KNOWN, _UNKNOWN = "system:anonymous", "system:authenticated", "system:unauthenticated"

Header = tuple[str, str]


class User(Struct, frozen=True):
    """Who asks. `extra` is what the authenticator knows besides, each with its name."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[Header, ...] = ()

    def subject(self) -> dict[str, Any]:
        """As a SubjectAccessReview has it."""
        extra: dict[str, list[str]] = {}
        for name, value in self.extra:
            extra.setdefault(name, []).append(value)
        return {"user": self.name, "uid": self.uid, "groups": list(self.groups), "extra": extra}


class FrontProxy(Struct, frozen=True, kw_only=True):
    """By which certificate the API server is known (`names` empty: any of those `authorities`), and which headers name the user."""

    authorities: str
    names: tuple[str, ...]
    user_headers: tuple[str, ...]
    uid_headers: tuple[str, ...]
    group_headers: tuple[str, ...]
    extra_prefixes: tuple[str, ...]

    def user(self, certificate: Mapping[str, Any] | None, headers: Iterable[Header]) -> User | None:
        """Who asks; None: that can't be known. `certificate` is the peer's, which was signed by one of the authorities, as `ssl` has it."""
        if not certificate or (self.names and not set(self.names) & set(_common_names(certificate))):
            return None
        given = [(name.lower(), value) for name, value in headers if value]
        name = next(_of(self.user_headers, given), "")
        if not name:
            return None
        return User(
            name=name,
            uid=next(_of(self.uid_headers, given), ""),
            groups=_with_everybody(name, tuple(_of(self.group_headers, given))),
            extra=tuple(sorted(_extra(self.extra_prefixes, given))),
        )


def front_proxy(config_map: Mapping[str, Any]) -> FrontProxy | None:
    """As the ConfigMap says; None: this cluster's API server has no aggregation layer. Raises ValueError for one that can't be read."""
    data: Mapping[str, str] = config_map.get("data") or {}
    authorities = data.get(f"{_KEY}client-ca-file", "")
    if not authorities:
        return None
    read = {name: _words(data.get(f"{_KEY}{key}") or "[]") for name, key in _LISTS.items()}
    return FrontProxy(authorities=authorities, **read)


_LISTS = {
    "names": "allowed-names",
    "user_headers": "username-headers",
    "uid_headers": "uid-headers",
    "group_headers": "group-headers",
    "extra_prefixes": "extra-headers-prefix",
}


def _words(text: str) -> tuple[str, ...]:
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError(f"{text[:100]} is no list of words")
    return tuple(found)


def _common_names(certificate: Mapping[str, Any]) -> Iterator[str]:
    for relative in certificate.get("subject") or ():
        yield from (value for key, value in relative if key == "commonName")


def _with_everybody(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """The API server leaves that group to whoever it hands a request on to: its own discovery comes without any."""
    return groups if name == _ANONYMOUS or {*groups} & {_KNOWN, _UNKNOWN} else (*groups, _KNOWN)


def _of(names: Sequence[str], headers: Sequence[Header]) -> Iterator[str]:
    for wanted in names:
        yield from (value for name, value in headers if name == wanted.strip().lower())


def _extra(prefixes: Sequence[str], headers: Sequence[Header]) -> Iterator[Header]:
    for prefix in (each.strip().lower() for each in prefixes):
        yield from ((unquote(name[len(prefix) :]), value) for name, value in headers if name.startswith(prefix))
