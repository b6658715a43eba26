"""Lists against a model: whatever the filter and the size of steps, every mail it means, once, in order."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
import pytest

from posthouse.domain.ids import AddressKey, CampaignId, TemplateId, uuid7
from posthouse.domain.job import Status
from posthouse.domain.stream import Stream
from posthouse.storage import listing, terms
from posthouse.storage.db import Database
from posthouse.storage.listing import FIRST, Filter, Way

JOBS: Final = 200
FILTERS: Final = 60
SPREAD_MS: Final = 1_000
DOMAINS: Final = ("shop.test", "help.test")
TAGS: Final = (("kind", "receipt"), ("kind", "reset"), ("rare", "1"))
CAMPAIGN: Final = CampaignId(UUID(int=7))


@dataclass(frozen=True, slots=True)
class Job:
    job_id: UUID
    status: Status
    stream: Stream
    sandbox: bool
    address: AddressKey
    domain: str
    tags: tuple[tuple[str, str], ...]
    template: TemplateId | None
    campaign: CampaignId | None

    @property
    def terms(self) -> list[str]:
        found = [terms.of_recipient(self.address), *(terms.of_tag(*tag) for tag in self.tags)]
        if self.template is not None:
            found.append(terms.of_template(self.template))
        if self.campaign is not None:
            found.append(terms.of_campaign(self.campaign))
        return [*found, terms.SANDBOX] if self.sandbox else found

    def is_meant_by(self, wanted: Filter) -> bool:
        return (
            self.sandbox == wanted.sandbox
            and self.stream in wanted.streams
            and (not wanted.from_domains or self.domain in wanted.from_domains)
            and (wanted.statuses is None or self.status in wanted.statuses)
            and wanted.recipient in (None, self.address)
            and set(wanted.tags) <= set(self.tags)
            and wanted.template in (None, self.template)
            and wanted.campaign in (None, self.campaign)
            and wanted.since <= self.job_id < wanted.until
        )


@pytest.mark.parametrize(("budget", "step", "few"), [(3_000, 1_000, 1_000), (12, 5, 4)])
async def test_every_list_is_what_its_filter_means(
    database: Database, monkeypatch: pytest.MonkeyPatch, budget: int, step: int, few: int
) -> None:
    for name, value in (("BUDGET", budget), ("_STEP", step), ("_FEW", few)):
        monkeypatch.setattr(listing, name, value)
    rng = random.Random(budget)
    begin = int(datetime.now(UTC).timestamp() * 1000)
    jobs = sorted((some_job(rng, begin) for _ in range(JOBS)), key=lambda job: job.job_id)
    await store(database, jobs)
    lengths = list[int]()
    for _ in range(FILTERS):
        wanted = some_filter(rng, begin)
        limit = rng.choice((7, 20, 100))
        meant = [job.job_id for job in jobs if job.is_meant_by(wanted)]
        assert await walked(database, wanted, Way.OLDER, limit) == meant[::-1], wanted
        assert await walked(database, wanted, Way.NEWER, limit) == meant, wanted
        lengths.append(len(meant))
    assert min(lengths) == 0
    assert max(lengths) > JOBS // 3


def some_job(rng: random.Random, begin: int) -> Job:
    return Job(
        uuid7(begin + rng.randrange(SPREAD_MS), rng.getrandbits(74)),
        rng.choice(list(Status)),
        rng.choice(list(Stream)),
        rng.random() < 0.2,
        AddressKey(f"{rng.randrange(4)}@inbox.test"),
        rng.choice(DOMAINS),
        tuple(tag for tag, share in zip(TAGS, (0.5, 0.5, 0.05), strict=True) if rng.random() < share),
        rng.choice((None, TemplateId(1), TemplateId(2))),
        rng.choice((None, CAMPAIGN)),
    )


def some_filter(rng: random.Random, begin: int) -> Filter:
    """Each part given or not."""
    wanted = Filter(sandbox=rng.random() < 0.3, streams=frozenset(Stream))
    since, until = sorted(rng.sample(range(SPREAD_MS), 2))
    parts: list[Callable[[Filter], Filter]] = [
        lambda one: replace(one, streams=frozenset({rng.choice(list(Stream))})),
        lambda one: replace(one, from_domains=frozenset({rng.choice(DOMAINS)})),
        lambda one: replace(one, statuses=frozenset(rng.sample(list(Status), rng.randrange(1, 4)))),
        lambda one: replace(one, statuses=frozenset({Status.PENDING, Status.SENDING})),
        lambda one: replace(one, recipient=AddressKey(f"{rng.randrange(5)}@inbox.test")),
        lambda one: replace(one, tags=tuple(rng.sample(TAGS, rng.randrange(1, 3)))),
        lambda one: replace(one, template=TemplateId(rng.randrange(1, 4))),
        lambda one: replace(one, campaign=CAMPAIGN),
        lambda one: replace(
            one, since=UUID(int=(begin + since) << 80), until=UUID(int=(begin + until) << 80)
        ),
    ]
    for part in rng.sample(parts, rng.choice((0, 1, 1, 2, 3))):
        wanted = part(wanted)
    return wanted


async def walked(db: Database, wanted: Filter, way: Way, limit: int) -> list[UUID]:
    """Ids of all pages in the order in which the list is walked."""
    place = None if way is Way.OLDER else FIRST
    found: list[UUID] = []
    while True:
        page = await listing.page(db, wanted, place=place, way=way, limit=limit)
        ids = [job.job_id for job in page.jobs]
        assert ids == sorted(ids, reverse=True)
        assert len(ids) <= limit
        found += ids if way is Way.OLDER else reversed(ids)
        if page.place is None:
            return found
        place = page.place


async def store(db: Database, jobs: Sequence[Job]) -> None:
    now = datetime.now(UTC)
    columns = (
        "job_id", "message_id", "due_at", "expires_at", "created_at", "status", "stream", "sandbox",
        "to_address", "address_key", "from_address", "tags", "template_id", "campaign_id",
    )  # fmt: skip
    rows = [
        (
            job.job_id, job.job_id, now, now + timedelta(days=1), now, job.status.value, job.stream.value,
            job.sandbox, job.address, job.address, f'"a@b" <s@{job.domain}>', tags_of(job), job.template,
            job.campaign,
        )
        for job in jobs
    ]  # fmt: skip
    async with db.transaction() as tx:
        await tx.copy("email_job", columns, rows)
        await tx.copy("email_term", ("term", "job_id"), [(t, job.job_id) for job in jobs for t in job.terms])


def tags_of(job: Job) -> bytes | None:
    tags = [{"name": name, "value": value} for name, value in job.tags]
    return msgspec.json.encode(tags) if tags else None
