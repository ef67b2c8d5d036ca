"""Certificates made in the test: a root that nobody trusts but the test, and a signer whom it vouches for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from clickscape.config.c2pa import C2paConfig

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Signer:
    """PEM of a chain (the signer's certificate first), of its private key and of the root alone."""

    chain: bytes
    key: CertificateIssuerPrivateKeyTypes
    root: bytes

    def key_pem(self, *, password: bytes = b"") -> bytes:
        locked: KeySerializationEncryption = BestAvailableEncryption(password) if password else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)

    def save(self, folder: Path) -> C2paConfig:
        """Write chain.pem, key.pem and root.pem; return settings that name the first two."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, pem in (("chain", self.chain), ("key", self.key_pem()), ("root", self.root)):
            (folder / f"{name}.pem").write_bytes(pem)
        return C2paConfig(certificate=str(folder / "chain.pem"), private_key=str(folder / "key.pem"))


def make_signer(
    name: str = "Tin Shop",
    *,
    key: CertificateIssuerPrivateKeyTypes | None = None,
    days: tuple[int, int] = (-1, 30),
    usage: ObjectIdentifier = ExtendedKeyUsageOID.EMAIL_PROTECTION,
) -> Signer:
    """A root and a signer's certificate, valid from days[0] to days[1] days from now, as C2PA asks for them."""
    key, root_key = key or ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _subject("Test Root", "Test Root")
    root = _builder(issuer, issuer, root_key, days=(-100, 100), is_root=True).sign(root_key, hashes.SHA256())
    own = _builder(_subject(name, f"{name} ads"), issuer, key, days=days, is_root=False)
    own = own.add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    leaf = own.add_extension(signer, critical=False).sign(root_key, hashes.SHA256())
    pem = root.public_bytes(Encoding.PEM)
    return Signer(leaf.public_bytes(Encoding.PEM) + pem, key, pem)


def make_self_signed() -> Signer:
    """A signer that vouches for itself, which C2PA does not admit."""
    key = ed25519.Ed25519PrivateKey.generate()
    name = _subject("Self", "Self")
    own = _builder(name, name, key, days=(-1, 30), is_root=False)
    own = own.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=True)
    pem = own.sign(key, None).public_bytes(Encoding.PEM)
    return Signer(pem, key, pem)


def _subject(organization: str, common: str) -> x509.Name:
    parts = ((NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(*part) for part in parts])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificateIssuerPrivateKeyTypes,
    *,
    days: tuple[int, int],
    is_root: bool,
) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=not is_root, key_cert_sign=is_root, crl_sign=is_root, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + days[0] * DAY)
        .not_valid_after(NOW + days[1] * DAY)
        .add_extension(x509.BasicConstraints(is_root, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
