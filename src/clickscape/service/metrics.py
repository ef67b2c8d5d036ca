"""What /metrics shows: counters and times that an alert can be made of, in Prometheus' text format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class Metrics:
    """Counters of one instance, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.choices = Counter("clickscape_choices", "Creatives chosen", ["by"], registry=registry)
        self.stale_choices = Counter(
            "clickscape_stale_choices", "Choices while the store did not answer", registry=registry
        )
        self.events = Counter("clickscape_events", "Events stored", ["kind", "attribution"], registry=registry)
        self.repeated_events = Counter(
            "clickscape_repeated_events", "Events whose id was stored before", registry=registry
        )
        self.refused_events = Counter(
            "clickscape_refused_events", "Events not acknowledged", ["why"], registry=registry
        )
        self.commit_seconds = Histogram(
            "clickscape_commit_seconds", "From an event's arrival to its commit", buckets=_BUCKETS, registry=registry
        )
        self.jobs = Gauge("clickscape_jobs", "Jobs by status, as of the last look", ["status"], registry=registry)
        self.store_errors = Counter("clickscape_store_errors", "Requests that the store failed", registry=registry)

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self._registry)
