"""What the API is made of; the composition root fills it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from posthouse.clock import Clock
from posthouse.compose.aside import ComposerAside
from posthouse.compose.source import Found
from posthouse.domain.job import ClaimedJob
from posthouse.domain.stream import Stream
from posthouse.ingest.receive import Receiver
from posthouse.intake.group import Intake
from posthouse.intake.rows import Moment
from posthouse.intake.validate import Rules
from posthouse.outhooks.desk import Desk
from posthouse.status.changes import Changes
from posthouse.storage.db import Database
from posthouse.telemetry import Metrics
from posthouse.web.api.auth import KeyRing
from posthouse.web.api.body import Bodies
from posthouse.web.api.rate_limit import RateLimit
from posthouse.web.api.template_book import TemplateBook

#: What a job is made from; None when that is not there any more. Raises NotNow.
FindSource = Callable[[ClaimedJob], Awaitable[Found | None]]


@dataclass(frozen=True, slots=True)
class ApiDeps:
    """`now_ms` reads the database's clock: milliseconds since 1970 UTC. `composer` shows mail as it is
    sent. `jobs_due` wakes the workers of a stream."""

    database: Database
    intake: Intake
    changes: Changes
    jobs_due: Callable[[Stream], None]
    rules: Rules
    receiver: Receiver
    metrics: Metrics
    now_ms: Callable[[], int]
    keys: KeyRing
    templates: TemplateBook
    bodies: Bodies
    composer: ComposerAside
    find_source: FindSource
    webhooks: Desk

    def now(self) -> datetime:
        return Moment(self.now_ms()).at


def api_deps(
    *,
    database: Database,
    intake: Intake,
    changes: Changes,
    jobs_due: Callable[[Stream], None],
    rules: Rules,
    receiver: Receiver,
    metrics: Metrics,
    clock: Clock,
    now_ms: Callable[[], int],
    max_body_bytes: int,
    composer: ComposerAside,
    rate_limit: RateLimit,
    find_source: FindSource,
    webhooks: Desk,
) -> ApiDeps:
    """The dependencies with the API's own memories around the database."""
    return ApiDeps(
        database=database,
        intake=intake,
        changes=changes,
        jobs_due=jobs_due,
        rules=rules,
        receiver=receiver,
        metrics=metrics,
        now_ms=now_ms,
        keys=KeyRing(database, clock, rate_limit),
        templates=TemplateBook(database, clock),
        bodies=Bodies(max_bytes=max_body_bytes),
        composer=composer,
        find_source=find_source,
        webhooks=webhooks,
    )
