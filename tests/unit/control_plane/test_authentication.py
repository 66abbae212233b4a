"""Who is let in as a capsule's agent and as the operator: tokens, and what each of them allows."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from snakepit.errors import PermissionDenied, ServerUnavailable, Unauthenticated
from snakepit.v1 import link_pb2
from snakepit_control_plane.authentication import make_gate
from snakepit_control_plane.authentication.gate import MOST_CHARACTERS
from snakepit_control_plane.authentication.guarded import CHECKED_SECONDS, Guarded
from snakepit_control_plane.authentication.issuers import parse_issuers
from snakepit_control_plane.authentication.keys import Issued, Keys
from snakepit_control_plane.authentication.tokens import LEEWAY_SECONDS, Key, parse_keys, read, service_account
from snakepit_control_plane.model.caller import Caller
from support.issuer import AUDIENCE, NAME, Clock, Issuer, Kept, operator_claims, pod_claims, private_key, public_key, signed

POOL = "default/digits"
CLAIMED = link_pb2.Capsule(name="digits-0", pool=POOL, pod_uid="pod-uid")


def bearer(token: str) -> list[tuple[str, str | bytes]]:
    return [("user-agent", "test"), ("authorization", f"Bearer {token}")]


def gate(source: Kept | None = None, clock: Callable[[], float] = time.monotonic, **settings: Any) -> Guarded:
    return Guarded(Issuer(url="/nowhere").settings(**settings), Keys((source or Kept("one")).fetch, clock), clock=clock)


def admit(token: str, claimed: link_pb2.Capsule = CLAIMED) -> None:
    asyncio.run(gate().admit_agent(bearer(token), claimed))


# ---- what a token allows


def test_a_pods_own_token_lets_it_say_that_it_is_itself() -> None:
    admit(signed(pod_claims("digits-0", POOL)))


@pytest.mark.parametrize(
    "claimed",
    [
        link_pb2.Capsule(name="digits-1", pool=POOL, pod_uid="pod-uid"),
        link_pb2.Capsule(name="digits-0", pool=POOL, pod_uid="another-uid"),
        link_pb2.Capsule(name="digits-0", pool=POOL, pod_uid=""),
        link_pb2.Capsule(name="digits-0", pool="default/others", pod_uid="pod-uid"),
        link_pb2.Capsule(name="digits-0", pool="another/digits", pod_uid="pod-uid"),
    ],
)
def test_a_pods_token_does_not_let_it_say_that_it_is_anything_else(claimed: link_pb2.Capsule) -> None:
    with pytest.raises(PermissionDenied, match=claimed.name):
        admit(signed(pod_claims("digits-0", POOL)), claimed)


def test_a_token_of_the_namespace_that_is_bound_to_no_pod_is_nobodys() -> None:
    with pytest.raises(PermissionDenied, match="bound to no pod"):
        admit(signed(pod_claims("digits-0", POOL, **{"kubernetes.io": {"namespace": "default"}})))


def test_a_pod_of_another_namespace_with_a_token_for_the_pool_is_refused() -> None:
    claims = pod_claims("digits-0", "other/digits", aud=[f"{AUDIENCE}/{POOL}"])
    with pytest.raises(PermissionDenied, match="has the token of pod other/digits-0"):
        admit(signed(claims))


@pytest.mark.parametrize("audience", [["https://kubernetes.default.svc"], "snakepit.tests/default/digits", []])
def test_a_token_for_somebody_else_says_for_whom_it_is(audience: Any) -> None:
    with pytest.raises(Unauthenticated, match=f"not for this control plane, whose audience is '{AUDIENCE}'"):
        admit(signed(pod_claims("digits-0", POOL, aud=audience)))


def test_only_the_operators_own_token_may_sync_pools() -> None:
    asyncio.run(gate().admit_operator(bearer(signed(operator_claims()))))
    for claims in (pod_claims("digits-0", POOL), operator_claims(sub="system:serviceaccount:default:default")):
        with pytest.raises(PermissionDenied, match="only the operator may sync pools"):
            asyncio.run(gate().admit_operator(bearer(signed(claims))))


# ---- who a caller is


def who(token: str, asked: Guarded | None = None) -> Caller:
    return asyncio.run((asked or gate()).identify(bearer(token), "ipv4:10.0.0.1:5"))


def web(**claims: Any) -> str:
    return signed(pod_claims("shop-0", "shop/none", **{"aud": [AUDIENCE], "sub": "system:serviceaccount:shop:web", **claims}))


def test_a_caller_with_a_pods_token_is_its_service_account_in_the_groups_that_the_api_server_gives_it() -> None:
    caller = who(web(exp=int(time.time()) + 100))
    assert (caller.name, caller.subject) == ("system:serviceaccount:shop:web", "system:serviceaccount:shop:web")
    assert caller.groups == ("system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated")
    assert caller.expires == pytest.approx(time.time() + 100 + LEEWAY_SECONDS, abs=5)


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"aud": ["https://kubernetes.default.svc"]}, "not for this control plane"),
        ({"aud": [f"{AUDIENCE}/{POOL}"]}, "not for this control plane"),
        ({"exp": int(time.time()) - 60}, "has expired"),
        ({"iss": "https://another.example"}, "is not one of"),
    ],
)
def test_a_caller_whose_token_is_not_right_is_told_why(claims: dict[str, Any], why: str) -> None:
    with pytest.raises(Unauthenticated, match=why):
        who(web(**claims))


def test_a_caller_without_a_token_is_told_where_it_reads_how_to_get_one() -> None:
    with pytest.raises(Unauthenticated, match=r"sent no token.*docs/security\.md"):
        asyncio.run(gate().identify([("user-agent", "test")], "here"))
    with pytest.raises(Unauthenticated, match="must be `Bearer`"):
        asyncio.run(gate().identify([("authorization", "Basic dXNlcg==")], "here"))


def test_while_no_keys_can_be_had_a_caller_is_told_to_come_again() -> None:
    source = Kept("one")
    source.fail = OSError("no route")
    with pytest.raises(ServerUnavailable, match="no route"):
        who(web(), gate(source))


def test_a_person_of_another_issuer_has_the_name_and_the_groups_that_its_claims_say_and_none_of_the_clusters_own() -> None:
    (company,) = parse_issuers(json.dumps([COMPANY]))
    asked = Guarded(Issuer(url="/nowhere").settings(), Keys(Kept("one").fetch), ((company, Keys(lambda: issued(company.issuer.url))),))
    claims = {"iss": company.issuer.url, "aud": "snakepit", "exp": int(time.time()) + 60, "sub": "1", "email": "ada@example.com"}
    caller = who(signed({**claims, "groups": ["ml", "system:masters"]}), asked)
    assert (caller.subject, caller.groups) == ("oidc:ada@example.com", ("ml", "system:authenticated"))
    with pytest.raises(Unauthenticated, match="is for other, not for this control plane"):
        who(signed({**claims, "aud": "other"}), asked)
    with pytest.raises(Unauthenticated, match="names nobody in its claim 'email'"):
        who(signed({**claims, "email": None}), asked)
    assert who(web(), asked).subject == "system:serviceaccount:shop:web"


COMPANY = {
    "issuer": {"url": "https://login.example.com", "audiences": ["snakepit"]},
    "claimMappings": {"username": {"claim": "email", "prefix": "oidc:"}, "groups": {"claim": "groups", "prefix": ""}},
}


def issued(name: str) -> Issued:
    return Issued(name, parse_keys(json.dumps({"keys": [public_key("one")]}).encode()))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (
            {"issuer": {"url": "http://login.example.com", "audiences": ["a"]}},
            r"\[0\].issuer.url .* is no https URL",
        ),
        ({"issuer": {"url": "https://login.example.com", "audiences": []}}, r"issuer.audiences is empty"),
        (
            {"issuer": {"url": "https://login.example.com", "audiences": ["a", "b"], "audienceMatchPolicy": "MatchAll"}},
            r"'MatchAll' - at `\$\[0\].issuer.audienceMatchPolicy`",
        ),
        ({"claimMappings": {"username": {"claim": "sub"}}}, r"username.prefix is missing"),
        ({"claimMappings": {"username": {"prefix": ""}}}, r"username.claim is missing"),
        ({"claimValidationRules": []}, r"unknown field `claimValidationRules`"),
    ],
)
def test_what_is_wrong_with_an_issuer_is_said_with_its_field(changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_issuers(json.dumps([{**COMPANY, **changed}]))


def test_tokens_of_a_file_are_those_of_its_subjects_and_the_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    file.write_text('# token,subject,uid,groups\n0123456789abcdef,ada,1,"ml,ops"\n')
    asked = gate(tokens_file=str(file))
    caller = who("0123456789abcdef", asked)
    assert (caller.subject, caller.groups) == ("ada", ("ml", "ops", "system:authenticated"))
    file.write_text("fedcba9876543210,bob\n")
    os.utime(file, ns=(1, 1))
    assert who("fedcba9876543210", asked).subject == "bob"
    with pytest.raises(Unauthenticated):
        who("0123456789abcdef", asked)
    file.write_text("short,bob\n")
    with pytest.raises(ServerUnavailable, match="line 1: use token,subject,uid"):
        who("fedcba9876543210", asked)


# ---- what a token must be


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"exp": int(time.time()) - 60}, "has expired"),
        ({"nbf": int(time.time()) + 86_400}, "not valid"),
        ({"iss": "https://another.example"}, "not one of"),
    ],
)
def test_a_token_out_of_its_time_or_of_another_issuer_is_refused(claims: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Unauthenticated, match=sentence):
        admit(signed(pod_claims("digits-0", POOL, **claims)))


@pytest.mark.parametrize("missing", ["exp", "iss", "sub", "aud"])
def test_a_token_without_a_claim_that_we_go_by_is_refused(missing: str) -> None:
    claims = pod_claims("digits-0", POOL)
    del claims[missing]
    with pytest.raises(Unauthenticated, match=missing):
        admit(signed(claims))


def test_a_token_signed_with_another_key_under_the_same_id_is_refused() -> None:
    forged = jwt.encode(pod_claims("digits-0", POOL), private_key("two"), "RS256", {"kid": "one"})
    with pytest.raises(Unauthenticated, match="not valid"):
        admit(forged)


def test_what_was_changed_after_signing_is_refused() -> None:
    head, _, signature = signed(pod_claims("digits-0", POOL)).split(".")
    other = base64.urlsafe_b64encode(json.dumps(pod_claims("digits-1", POOL)).encode()).rstrip(b"=").decode()
    with pytest.raises(Unauthenticated, match="not valid"):
        admit(f"{head}.{other}.{signature}", link_pb2.Capsule(name="digits-1", pool=POOL, pod_uid="pod-uid"))


def test_a_public_key_is_no_shared_secret_and_no_signature_is_no_signature() -> None:
    public = private_key("one").public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for algorithm, secret in (("HS256", pem), ("none", b"")):
        parts = [{"alg": algorithm, "kid": "one", "typ": "JWT"}, pod_claims("digits-0", POOL)]
        text = b".".join(base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in parts)
        signature = base64.urlsafe_b64encode(hmac.digest(secret, text, hashlib.sha256)).rstrip(b"=") if secret else b""
        with pytest.raises(Unauthenticated, match="not valid"):
            admit(b".".join([text, signature]).decode())


def deep(header: bytes, claims: bytes) -> str:
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (header, claims, b"x"))


DEEP = b"[" * 5900


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a.b.c",
        "e30.e30.e30",
        "x" * (MOST_CHARACTERS + 1),
        jwt.encode({}, private_key("one"), "RS256"),
        deep(DEEP, b"{}"),
        deep(b'{"alg":"RS256","kid":"one"}', DEEP),
    ],
    ids=lambda token: token[:8],
)
def test_what_is_no_token_is_refused_with_a_sentence(token: str) -> None:
    company = parse_issuers(json.dumps([COMPANY]))[0]
    for asked in (
        gate(),
        Guarded(Issuer(url="/nowhere").settings(), Keys(Kept("one").fetch), ((company, Keys(Kept("one").fetch)),)),
    ):
        with pytest.raises(Unauthenticated, match="the token"):
            who(token, asked)


def test_what_one_issuer_vouches_for_is_nothing_to_the_others() -> None:
    """A token of a company's issuer was checked as a caller's a moment ago; as an agent's it is looked at anew."""
    (company,) = parse_issuers(json.dumps([COMPANY]))
    asked = Guarded(
        Issuer(url="/nowhere").settings(),
        Keys(Kept("two").fetch),
        ((company, Keys(lambda: issued(company.issuer.url))),),
    )
    theirs = signed(pod_claims(CLAIMED.name, POOL, iss=company.issuer.url, email="ada", aud=["snakepit", f"{AUDIENCE}/{POOL}"]))

    async def play() -> None:
        assert (await asked.identify(bearer(theirs), "")).subject == "oidc:ada"
        with pytest.raises(Unauthenticated, match="doesn't have"):
            await asked.admit_agent(bearer(theirs), CLAIMED)

    asyncio.run(play())


class Asked(Keys):
    """`times`: so often has a token been checked."""

    times = 0

    async def find(self, key_id: str) -> tuple[Key, str]:
        self.times += 1
        return await super().find(key_id)


async def test_a_token_that_was_right_is_taken_to_be_so_for_a_while_and_then_checked_again() -> None:
    clock, keys = Clock(), Asked(Kept("one").fetch)
    guarded = Guarded(Issuer(url="/nowhere").settings(), keys, clock=clock)
    token = bearer(signed(pod_claims("digits-0", POOL)))
    for _ in range(3):
        await guarded.admit_agent(token, CLAIMED)
        with pytest.raises(PermissionDenied):
            await guarded.admit_agent(token, link_pb2.Capsule(name="digits-1", pool=POOL, pod_uid="pod-uid"))
    assert keys.times == 1
    clock.now += CHECKED_SECONDS
    await guarded.admit_agent(token, CLAIMED)
    assert keys.times == 2


async def test_a_token_that_was_right_is_checked_again_when_it_has_expired() -> None:
    now, keys = time.time(), Asked(Kept("one").fetch)
    guarded = Guarded(Issuer(url="/nowhere").settings(), keys, wall=lambda: now)
    token = bearer(web(exp=int(now) + 60))
    await guarded.identify(token, "here")
    await guarded.identify(token, "here")
    assert keys.times == 1
    now += 90
    await guarded.identify(token, "here")
    assert keys.times == 2, "nothing is said of an expired token without its being looked at"


def test_odd_claims_are_nobodys_and_break_nothing() -> None:
    for odd in ("text", ["list"], {"pod": "text"}, None):
        claims = pod_claims("digits-0", POOL, **{"kubernetes.io": odd})
        assert service_account(read(signed(claims), parse_keys(Issuer().jwks())["one"], NAME)).pod == ""


# ---- no token


def test_without_a_token_nobody_is_let_in_and_of_other_credentials_the_sentence_says_what_is_wanted() -> None:
    with pytest.raises(Unauthenticated, match="the agent of capsule digits-0 sent no token"):
        asyncio.run(gate().admit_agent([], CLAIMED))
    with pytest.raises(Unauthenticated, match="whoever syncs pools sent no token"):
        asyncio.run(gate().admit_operator([]))
    with pytest.raises(Unauthenticated, match="must be `Bearer` and a token"):
        asyncio.run(gate().admit_agent([("authorization", "Basic dTpw")], CLAIMED))


def test_where_nothing_is_asked_for_everybody_is_let_in() -> None:
    asyncio.run(make_gate(None).admit_agent([], CLAIMED))
    asyncio.run(make_gate(None).admit_operator(bearer("nonsense")))
