"""Tables of the service's store, the same on SQLite and PostgreSQL; `migrations` makes them.

Times are microseconds since 1970, UTC, as integers: both databases compare and index them alike.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData()
_COUNTER = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only in an INTEGER column

products = Table(
    "products",
    metadata,
    Column("product_id", String, primary_key=True),
    Column("title", Text, nullable=False),
    Column("category", JSON, nullable=False),
    Column("price", Float),
    Column("currency", String),
    Column("updated_at", BigInteger, nullable=False),
    Column("image", Text),  # its cut-out, a path inside the workspace
    Column("flags", JSON),  # what is doubtful about the cut-out, as words
    Column("photo", Text),  # that was sent to be cut out, a path inside the workspace; null: it came with a feed
    Column("points", JSON),  # by which a person corrected the cut-out: {"keep": [[x, y], …], "drop": […]}
)

creatives = Table(
    "creatives",
    metadata,
    Column("creative_id", String, primary_key=True),
    Column("product_id", String, ForeignKey("products.product_id"), nullable=False),
    Column("image", Text, nullable=False),  # path inside the workspace
    Column("description", Text, nullable=False),
    Column("status", String, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("score", Float),  # log CTR against the product's average creative, by a model that has not seen its clicks
    Column("score_sd", Float),
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("stale", Boolean),  # whether its product has changed since it was drawn; null: nobody has looked
    Column("predicted", Float),  # the same as score, by the newest model that has come to it
    Column("predicted_sd", Float),
    Column("predicted_by", String(64)),  # which model that was; null: one before models were noted
    Index("creatives_of_product", "product_id", "status"),
)

policies = Table(  # what a product's choice was drawn from; its id is a hash of the content, so instances agree on it
    "policies",
    metadata,
    Column("policy_id", String(16), primary_key=True),
    Column("product_id", String, nullable=False),
    Column("placement", String, nullable=False),
    Column("candidates", JSON, nullable=False),
    Column("propensities", JSON, nullable=False),
    Column("variants", JSON),  # of an experiment, one per candidate; null: the bandit or an even choice
    Column("experiment", String),  # whose variants those are
    Column("created_at", BigInteger, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("number", _COUNTER, primary_key=True, autoincrement=True),
    Column("event_id", String, nullable=False, unique=True),
    Column("kind", String(10), nullable=False),
    Column("attribution", String(10), nullable=False),  # attributed, late, or unknown
    Column("decision_id", String, nullable=False),
    Column("creative_id", String),
    Column("product_id", String),
    Column("placement", String),
    Column("user_key", String),
    Column("policy_id", String),
    Column("variant", String),  # "bandit", "holdback", or that of an experiment
    Column("ts", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("batch", Integer),  # number of the file that it was pulled into, null before
    Column("experiment", String),  # whose variant that is
    Column("position", Integer),  # where the decision's ad stood, from 1; null: nobody told
    Index("events_of_user", "user_key"),
    Index("events_of_batch", "batch"),
    Index("events_of_product", "product_id"),
    Index(
        "events_of_experiment",
        "experiment",
        sqlite_where=text("experiment IS NOT NULL"),
        postgresql_where=text("experiment IS NOT NULL"),
    ),
)

outcomes = Table(  # one row per decision and kind: what was counted, so that nothing is counted twice
    "outcomes",
    metadata,
    Column("decision_id", String(16), primary_key=True),
    Column("kind", String(10), primary_key=True),
)

counts = Table(
    "counts",
    metadata,
    Column("product_id", String, primary_key=True),
    Column("creative_id", String, primary_key=True),
    Column("placement", String, primary_key=True),
    Column("day", Integer, primary_key=True),  # since 1970, UTC, of the decision
    Column("impressions", BigInteger, nullable=False),
    Column("clicks", BigInteger, nullable=False),
    Column("conversions", BigInteger, nullable=False),
)

readings = Table(  # what the worker read from events and counts last; made anew while somebody looks
    "readings",
    metadata,
    Column("about", String(10), primary_key=True),  # product, experiment, fatigue, scores, model or bots
    Column("name", String, primary_key=True),  # the product's id, the experiment's name, or nothing
    Column("reading", JSON, nullable=False),
    Column("made_at", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", String(16), primary_key=True),
    Column("secret_hash", String(64), nullable=False),
    Column("roles", JSON, nullable=False),
    Column("label", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

sessions = Table(
    "sessions",
    metadata,
    Column("session_hash", String(64), primary_key=True),
    Column("key_id", String(16), ForeignKey("api_keys.key_id"), nullable=False),
    Column("csrf", String(64), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

reviews = Table(
    "reviews",
    metadata,
    Column("number", _COUNTER, primary_key=True, autoincrement=True),
    Column("creative_id", String, nullable=False),
    Column("preferred_to", String),  # of two that were compared, the one that lost
    Column("decision", String(10), nullable=False),
    Column("reason", Text, nullable=False),
    Column("key_id", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("reviews_of_creative", "creative_id"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", String(32), primary_key=True),
    Column("kind", String, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("status", String(10), nullable=False),  # queued, running, done or failed
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("message", Text, nullable=False),
    Column("result", JSON),
    Column("attempts", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("heartbeat_at", BigInteger, nullable=False),
    Index("jobs_by_status", "status", "created_at"),
)

experiments = Table(
    "experiments",
    metadata,
    Column("name", String, primary_key=True),
    Column("definition", JSON, nullable=False),
    Column("status", String(10), nullable=False),  # running, stopped or shipped
    Column("shipped", String),  # the variant that got all traffic at its end
    Column("changed_at", BigInteger, nullable=False),
)
