"""Lists of mails, newest first, by any filter, in bounded time. SQL in queries/listing.sql.

One source of ids drives a list, the narrowest that the filter has; the rest of the filter is tried on what
the source gives, step by step, until the page is full. A filter that matches hardly anything would go
through millions of mails that way, so a page also ends when `BUDGET` mails were looked at: short, even empty,
with the place from where to go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol, assert_never
from uuid import UUID

import msgspec

from posthouse.domain.ids import AddressKey, CampaignId, TemplateId, TemplateKey
from posthouse.domain.job import Status
from posthouse.domain.stream import Stream
from posthouse.storage import terms
from posthouse.storage.db import Database, Session
from posthouse.storage.templates import Template
from posthouse.storage.timeline import JobRecord

#: Mails that are looked at for one page, and in one step.
BUDGET: Final = 1_000
_STEP: Final = 500
#: Waiting jobs that are sorted at once. A longer queue is found by walking all jobs: it is many of them.
_FEW: Final = 1_000

#: States that index email_job_ended leads to.
_ENDED: Final = frozenset(
    {
        Status.UNKNOWN,
        Status.BOUNCED,
        Status.FAILED,
        Status.SUPPRESSED,
        Status.CANCELLED,
        Status.EXPIRED,
    }
)
_WAITING: Final = frozenset({Status.PENDING, Status.SENDING})

#: The bounds of all ids.
FIRST: Final = UUID(int=0)
LAST: Final = UUID(int=(1 << 128) - 1)


class Way(StrEnum):
    """Which way a list is walked; its pages are newest first all the same."""

    OLDER = "older"
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class Filter:
    """What must be true of a mail; None: anything. `streams`, `from_domains` (empty: all) and `sandbox` are
    what the asking key may see."""

    sandbox: bool
    streams: frozenset[Stream]
    from_domains: frozenset[str] = frozenset()
    statuses: frozenset[Status] | None = None
    recipient: AddressKey | None = None
    tags: tuple[tuple[str, str], ...] = ()  # name and value: all of them
    template: TemplateId | None = None
    campaign: CampaignId | None = None
    since: UUID = FIRST  # the first id that may be in the list
    until: UUID = LAST  # the first that may not


@dataclass(frozen=True, slots=True)
class Page:
    jobs: tuple[JobRecord, ...]  # newest first
    place: UUID | None  # where to go on, not included; None: the list ends here


NOTHING: Final = Page((), None)


@dataclass(frozen=True, slots=True)
class _Span:
    """Ids from `low` up to `end`, which is not one of them."""

    low: UUID
    end: UUID
    way: Way

    def beyond(self, place: UUID) -> "_Span":
        match self.way:
            case Way.OLDER:
                return _Span(self.low, min(self.end, place), self.way)
            case Way.NEWER:
                after = UUID(int=min(place.int + 1, LAST.int))
                return _Span(max(self.low, after), self.end, self.way)
            case _:
                assert_never(self.way)


class _Source(Protocol):
    async def ids(self, session: Session, span: _Span, count: int) -> Sequence[UUID]:
        """The first `count` ids of a span, in the order in which it is walked; fewer at its end."""
        ...


@dataclass(frozen=True, slots=True)
class _ByTerm:
    term: str

    async def ids(self, session: Session, span: _Span, count: int) -> Sequence[UUID]:
        return await session.column(UUID, f"ids_by_term_{span.way}", self.term, span.low, span.end, count)


@dataclass(frozen=True, slots=True)
class _ByEnd:
    statuses: Sequence[Status]

    async def ids(self, session: Session, span: _Span, count: int) -> Sequence[UUID]:
        return await session.column(UUID, f"ids_by_end_{span.way}", self.statuses, span.low, span.end, count)


@dataclass(frozen=True, slots=True)
class _OfAll:
    async def ids(self, session: Session, span: _Span, count: int) -> Sequence[UUID]:
        return await session.column(UUID, f"ids_of_all_{span.way}", span.low, span.end, count)


@dataclass(frozen=True, slots=True)
class _Known:
    known: frozenset[UUID] = field(repr=False)

    async def ids(self, session: Session, span: _Span, count: int) -> Sequence[UUID]:
        inside = [job_id for job_id in self.known if span.low <= job_id < span.end]
        return sorted(inside, reverse=span.way is Way.OLDER)[:count]


async def template_id(db: Database, key: TemplateKey) -> TemplateId | None:
    """The template of a key, archived or not; None when there never was one."""
    found = await db.fetch_one(Template, "template_by_key", key)
    return None if found is None else found.template_id


async def page(db: Database, wanted: Filter, *, place: UUID | None, way: Way, limit: int) -> Page:
    """Up to `limit` mails on from a place (None: the list's beginning); `way` NEWER: those just before
    it. Raises NotNow."""
    whole = _Span(wanted.since, wanted.until, way)
    span = whole if place is None else whole.beyond(place)
    async with db.transaction() as tx:
        await tx.fetchval("hold_planner")
        source = await _source(tx, wanted, span, limit + 1)
        return await _walked(tx, source, wanted, span, limit)


async def _walked(session: Session, source: _Source, wanted: Filter, span: _Span, limit: int) -> Page:
    found: list[JobRecord] = []
    looked_at, step = 0, limit + 1  # one more than the page tells whether there is another
    while True:
        ids = await source.ids(session, span, step)
        found += await _matching(session, ids, wanted, span.way)
        if len(found) > limit:
            return _page(found[:limit], span.way, found[limit - 1].job_id)
        if len(ids) < step:
            return _page(found, span.way, None)
        looked_at += len(ids)
        if looked_at >= BUDGET:
            return _page(found, span.way, ids[-1])
        span, step = span.beyond(ids[-1]), min(_STEP, BUDGET - looked_at)


def _page(found: Sequence[JobRecord], way: Way, place: UUID | None) -> Page:
    return Page(tuple(found) if way is Way.OLDER else tuple(reversed(found)), place)


async def _source(session: Session, wanted: Filter, span: _Span, count: int) -> _Source:
    """The narrowest source that has every mail of the filter."""
    if wanted.recipient is not None:
        return _ByTerm(terms.of_recipient(wanted.recipient))
    sources: list[_Source] = [_ByTerm(term) for term in _terms(wanted)]
    if wanted.statuses is not None and wanted.statuses <= _ENDED:
        sources.append(_ByEnd(sorted(wanted.statuses)))
    if sources:
        return await _narrowest(session, sources, span, count)
    if wanted.statuses is not None and wanted.statuses <= _WAITING:
        return await _waiting(session, wanted.streams)
    return _OfAll()


def _terms(wanted: Filter) -> list[str]:
    """What the mails are looked up by, beside their recipient."""
    found = [terms.of_tag(name, value) for name, value in wanted.tags]
    if wanted.campaign is not None:
        found.append(terms.of_campaign(wanted.campaign))
    if wanted.template is not None:
        found.append(terms.of_template(wanted.template))
    if wanted.sandbox:
        found.append(terms.SANDBOX)
    return found


async def _narrowest(session: Session, sources: Sequence[_Source], span: _Span, count: int) -> _Source:
    """The source whose first ids reach the farthest: no counts are kept by which to choose."""
    if len(sources) == 1:
        return sources[0]
    reach: list[int] = []
    for source in sources:
        ids = await source.ids(session, span, count)
        end = span.low if span.way is Way.OLDER else span.end
        place = ids[-1] if len(ids) == count else end
        reach.append(-place.int if span.way is Way.OLDER else place.int)
    return sources[reach.index(max(reach))]


async def _waiting(session: Session, streams: frozenset[Stream]) -> _Source:
    known: set[UUID] = set(await session.column(UUID, "ids_in_hand", _FEW + 1))
    for stream in sorted(streams):
        known.update(await session.column(UUID, "ids_waiting", stream, _FEW + 1))
    return _OfAll() if len(known) > _FEW else _Known(frozenset(known))


async def _matching(session: Session, ids: Sequence[UUID], wanted: Filter, way: Way) -> list[JobRecord]:
    if not ids:
        return []
    tags = [{"name": name, "value": value} for name, value in wanted.tags]
    found = await session.fetch_into(
        JobRecord,
        "listed_jobs",
        ids,
        min(ids),
        max(ids),
        wanted.sandbox,
        sorted(wanted.streams),
        None if wanted.statuses is None else sorted(wanted.statuses),
        wanted.recipient,
        msgspec.json.encode(tags) if tags else None,
        wanted.campaign,
        wanted.template,
        sorted(wanted.from_domains) or None,
    )
    return sorted(found, key=lambda job: job.job_id, reverse=way is Way.OLDER)
