"""SNAKEPIT_AUTH_*: whose tokens are taken, and where the keys are that they are signed with. Reads variables and nothing else."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from snakepit_control_plane.authentication.issuers import Issuer, parse_issuers

MODES = ("off", "required")
_NEEDED = ("keys", "audience", "operator")
_OPTIONAL = ("issuer", "ca_file", "token_file", "api_server", "audit", "issuers", "tokens_file")
LEVELS = ("off", "denied", "changes", "all")
"""Of the audit log: each has what those before it have."""
_SUBJECT = "system:serviceaccount:"


@dataclass(frozen=True)
class Authentication:
    """How agents, the operator and callers prove who they are, and who says what callers may do."""

    keys: str
    """The JWKS that tokens are checked with: an https URL, or the path of a file (SNAKEPIT_AUTH_KEYS)."""
    audience: str
    """For whom the operator's token is; an agent's is for `<audience>/<namespace>/<pool>` (SNAKEPIT_AUTH_AUDIENCE)."""
    operator: str
    """The operator's subject, `system:serviceaccount:<namespace>:<name>` (SNAKEPIT_AUTH_OPERATOR)."""
    issuer: str = ""
    """Who signs tokens (SNAKEPIT_AUTH_ISSUER, by default who signed the token file)."""
    ca_file: str = ""
    """What signs the certificate of the keys' URL, if not one of the machine's authorities (SNAKEPIT_AUTH_CA_FILE)."""
    token_file: str = ""
    """A token that the keys are fetched with, and the API server is asked with (SNAKEPIT_AUTH_TOKEN_FILE); read again each time."""
    api_server: str = ""
    """Whom callers' rights are asked of, as an https URL (SNAKEPIT_AUTH_API_SERVER); the chart says the cluster's. None: whoever has a
    right token may do everything but use others' sessions."""
    audit: str = "changes"
    """Which decisions on rights are logged, a line of JSON each: `off`, `denied`, `changes` or `all` (SNAKEPIT_AUTH_AUDIT), see
    docs/security.md#the-audit-log."""
    issuers: tuple[Issuer, ...] = ()
    """Whose tokens callers may bring besides the cluster's (SNAKEPIT_AUTH_ISSUERS): `url`, `discoveryURL`, `audiences`,
    `audienceMatchPolicy` and `certificateAuthority` of `issuer`, and `claim` and `prefix` of `claimMappings`, in the `jwt` list of an
    API server's AuthenticationConfiguration, as JSON."""
    tokens_file: str = ""
    """Tokens of callers that don't change, a line each: `token,subject,uid,"group,group"` (SNAKEPIT_AUTH_TOKENS_FILE); read again as it
    changes."""


def from_environment(environment: Mapping[str, str], problems: list[str]) -> Authentication | None:
    """None: off. What is wrong is added to `problems`, a sentence each."""
    mode = environment.get("SNAKEPIT_AUTH") or "off"
    if mode not in MODES:
        problems.append(f"SNAKEPIT_AUTH={mode!r} is unknown: use off or required")
    if mode != "required":
        return None
    read = {name: environment.get(f"SNAKEPIT_AUTH_{name.upper()}", "") for name in (*_NEEDED, *_OPTIONAL)}
    problems += [f"SNAKEPIT_AUTH_{name.upper()} is not set, and SNAKEPIT_AUTH=required needs it" for name in _NEEDED if not read[name]]
    if read["keys"] and (problem := _wrong_keys(read["keys"])):
        problems.append(f"SNAKEPIT_AUTH_KEYS={read['keys']!r}: {problem}")
    if read["operator"] and not read["operator"].startswith(_SUBJECT):
        problems.append(f"SNAKEPIT_AUTH_OPERATOR={read['operator']!r} is no service account: use {_SUBJECT}NAMESPACE:NAME")
    if not read["issuer"] and not read["token_file"]:
        problems.append("SNAKEPIT_AUTH_ISSUER is not set: name who signs the tokens, or set SNAKEPIT_AUTH_TOKEN_FILE to a token of theirs")
    if (read["audit"] or "changes") not in LEVELS:
        problems.append(f"SNAKEPIT_AUTH_AUDIT={read['audit']!r} is unknown: use {', '.join(LEVELS)}")
    if read["api_server"] and not read["token_file"]:
        problems.append("SNAKEPIT_AUTH_TOKEN_FILE is not set, and SNAKEPIT_AUTH_API_SERVER needs a token to ask with")
    issuers: tuple[Issuer, ...] = ()
    try:
        issuers = parse_issuers(read["issuers"] or "[]")
    except ValueError as error:
        problems.append(f"SNAKEPIT_AUTH_ISSUERS: {error}")
    return Authentication(**{**read, "audit": read["audit"] or "changes", "issuers": issuers})  # type: ignore[arg-type]


def is_url(keys: str) -> bool:
    """Is it a URL? Else it is a path."""
    return "://" in keys


def _wrong_keys(keys: str) -> str:
    """Why the setting can't be used; empty: it can."""
    if not is_url(keys):
        return "" if keys.startswith("/") else "use an https URL, or a path that begins with /"
    parts = urlsplit(keys)
    if parts.scheme == "https" and parts.hostname:
        return ""
    if parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return ""
    return "use https: whoever can change what comes over plain http makes keys of their own"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
