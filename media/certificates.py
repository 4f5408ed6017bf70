"""Who signs: the user's certificate and key, or a local pair that is made when the user asks for it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

FOLDER_VARIABLE = "OPENLTX_CREDENTIALS"
CHAIN_FILE, KEY_FILE = "certificate.pem", "key.pem"
YEARS, EARLIER = 10, timedelta(minutes=5)  # clocks differ by a little
MISSING = "content credentials: the cryptography package is missing; pip install 'openltx[c2pa]'"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A chain of certificates (PEM, the signer's first), its private key (PEM), and C2PA's name of the algorithm."""

    certificates: bytes
    key: bytes = field(repr=False)
    algorithm: str


def identity_folder() -> Path:
    """Where the certificate lies that nodes and commands sign with: $OPENLTX_CREDENTIALS, or the user's settings."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", Path.home())) / "openltx"
    return Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "openltx"


def load_identity(certificate: Path | None = None, key: Path | None = None) -> Identity:
    """The user's certificate chain and key, by default those of `identity_folder`.

    Raises ValueError, one line, for files that are missing or hold something else.
    """
    folder = identity_folder()
    chain, secret = certificate or folder / CHAIN_FILE, key or folder / KEY_FILE
    missing = next((path for path in (chain, secret) if not path.is_file()), None)
    if missing is not None:
        raise ValueError(
            f"{missing}: no such file; name your certificate, or make a local one: openltx sign --make-certificate NAME"
        )
    return Identity(certificates=chain.read_bytes(), key=secret.read_bytes(), algorithm=_algorithm(secret))


def make_identity(name: str, folder: Path | None = None) -> Path:
    """A certificate for `name`, and a root that vouches for it and for nothing else; returns the chain's file.

    The root's key is never written: nobody can sign another certificate with it. Raises ValueError where there is a
    certificate already.
    """
    folder = folder or identity_folder()
    chain, key = folder / CHAIN_FILE, folder / KEY_FILE
    there = next((path for path in (chain, key) if path.exists()), None)
    if there is not None:
        raise ValueError(f"{there}: is there already; move it away, or sign with it")
    if not name.strip() or len(name) > 64:
        raise ValueError(f"name: expected 1 to 64 characters, found {len(name.strip())}")
    certificates, secret = _local_chain(name.strip())
    folder.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret)
    chain.write_bytes(certificates)
    return chain


def roots(certificates: bytes) -> bytes:
    """The last certificate of a chain: what whoever trusts the signer trusts."""
    begin = b"-----BEGIN CERTIFICATE-----"
    return begin + certificates.rpartition(begin)[2]


def _local_chain(name: str) -> tuple[bytes, bytes]:
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID
    except ImportError as error:
        raise ValueError(MISSING) from error

    root_key, own_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = _name(x509, f"{name} (local root)")
    root_id = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root = (
        _certificate(x509, issuer, issuer, root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(x509, key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(root_id, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    own = (
        _certificate(x509, _name(x509, name), issuer, own_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(x509, digital_signature=True), critical=True)
        # C2PA wants a purpose; this one is on its list of those that anybody may use.
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own_key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret = own_key.private_bytes(pem, pkcs8, serialization.NoEncryption())
    return own.public_bytes(pem) + root.public_bytes(pem), secret


def _name(x509: Any, common: str) -> Any:
    parts = {x509.NameOID.ORGANIZATION_NAME: "OpenLTX local certificate", x509.NameOID.COMMON_NAME: common}
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts.items()])


def _certificate(x509: Any, subject: Any, issuer: Any, public_key: Any) -> Any:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + timedelta(days=365 * YEARS))
    )


def _usage(x509: Any, **wanted: bool) -> Any:
    kinds = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{kind: wanted.get(kind, False) for kind in kinds})


def _algorithm(path: Path) -> str:
    """C2PA's name of what a private key signs with. Raises ValueError for keys that it does not know."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    except ImportError as error:
        raise ValueError(MISSING) from error
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:  # TypeError: it has a password
        raise ValueError(f"{path}: expected a private key (PEM, without password), found none ({error})") from error
    if isinstance(key, ec.EllipticCurvePrivateKey):
        bits = {256: "es256", 384: "es384", 521: "es512"}
        return bits[key.key_size]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    raise ValueError(f"{path}: expected a key for ECDSA, Ed25519 or RSA, found {type(key).__name__}")
