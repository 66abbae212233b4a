"""Whose tokens callers may bring, beside the cluster's own: by these fields of the API server's AuthenticationConfiguration.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#using-authentication-configuration
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct


class Url(Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """`audiences`: a token must be for one of them, which is what an API server calls MatchAny.
    `certificate_authority`: PEM, instead of the machine's authorities."""

    url: str
    audiences: tuple[str, ...]
    discovery_url: str = msgspec.field(name="discoveryURL", default="")
    audience_match_policy: Literal["", "MatchAny"] = ""
    certificate_authority: str = ""


class Claim(Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """Which claim it is; `prefix` stands before its value, so that no issuer can name another's people."""

    claim: str = ""
    prefix: str | None = None


class Mappings(Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """What of a token's claims says who it is."""

    username: Claim
    groups: Claim = Claim()


class Issuer(Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """One who signs tokens."""

    issuer: Url
    claim_mappings: Mappings

    def subject(self, claims: Mapping[str, Any]) -> str:
        """Empty: the token names nobody whom this issuer may name."""
        claimed = claims.get(self.claim_mappings.username.claim)
        return _named(self.claim_mappings.username, claimed) if isinstance(claimed, str) and claimed else ""

    def groups(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        claimed = claims.get(self.claim_mappings.groups.claim)
        names = [claimed] if isinstance(claimed, str) else claimed if isinstance(claimed, list) else []
        return tuple(filter(None, (_named(self.claim_mappings.groups, each) for each in names if isinstance(each, str))))


def _named(claim: Claim, value: str) -> str:
    """What begins with `system:` is the cluster's own to name."""
    name = f"{claim.prefix or ''}{value}"
    return "" if name.startswith("system:") else name


def parse_issuers(text: str | bytes) -> tuple[Issuer, ...]:
    """The `jwt` of an AuthenticationConfiguration, as JSON. Raises ValueError with a sentence that names the field."""
    try:
        issuers = msgspec.json.decode(text, type=tuple[Issuer, ...])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"{error}: use a JSON list of what an AuthenticationConfiguration has in `jwt`") from None
    for index, each in enumerate(issuers):
        if problem := _problem(each):
            raise ValueError(f"[{index}].{problem}")
    if len({each.issuer.url for each in issuers}) < len(issuers):
        raise ValueError("two of them have the same issuer.url: each needs its own")
    return issuers


def _problem(each: Issuer) -> str:
    for name, url in (("url", each.issuer.url), ("discoveryURL", each.issuer.discovery_url or each.issuer.url)):
        if urlsplit(url).scheme != "https" or not urlsplit(url).hostname:
            return f"issuer.{name} {url!r} is no https URL"
    if not each.issuer.audiences:
        return "issuer.audiences is empty: name for whom its tokens are"
    if not each.claim_mappings.username.claim:
        return "claimMappings.username.claim is missing: name the claim that says who it is, `sub` say"
    if each.claim_mappings.username.prefix is None:
        return 'claimMappings.username.prefix is missing: give one, `oidc:` say, or "" for none'
    return ""
