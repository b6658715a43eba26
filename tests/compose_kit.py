"""Jobs, templates and settings for the tests of compose."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from posthouse.clock import Clock, SystemClock
from posthouse.compose.headers import HeaderSettings
from posthouse.compose.limits import Limits
from posthouse.compose.pipeline import Composer, ComposeSettings, StreamSettings
from posthouse.compose.unsubscribe import UnsubscribeTokens
from posthouse.domain.ids import AddressKey, JobId, MessageId, TemplateId, TemplateKey
from posthouse.domain.job import ClaimedJob, JsonObject
from posthouse.domain.message import Addressing, Mailbox, Rendered
from posthouse.domain.stream import Stream
from posthouse.domain.template import TemplateVersion, Variable

NOW = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
JOB_ID = JobId(UUID("01931f3a-0000-7000-8000-0123456789ab"))
LINK_KEY = bytes(range(32))
RETURN_PATH_KEY = bytes(range(32, 64))
ANN = Addressing(to=(Mailbox("ann@inbox.test", "Ann"),))
TOKENS = UnsubscribeTokens([bytes(range(64))])


def stream_settings(stream: Stream) -> StreamSettings:
    name = stream.value
    return StreamSettings(
        tracking_url=f"https://t.{name}.test",
        bounce_domain=f"bounce.{name}.test",
        headers=HeaderSettings(
            message_id_domain=f"{name}.test", list_id_domain=f"{name}.test", feedback_sender="posthouse"
        ),
    )


def settings(limits: Limits | None = None) -> ComposeSettings:
    return ComposeSettings(
        streams={stream: stream_settings(stream) for stream in Stream},
        link_key=LINK_KEY,
        return_path_key=RETURN_PATH_KEY,
        unsubscribe=TOKENS,
        limits=limits or Limits(),
    )


def composer(limits: Limits | None = None, clock: Clock | None = None) -> Composer:
    return Composer(settings(limits), clock or SystemClock())


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a test wants of a job; the rest is usual."""

    stream: Stream = Stream.TRANSACTIONAL
    to_address: str = "ann@inbox.test"
    from_address: str = "Shop <hello@shop.test>"
    subject: str | None = None
    variables: Mapping[str, object] | bytes | None = None  # bytes: as they are stored
    addressing: Addressing = ANN
    tracked: bool = True
    extra_headers: tuple[tuple[str, str], ...] = ()
    attempt: int = 1


def job(wish: Wish) -> ClaimedJob:
    given = wish.variables
    stored = json.dumps(given).encode() if isinstance(given, Mapping) else given
    return ClaimedJob(
        job_id=JOB_ID,
        message_id=MessageId(JOB_ID),
        stream=wish.stream,
        attempt=wish.attempt,
        to_address=wish.to_address,
        address_key=AddressKey(wish.to_address),
        from_address=wish.from_address,
        subject=wish.subject,
        template_id=TemplateId(7),
        template_version=None,
        template_vars=None if stored is None else JsonObject(stored),
        content_id=None,
        addressing=wish.addressing,
        campaign_id=None,
        tracked=wish.tracked,
        due_at=NOW,
        expires_at=NOW + timedelta(days=1),
        deaths=0,
        extra_headers=wish.extra_headers,
    )


def template(
    html: str | None = None,
    text: str | None = None,
    subject: str = "Hello",
    *,
    version: int = 1,
    variables: tuple[Variable, ...] = (),
    tracked: bool = True,
) -> TemplateVersion:
    return TemplateVersion(
        TemplateId(7), TemplateKey("welcome"), version, subject, html, text, variables, tracked
    )


def rendered(subject: str = "Hello", text: str = "Hello\n", html: str | None = None) -> Rendered:
    """A mail as compose makes it, without what a test does not ask for."""
    return Rendered(
        job_id=JOB_ID,
        attempt=1,
        stream=Stream.TRANSACTIONAL,
        return_path="b+1@bounce.test",
        recipient="ann@inbox.test",
        sender=Mailbox("hello@shop.test", "Shop"),
        addressing=Addressing(to=(Mailbox("ann@inbox.test"),)),
        subject=subject,
        text=text,
        html=html,
        message_id=f"<{JOB_ID.hex}@shop.test>",
        date=NOW,
    )
