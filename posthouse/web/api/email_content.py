"""What a mail was sent as, or would be sent as now: composed again, by the code that composes it for sending.

The same template version and the same variables make the same mail, but for what is new each time: the date,
and the token in the way out of the list.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from posthouse.domain.errors import RenderFailed
from posthouse.domain.event import EventType
from posthouse.domain.ids import JobId
from posthouse.domain.job import ClaimedJob
from posthouse.domain.message import Rendered
from posthouse.storage import jobs as queue
from posthouse.storage.timeline import EventRecord, MailRecord
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.email_view import AttachmentView, ContentView, HeaderView


async def content_of(deps: ApiDeps, mail: MailRecord, now: datetime) -> ContentView:
    """The copy of the first recipient. Raises NotNow."""
    first = mail.jobs[0]
    job = await queue.as_claimed(deps.database, JobId(first.job_id))
    if job is None:  # its day was dropped meanwhile
        return _nothing("The mail is not kept any more.")
    if job.template_id is not None and first.sent_at is not None:
        version = first.template_version or _version_sent(mail.events, job.job_id)
        if version is None:
            return _nothing(
                "It was sent, and which version of its template it was made from is not recorded."
            )
        job = msgspec.structs.replace(job, template_version=version)
    try:
        return _view(await _compose(deps, job, now), sent=first.sent_at is not None)
    except RenderFailed as error:
        return _nothing(error.message)


async def _compose(deps: ApiDeps, job: ClaimedJob, now: datetime) -> Rendered:
    """Raises RenderFailed, NotNow."""
    source = await deps.find_source(job)
    if source is None:
        raise RenderFailed("Its template version or its content is not there any more.")
    composed = await deps.composer.run(lambda composer: composer.compose(job, source.words, now))
    return source.with_files(composed.rendered)


def _version_sent(events: Sequence[EventRecord], job_id: JobId) -> int | None:
    """That of the latest hand-over, of a mail that names none itself."""
    sent = [
        (event.attempt, event.template_version)
        for event in events
        if event.job_id == job_id and event.type == EventType.SENT and event.template_version is not None
    ]
    return max(sent)[1] if sent else None


def _view(mail: Rendered, *, sent: bool) -> ContentView:
    return ContentView(
        sent=sent,
        template_version=mail.template_version,
        subject=mail.subject,
        html=mail.html,
        text=mail.text,
        headers=[HeaderView("Message-ID", mail.message_id), *(HeaderView(*pair) for pair in mail.headers)],
        attachments=[
            AttachmentView(
                file.filename, file.content_type, file.size, file.content_id, file.disposition.value
            )
            for file in mail.files
        ],
        reason=None,
    )


def _nothing(reason: str) -> ContentView:
    return ContentView(False, None, None, None, None, [], [], reason)
