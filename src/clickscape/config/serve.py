"""Settings of the service."""

from __future__ import annotations

from pydantic import Field

from clickscape.config.stage import StageConfig


class ServeConfig(StageConfig):
    """What `clickscape serve` answers, and from where."""

    host: str = Field("127.0.0.1", description="address that is listened on; 0.0.0.0 for every network, behind TLS")
    port: int = Field(8080, ge=1, le=65_535, description="port that is listened on")
    store: str = Field(
        "",
        description="URL of the store, as postgresql://user@host/name, in which ${NAME} is a variable listed in "
        "CLICKSCAPE_ALLOWED_ENV; empty: SQLite in service/store.db",
    )
    image_url: str = Field(
        "", description="address that image links begin with, such as a CDN's; empty: the service sends the images"
    )
    refresh_seconds: float = Field(10.0, gt=0, description="seconds after which a product's choice learns new counts")
    holdback: float = Field(
        0.05, ge=0, lt=1, description="share of users who always see an even choice, which the others are compared with"
    )
    requests_per_second: int = Field(10_000, ge=1, description="requests of one API key a second; more get 429")
    largest_body_mb: float = Field(12.0, gt=0, description="megabytes of a request; larger ones get 413")
    session_hours: float = Field(12.0, gt=0, description="hours after which one signs in to the page again")
    pull_minutes: float = Field(
        15.0, ge=0, description="minutes between two pulls of events into the workspace; 0: only `clickscape pull`"
    )
