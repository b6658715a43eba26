"""A template as a mail that nobody gets: what it looks like, how large it is, and what is wrong with it.

It is made by the code that makes real mail, so it fails where that would fail. Two things differ: a variable
that is missing stands as an empty text, so that an author sees something; and links lead where they were
written to lead, as nobody stores what a tracked one would stand for. The size is that of the tracked mail.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from posthouse.compose.lint import Finding, Seen, findings
from posthouse.compose.mime import to_raw
from posthouse.compose.pipeline import Composer
from posthouse.compose.stand_in import used_names, with_stand_ins
from posthouse.domain.address import key_of
from posthouse.domain.errors import InvalidInput, RenderFailed
from posthouse.domain.ids import JobId, MessageId, uuid7
from posthouse.domain.job import ClaimedJob, JsonObject
from posthouse.domain.message import Addressing, Mailbox
from posthouse.domain.stream import Stream
from posthouse.domain.template import TemplateVersion

_LIFE: Final = timedelta(days=1)
_BUILT_IN_LINK: Final = "unsubscribe_url"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to make, and for whom."""

    version: TemplateVersion
    variables: dict[str, object]
    stream: Stream
    sender: str
    reader: Mailbox


@dataclass(frozen=True, slots=True)
class Preview:
    """`size` is that of the whole message in bytes, as it goes out."""

    subject: str
    html: str | None
    text: str
    size: int
    names: list[str]  # of the variables that the template uses
    findings: list[Finding]


async def preview(composer: Composer, wanted: Wanted, now: datetime) -> Preview:
    """Raises InvalidInput with the reason why no mail can be made of it, and NotNow."""
    variables, missing = with_stand_ins(wanted.version, wanted.variables)
    sent = _job(wanted, JsonObject(msgspec.json.encode(variables)), now)
    try:
        mail = (await composer.compose(sent, wanted.version, now)).rendered
        shown = (
            await composer.compose(msgspec.structs.replace(sent, tracked=False), wanted.version, now)
        ).rendered
        size = len(to_raw(mail).data)
    except RenderFailed as error:
        raise InvalidInput(f"{error.message}{_of_missing(missing)}", code=error.code) from error
    names = used_names(wanted.version)
    seen = Seen(
        stream=wanted.stream,
        subject=shown.subject,
        html=shown.html,
        text=shown.text,
        html_bytes=len((mail.html or "").encode()),
        has_text=wanted.version.text is not None,
        links_to_unsubscribe=_links_to_unsubscribe(wanted.version),
        names=frozenset(names),
        missing=tuple(missing),
        own_url=composer.tracking_url(wanted.stream),
    )
    return Preview(shown.subject, shown.html, shown.text, size, sorted(names), findings(seen))


async def preview_once(composer: Composer, wanted: Wanted, now: datetime) -> Preview:
    """`preview` of a version that is stored nowhere: nothing is kept of it."""
    try:
        return await preview(composer, wanted, now)
    finally:
        composer.forget(wanted.version)


def _of_missing(missing: list[str]) -> str:
    return f" Not given, and so empty: {', '.join(missing)}." if missing else ""


def _links_to_unsubscribe(version: TemplateVersion) -> bool:
    return any(_BUILT_IN_LINK in source for source in (version.html, version.text) if source is not None)


def _job(wanted: Wanted, variables: JsonObject, now: datetime) -> ClaimedJob:
    """A job as a worker would hold it. Its id is nobody's: that millisecond's lowest."""
    job_id = JobId(uuid7(int(now.timestamp() * 1000), 0))
    return ClaimedJob(
        job_id=job_id,
        message_id=MessageId(job_id),
        stream=wanted.stream,
        attempt=1,
        to_address=wanted.reader.address,
        address_key=key_of(wanted.reader),
        from_address=wanted.sender,
        subject=None,
        template_id=wanted.version.template_id,
        template_version=wanted.version.version,
        template_vars=variables,
        content_id=None,
        addressing=Addressing(to=(wanted.reader,)),
        campaign_id=None,
        tracked=True,
        due_at=now,
        expires_at=now + _LIFE,
        deaths=0,
    )
