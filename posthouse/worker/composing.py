"""Composing a claim: its sources fetched as a set, each mail rendered, the links made durable."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

from posthouse.clock import Clock
from posthouse.compose.pipeline import Composed, Composer
from posthouse.compose.source import Content, Found
from posthouse.domain.errors import RenderFailed
from posthouse.domain.ids import ContentId, LinkHash, TemplateId
from posthouse.domain.job import ClaimedJob
from posthouse.domain.message import Rendered
from posthouse.domain.template import TemplateVersion
from posthouse.failpoints import failpoint_at
from posthouse.storage import jobs as queue
from posthouse.storage import links
from posthouse.storage.db import Database
from posthouse.worker.kept_versions import KeptVersions

#: Links known to be stored this month: a campaign's are the same in every mail.
KNOWN_LINKS: Final = 20_000
#: Mails rendered in one go before others have their turn.
TURN: Final = 16


class Composing:
    """worker.handlers.Tools.compose."""

    def __init__(self, db: Database, composer: Composer, clock: Clock) -> None:
        self._db = db
        self._composer = composer
        self._clock = clock
        self._known = _KnownLinks(KNOWN_LINKS)
        self._versions = KeptVersions()

    async def __call__(self, jobs: Sequence[ClaimedJob]) -> list[Rendered | RenderFailed]:
        """Each job as a mail, or why it cannot be one, in order. Raises NotNow."""
        sources = await find_sources(self._db, jobs, self._versions)
        results: list[Composed | RenderFailed] = []
        for number, (job, source) in enumerate(zip(jobs, sources, strict=True), start=1):
            results.append(await self._compose(job, source))
            if number % TURN == 0:
                await asyncio.sleep(0)
        await self._store_links([r for r in results if isinstance(r, Composed)])
        return [r.rendered if isinstance(r, Composed) else r for r in results]

    async def _compose(self, job: ClaimedJob, source: Found | None) -> Composed | RenderFailed:
        if source is None:
            return RenderFailed("Its template version or its content is not there any more.")
        failpoint_at("worker.poison", job.to_address)
        try:
            now = self._clock.now()
            composed = self._composer.try_compose(job, source.words, now)
            composed = composed or await self._composer.compose(job, source.words, now)
            if source.files:
                return Composed(source.with_files(composed.rendered), composed.links)
            return composed
        except RenderFailed as error:
            return error

    async def _store_links(self, composed: Sequence[Composed]) -> None:
        """A reader may click the moment the mail is out, so the links are committed before it is."""
        today = self._clock.now().date()
        new = self._known.unknown({link.hash: link.url for mail in composed for link in mail.links}, today)
        if new:
            await links.store(self._db, new, today)
            self._known.learn(new, today)


async def find_sources(db: Database, jobs: Sequence[ClaimedJob], kept: KeptVersions) -> list[Found | None]:
    """What each job is made from: the template version that its claim named, or its own bodies."""
    named = {key for job in jobs if (key := _version_of(job)) is not None}
    own = {job.content_id for job in jobs if job.content_id is not None}
    versions = kept.among(named)
    lacking = named - versions.keys()
    contents: Mapping[ContentId, queue.StoredContent] = {}
    if lacking or own:
        async with db.session() as session:
            fetched = await queue.template_versions(session, lacking) if lacking else []
            contents = await queue.contents(session, own)
        kept.keep(fetched)
        versions |= {(version.template_id, version.version): version for version in fetched}
    return [_found(job, versions, contents) for job in jobs]


async def find_source(db: Database, job: ClaimedJob) -> Found | None:
    """What one job is made from; None when that is not there any more."""
    return (await find_sources(db, [job], KeptVersions()))[0]


def _version_of(job: ClaimedJob) -> tuple[TemplateId, int] | None:
    if job.template_id is None or job.template_version is None:
        return None
    return job.template_id, job.template_version


def _found(
    job: ClaimedJob,
    versions: Mapping[tuple[TemplateId, int], TemplateVersion],
    contents: Mapping[ContentId, queue.StoredContent],
) -> Found | None:
    """A template's mail may have files: then its content is nothing else, and must be there too."""
    content = None if job.content_id is None else contents.get(job.content_id)
    if job.content_id is not None and content is None:
        return None
    files = () if content is None else content.files
    if job.template_id is not None:
        key = _version_of(job)
        version = None if key is None else versions.get(key)
        return None if version is None else Found(version, files)
    return None if content is None else Found(Content(content.html, content.text), files)


class _KnownLinks:
    """The hashes stored this month, the latest ones; another month begins empty."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._month = (0, 0)
        self._hashes: OrderedDict[LinkHash, None] = OrderedDict()

    def unknown(self, given: Mapping[LinkHash, str], today: date) -> dict[LinkHash, str]:
        self._turn(today)
        return {link_hash: url for link_hash, url in given.items() if link_hash not in self._hashes}

    def learn(self, stored: Mapping[LinkHash, str], today: date) -> None:
        self._turn(today)
        self._hashes.update(dict.fromkeys(stored))
        while len(self._hashes) > self._size:
            self._hashes.popitem(last=False)

    def _turn(self, today: date) -> None:
        month = (today.year, today.month)
        if month != self._month:
            self._month = month
            self._hashes.clear()
