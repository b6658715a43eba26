"""Who may not be mailed, and why."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from posthouse.domain.ids import AddressKey, JobId
from posthouse.domain.stream import Stream


class SuppressionReason(StrEnum):
    BOUNCE = "BOUNCE"
    SPAM = "SPAM"
    UNSUBSCRIBE = "UNSUBSCRIBE"
    MANUAL = "MANUAL"


class SuppressionScope(StrEnum):
    """Which mail an entry stops. Unsubscribing stops marketing, never transactional mail."""

    ALL = "all"
    MARKETING = "marketing"


class SuppressionSource(StrEnum):
    EVENT = "event"
    API = "api"
    IMPORT = "import"


@dataclass(frozen=True, slots=True)
class Suppression:
    address: AddressKey
    reason: SuppressionReason
    scope: SuppressionScope
    source: SuppressionSource
    added_at: datetime
    expires_at: datetime | None = None  # never for SPAM
    job_id: JobId | None = None  # the mail whose event caused it
    note: str = ""


def stops(entry: Suppression, stream: Stream, now: datetime) -> bool:
    """Whether mail of a stream is not sent because of an entry: the rule of the claim (queries/jobs.sql)."""
    covers = entry.scope is SuppressionScope.ALL or entry.scope.value == stream.value
    return covers and (entry.expires_at is None or entry.expires_at > now)
