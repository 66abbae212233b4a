"""A CA for tests, and certificates of it: good ones, and such as are wrong in one way."""

from __future__ import annotations

import datetime
import ipaddress
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from snakepit_control_plane.servers.certificate import TlsFiles

DAY = datetime.timedelta(days=1)


class Authority:
    """Its own certificate is in `ca_file`; those that it makes are in folders beside it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ca_file = folder / "ca.crt"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(f"CA {folder.name}")
        extension = x509.BasicConstraints(ca=True, path_length=None)
        made = _certificate(self._name, self._name, self._key, 10 * DAY).add_extension(extension, critical=True)
        self.ca_file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def files(
        self,
        folder: str = "server",
        *,
        names: Sequence[str] = ("127.0.0.1", "localhost"),
        subject: str = "server",
        groups: Sequence[str] = (),
        ends: datetime.timedelta = DAY,
        begins: datetime.timedelta = -2 * DAY,
        client_ca: Path | None = None,
    ) -> TlsFiles:
        """A new certificate, swapped into that folder as the kubelet does it: by one symlink. `begins` and `ends`: from now on."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _certificate(_name(subject, groups), self._name, key, ends, begins)
        made = made.add_extension(x509.SubjectAlternativeName([_alternative(each) for each in names]), critical=False)
        content = made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)
        data = Path(tempfile.mkdtemp(prefix=folder, dir=self.folder))

        (data / "tls.crt").write_bytes(content)
        (data / "tls.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        swap(data, self.folder / folder)
        return TlsFiles(self.folder / folder / "tls.crt", self.folder / folder / "tls.key", client_ca)


def swap(new: Path, link: Path) -> None:
    """In one step."""
    beside = link.with_suffix(".new")
    beside.symlink_to(new)
    beside.replace(link)


def _name(subject: str, groups: Sequence[str] = ()) -> x509.Name:
    of = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*of, x509.NameAttribute(NameOID.COMMON_NAME, subject)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, ends: datetime.timedelta, begins: datetime.timedelta = -2 * DAY
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key.public_key())
    return made.serial_number(x509.random_serial_number()).not_valid_before(now + begins).not_valid_after(now + ends)
