"""A posted mail is good or it is refused, with a pointer to the field at fault; nothing is stored yet.

Everything that could make the storing transaction fail is found here: a group of mails is stored in one
transaction, and one bad mail must not cost its neighbours theirs.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from posthouse.domain.address import domain_of, format_mailbox, is_reserved, key_of, parse_mailbox
from posthouse.domain.errors import (
    Forbidden,
    InvalidAddress,
    InvalidHeader,
    InvalidInput,
    MissingVariables,
)
from posthouse.domain.job import JsonObject
from posthouse.domain.message import Addressing, Mailbox
from posthouse.domain.stream import Stream
from posthouse.intake.mail import KnownTemplate, NewMail, OwnContent, Recipient, TemplateChoice
from posthouse.intake.plain_json import check_json, check_text, read_object
from posthouse.intake.policy import StreamPolicy
from posthouse.intake.posted import ChosenTemplate, PostedEmail
from posthouse.storage.keys import ApiKey

MAX_AHEAD = timedelta(days=30)
MAX_LIFE = timedelta(days=7)  # from due to expired: a job's life is bounded so that no row pins its day
MAX_VARIABLES_BYTES = 262_144  # every recipient's job keeps its own copy

#: Refuses headers that a client may not set, or that would break the message. Raises InvalidHeader.
HeadersCheck = Callable[[tuple[tuple[str, str], ...]], None]
#: Refuses a text that would break out of the header named by the second argument. Raises InvalidHeader.
LineCheck = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a house accepts. What a header may hold is known to those who write headers."""

    streams: Mapping[Stream, StreamPolicy]
    max_recipients: int
    check_headers: HeadersCheck
    check_line: LineCheck
    max_attachment_bytes: int = 10_000_000  # of one mail's attachments together, decoded


def validate(
    posted: PostedEmail, template: KnownTemplate | None, *, key: ApiKey, rules: Rules, now: datetime
) -> NewMail:
    """The posted mail, if this key may send it; without its files, which `read_attachments` reads.

    `template` is the stored template that `posted.template` names. `now` is the database's. Raises
    InvalidInput or Forbidden.
    """
    stream = _stream(posted, key)
    policy = rules.streams[stream]
    sender = _sender(posted, key, stream, rules)
    addressing, everyone = _addressing(posted, rules)
    recipients = _recipients(everyone, stream, policy, key)
    scheduled_at, due_at = _due(posted, now)
    return NewMail(
        stream=stream,
        sender=format_mailbox(sender),
        recipients=recipients,
        addressing=None if addressing == _plain(recipients) else addressing,
        subject=_subject(posted, rules),
        body=_body(posted, template),
        expires_at=_expiry(posted, due_at, policy),
        expiry_given=posted.expires_at is not None,
        scheduled_at=scheduled_at,
        tags=tuple((tag.name, tag.value) for tag in posted.tags or ()),
        metadata=_metadata(posted),
        headers=_headers(posted, rules),
        tracked=posted.tracking is not False,
        sandbox=key.sandbox,
    )


def _stream(posted: PostedEmail, key: ApiKey) -> Stream:
    if posted.stream is None:
        return key.stream or Stream.TRANSACTIONAL
    try:
        stream = Stream(posted.stream)
    except ValueError:
        raise InvalidInput(f"There are two streams: {' and '.join(Stream)}.", pointer="/stream") from None
    if key.stream is not None and stream is not key.stream:
        raise Forbidden(
            f"This key sends {key.stream} mail only.", code="stream_not_allowed", pointer="/stream"
        )
    return stream


def _sender(posted: PostedEmail, key: ApiKey, stream: Stream, rules: Rules) -> Mailbox:
    sender, policy = _sender_box(posted.sender), rules.streams[stream]
    if sender.name:
        _check_line(sender.name, "/from", "The name", rules)
    allowed = policy.from_domains & key.from_domains if key.from_domains else policy.from_domains
    if domain_of(sender) not in allowed:
        raise Forbidden(
            f"This key may not send {stream} mail from {domain_of(sender)}; it may from: "
            f"{', '.join(sorted(allowed)) or 'no domain at all'}.",
            code="from_domain_not_allowed",
            pointer="/from",
        )
    return sender


@lru_cache(maxsize=1000)
def _sender_box(text: str) -> Mailbox:
    """Clients send from few addresses. Raises InvalidAddress."""
    return _parsed(text, "/from")


def _addressing(posted: PostedEmail, rules: Rules) -> tuple[Addressing, list[tuple[str, Mailbox]]]:
    """What the headers show, and every recipient with its pointer in the order To, Cc, Bcc."""
    limit = rules.max_recipients
    if not posted.to:
        raise InvalidInput("Name at least one recipient.", pointer="/to")
    if _count(posted.to) + _count(posted.cc) + _count(posted.bcc) > limit:
        raise InvalidInput(
            f"A mail has at most {limit} recipients in to, cc and bcc together.",
            code="too_many_recipients",
            pointer="/to",
        )
    if _count(posted.reply_to) > limit:
        raise InvalidInput(f"At most {limit} addresses to reply to.", pointer="/reply_to")
    to = _mailboxes(posted.to, "/to", rules)
    cc = _mailboxes(posted.cc, "/cc", rules)
    bcc = _mailboxes(posted.bcc, "/bcc", rules)
    replies = _mailboxes(posted.reply_to, "/reply_to", rules)
    return Addressing(_boxes(to), _boxes(cc), _boxes(replies)), [*to, *cc, *bcc]


def _recipients(
    everyone: Iterable[tuple[str, Mailbox]], stream: Stream, policy: StreamPolicy, key: ApiKey
) -> tuple[Recipient, ...]:
    found: dict[str, Recipient] = {}
    for pointer, box in everyone:
        if not (policy.simulated or key.sandbox) and is_reserved(domain_of(box)):
            raise InvalidInput(
                f"{domain_of(box)} is reserved for examples and tests: nobody can receive mail there. Use a "
                "test key (ph_test_...), whose mail goes to the sandbox.",
                code="reserved_domain",
                pointer=pointer,
            )
        recipient = Recipient(box.address, key_of(box))
        found.setdefault(recipient.key, recipient)
    if len(found) > 1 and not policy.shows_other_recipients:
        raise InvalidInput(
            f"A relay of the {stream} stream cannot show a recipient the others' addresses: send one mail "
            "to each, or give the stream relays that take raw mail.",
            code="recipients_not_shown",
            pointer="/to",
        )
    return tuple(found.values())


def _plain(recipients: tuple[Recipient, ...]) -> Addressing | None:
    """What the headers of a mail to one bare address show, which need not be stored."""
    return Addressing(to=(Mailbox(recipients[0].address),)) if len(recipients) == 1 else None


def _due(posted: PostedEmail, now: datetime) -> tuple[datetime | None, datetime]:
    """The time asked for, None if it is not in the future, and the time the mail is due."""
    if posted.scheduled_at is None or posted.scheduled_at <= now:
        return None, now
    if posted.scheduled_at > now + MAX_AHEAD:
        raise InvalidInput(
            f"Mail can be scheduled {MAX_AHEAD.days} days ahead, not further.", pointer="/scheduled_at"
        )
    scheduled = posted.scheduled_at.astimezone(UTC)
    return scheduled, scheduled


def _expiry(posted: PostedEmail, due_at: datetime, policy: StreamPolicy) -> datetime:
    if posted.expires_at is None:
        return due_at + min(policy.expires_after, MAX_LIFE)
    if posted.expires_at <= due_at:
        raise InvalidInput("The mail would expire before it is due.", pointer="/expires_at")
    if posted.expires_at > due_at + MAX_LIFE:
        raise InvalidInput(
            f"A mail is kept trying for at most {MAX_LIFE.days} days after it is due.", pointer="/expires_at"
        )
    return posted.expires_at.astimezone(UTC)


def _headers(posted: PostedEmail, rules: Rules) -> tuple[tuple[str, str], ...]:
    headers = tuple((posted.headers or {}).items())
    for name, value in headers:
        check_text(name, "/headers")
        check_text(value, "/headers")
    rules.check_headers(headers)
    return headers


def _subject(posted: PostedEmail, rules: Rules) -> str | None:
    """A template has a subject of its own; one that is posted beside it wins."""
    subject = posted.subject
    if subject is None:
        if posted.template is None:
            raise InvalidInput("A mail needs a subject.", code="missing_required_field", pointer="/subject")
        return None
    _check_line(subject, "/subject", "The subject", rules)
    return subject


def _body(posted: PostedEmail, template: KnownTemplate | None) -> OwnContent | TemplateChoice:
    if posted.template is not None and template is not None:
        if posted.html is not None or posted.text is not None:
            raise InvalidInput("Give either a template or html and text, not both.", pointer="/template")
        variables = _variables(posted.template, template.required)
        return TemplateChoice(template.template_id, posted.template.version, variables)
    if posted.html is None and posted.text is None:
        raise InvalidInput(
            "A mail needs html, text or a template.", code="missing_required_field", pointer="/text"
        )
    for name, body in (("/html", posted.html), ("/text", posted.text)):
        if body is not None:
            check_text(body, name)
    return OwnContent(posted.html, posted.text)


def _variables(template: ChosenTemplate, required: frozenset[str]) -> JsonObject:
    pointer = "/template/variables"
    raw = bytes(template.variables)
    if raw == b"null":
        raw = b"{}"
    if len(raw) > MAX_VARIABLES_BYTES:
        raise InvalidInput(
            f"The variables are larger than {MAX_VARIABLES_BYTES // 1024} KiB.",
            code="variables_too_large",
            pointer=pointer,
        )
    values = read_object(raw, pointer)
    missing = required - values.keys()
    if missing:
        raise MissingVariables(sorted(missing))
    return JsonObject(check_json(values, pointer))


def _metadata(posted: PostedEmail) -> JsonObject | None:
    return JsonObject(check_json(posted.metadata, "/metadata")) if posted.metadata else None


def _count(value: str | list[str] | None) -> int:
    if value is None:
        return 0
    return 1 if isinstance(value, str) else len(value)


def _mailboxes(value: str | list[str] | None, pointer: str, rules: Rules) -> list[tuple[str, Mailbox]]:
    """Each with its pointer: the field's own if it is one text, else with its place in the list."""
    if value is None:
        return []
    if isinstance(value, str):
        return [(pointer, _mailbox(value, pointer, rules))]
    return [(f"{pointer}/{i}", _mailbox(text, f"{pointer}/{i}", rules)) for i, text in enumerate(value)]


def _boxes(pointed: Iterable[tuple[str, Mailbox]]) -> tuple[Mailbox, ...]:
    return tuple(box for _, box in pointed)


def _mailbox(text: str, pointer: str, rules: Rules) -> Mailbox:
    box = _parsed(text, pointer)
    if box.name:
        _check_line(box.name, pointer, "The name", rules)
    return box


def _parsed(text: str, pointer: str) -> Mailbox:
    try:
        return parse_mailbox(text)
    except InvalidAddress as error:
        raise InvalidAddress(error.message, pointer=pointer) from error


def _check_line(text: str, pointer: str, what: str, rules: Rules) -> None:
    try:
        rules.check_line(text, what)
    except InvalidHeader as error:
        raise InvalidHeader(error.message, pointer=pointer) from error
