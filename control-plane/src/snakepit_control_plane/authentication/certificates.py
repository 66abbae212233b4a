"""Whom a client's certificate names, as the API server reads it: its common name, in the groups of its organisations. No I/O.

gRPC has checked by then who signed it.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID

from snakepit.errors import Unauthenticated
from snakepit_control_plane.authentication.gate import AUTHENTICATED, Identity

RESERVED = "system:"
"""What begins so is the cluster's to give: its own CA may, and callers' CA need not be it."""


@lru_cache(1024)
def bearer_of(certificate: bytes) -> Identity:
    """Whose it is. Raises Unauthenticated."""
    try:
        read = x509.load_pem_x509_certificate(certificate)
    except ValueError as error:
        raise Unauthenticated(f"the client's certificate can't be read: {error}") from None
    subjects = [str(each.value) for each in read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = tuple(str(each.value) for each in read.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    if len(subjects) != 1 or not all(each and each.isprintable() and each == each.strip() for each in (*subjects, *groups)):
        raise Unauthenticated("the client's certificate names nobody: its subject needs one common name, and may have organisations")
    if taken := [each for each in (*subjects, *groups) if each.startswith(RESERVED)]:
        raise Unauthenticated(f"the client's certificate names {taken[0]!r}: names that begin with {RESERVED} are the cluster's")
    return Identity(subjects[0], (), (*groups, AUTHENTICATED), read.not_valid_after_utc.timestamp())
