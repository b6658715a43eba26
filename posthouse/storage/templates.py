"""Templates and their immutable versions. SQL in queries/templates.sql."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import assert_never

import msgspec

from posthouse.domain.errors import Conflict, NotFound
from posthouse.domain.ids import TemplateId, TemplateKey
from posthouse.domain.template import TemplateVersion, Variable, VersionState
from posthouse.storage.db import Database, Transaction

_read_variables = msgspec.json.Decoder(tuple[Variable, ...]).decode


@dataclass(frozen=True, slots=True)
class NewVersion:
    """What an author writes; the number comes from storage."""

    subject: str
    html: str | None
    text: str | None
    variables: tuple[Variable, ...]
    tracked: bool
    published: bool


@dataclass(frozen=True, slots=True)
class StoredVersion:
    version: int
    subject: str
    html: str | None
    text: str | None
    variables: tuple[Variable, ...]
    tracked: bool
    created_at: datetime
    published_at: datetime | None


@dataclass(frozen=True, slots=True)
class VersionSummary:
    """A version without its bodies."""

    version: int
    subject: str
    has_html: bool
    has_text: bool
    variables: tuple[Variable, ...]
    tracked: bool
    created_at: datetime
    published_at: datetime | None


@dataclass(frozen=True, slots=True)
class Template:
    """`archived_at` set: no new mail may name it. What was accepted before still goes out."""

    template_id: TemplateId
    key: TemplateKey
    name: str
    created_at: datetime
    archived_at: datetime | None
    latest_version: int
    published_version: int | None  # what mail that names no version is made from


class TemplateOrder(StrEnum):
    NEWEST = "newest"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class TemplatePlace:
    """Where a page ended: its last template."""

    template_id: TemplateId
    key: TemplateKey


@dataclass(frozen=True, slots=True)
class Usable:
    """A published version, and whether its template is archived."""

    version: TemplateVersion
    archived: bool


async def create(db: Database, key: TemplateKey, name: str, first: NewVersion, now: datetime) -> int:
    """A template with its first version; the version's number. Raises Conflict when the key is taken."""
    async with db.transaction() as tx:
        template_id = await tx.fetchval("insert_template", key, name, now)
        if template_id is None:
            raise Conflict(
                f"There is already a template {key!r}: add a version to it with "
                f"POST /v1/templates/{key}/versions, or choose another key.",
                code="template_exists",
            )
        return await _insert(tx, template_id, first, now)


async def add_version(db: Database, key: TemplateKey, new: NewVersion, now: datetime) -> int:
    """The new version's number. Raises NotFound."""
    async with db.transaction() as tx:
        template_id = await tx.fetchval("lock_template", key)
        if template_id is None:
            raise _no_template(key)
        return await _insert(tx, template_id, new, now)


async def publish(db: Database, key: TemplateKey, version: int, now: datetime) -> None:
    """From now on mail that names no version uses this one, if no newer one is published. Raises NotFound."""
    if await db.execute("publish_template_version", key, version, now) == 0:
        raise NotFound(f"There is no version {version} of a template {key!r}.")


async def archive(db: Database, key: TemplateKey, now: datetime) -> None:
    """No new mail may name it from now on. Raises NotFound."""
    if await db.execute("archive_template", key, now) == 0:
        raise _no_template(key)


async def unarchive(db: Database, key: TemplateKey) -> None:
    """Mail may name it again. Raises NotFound."""
    if await db.execute("archive_template", key, None) == 0:
        raise _no_template(key)


async def page(
    db: Database, *, order: TemplateOrder, after: TemplatePlace | None, archived: bool, limit: int
) -> list[Template]:
    """Up to `limit` templates, the archived ones or those in use."""
    match order:
        case TemplateOrder.NEWEST:
            last_id = None if after is None else after.template_id
            return await db.fetch_into(_template, "templates_newest_first", last_id, archived, limit)
        case TemplateOrder.KEY:
            last_key = "" if after is None else after.key
            return await db.fetch_into(_template, "templates_by_key", last_key, archived, limit)
        case _:
            assert_never(order)


async def get(db: Database, key: TemplateKey) -> Template:
    """Raises NotFound."""
    found = await db.fetch_one(_template, "template_by_key", key)
    if found is None:
        raise _no_template(key)
    return found


async def versions(
    db: Database, template_id: TemplateId, *, before: int | None, limit: int
) -> list[VersionSummary]:
    """Up to `limit` versions older than `before`, the newest first."""
    return await db.fetch_into(_summary, "template_version_summaries", template_id, before, limit)


async def version(db: Database, template: Template, number: int) -> StoredVersion:
    """Raises NotFound."""
    found = await db.fetch_one(_stored, "template_version_by_number", template.template_id, number)
    if found is None:
        raise NotFound(f"There is no version {number} of a template {template.key!r}.")
    return found


async def usable(db: Database, key: TemplateKey, version: int | None) -> Usable | None:
    """The published version that a mail accepted now would be made from; None when there is none."""
    return await db.fetch_one(_published, "usable_template_version", key, version)


async def _insert(tx: Transaction, template_id: object, new: NewVersion, now: datetime) -> int:
    return await tx.value(
        int,
        "insert_template_version",
        template_id,
        new.subject,
        new.html,
        new.text,
        msgspec.json.encode(new.variables),
        new.tracked,
        now,
        now if new.published else None,
    )


def _no_template(key: TemplateKey) -> NotFound:
    return NotFound(f"There is no template {key!r}.")


def _template(
    template_id: int,
    key: str,
    name: str,
    created_at: datetime,
    archived_at: datetime | None,
    latest_version: int,
    published_version: int | None,
) -> Template:
    return Template(
        TemplateId(template_id),
        TemplateKey(key),
        name,
        created_at,
        archived_at,
        latest_version,
        published_version,
    )


def _summary(
    version: int,
    subject: str,
    has_html: bool,
    has_text: bool,
    variables: bytes,
    tracked: bool,
    created_at: datetime,
    published_at: datetime | None,
) -> VersionSummary:
    return VersionSummary(
        version, subject, has_html, has_text, _read_variables(variables), tracked, created_at, published_at
    )


def _stored(
    version: int,
    subject: str,
    html: str | None,
    text: str | None,
    variables: bytes,
    tracked: bool,
    created_at: datetime,
    published_at: datetime | None,
) -> StoredVersion:
    return StoredVersion(
        version, subject, html, text, _read_variables(variables), tracked, created_at, published_at
    )


def _published(
    template_id: int,
    key: str,
    version: int,
    subject: str,
    html: str | None,
    text: str | None,
    variables: bytes,
    tracked: bool,
    archived: bool,
) -> Usable:
    found = TemplateVersion(
        TemplateId(template_id),
        TemplateKey(key),
        version,
        subject,
        html,
        text,
        _read_variables(variables),
        tracked,
        VersionState.PUBLISHED,
    )
    return Usable(found, archived)
