"""Settings of signed provenance."""

from __future__ import annotations

from pydantic import Field, field_validator

from clickscape.config.stage import StageConfig


class C2paConfig(StageConfig):
    """Who signs exported pictures by a C2PA manifest (extra `c2pa`); nobody by default."""

    certificate: str = Field(
        "",
        description="PEM file of the signer's certificate, then its issuers', a path relative to the workspace; "
        "empty: nothing is signed",
    )
    private_key: str = Field(
        "",
        description="PEM file of the certificate's key, outside the workspace; or ${NAME}, a variable listed in "
        "CLICKSCAPE_ALLOWED_ENV that holds such a path or the PEM itself",
    )
    time_stamp_url: str = Field(
        "",
        description="address of a time-stamping authority (RFC 3161) that is asked for every picture; empty: none, and "
        "the signature holds as long as the certificate",
    )

    @field_validator("private_key")
    @classmethod
    def _is_no_key(cls, value: str) -> str:
        """A clickscape.toml travels with its workspace; what it quotes wrong is shown in messages."""
        if "-----BEGIN" in value:
            raise ValueError("a key has no place in a settings file; give the path of its file, or ${NAME}")
        return value

    @field_validator("time_stamp_url")
    @classmethod
    def _is_web_address(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value
