"""JSON Web Tokens and the keys that they are signed with: the one module that imports PyJWT. No I/O."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import jwt

from snakepit._wire.protocol import AUDIENCE_DETAIL, NOW_DETAIL, TOKEN_DETAIL
from snakepit.errors import Unauthenticated
from snakepit_control_plane.authentication.gate import AUTHENTICATED, Identity
from snakepit_control_plane.authentication.issuers import Issuer

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""None with a shared secret: our keys are public, and anybody could sign with them."""

LEEWAY_SECONDS = 10.0
"""That clocks may differ by."""

SERVICE_ACCOUNT = "system:serviceaccount:"

Key = jwt.PyJWK


def parse_keys(data: bytes) -> dict[str, Key]:
    """The keys of a JWKS by their ids; those of kinds that we don't know are left out. Raises ValueError with a sentence."""
    try:
        keys = jwt.PyJWKSet.from_json(data.decode()).keys
    except (jwt.PyJWTError, ValueError, AttributeError, TypeError, LookupError, RecursionError) as error:
        raise ValueError(f"there is no JWKS with a key that can be used: {error}") from None
    usable = {key.key_id: key for key in keys if key.key_id and key.algorithm_name in ALGORITHMS}
    if not usable:
        raise ValueError(f"of the JWKS' {len(keys)} keys none can be used: each needs a `kid`, and one of {', '.join(ALGORITHMS)}")
    return usable


def key_id(token: str) -> str:
    """Which key the token says it is signed with. Raises Unauthenticated."""
    try:
        found = jwt.get_unverified_header(token).get("kid")
    except jwt.PyJWTError as error:
        raise Unauthenticated(f"the token can't be read: {error}") from None
    if not found:
        raise Unauthenticated("the token doesn't say which key it is signed with (kid)")
    return str(found)


def issuer_of(token: str) -> str:
    """Who signed it, by its own word. Raises Unauthenticated."""
    try:
        return str(jwt.decode(token, options={"verify_signature": False}).get("iss", ""))
    except (jwt.PyJWTError, ValueError) as error:
        raise Unauthenticated(f"the token can't be read: {error}") from None


def read(token: str, key: Key, issuer: str) -> Mapping[str, Any]:
    """The claims of a token whose signature, issuer and times are right; for whom it is, is not looked at. Raises Unauthenticated."""
    options: Any = {"require": ["exp", "iss", "sub", "aud"], "verify_aud": False}
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token, key, algorithms=list(ALGORITHMS), issuer=issuer, leeway=LEEWAY_SECONDS, options=options
        )
        return {**claims, "exp": float(claims["exp"])}
    except jwt.ExpiredSignatureError:
        raise Unauthenticated("the token has expired: its file is to be read again before it does", details=_why("expired")) from None
    except jwt.ImmatureSignatureError:
        raise Unauthenticated("the token is not valid yet: is the clock of one of the machines wrong?", details=_why("early")) from None
    except jwt.InvalidIssuerError:
        raise Unauthenticated(f"the token is not one of {issuer}") from None
    except (jwt.PyJWTError, ValueError, OverflowError) as error:
        raise Unauthenticated(f"the token is not valid: {error}") from None


def service_account(claims: Mapping[str, Any]) -> Identity:
    """Who bears a token of the cluster's own, in the groups that the API server puts a service account into."""
    bound = _object(claims.get("kubernetes.io"))
    pod, subject = _object(bound.get("pod")), str(claims["sub"])
    namespace = subject.removeprefix(SERVICE_ACCOUNT).partition(":")[0] if subject.startswith(SERVICE_ACCOUNT) else ""
    of_namespace = (f"system:serviceaccounts:{namespace}",) if namespace else ()
    return Identity(
        subject=subject,
        audiences=audiences(claims),
        groups=("system:serviceaccounts", *of_namespace, AUTHENTICATED),
        expires=claims["exp"] + LEEWAY_SECONDS,
        namespace=str(bound.get("namespace", "")),
        pod=str(pod.get("name", "")),
        pod_uid=str(pod.get("uid", "")),
    )


def person(claims: Mapping[str, Any], issuer: Issuer) -> Identity:
    """Who bears a token of another issuer. Raises Unauthenticated."""
    if not (subject := issuer.subject(claims)).isprintable() or not subject:
        claim = issuer.claim_mappings.username.claim
        raise Unauthenticated(f"the token of {issuer.issuer.url} names nobody in its claim {claim!r} whom that issuer may name")
    found = audiences(claims)
    if not set(found) & set(issuer.issuer.audiences):
        wanted = {TOKEN_DETAIL: "audience", AUDIENCE_DETAIL: issuer.issuer.audiences[0]}
        said = f"the token of {issuer.issuer.url} is for {', '.join(found) or 'nobody'}, not for this control plane"
        raise Unauthenticated(said, details=wanted)
    return Identity(subject, found, (*issuer.groups(claims), AUTHENTICATED), claims["exp"] + LEEWAY_SECONDS)


def audiences(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """For whom a token is."""
    audience = claims["aud"]
    named = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
    return tuple(each for each in named if isinstance(each, str))


def _why(word: str) -> dict[str, str]:
    """Details of what is wrong with a token's times: whoever brings it compares the clocks."""
    return {TOKEN_DETAIL: word, NOW_DETAIL: f"{time.time():.0f}"}


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
