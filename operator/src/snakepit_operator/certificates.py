"""The certificates that the operator makes, for control plane and gateways: what is due of them, and the next ones. Pure, but for keys.

Nobody may be shown a certificate whose authority he doesn't trust yet. So the next authority is there long before it signs: it is made
when AUTHORITY_LIFE has passed by DUE, and signs when SIGNS more of it have. What was trusted once is trusted until it expires.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CERTIFICATE_LIFE = timedelta(days=90)
AUTHORITY_LIFE = timedelta(days=1095)
DUE = 2 / 3
"""Of a life: then the next one is made."""
SIGNS = 1 / 6
"""Of an authority's life: so long it is trusted before it signs, unless nobody else can."""
SKEW = timedelta(minutes=5)
"""A clock may be behind ours by so much."""
TRUSTED = 8
"""The newest so many authorities are trusted."""

AUTHORITY, CERTIFICATE, KEY = "ca.crt", "tls.crt", "tls.key"
"""Keys in the two Secrets."""

Object = dict[str, Any]
_END = "-----END PRIVATE KEY-----\n"


class Pair(NamedTuple):
    """A certificate, and the key that it is about."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Certificates(NamedTuple):
    """`authorities` that can sign, the newest first; what one of ours shows; and whose certificates peers are to believe."""

    authorities: tuple[Pair, ...] = ()
    serving: Pair | None = None
    trusted: tuple[x509.Certificate, ...] = ()


def read(authority: Object | None, serving: Object | None) -> Certificates:
    """What two Secrets have. What can't be read isn't there, and is made anew."""
    signing, shown = _data(authority), _data(serving)
    pairs = zip(_certificates(signing.get(CERTIFICATE, "")), _keys(signing.get(KEY, "")), strict=False)
    shows = zip(_certificates(shown.get(CERTIFICATE, "")), _keys(shown.get(KEY, "")), strict=False)
    trusted = [*_certificates(signing.get(AUTHORITY, "")), *_certificates(shown.get(AUTHORITY, ""))]
    return Certificates(tuple(_matching(pairs)), next(iter(_matching(shows)), None), tuple(dict.fromkeys(trusted)))


def renewed(held: Certificates, names: tuple[str, ...], now: datetime) -> Certificates:
    """The same, where nothing is due. `names` are those that who shows it is dialled by."""
    authorities = tuple(each for each in held.authorities if _holds(each.certificate, now))
    if not authorities or _passed(authorities[0].certificate, now) >= DUE:
        authorities = (_authority(now), *authorities)
    known = dict.fromkeys((*(each.certificate for each in authorities), *held.trusted))
    newest = sorted((each for each in known if _holds(each, now)), key=lambda each: each.not_valid_before_utc, reverse=True)
    trusted = tuple(newest[:TRUSTED])
    serving = held.serving
    if serving is None or not _good(serving.certificate, trusted, names, now):
        serving = _signed(_signer(authorities, now), names, now)
    return Certificates(authorities, serving, trusted)


def authority_data(made: Certificates) -> dict[str, str]:
    """Of the Secret that the operator alone reads."""
    pairs = made.authorities
    certificates, keys = "".join(_pem(each.certificate) for each in pairs), "".join(_key_pem(each.key) for each in pairs)
    return _encoded({AUTHORITY: bundle(made), CERTIFICATE: certificates, KEY: keys})


def serving_data(made: Certificates) -> dict[str, str]:
    """Of the Secret that who shows it mounts."""
    assert made.serving is not None
    return _encoded({AUTHORITY: bundle(made), CERTIFICATE: _pem(made.serving.certificate), KEY: _key_pem(made.serving.key)})


def bundle(made: Certificates) -> str:
    """Whom peers are to believe, as PEM."""
    return "".join(map(_pem, made.trusted))


# ---- what is due


def _passed(certificate: x509.Certificate, now: datetime) -> float:
    """How much of its life has passed."""
    begin = certificate.not_valid_before_utc
    return (now - begin) / (certificate.not_valid_after_utc - begin)


def _holds(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _signer(authorities: tuple[Pair, ...], now: datetime) -> Pair:
    """The newest that has been trusted for long enough; else the oldest."""
    return next((each for each in authorities if _passed(each.certificate, now) >= SIGNS), authorities[-1])


def _good(certificate: x509.Certificate, trusted: tuple[x509.Certificate, ...], names: tuple[str, ...], now: datetime) -> bool:
    if not _holds(certificate, now) or _passed(certificate, now) >= DUE:
        return False
    return set(names) == _names(certificate) and any(_has_signed(each, certificate) for each in trusted)


def _names(certificate: x509.Certificate) -> set[str]:
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return set(alternatives.get_values_for_type(x509.DNSName))


def _has_signed(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


# ---- the next ones


def _authority(now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"snakepit authority of {now:%Y-%m-%d %H:%M}")
    usage = _usage(signs=True)
    made = _builder(name, key, now, now + AUTHORITY_LIFE).issuer_name(name)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).add_extension(usage, critical=True)
    return Pair(made.sign(key, hashes.SHA256()), key)


def _signed(signer: Pair, names: tuple[str, ...], now: datetime) -> Pair:
    key, authority = ec.generate_private_key(ec.SECP256R1()), signer.certificate
    end = min(now + CERTIFICATE_LIFE, authority.not_valid_after_utc)
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    made = _builder(_name(names[0]), key, now, end).issuer_name(authority.subject)
    made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    made = made.add_extension(_usage(signs=False), critical=True)
    made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
    made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    return Pair(made.sign(signer.key, hashes.SHA256()), key)


def _builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, end: datetime) -> x509.CertificateBuilder:
    made = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
    made = made.not_valid_before(now.astimezone(UTC) - SKEW).not_valid_after(end)
    return made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


# ---- Secrets


def _data(secret: Object | None) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, value in ((secret or {}).get("data") or {}).items():
        with contextlib.suppress(ValueError):
            found[name] = base64.b64decode(value).decode()
    return found


def _encoded(data: Mapping[str, str]) -> dict[str, str]:
    return {name: base64.b64encode(text.encode()).decode() for name, text in data.items()}


def _certificates(pem: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return []


def _keys(pem: str) -> Iterable[ec.EllipticCurvePrivateKey]:
    for each in pem.split(_END)[:-1]:
        with contextlib.suppress(ValueError):
            key = load_pem_private_key(f"{each}{_END}".encode(), password=None)
            if isinstance(key, ec.EllipticCurvePrivateKey):
                yield key


def _matching(pairs: Iterable[tuple[x509.Certificate, ec.EllipticCurvePrivateKey]]) -> Iterable[Pair]:
    """Those whose key is the certificate's own."""
    return (Pair(*each) for each in pairs if each[0].public_key() == each[1].public_key())


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
