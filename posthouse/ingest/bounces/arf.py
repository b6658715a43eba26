"""Feedback reports (RFC 5965): a person, or a filter for one, says that a mail is not wanted."""

from dataclasses import dataclass
from typing import Final

from posthouse.ingest.bounces.addresses import one_address
from posthouse.ingest.bounces.mime import Head, read_head

#: Feedback types that say nothing against mailing the recipient (RFC 5965 section 7.3, RFC 6591).
_NO_COMPLAINT: Final = frozenset({"not-spam", "auth-failure", "dmarc", "dkim"})
#: Fields in which providers name the recipient all the same, in the report and in the returned mail.
_IN_REPORT: Final = ("original-rcpt-to", "removal-recipient", "x-original-rcpt-to")
_IN_MAIL: Final = ("x-hmxmroriginalrecipient", "x-original-to", "x-rcpt-to", "original-recipient", "to")
_REDACTED: Final = ("redacted", "removed", "hidden", "undisclosed", "xxxx", "anonym")


@dataclass(frozen=True, slots=True)
class Feedback:
    kind: str  # Feedback-Type
    recipients: tuple[str, ...]

    @property
    def complains(self) -> bool:
        return self.kind not in _NO_COMPLAINT


def read_feedback(text: str) -> Feedback:
    """The fields of a feedback report."""
    head, _ = read_head(text.lstrip().encode("utf-8", "replace"))
    named = (one_address(value) for name in _IN_REPORT for value in head.all(name))
    return Feedback(
        kind=head.get("feedback-type").strip().lower(),
        recipients=tuple(dict.fromkeys(one for one in named if _is_told(one))),
    )


def recipient_in(returned: Head) -> str:
    """The recipient by the returned mail; "" where it is blacked out."""
    named = (one_address(returned.get(name)) for name in _IN_MAIL)
    return next((one for one in named if _is_told(one)), "")


def is_forwarded_complaint(returned: Head) -> bool:
    """Microsoft's junk mail reports have no feedback part: a field of the returned mail has it."""
    return "x-hmxmroriginalrecipient" in returned


def _is_told(address: str) -> bool:
    lowered = address.lower()
    return bool(lowered) and not any(word in lowered for word in _REDACTED)
