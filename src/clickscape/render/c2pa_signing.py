"""Sign pictures with the user's certificate: a C2PA manifest that says what made them and of which photo.

The choices made here: the key stays where the settings say that it is, and every process that signs reads it there, so
that no message, file or pipe of clickscape ever holds it.  The manifest carries no thumbnails, which would take more
bytes than many placements allow.  Nothing is fetched from the network, but for the time stamp that settings ask for.
Vocabulary: https://spec.c2pa.org/specifications/specifications/2.2/specs/C2PA_Specification.html, section Actions.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, lru_cache
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

import clickscape
from clickscape.config.c2pa import C2paConfig
from clickscape.config.environment import ALLOWED, allowed
from clickscape.errors import ConfigError, ImageError, first_line
from clickscape.files import fingerprint
from clickscape.regular_files import read_bytes, real_path
from clickscape.render.containers import open_container
from clickscape.render.encode import encode
from clickscape.render.provenance import DIGITAL_SOURCE_TYPES, MIME
from clickscape.render.renderer import DigitalSource

if TYPE_CHECKING:
    import c2pa
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

OFFLINE: dict[str, Any] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": True},
    "builder": {"thumbnail": {"enabled": False}},
}
"""Settings of c2pa's library: what a picture names is never fetched, and what was signed is verified at once."""

_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_PEM = "-----BEGIN"
_SLACK = 256  # bytes by which a manifest may take more in one format than in another


@dataclass(frozen=True, slots=True)
class Signing:
    """Who signs: a name, the certificates (PEM, the signer's first), where their key is found, and who tells the time.

    `key` is a path or ${NAME}, never the key itself; `time_stamp_url` is "" for nobody.
    """

    name: str
    certificates: str
    key: str
    time_stamp_url: str = ""

    @property
    def digest(self) -> str:
        """Fingerprint of what decides who has signed a file, and when."""
        return fingerprint([self.certificates, self.time_stamp_url])


@dataclass(frozen=True, slots=True)
class Claim:
    """What a signer says of a picture: its title, how it came about, and the photo (encoded) that it was made of.

    `has_text`: words were set over the picture.
    """

    title: str
    source: DigitalSource
    photo_title: str
    photo: bytes
    has_text: bool = False


def open_signing(config: C2paConfig, *, folder: Path, now: datetime) -> Signing | None:
    """The signer that the settings of a workspace's folder name, after a trial signature; None when they name none.

    ConfigError where the extra is missing, a file cannot be read, the key lies in the workspace or is another
    certificate's, and where C2PA does not admit the certificate: expired, self-signed, or made for other uses.
    """
    if not (config.certificate or config.private_key):
        return None
    for name, value in (("certificate", config.certificate), ("private_key", config.private_key)):
        if not value:
            raise ConfigError(f"c2pa.{name} is empty. Signing needs both, a certificate and its private_key.")
    check_installed()
    pem = _read(folder / Path(config.certificate).expanduser(), setting="c2pa.certificate")
    own = _certificate(pem)
    key = config.private_key
    key = key if "$" in key else str((folder / Path(key).expanduser()).absolute())
    signing = Signing(_name(own), pem.decode(errors="replace"), key, config.time_stamp_url)
    private = _private_key(signing, outside=folder)
    if private.public_key() != own.public_key():
        raise ConfigError("c2pa.private_key is not the key of c2pa.certificate. Give the key of the first certificate "
                          "in its file, which is the signer's.")  # fmt: skip
    if not own.not_valid_before_utc <= now <= own.not_valid_after_utc:
        dates = f"{own.not_valid_before_utc:%Y-%m-%d %H:%M} to {own.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        raise ConfigError(f"c2pa.certificate is valid from {dates}, not now. Ask its issuer for another one.")
    _try(signing)
    return signing


def check_installed() -> None:
    """ConfigError with the line that installs c2pa's library where it is missing."""
    try:
        import c2pa  # noqa: F401
    except ImportError:
        raise ConfigError("C2PA manifests need the package c2pa-python, which is not installed. Install it with: "
                          "pip install 'clickscape[c2pa]'") from None  # fmt: skip


def sign(data: bytes, claim: Claim, signing: Signing) -> bytes:
    """The same JPEG, PNG or WebP with a signed manifest; the picture and its other metadata are not touched.

    Two calls give different bytes: identifiers, and most signatures, are random.  ConfigError where the key or the
    time cannot be had, ImageError where c2pa's library does not take the picture.
    """
    import c2pa

    signer = _signer(signing)
    try:
        return _signed(data, claim, signer)
    except c2pa.C2paError as error:
        if signing.time_stamp_url:
            raise ConfigError(f"c2pa.time_stamp_url: no time stamp ({first_line(error)}). Correct "
                              "the address, try again later, or leave it out.") from None  # fmt: skip
        raise ImageError(f"C2PA does not sign the picture: {first_line(error)}. Export without [c2pa].") from None


def manifest_bytes(claim: Claim, signing: Signing) -> int:
    """Bytes that `sign` adds to a file, and a little more; nobody is asked for the time."""
    offline = _signer(replace(signing, time_stamp_url=""))
    stamp = _signer(signing).reserve_size() - offline.reserve_size()
    size = len(_signed(_dot(), claim, offline)) - len(_dot()) + stamp
    return size + size // 1000 + _SLACK  # a JPEG takes a manifest apart into segments


def _signed(data: bytes, claim: Claim, signer: c2pa.Signer) -> bytes:
    import c2pa

    kind, photo_kind, made = MIME[open_container(data).format], _kind_with_manifest(claim.photo), io.BytesIO()
    photo = {
        "title": claim.photo_title,
        "relationship": "componentOf",
        "label": "photo",
        "instance_id": f"sha256:{hashlib.sha256(claim.photo).hexdigest()}",
    }
    actions: list[dict[str, Any]] = [
        {"action": "c2pa.created", "digitalSourceType": DIGITAL_SOURCE_TYPES + claim.source},
        {"action": "c2pa.placed", "parameters": {"ingredientIds": ["photo"]}},
    ]
    manifest = {
        "claim_generator_info": [{"name": "clickscape", "version": clickscape.__version__}],
        "title": claim.title,
        "format": kind,
        "ingredients": [] if photo_kind else [photo],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": actions + [{"action": "c2pa.addedText"}] * claim.has_text}}
        ],
    }
    with c2pa.Context.from_dict(OFFLINE) as context, c2pa.Builder(manifest, context=context) as builder:
        if photo_kind:  # its own manifest comes along
            builder.add_ingredient(photo, photo_kind, io.BytesIO(claim.photo))
        builder.sign(signer, kind, io.BytesIO(data), made)
    return made.getvalue()


def _kind_with_manifest(photo: bytes) -> str:
    """The media type of a photo that has a manifest which can be read, "" for any other."""
    import c2pa

    try:
        container = open_container(photo)
        if not container.has_c2pa:
            return ""
        with c2pa.Context.from_dict(OFFLINE) as context:
            c2pa.Reader(MIME[container.format], io.BytesIO(photo), context=context).close()
    except (ImageError, c2pa.C2paError):
        return ""
    return MIME[container.format]


@cache
def _dot() -> bytes:
    return encode(np.zeros((1, 1, 3), np.uint8), max_bytes=4096, formats=("png",)).data


def _try(signing: Signing) -> None:
    """ConfigError where C2PA does not admit the certificate; one picture is signed, and verified, to know."""
    import c2pa

    try:
        _signed(
            _dot(), Claim("trial", "compositeSynthetic", "trial", _dot()), _signer(replace(signing, time_stamp_url=""))
        )
    except c2pa.C2paError as error:
        raise ConfigError(
            f"C2PA does not admit c2pa.certificate: {first_line(error)}. It needs one for signing (key usage digital "
            "signature, extended key usage email protection or document signing), by an issuer whose certificates "
            "follow it in the file."
        ) from None


@lru_cache(maxsize=4)
def _signer(signing: Signing) -> c2pa.Signer:
    import c2pa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = _private_key(signing)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    url = signing.time_stamp_url.encode() or None
    try:
        return c2pa.Signer.from_info(c2pa.C2paSignerInfo(_algorithm(private), signing.certificates.encode(), pem, url))
    except c2pa.C2paError as error:
        raise ConfigError(f"C2PA does not take c2pa.certificate: {first_line(error)}. Give another one.") from None


def _certificate(pem: bytes) -> Certificate:
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(pem)[0]
    except ValueError:
        raise ConfigError("c2pa.certificate: the file holds no certificate in PEM (-----BEGIN CERTIFICATE-----). Give "
                          "the signer's certificate, then those of its issuers.") from None  # fmt: skip


def _name(certificate: Certificate) -> str:
    """Organization and common name of the subject."""
    from cryptography.x509.oid import NameOID

    parts = [
        certificate.subject.get_attributes_for_oid(one) for one in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
    ]
    return ", ".join(dict.fromkeys(str(part[0].value) for part in parts if part)) or "a certificate without a name"


def _private_key(signing: Signing, *, outside: Path | None = None) -> PrivateKeyTypes:
    """The private key, read anew; ConfigError, which never quotes it, where it cannot be, or lies below `outside`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    value = signing.key
    if "$" in value:
        try:
            value = Template(value).substitute(allowed())
        except (KeyError, ValueError):
            raise ConfigError(f"c2pa.private_key: a ${{NAME}} in it is not set, or not listed. Export the variable and "
                              f"list it, as in: export {ALLOWED}=C2PA_KEY") from None  # fmt: skip
    if _PEM in value:
        pem = value.encode()
    else:
        path = Path(value).expanduser()
        place, house = real_path(path), outside and real_path(outside)
        if place and house and place.is_relative_to(house):
            raise ConfigError("c2pa.private_key lies in the workspace, which is copied and backed up. Move the key "
                              "elsewhere, and name its new place.")  # fmt: skip
        pem = _read(path, setting="c2pa.private_key", shown=signing.key)
    try:
        private = load_pem_private_key(pem, password=None)
        _algorithm(private)
    except TypeError:
        raise ConfigError("c2pa.private_key is locked by a password. Give one without, in a file that only you can "
                          "read: openssl pkey -in locked.pem -out key.pem") from None  # fmt: skip
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError("c2pa.private_key is no private key that C2PA knows. Give one in PEM: EC (P-256, P-384 or "
                          "P-521), RSA or Ed25519.") from None  # fmt: skip
    return private


def _algorithm(private: PrivateKeyTypes) -> str:
    """C2PA's name for how this kind of key signs; ValueError for a kind that it does not know."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    if isinstance(private, EllipticCurvePrivateKey) and private.curve.name in _CURVES:
        return _CURVES[private.curve.name]
    if isinstance(private, RSAPrivateKey):
        return "ps256"
    if isinstance(private, Ed25519PrivateKey):
        return "ed25519"
    raise ValueError("neither EC, RSA nor Ed25519")


def _read(path: Path, *, setting: str, shown: str = "") -> bytes:
    """The bytes of a file that a setting names; `shown` is what a message calls it."""
    shown = shown or str(path)
    try:
        return read_bytes(path, error=ConfigError)
    except FileNotFoundError:
        raise ConfigError(f"{setting}: {shown}: no such file. Correct the path.") from None
    except OSError as error:
        raise ConfigError(f"{setting}: {shown}: cannot be read ({error.strerror}). Check its permissions.") from None
    except (ValueError, ConfigError):
        raise ConfigError(f"{setting}: {shown}: no regular file. Correct the path.") from None
