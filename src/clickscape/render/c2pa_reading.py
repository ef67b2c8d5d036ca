"""Read the C2PA manifest of a picture and verify it with c2pa's own reader.

A signature says that nobody changed the file since its signer had it; who that is, is as certain as the certificate's
issuer.  So both are told apart: whether the signature holds, and whether an issuer that the reader trusts vouches for
the signer.  Manifests come from anywhere: nothing that they name is fetched, and what cannot be read is not valid.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from clickscape.errors import ConfigError, first_line
from clickscape.regular_files import read_bytes
from clickscape.render.c2pa_signing import OFFLINE, check_installed
from clickscape.render.containers import open_container
from clickscape.render.provenance import DIGITAL_SOURCE_TYPES, MIME

State = Literal["valid", "invalid", "unchecked"]
Trust = Literal["trusted", "untrusted", "unchecked"]

_CHANGED = "the file was changed after it was signed"
_REASONS = {
    "assertion.dataHash.mismatch": _CHANGED,
    "assertion.boxesHash.mismatch": _CHANGED,
    "assertion.hashedURI.mismatch": "the manifest was changed after it was signed",
    "claimSignature.mismatch": "the manifest was changed after it was signed",
    "claimSignature.outsideValidity": "the certificate was not valid when it signed",
    "signingCredential.expired": "the certificate is not valid any more, and no time stamp says that it was",
    "signingCredential.invalid": "the certificate is none that C2PA admits",
    "signingCredential.revoked": "the certificate was revoked",
}
"""Code of the C2PA specification for a failure → what it means."""

_TRUSTED, _UNTRUSTED = "signingCredential.trusted", "signingCredential.untrusted"


@dataclass(frozen=True, slots=True)
class Signature:
    """What the manifest of a file says and whether it holds; `problem` says why not, or why it was not checked.

    `trust`: whether an issuer on the reader's list vouches for the signer; unchecked without a list. `time` is what a
    time-stamping authority said, "" for none, and `time_trust` the same trust in that. `generator` is the program that
    wrote the manifest. `actions`, and `ingredients` with their relationship and identifier, are in order.
    """

    state: State
    problem: str = ""
    trust: Trust = "unchecked"
    signer: str = ""
    time: str = ""
    time_trust: Trust = "unchecked"
    generator: str = ""
    actions: tuple[str, ...] = ()
    ingredients: tuple[str, ...] = ()


class _Action(BaseModel):
    action: str
    source: str | None = Field(None, alias="digitalSourceType")

    def __str__(self) -> str:
        source = (self.source or "").removeprefix(DIGITAL_SOURCE_TYPES)
        return f"{self.action} ({source})" if source else self.action


class _Actions(BaseModel):
    actions: tuple[_Action, ...] = ()


class _Assertion(BaseModel):
    label: str
    data: Any = None


class _Ingredient(BaseModel):
    title: str | None = None
    relationship: str | None = None
    instance_id: str | None = None

    def __str__(self) -> str:
        notes = ", ".join(filter(None, (self.relationship, self.instance_id)))
        return f"{self.title or 'untitled'} ({notes})"


class _Program(BaseModel):
    name: str = ""
    version: str | None = None


class _SignatureInfo(BaseModel):
    issuer: str | None = None
    common_name: str | None = None
    time: str | None = None


class _Manifest(BaseModel):
    """The part of the reader's report on a manifest that is shown."""

    claim_generator_info: tuple[_Program, ...] = ()
    assertions: tuple[_Assertion, ...] = ()
    ingredients: tuple[_Ingredient, ...] = ()
    signature_info: _SignatureInfo = _SignatureInfo()

    @property
    def actions(self) -> tuple[str, ...]:
        data = [one.data for one in self.assertions if one.label.startswith("c2pa.actions")]
        return tuple(str(action) for one in data for action in _Actions.model_validate(one).actions)


class _Status(BaseModel):
    code: str


class _Statuses(BaseModel):
    success: tuple[_Status, ...] = ()
    failure: tuple[_Status, ...] = ()


class _Results(BaseModel):
    """The part of the reader's validation results that decides."""

    active: _Statuses = Field(_Statuses(), alias="activeManifest")


def read_anchors(path: Path) -> str:
    """The certificates (PEM) of trusted issuers in a file; ConfigError when it cannot be read or has none."""
    check_installed()
    from cryptography.x509 import load_pem_x509_certificates

    try:
        pem = read_bytes(path, error=ConfigError)
        load_pem_x509_certificates(pem)
    except OSError as error:
        raise ConfigError(f"{path}: the file cannot be read ({error.strerror}). Check its permissions.") from None
    except ValueError:
        raise ConfigError(f"{path}: no certificates in PEM (-----BEGIN CERTIFICATE-----). Give those of the "
                          "issuers that you trust.") from None  # fmt: skip
    return pem.decode(errors="replace")


def verify(data: bytes, *, anchors: str = "") -> Signature | None:
    """The verified manifest of an encoded JPEG, PNG or WebP, None when it has none; ImageError for other files.

    anchors: certificates (PEM) of issuers that are trusted, "" when nobody gave any.
    """
    container = open_container(data)
    if not container.has_c2pa:
        return None
    try:
        check_installed()
    except ConfigError as error:
        return Signature("unchecked", str(error))
    import c2pa

    settings = {**OFFLINE, "trust": {"user_anchors": anchors}} if anchors else OFFLINE
    try:
        with (
            c2pa.Context.from_dict(settings) as context,
            c2pa.Reader(MIME[container.format], io.BytesIO(data), context=context) as reader,
        ):
            manifest = _Manifest.model_validate(reader.get_active_manifest() or {})
            results = _Results.model_validate(reader.get_validation_results() or {}).active
            valid = reader.get_validation_state() in ("Valid", "Trusted")
            actions = manifest.actions
    except (c2pa.C2paError, ValidationError) as error:
        return Signature("invalid", f"the manifest cannot be read ({first_line(error)})")
    problems = dict.fromkeys(_REASONS.get(one.code, one.code) for one in results.failure if one.code != _UNTRUSTED)
    codes = {one.code for one in results.success}
    trust, time_trust = (_trust(code in codes, anchors) for code in (_TRUSTED, "timeStamp.trusted"))
    signed = manifest.signature_info
    return Signature(
        state="valid" if valid else "invalid",
        problem="" if valid else "; ".join(problems) or "its reader gives no reason",
        trust=trust,
        signer=", ".join(dict.fromkeys(filter(None, (signed.issuer, signed.common_name)))),
        time=signed.time or "",
        time_trust=time_trust,
        generator=" ".join(f"{one.name} {one.version or ''}".strip() for one in manifest.claim_generator_info[:1]),
        actions=actions,
        ingredients=tuple(map(str, manifest.ingredients)),
    )


def _trust(vouched: bool, anchors: str) -> Trust:
    if not anchors:
        return "unchecked"
    return "trusted" if vouched else "untrusted"
