"""What `posthouse templates` does: a version pushed, one shown as a mail."""

import os
from dataclasses import dataclass
from datetime import datetime

import msgspec

from posthouse.app.composer import build_composer
from posthouse.cli.reach import reached
from posthouse.clock import SystemClock
from posthouse.compose.preview import Wanted, preview
from posthouse.config import Settings
from posthouse.domain.errors import InvalidInput, NotFound
from posthouse.domain.ids import TemplateKey
from posthouse.domain.stream import Stream
from posthouse.domain.template import VersionState
from posthouse.intake.plain_json import check_json, check_text, read_object
from posthouse.keyring import load_keyring
from posthouse.storage import templates
from posthouse.storage.db import Database
from posthouse.storage.templates import StoredVersion
from posthouse.web.api.template_render import NOBODY, RenderedView, rendered_view, stored_version
from posthouse.web.api.template_views import template_key
from posthouse.web.api.templates import PostedTemplate, VersionReceipt, new_version


@dataclass(frozen=True, slots=True)
class Pushed:
    """A new version as its author gives it; None: as in the newest version."""

    subject: str | None
    html: str | None
    text: str | None
    variables: object
    name: str | None
    publish: bool


async def push_version(settings: Settings, key: str, pushed: Pushed, now: datetime) -> VersionReceipt:
    """Raises InvalidInput, NotNow."""
    known = template_key(key)
    async with reached(settings) as db:
        newest = await _newest(db, known)
        posted = _posted(key, pushed, newest)
        new = new_version(posted)
        if newest is None:
            name = posted.name or posted.key
            check_text(name, "/name")
            number = await templates.create(db, known, name, new, now)
        else:
            number = await templates.add_version(db, known, new, now)
    return VersionReceipt(known, number, VersionState.PUBLISHED if pushed.publish else VersionState.DRAFT)


async def version_of(settings: Settings, key: TemplateKey, number: int) -> StoredVersion:
    """Raises NotFound, NotNow."""
    async with reached(settings) as db:
        return await templates.version(db, await templates.get(db, key), number)


async def rendered(
    settings: Settings, key: TemplateKey, number: int | None, variables: bytes, stream: Stream
) -> RenderedView:
    """The mail that a version becomes. Raises NotFound, InvalidInput, NotNow."""
    values = read_object(variables, "/variables")
    check_json(values, "/variables")
    async with reached(settings) as db:
        version = await stored_version(db, key, number)
    sender = f"preview@{min(settings.streams[stream].from_domains)}"
    clock = SystemClock()
    composer = build_composer(settings, load_keyring(settings.data_dir, os.environ), clock)
    try:
        made = await preview(composer, Wanted(version, values, stream, sender, NOBODY), clock.now())
    finally:
        composer.close()
    return rendered_view(made, version.version)


async def _newest(db: Database, key: TemplateKey) -> StoredVersion | None:
    try:
        template = await templates.get(db, key)
    except NotFound:
        return None
    return await templates.version(db, template, template.latest_version)


def _posted(key: str, pushed: Pushed, newest: StoredVersion | None) -> PostedTemplate:
    """Raises InvalidInput for what the API would refuse, too."""
    given = {
        "subject": pushed.subject,
        "html": pushed.html,
        "text": pushed.text,
        "variables": pushed.variables,
        "name": pushed.name,
    }
    kept = {} if newest is None else _as_posted(newest)
    fields = {**kept, **{name: value for name, value in given.items() if value is not None}}
    if "subject" not in fields:
        raise InvalidInput(
            f"There is no template {key!r} yet: its first version needs --subject.", pointer="/subject"
        )
    try:
        return msgspec.convert({**fields, "key": key, "publish": pushed.publish}, PostedTemplate)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"This is no template: {error}.") from error


def _as_posted(newest: StoredVersion) -> dict[str, object]:
    return {
        "subject": newest.subject,
        "html": newest.html,
        "text": newest.text,
        "variables": [msgspec.to_builtins(variable) for variable in newest.variables],
        "tracking": newest.tracked,
    }
