"""Templates and their immutable versions. SQL in queries/templates.sql."""

from dataclasses import dataclass
from datetime import datetime

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
class Template:
    template_id: TemplateId
    key: TemplateKey
    name: str
    created_at: datetime
    versions: tuple[StoredVersion, ...] = ()  # newest first


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


async def get(db: Database, key: TemplateKey, *, versions: int) -> Template:
    """The template with up to `versions` of its newest versions. Raises NotFound."""
    async with db.session() as session:
        found = await session.fetch_one(Template, "template_by_key", key)
        if found is None:
            raise _no_template(key)
        rows = await session.fetch_into(_stored, "template_version_rows", found.template_id, versions)
    return Template(found.template_id, found.key, found.name, found.created_at, tuple(rows))


async def usable(db: Database, key: TemplateKey, version: int | None) -> TemplateVersion | None:
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
) -> TemplateVersion:
    return TemplateVersion(
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
