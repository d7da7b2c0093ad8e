"""A certificate authority for one test run: server and client certificates as PEM files and TLS contexts."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


@dataclass(frozen=True)
class Authority:
    """Paths of PEM files in `folder`: the authority's certificate, a client's certificate and key."""

    folder: Path
    pair: Pair

    @classmethod
    def create(cls, folder: Path) -> Authority:
        """Make the authority and one client certificate."""
        authority = cls(folder, _certificate("Test authority", issuer=None))
        _write(folder / "ca.pem", authority.pair[0])
        certificate, key = _certificate("a client", issuer=authority.pair)
        _write(folder / "client.pem", certificate)
        _write_key(folder / "client.key", key)
        return authority

    @property
    def ca(self) -> str:
        return str(self.folder / "ca.pem")

    @property
    def client_cert(self) -> str:
        return str(self.folder / "client.pem")

    @property
    def client_key(self) -> str:
        return str(self.folder / "client.key")

    def server_context(
        self, name: str = "localhost", *, expired: bool = False, client_certificate: bool = False, days: int = 1
    ) -> ssl.SSLContext:
        """Return a server's context with a certificate for `name`, valid for `days`; localhost includes 127.0.0.1."""
        certificate, key = _certificate(name, issuer=self.pair, days=-1 if expired else days)
        _write(self.folder / "server.pem", certificate)
        _write_key(self.folder / "server.key", key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        if client_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca)
        return context

    def self_signed_context(self, name: str = "localhost") -> ssl.SSLContext:
        """Return a server's context with a self-signed certificate."""
        certificate, key = _certificate(name, issuer=None)
        _write(self.folder / "self.pem", certificate)
        _write_key(self.folder / "self.key", key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "self.pem", self.folder / "self.key")
        return context


def _certificate(name: str, *, issuer: Pair | None, days: int = 1) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    alternatives: list[x509.GeneralName] = [x509.DNSName(name.replace(" ", "-"))]
    if name == "localhost":
        alternatives.append(x509.IPAddress(ip_address("127.0.0.1")))
    now = datetime.now(UTC)
    signer = key if issuer is None else issuer[1]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(_key_usage(authority=issuer is None), critical=True)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    return builder.sign(signer, hashes.SHA256()), key


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    """Return the key usage that Python 3.13 and later require of an authority's certificate."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
