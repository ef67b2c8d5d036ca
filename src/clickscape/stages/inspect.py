"""Stage `inspect`: what picture files say of their provenance, and whether they are still what they say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from clickscape.errors import ImageError
from clickscape.regular_files import read_bytes
from clickscape.render import c2pa_reading, provenance
from clickscape.render.c2pa_reading import Signature, Trust
from clickscape.render.provenance import Inspection

_TRUST: dict[Trust, str] = {
    "trusted": "trusted: an issuer on the list that was given vouches for it",
    "untrusted": "NOT TRUSTED: no issuer on the list that was given vouches for it",
    "unchecked": "not checked: anybody can make a certificate of that name; --trust gives the issuers that you trust",
}


_AUTHORITY: dict[Trust, str] = {"trusted": "trusted", "untrusted": "NOT TRUSTED", "unchecked": "not checked"}


@dataclass(frozen=True, slots=True)
class FileProvenance:
    """What a file says of itself: clickscape's label, and a signed C2PA manifest; None where there is none."""

    label: Inspection | None
    signature: Signature | None

    @property
    def is_original(self) -> bool:
        """Whether it is one of ours and unaltered, with a signature that holds where there is one."""
        invalid = self.signature is not None and self.signature.state == "invalid"
        return self.label is not None and not self.label.altered and not invalid

    @property
    def is_trusted(self) -> bool:
        """Whether a signature holds whose signer a trusted issuer vouches for."""
        return self.signature is not None and (self.signature.state, self.signature.trust) == ("valid", "trusted")

    def lines(self) -> list[str]:
        """Return it in lines for people: what the file is, then one for each thing that it says."""
        invalid = self.signature is not None and self.signature.state == "invalid"
        if self.label is None:
            lines = ["no provenance of clickscape: made elsewhere, or its metadata was removed"]
        else:
            state = "SIGNATURE INVALID" if invalid else "unaltered"
            lines = [f"{self.label.format}, {'ALTERED since clickscape wrote it' if self.label.altered else state}"]
            told = asdict(self.label.provenance)
            lines += [_line(key, str(value)) for key, value in told.items() if value not in (None, "")]
        return lines + [_line(key, value) for key, value in _signed(self.signature) if value]


def _signed(signature: Signature | None) -> Iterator[tuple[str, str]]:
    """What a signature says, as name and value."""
    if signature is None:
        yield "signature", "none"
        return
    signer = signature.signer or "nobody who gives a name"
    if signature.state == "valid":
        yield "signature", f"valid: the file is as {signer} signed it"
        yield "signer", _TRUST[signature.trust]
    elif signature.state == "invalid":
        yield "signature", f"INVALID: {signature.problem}; signed by {signer}"
    else:
        yield "signature", f"not checked: {signature.problem}"
    yield (
        "time_stamp",
        signature.time and f"{signature.time}, by an authority that is {_AUTHORITY[signature.time_trust]}",
    )
    yield "written_by", signature.generator
    yield "actions", ", ".join(signature.actions)
    yield "ingredients", ", ".join(signature.ingredients)


def _line(key: str, value: str) -> str:
    return f"  {key:<12} {value}"


def inspect(path: Path, *, anchors: str = "") -> FileProvenance:
    """The provenance in a JPEG, PNG or WebP file; ImageError names the file.

    anchors: certificates (PEM) of trusted issuers; "" when signers are not checked against any.
    """
    if not path.is_file():
        problem = "no regular file" if path.exists() else "no such image"
        raise ImageError(f"{path}: {problem}. Put the file there, or correct the path.")
    try:
        data = read_bytes(path, error=ImageError)
    except OSError as error:
        raise ImageError(f"{path}: the file cannot be read ({error.strerror}). Check its permissions.") from error
    try:
        return FileProvenance(provenance.inspect(data), c2pa_reading.verify(data, anchors=anchors))
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
