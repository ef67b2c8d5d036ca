"""Settings of the click log: where it is, what its columns are called, and which events count."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clickscape.config.stage import StageConfig
from clickscape.types import Allocation

LogColumn = Literal[
    "event_id", "ts", "kind", "decision_id", "creative_id", "product_id", "position", "user_key", "received_at",
    "placement", "device", "audience", "day", "impressions", "clicks", "policy_id", "candidates", "propensities",
    "allocation", "variant",
]  # fmt: skip
"""Names that clickscape knows the columns of a log by."""


class ClicksConfig(StageConfig):
    """From events to pairs."""

    source: str = Field(
        "",
        description="log elsewhere: file, folder, glob (.parquet, .csv, .jsonl) or connection URL of a database, in "
        "which ${NAME} is a variable listed in CLICKSCAPE_ALLOWED_ENV; empty: files below clicks/events/, or "
        "clicks/counts.parquet",
    )
    table: str = Field("", description="table of the database that source names, as name or schema.name")
    columns: dict[LogColumn, str] = Field(
        {}, description='columns that the log calls otherwise, as { ts = "timestamp", user_key = "visitor" }'
    )
    allocation: Allocation = Field(
        "unknown",
        description="how traffic came to creatives, for a log without a column allocation: by chance, or nobody knows, "
        "and then differences of CTRs are associations",
    )
    clock_skew_seconds: float = Field(
        60.0, ge=0, description="seconds by which clocks may differ: a click so much before its impression counts"
    )
    late_after_hours: float = Field(
        72.0, gt=0, description="hours between ts and received_at after which an event is too late to count"
    )
    attribution_hours: float = Field(
        24.0, gt=0, description="hours after its impression in which a click counts for it"
    )
    bot_events_per_minute: int = Field(
        60, ge=1, description="events of one user_key in a calendar minute; who has more is a bot and counts nowhere"
    )
    bot_false_alarms: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="people per log, on average, that may be taken for bots because they click too often; 0: nobody is",
    )
    max_unmatched_share: float = Field(
        0.2, ge=0, le=1, description="share of clicks without their impression above which the log is refused"
    )
    max_untimely_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="share of clicks left out for their time (before or too long after their impression, received too "
        "late, in the future) above which the log is refused",
    )
    memory_limit: str = Field(
        "1GB",
        pattern=r"^[0-9]+([.][0-9]+)? ?[KMGT]i?B$",
        description="memory that DuckDB reads the log in; what does not fit goes to a temporary file of the workspace; "
        "Python needs about 0.4 GB besides",
    )
    position_correction: bool = Field(True, description="scale impressions to expected examinations")
    within_strata: bool = Field(
        True, description="compare within day, placement, device and audience, where the log has them"
    )
    shrinkage: Literal["gamma_poisson", "beta"] = Field(
        "gamma_poisson", description="prior of CTRs: learned from the log, or a Beta of fixed strength"
    )
    prior_impressions: float = Field(200.0, gt=0, description="strength of the Beta prior, in impressions")
    labels: Literal["soft", "paper"] = Field(
        "soft", description="label of a pair: P(CTR_a > CTR_b), or the paper's filtered hard labels"
    )
    paper_min_impressions: int = Field(
        1_000, ge=0, description="paper's filter: impressions of each creative, more than"
    )
    paper_min_ratio: float = Field(1.05, ge=1, description="paper's filter: CTR of the better over the worse, at least")
    paper_max_ratio: float = Field(1.20, ge=1, description="paper's filter: CTR of the better over the worse, at most")
