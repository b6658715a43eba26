"""From a claimed job and its source to a mail that is ready to be handed over."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from html import escape

from posthouse.clock import Clock
from posthouse.compose import guard
from posthouse.compose.header_text import one_line
from posthouse.compose.headers import HeaderSettings, check_headers, message_id, own_headers, parse_sender
from posthouse.compose.inline_css import inline_css
from posthouse.compose.limits import Limits
from posthouse.compose.mime import check_attachment
from posthouse.compose.mime_headers import header_address, mailbox
from posthouse.compose.plain_text import plain_text
from posthouse.compose.render import Renderer, Texts
from posthouse.compose.return_path import return_path
from posthouse.compose.source import Content
from posthouse.compose.tracking import Link, Tracker, track_html, track_text
from posthouse.compose.unsubscribe import Unsubscribe, UnsubscribeTokens
from posthouse.domain.errors import InvalidInput, RenderFailed
from posthouse.domain.job import ClaimedJob
from posthouse.domain.message import Attachment, Rendered
from posthouse.domain.stream import Stream
from posthouse.domain.suppression import SuppressionScope
from posthouse.domain.template import TemplateVersion

_END_OF_BODY = re.compile(r"</body\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What compose must know of a stream. `tracking_url` has no final slash."""

    tracking_url: str
    bounce_domain: str
    headers: HeaderSettings


@dataclass(frozen=True, slots=True)
class ComposeSettings:
    """Keys are 16 to 64 random bytes."""

    streams: Mapping[Stream, StreamSettings]
    link_key: bytes
    return_path_key: bytes
    unsubscribe: UnsubscribeTokens
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Composed:
    """The mail, and the links that must be durable before it is handed over."""

    rendered: Rendered
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class _Draft:
    """What the source says, before anything of ours is added."""

    subject: str
    html: str | None
    text: str | None
    attachments: tuple[Attachment, ...]
    tracked: bool
    version: int | None


class Composer:
    """Built once for a process. Holds compiled templates and, when one needs it, the sandbox process."""

    def __init__(self, settings: ComposeSettings, clock: Clock) -> None:
        self._settings = settings
        self._renderer = Renderer(settings.limits, clock)

    def try_compose(
        self, job: ClaimedJob, source: TemplateVersion | Content, now: datetime
    ) -> Composed | None:
        """Compose in this process; None when the template must go to the sandbox: use `compose` then.

        Raises RenderFailed: this job cannot become a mail.
        """
        unsubscribe_url = self._unsubscribe_url(job)
        if isinstance(source, Content):
            draft = _content_draft(job, source)
        else:
            plan = self._renderer.plan(source)
            texts = self._renderer.try_render(
                plan,
                job.template_vars,
                {"unsubscribe_url": unsubscribe_url},
                with_subject=job.subject is None,
            )
            if texts is None:
                return None
            draft = _template_draft(job, source, texts)
        return self._finish(job, draft, unsubscribe_url, now)

    async def compose(self, job: ClaimedJob, source: TemplateVersion | Content, now: datetime) -> Composed:
        """Compose, in the sandbox where that is needed: no template holds up the event loop.

        Raises RenderFailed, TemplateTooExpensive, and NotNow when the sandbox cannot be started.
        """
        composed = self.try_compose(job, source, now)
        if composed is not None:
            return composed
        assert isinstance(source, TemplateVersion)  # other bodies are never rendered
        unsubscribe_url = self._unsubscribe_url(job)
        texts = await self._renderer.render_sandboxed(
            self._renderer.plan(source),
            job.template_vars,
            {"unsubscribe_url": unsubscribe_url},
            with_subject=job.subject is None,
        )
        return self._finish(job, _template_draft(job, source, texts), unsubscribe_url, now)

    def close(self) -> None:
        """End the sandbox process."""
        self._renderer.close()

    def _finish(self, job: ClaimedJob, draft: _Draft, unsubscribe_url: str, now: datetime) -> Composed:
        try:
            html, text = self._bodies(job, draft, unsubscribe_url)
            tracker = Tracker(self._stream(job).tracking_url, job.job_id, self._settings.link_key)
            if draft.tracked:
                html = None if html is None else track_html(html, tracker)
                text = text if draft.text is None else track_text(text, tracker)
            return Composed(self._rendered(job, draft, html, text, unsubscribe_url, now), tracker.links)
        except InvalidInput as error:
            raise RenderFailed(error.message, code=error.code) from error

    def _bodies(self, job: ClaimedJob, draft: _Draft, unsubscribe_url: str) -> tuple[str | None, str]:
        """HTML with its style inlined and text, both with the way out that marketing must show."""
        html, text = draft.html, draft.text
        if html is not None:
            if job.stream is Stream.MARKETING:
                html = _html_with_unsubscribe(html, unsubscribe_url)
            guard.check(html, self._settings.limits)
            html = inline_css(html)
        if text is None:
            return html, plain_text(html or "")
        if job.stream is Stream.MARKETING:
            text = _text_with_unsubscribe(text, unsubscribe_url)
        return html, text

    def _rendered(
        self,
        job: ClaimedJob,
        draft: _Draft,
        html: str | None,
        text: str,
        unsubscribe_url: str,
        now: datetime,
    ) -> Rendered:
        stream = self._stream(job)
        _check_addressing(job)
        if job.extra_headers:
            check_headers(job.extra_headers)
        for attachment in draft.attachments:
            check_attachment(attachment)
        headers = own_headers(
            job.stream, stream.headers, unsubscribe_url=unsubscribe_url, campaign_id=job.campaign_id
        )
        return Rendered(
            job_id=job.job_id,
            attempt=job.attempt,
            stream=job.stream,
            return_path=return_path(job.held, stream.bounce_domain, self._settings.return_path_key),
            recipient=job.to_address,
            sender=parse_sender(job.from_address),
            addressing=job.addressing,
            subject=one_line(draft.subject, "The subject"),
            text=text,
            html=html,
            message_id=message_id(job.job_id, stream.headers.message_id_domain),
            date=now,
            headers=headers + job.extra_headers,
            attachments=draft.attachments,
            template_version=draft.version,
        )

    def _unsubscribe_url(self, job: ClaimedJob) -> str:
        token = self._settings.unsubscribe.seal(
            Unsubscribe(job.to_address, SuppressionScope.MARKETING, job.job_id)
        )
        return f"{self._stream(job).tracking_url}/u/{token}"

    def _stream(self, job: ClaimedJob) -> StreamSettings:
        return self._settings.streams[job.stream]


def _content_draft(job: ClaimedJob, content: Content) -> _Draft:
    return _Draft(
        subject=job.subject or "",
        html=content.html,
        text=_encodable(content.text),
        attachments=content.attachments,
        tracked=job.tracked,
        version=None,
    )


def _template_draft(job: ClaimedJob, version: TemplateVersion, texts: Texts) -> _Draft:
    return _Draft(
        # A template's own line ends around its subject are no part of it.
        subject=(texts.subject or "").strip() if job.subject is None else job.subject,
        html=texts.html,
        text=texts.text,
        attachments=(),
        tracked=job.tracked and version.tracked,
        version=version.version,
    )


def _encodable(text: str | None) -> str | None:
    if text is not None and not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RenderFailed("The text holds half a character (a lone surrogate).") from error
    return text


def _check_addressing(job: ClaimedJob) -> None:
    """What cannot stand in a header ends the job here, with its reason, and not in the hand-over."""
    header_address(job.to_address)
    addressing = job.addressing
    for value in (*addressing.to, *addressing.cc, *addressing.reply_to):
        mailbox(value)


def _html_with_unsubscribe(html: str, url: str) -> str:
    """Marketing must show a way out (CAN-SPAM, Gmail and Yahoo rules): added when the mail has none."""
    if _token(url) in html:
        return html
    footer = (
        '<p style="margin:24px 0 0;font-size:12px;text-align:center">'
        f'<a href="{escape(url)}">Unsubscribe</a></p>'
    )
    ends_of_body = [match.start() for match in _END_OF_BODY.finditer(html)]
    end = ends_of_body[-1] if ends_of_body else len(html)
    return html[:end] + footer + html[end:]


def _text_with_unsubscribe(text: str, url: str) -> str:
    if _token(url) in text:
        return text
    return f"{text.rstrip()}\n\nUnsubscribe: {url}\n"


def _token(url: str) -> str:
    """What is the same in every spelling of the URL: the engine escapes its slashes."""
    return url.rpartition("/")[2]
