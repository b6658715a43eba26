"""Logs and metrics: what they are called, and what never gets into them.

Logs are JSON lines on stderr. Addresses are masked and secrets removed in the processor chain, so that a
careless call cannot leak one.
"""

import logging
import re
import sys
from collections.abc import MutableMapping

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from structlog.typing import WrappedLogger

_ADDRESS = re.compile(
    r"([A-Za-z0-9.!#$%&'*+/=?^_`{|}~-])[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{0,63}@([A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*)"
)
_SECRET = re.compile(r"(?i)(ph_(?:live|test)_|whsec_|SG\.|Bearer |Basic )[A-Za-z0-9._~+/=-]+")
_SECRET_FIELDS = frozenset({"password", "api_key", "authorization", "secret", "token", "key"})
_LINKS = re.compile(r"https?://[^\s\"'<>]+")


def redact(text: str) -> str:
    """Addresses masked (a***@example.com), keys removed, URLs cut to their host: reset links are secrets."""
    text = _SECRET.sub(r"\1[redacted]", text)
    text = _LINKS.sub(lambda found: "/".join(found[0].split("/", 3)[:3]) + "/[redacted]", text)
    return _ADDRESS.sub(r"\1***@\2", text)


def _redact_event(
    _logger: WrappedLogger, _method: str, event: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    for name, value in event.items():
        if name in _SECRET_FIELDS:
            event[name] = "[redacted]"
        elif isinstance(value, str):
            event[name] = redact(value)
    return event


def configure_logging(role: str, level: str = "info") -> None:
    """JSON lines on stderr; `role` stands in every line."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            _redact_event,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(role=role)


log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """Every metric Posthouse has; each role fills the ones that are its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.accepted = Counter(
            "posthouse_accepted", "Jobs accepted (committed).", ["stream"], registry=self.registry
        )
        self.events = Counter(
            "posthouse_events", "Events recorded, by type.", ["type"], registry=self.registry
        )
        self.outcomes = Counter(
            "posthouse_handover_outcomes",
            "Answers of relays to hand-overs.",
            ["account", "outcome"],
            registry=self.registry,
        )
        self.dispatched = Counter(
            "posthouse_dispatched",
            "Jobs of which a record was produced to their stream's topic.",
            ["stream"],
            registry=self.registry,
        )
        self.redispatched = Counter(
            "posthouse_redispatched",
            "Jobs that are due again because their topic lost, or never got, their record.",
            ["stream"],
            registry=self.registry,
        )
        self.handover_age = Histogram(
            "posthouse_handover_age_seconds",
            "From due to handed over, per mail.",
            ["stream"],
            buckets=_LATENCY,
            registry=self.registry,
        )
        self.slots_used = Gauge(
            "posthouse_slots_used",
            "Messages that would be in doubt if the worker died now.",
            ["stream"],
            registry=self.registry,
        )
        self.callbacks = Counter(
            "posthouse_callbacks",
            "Relay callbacks received, by what became of them.",
            ["relay", "account", "result"],
            registry=self.registry,
        )
        self.job_partitions_stopped = Gauge(
            "posthouse_job_partitions_stopped",
            "Partitions of a job topic that a run of records that cannot be processed has stopped.",
            registry=self.registry,
        )
        self.callbacks_behind = Gauge(
            "posthouse_callbacks_behind",
            "Relay callbacks on Kafka that no processor has done with yet.",
            registry=self.registry,
        )
        self.callbacks_stopped = Gauge(
            "posthouse_callbacks_stopped",
            "1 while a run of callbacks that cannot be read stops their processing.",
            registry=self.registry,
        )
        self.mirrored = Counter(
            "posthouse_suppressions_mirrored",
            "Entries of relays' own suppression lists, by what a sync did; no bounces.",
            ["account", "change"],
            registry=self.registry,
        )
        self.mirror_trouble = Gauge(
            "posthouse_suppression_list_trouble",
            "1 while the last sync of a relay's own suppression list did not come to its end.",
            ["account"],
            registry=self.registry,
        )
        self.inbound_mails = Counter(
            "posthouse_inbound_mails",
            "Recipients of incoming mail, by what became of it.",
            ["result"],
            registry=self.registry,
        )
        self.inquiries = Counter(
            "posthouse_inquiries",
            "Answers of relays that were asked about mail in doubt.",
            ["account", "answer"],
            registry=self.registry,
        )
        self.dead_letters = Counter(
            "posthouse_dead_letters",
            "What could not be processed, set aside with its reason.",
            ["source"],
            registry=self.registry,
        )
        self.tracking = Counter(
            "posthouse_tracking_hits",
            "Pixels, clicks and unsubscribes answered.",
            ["kind"],
            registry=self.registry,
        )
        self.tracking_dropped = Counter(
            "posthouse_tracking_dropped",
            "Reader events lost because the spool was full.",
            registry=self.registry,
        )
        self.open_jobs = Gauge(
            "posthouse_open_jobs",
            "Mails that did not end yet, by state.",
            ["stream", "status"],
            registry=self.registry,
        )
        self.oldest_due = Gauge(
            "posthouse_oldest_due_seconds",
            "For how long the mail that waits longest has been due.",
            ["stream"],
            registry=self.registry,
        )
        self.orphaned_jobs = Gauge(
            "posthouse_orphaned_jobs", "Mails in hand of a worker that is gone.", registry=self.registry
        )
        self.overdue_doubts = Gauge(
            "posthouse_overdue_doubts",
            "Unknown outcomes whose time to be settled has passed by a minute.",
            registry=self.registry,
        )
        self.oldest_callback = Gauge(
            "posthouse_oldest_callback_seconds",
            "For how long the relay callback that waits longest has waited.",
            registry=self.registry,
        )
        self.webhook_deliveries = Counter(
            "posthouse_webhook_deliveries",
            "Attempts to tell an endpoint, by what became of them.",
            ["result"],
            registry=self.registry,
        )
        self.oldest_outgoing_event = Gauge(
            "posthouse_oldest_outgoing_event_seconds",
            "For how long the event that waits longest has waited for the event stream.",
            registry=self.registry,
        )
        self.oldest_webhook = Gauge(
            "posthouse_webhook_oldest_due_seconds",
            "For how long the webhook delivery that waits longest has been due.",
            registry=self.registry,
        )
        self.troubled_webhooks = Gauge(
            "posthouse_webhook_endpoints_in_trouble",
            "Endpoints that fail, and those that were disabled for it.",
            ["status"],
            registry=self.registry,
        )
        self.residual = Gauge(
            "posthouse_books_residual",
            "Difference between the two sides of the books; 0 when they balance. Counted daily.",
            registry=self.registry,
        )
