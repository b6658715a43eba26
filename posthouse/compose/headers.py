"""Headers: which ones a mail gets from us, and which ones a client may add."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, assert_never

from posthouse.compose.header_text import refuse_breaks
from posthouse.domain.address import parse_mailbox
from posthouse.domain.errors import InvalidHeader
from posthouse.domain.ids import CampaignId, JobId
from posthouse.domain.message import Mailbox
from posthouse.domain.stream import Stream

#: Ours, or a relay's: RFC 5322 section 3.6, RFC 2369, RFC 8058, RFC 2919, RFC 3834, and trace and signatures.
_OWNED = frozenset(
    {
        "apparently-to", "auto-submitted", "bcc", "cc", "date", "delivered-to", "disposition-notification-to",
        "dkim-signature", "dkim2-signature", "domainkey-signature", "errors-to", "feedback-id", "from",
        "list-id", "message-id", "mime-version", "precedence", "received", "received-spf", "reply-to",
        "return-path", "return-receipt-to", "sender", "subject", "to",
    }
)  # fmt: skip
_OWNED_PREFIXES = (
    "arc-", "authentication-results", "content-", "list-unsubscribe", "resent-", "x-mailgun-", "x-pm-",
    "x-posthouse-", "x-ses-", "x-smtpapi",
)  # fmt: skip
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # narrower than RFC 5322 ftext, what relays accept
MAX_EXTRA_HEADERS: Final = 50
MAX_NAME: Final = 76
MAX_VALUE: Final = 998
_MAX_WORD: Final = 900


@dataclass(frozen=True, slots=True)
class HeaderSettings:
    """What the headers of one stream are made from."""

    message_id_domain: str
    list_id_domain: str
    feedback_sender: str  # 5-15 characters, the same over the whole stream (Gmail's Feedback-ID)
    unsubscribe_mailbox: str | None = None  # an address whose mail is read; None: only the one-click URL


def check_headers(headers: tuple[tuple[str, str], ...]) -> None:
    """What acceptance asks of a client's own headers. Raises InvalidHeader."""
    if len(headers) > MAX_EXTRA_HEADERS:
        raise InvalidHeader(f"A mail may have {MAX_EXTRA_HEADERS} headers of its own.", pointer="/headers")
    seen = set()
    for name, value in headers:
        try:
            _check_header(name, value)
        except InvalidHeader as error:
            raise InvalidHeader(error.message, pointer=f"/headers/{_pointer_part(name)}") from error
        if name.lower() in seen:
            raise InvalidHeader("The header is given twice.", pointer=f"/headers/{_pointer_part(name)}")
        seen.add(name.lower())


def _check_header(name: str, value: str) -> None:
    if len(name) > MAX_NAME or _TOKEN.fullmatch(name) is None:
        raise InvalidHeader("A header's name must be letters, digits and hyphens, at most 76.")
    lower = name.lower()
    if lower in _OWNED or lower.startswith(_OWNED_PREFIXES):
        raise InvalidHeader(f"The header {name} is set by Posthouse or by the relay.")
    refuse_breaks(value, f"The header {name}")
    if not value.isascii() or value.isprintable():
        size = len(value.encode())
    else:
        raise InvalidHeader(f"The header {name} holds a control character.")
    if size > MAX_VALUE or any(len(word) > _MAX_WORD for word in value.split(" ")):
        raise InvalidHeader(f"The header {name} is longer than a line of mail may be ({MAX_VALUE} octets).")


def _pointer_part(name: str) -> str:
    return name[:MAX_NAME].replace("~", "~0").replace("/", "~1")


@lru_cache(maxsize=1024)
def parse_sender(written: str) -> Mailbox:
    """A stream has few senders and millions of mails. Raises InvalidAddress."""
    return parse_mailbox(written)


def message_id(job_id: JobId, domain: str) -> str:
    """The same for every attempt of a job; names no recipient."""
    return f"<{job_id.hex}@{domain}>"


def own_headers(
    stream: Stream,
    settings: HeaderSettings,
    *,
    unsubscribe_url: str,
    campaign_id: CampaignId | None,
) -> tuple[tuple[str, str], ...]:
    """The headers that a mail of this stream has beside its own fields (RFC 2369, 2919, 3834, 8058)."""
    match stream:
        case Stream.TRANSACTIONAL:
            return (("Auto-Submitted", "auto-generated"),)
        case Stream.MARKETING:
            return (
                ("List-Unsubscribe", _list_unsubscribe(unsubscribe_url, settings.unsubscribe_mailbox)),
                ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
                ("List-Id", f"<{stream.value}.{settings.list_id_domain}>"),
                ("Precedence", "bulk"),
                ("Feedback-ID", _feedback_id(stream, settings, campaign_id)),
            )
        case _:
            assert_never(stream)


def _list_unsubscribe(url: str, mailbox: str | None) -> str:
    if mailbox is None:
        return f"<{url}>"
    token = url.rpartition("/")[2]
    return f"<{url}>, <mailto:{mailbox}?subject=unsubscribe%20{token}>"


def _feedback_id(stream: Stream, settings: HeaderSettings, campaign_id: CampaignId | None) -> str:
    """Gmail's campaign:customer:mailtype:sender. No value in it may be unique to a mail."""
    campaign = campaign_id.hex if campaign_id is not None else "none"
    return f"{campaign}:{settings.list_id_domain}:{stream.value}:{settings.feedback_sender}"
