"""From a claimed job and its source to a mail that is ready to be handed over."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from msgspec import Struct

from posthouse.clock import Clock
from posthouse.compose import guard
from posthouse.compose.header_text import one_line
from posthouse.compose.headers import HeaderSettings, check_headers, message_id, own_headers, parse_sender
from posthouse.compose.inline_css import inline_css
from posthouse.compose.limits import Limits
from posthouse.compose.mime_headers import header_address, mailbox
from posthouse.compose.plain_text import plain_text
from posthouse.compose.prepare import Prepared, tracked
from posthouse.compose.render import Plan, Renderer, Texts
from posthouse.compose.source import Content
from posthouse.compose.tracking import Link, Tracker, track_html, track_text
from posthouse.compose.unsubscribe import Unsubscribe, UnsubscribeTokens
from posthouse.compose.way_out import html_with_way_out, text_with_way_out
from posthouse.domain.errors import InvalidInput, RenderFailed
from posthouse.domain.job import ClaimedJob
from posthouse.domain.message import Rendered
from posthouse.domain.return_path import return_path
from posthouse.domain.stream import Stream
from posthouse.domain.suppression import SuppressionScope
from posthouse.domain.template import TemplateVersion


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


class Composed(Struct, frozen=True):
    """The mail, and the links that must be durable before it is handed over."""

    rendered: Rendered
    links: tuple[Link, ...]


class _Draft(Struct, frozen=True):
    """What the source says, before anything of ours is added."""

    subject: str
    html: str | None
    text: str | None
    tracked: bool
    version: int | None
    prepared: Prepared | None = None  # set: what the HTML is to be finished with


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
            return self._finish(job, _content_draft(job, source), unsubscribe_url, now)
        plan = self._renderer.plan(source)
        draft = self._prepared_draft(job, source, plan, unsubscribe_url)
        if draft is None:
            texts = self._try_render(job, plan, unsubscribe_url)
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

    def _prepared_draft(
        self, job: ClaimedJob, version: TemplateVersion, plan: Plan, unsubscribe_url: str
    ) -> _Draft | None:
        """The short way; None where there is none. What fails on it fails again on the long one, which names
        the lines of the template as its author wrote them."""
        if plan.prepared is None:
            return None
        try:
            texts = self._try_render(job, plan.prepared.plan, unsubscribe_url)
        except RenderFailed:
            return None
        return None if texts is None else _template_draft(job, version, texts, plan.prepared.finish)

    def _try_render(self, job: ClaimedJob, plan: Plan, unsubscribe_url: str) -> Texts | None:
        return self._renderer.try_render(
            plan,
            job.template_vars,
            {"unsubscribe_url": unsubscribe_url},
            with_subject=job.subject is None,
        )

    def tracking_url(self, stream: Stream) -> str:
        """What a stream's own links begin with: tracked links, the pixel, the unsubscribe page."""
        return f"{self._settings.streams[stream].tracking_url}/"

    def forget(self, version: TemplateVersion) -> None:
        """Drop what is kept of a version that will not be used again."""
        self._renderer.forget(version)

    def close(self) -> None:
        """End the sandbox process."""
        self._renderer.close()

    def _finish(self, job: ClaimedJob, draft: _Draft, unsubscribe_url: str, now: datetime) -> Composed:
        tracker = None
        if draft.tracked:
            tracker = Tracker(self._stream(job).tracking_url, job.job_id, self._settings.link_key)
        way_out = unsubscribe_url if job.stream is Stream.MARKETING else None
        try:
            html, text = self._bodies(draft, way_out, tracker)
            rendered = self._rendered(job, draft, html, text, unsubscribe_url, now)
        except InvalidInput as error:
            raise RenderFailed(error.message, code=error.code) from error
        return Composed(rendered, () if tracker is None else tracker.links)

    def _bodies(self, draft: _Draft, way_out: str | None, tracker: Tracker | None) -> tuple[str | None, str]:
        """HTML and text, both with the way out that marketing must show, and with their links tracked."""
        untracked, html = self._html(draft, way_out, tracker)
        if draft.text is None:
            return html, plain_text(untracked or "")
        text = draft.text if way_out is None else text_with_way_out(draft.text, way_out)
        return html, text if tracker is None else track_text(text, tracker)

    def _html(
        self, draft: _Draft, way_out: str | None, tracker: Tracker | None
    ) -> tuple[str, str] | tuple[None, None]:
        """The HTML with its style inlined, before and after its links are tracked."""
        html = draft.html
        if html is None:
            return None, None
        if draft.prepared is not None:
            guard.check_text(html, self._settings.limits)
            pieces = draft.prepared.pieces(html, way_out, tracker)
            untracked = "".join(pieces)
            return untracked, untracked if tracker is None else tracked(pieces, tracker)
        if way_out is not None:
            html = html_with_way_out(html, way_out)
        guard.check(html, self._settings.limits)
        html = inline_css(html)
        return html, html if tracker is None else track_html(html, tracker)

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
        tracked=job.tracked,
        version=None,
    )


def _template_draft(
    job: ClaimedJob, version: TemplateVersion, texts: Texts, prepared: Prepared | None = None
) -> _Draft:
    return _Draft(
        # A template's own line ends around its subject are no part of it.
        subject=(texts.subject or "").strip() if job.subject is None else job.subject,
        html=texts.html,
        text=texts.text,
        tracked=job.tracked and version.tracked,
        version=version.version,
        prepared=prepared,
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
