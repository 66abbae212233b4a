"""Which certificates are due, and that no peer is ever shown one that it can't check."""

from __future__ import annotations

import base64
import random
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from snakepit_operator.certificates import (
    AUTHORITY_LIFE,
    CERTIFICATE_LIFE,
    TRUSTED,
    Certificates,
    authority_data,
    bundle,
    read,
    renewed,
    serving_data,
)

NAMES = ("snakepit", "snakepit.snakepit-system")
START = datetime(2026, 11, 29, tzinfo=UTC)
DAY = timedelta(days=1)


def kept(made: Certificates) -> Certificates:
    """As the next round finds it in its Secrets."""
    return read({"data": authority_data(made)}, {"data": serving_data(made)})


def later(held: Certificates, now: datetime) -> Certificates:
    return kept(renewed(held, NAMES, now))


def believes(trusted: str, made: Certificates, now: datetime) -> bool:
    """Would a peer who trusts these, and nobody else, believe the control plane?"""
    store = Store(x509.load_pem_x509_certificates(trusted.encode()))
    try:
        verifier = PolicyBuilder().store(store).time(now).build_server_verifier(x509.DNSName(NAMES[0]))
        verifier.verify(shown(made), [])
    except x509.verification.VerificationError:
        return False
    return True


def shown(made: Certificates) -> x509.Certificate:
    assert made.serving is not None
    return made.serving.certificate


def text(data: dict[str, str], name: str) -> str:
    return base64.b64decode(data[name]).decode()


def test_from_nothing_there_is_an_authority_and_a_certificate_of_it_for_every_name() -> None:
    made = later(Certificates(), START)
    names = shown(made).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert tuple(names.get_values_for_type(x509.DNSName)) == NAMES
    assert believes(bundle(made), made, START)
    assert len(made.authorities) == len(made.trusted) == 1


def test_openssl_takes_it_as_strictly_as_it_can(tmp_path: Path) -> None:
    made = later(Certificates(), datetime.now(UTC))
    data = serving_data(made)
    for name in data:
        (tmp_path / name).write_text(text(data, name))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", NAMES[1]]
    command += ["-CAfile", str(tmp_path / "ca.crt"), str(tmp_path / "tls.crt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")


def test_nothing_changes_before_two_thirds_of_a_certificates_life_and_then_it_is_another_of_the_same_authority() -> None:
    made = later(Certificates(), START)
    assert shown(later(made, START + 59 * DAY)) == shown(made)
    after = later(made, START + 60 * DAY)
    assert shown(after) != shown(made)
    assert after.trusted == made.trusted
    assert believes(bundle(made), after, START + 60 * DAY)


def test_the_next_authority_is_trusted_for_half_a_year_before_it_signs_and_the_old_one_until_it_ends() -> None:
    made = later(Certificates(), START)
    due = START + AUTHORITY_LIFE * 2 / 3
    after = later(made, due)
    assert len(after.trusted) == 2
    assert believes(bundle(made), after, due)  # It is still the old one that signs.
    signs = due + AUTHORITY_LIFE / 6
    last = later(after, signs)
    assert not believes(bundle(made), last, signs)
    assert believes(bundle(after), last, signs)
    assert len(later(last, START + AUTHORITY_LIFE).trusted) == 1


def test_whoever_reads_the_authorities_once_in_180_days_believes_the_control_plane_for_ten_years() -> None:
    """Also while a replica shows the certificate before; and both ways: what a peer has may be newer than what is shown."""
    seed = random.randrange(10**9)
    chance, held, now = random.Random(seed), Certificates(), START
    bundles: dict[str, datetime] = {}
    """Each, and when somebody may have read it last."""
    while now < START + 10 * 365 * DAY:
        before, held = held, later(held, now)
        bundles[bundle(held)] = now
        for each, at in bundles.items():
            if now - at <= 180 * DAY:
                assert believes(each, held, now), (seed, at, now)
        assert before.serving is None or believes(bundle(held), before, now), (seed, now)
        now += chance.choice((0.5, 5, 25)) * DAY  # The operator is away now and then.
    assert len(bundles) > 8


def test_a_secret_that_is_taken_away_is_made_anew_and_the_old_authority_stays_trusted() -> None:
    made = later(Certificates(), START)
    without_authority = kept(renewed(read(None, {"data": serving_data(made)}), NAMES, START + DAY))
    assert shown(without_authority) == shown(made)
    assert len(without_authority.trusted) == 2
    without_certificate = kept(renewed(read({"data": authority_data(without_authority)}, None), NAMES, START + 2 * DAY))
    assert shown(without_certificate) != shown(made)
    assert believes(bundle(without_authority), without_certificate, START + 2 * DAY)
    assert believes(bundle(without_certificate), made, START + 2 * DAY)
    nothing_left = later(read(None, None), START + 3 * DAY)
    assert not set(nothing_left.trusted) & set(without_certificate.trusted)


def test_other_names_need_another_certificate_and_another_key_too() -> None:
    made = later(Certificates(), START)
    more = kept(renewed(made, (*NAMES, "pools.example.com"), START + DAY))
    assert shown(more) != shown(made)
    assert believes(bundle(made), more, START + DAY)
    assert shown(more).public_key() != shown(made).public_key()


@pytest.mark.parametrize("part", ["ca.crt", "tls.crt", "tls.key"])
@pytest.mark.parametrize("rubbish", ["", "nonsense", base64.b64encode(b"-----BEGIN nonsense").decode(), base64.b64encode(b"\xff").decode()])
def test_what_cant_be_read_is_made_anew(part: str, rubbish: str) -> None:
    made = later(Certificates(), START)
    other = later(Certificates(), START)
    for value in (rubbish, serving_data(other)[part]):
        after = later(read({"data": authority_data(made)}, {"data": {**serving_data(made), part: value}}), START + DAY)
        assert believes(bundle(after), after, START + DAY)
        after = later(read({"data": {**authority_data(made), part: value}}, {"data": serving_data(made)}), START + DAY)
        assert believes(bundle(after), after, START + DAY)


def test_the_number_of_those_who_are_trusted_is_bounded() -> None:
    held = Certificates()
    for day in range(TRUSTED * 2):
        held = later(held._replace(authorities=()), START + day * DAY)
    assert len(held.trusted) == TRUSTED


def test_a_certificate_of_times_to_come_or_of_a_stranger_is_none() -> None:
    made = later(Certificates(), START)
    before = START - 30 * DAY
    anew = later(made, before)
    assert believes(bundle(anew), anew, before)
    assert CERTIFICATE_LIFE < AUTHORITY_LIFE / 6
    stranger = later(Certificates(), START)
    after = later(made._replace(serving=stranger.serving), START + DAY)
    assert shown(after) != shown(stranger)
    assert believes(bundle(made), after, START + DAY)
