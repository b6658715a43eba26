"""Claimed jobs and rendered mails for tests that need no database."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from posthouse.domain.ids import AddressKey, JobId, MessageId, uuid7
from posthouse.domain.job import ClaimedJob
from posthouse.domain.message import Addressing, Mailbox, Rendered
from posthouse.domain.stream import Stream

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

_FIRST = ClaimedJob(
    job_id=JobId(uuid7(0, 0)),
    message_id=MessageId(uuid7(0, 0)),
    stream=Stream.TRANSACTIONAL,
    attempt=1,
    to_address="ann@inbox.test",
    address_key=AddressKey("ann@inbox.test"),
    from_address="shop@shop.test",
    subject="Your receipt",
    template_id=None,
    template_version=None,
    template_vars=None,
    content_id=None,
    addressing=Addressing(to=(Mailbox("ann@inbox.test"),)),
    campaign_id=None,
    tracked=True,
    due_at=NOON,
    expires_at=NOON + timedelta(hours=24),
    deaths=0,
)


def claimed_job(number: int, *, attempt: int = 1, expires_in: timedelta = timedelta(hours=24)) -> ClaimedJob:
    job_id = uuid7(int(NOON.timestamp() * 1000), number)
    return replace(
        _FIRST,
        job_id=JobId(job_id),
        message_id=MessageId(job_id),
        attempt=attempt,
        expires_at=NOON + expires_in,
    )


def rendered(job: ClaimedJob) -> Rendered:
    return Rendered(
        job_id=job.job_id,
        attempt=job.attempt,
        stream=job.stream,
        return_path="b@bounce.shop.test",
        recipient=job.to_address,
        sender=Mailbox(job.from_address),
        addressing=job.addressing,
        subject=job.subject or "",
        text="Thank you.\n",
        html=None,
        message_id=f"<{job.job_id}@shop.test>",
        date=NOON,
        template_version=3,
    )
