"""What kind of mail it is, where no report for programs says so.

A bounce needs two signs of different sorts, one of them in its text: anybody may write "user unknown", and
robots write about other things as well. What answers for a person is no bounce, whatever its words (RFC
3834).
"""

from typing import Final

from posthouse.ingest.bounces.mime import Head
from posthouse.ingest.bounces.normal import normal
from posthouse.ingest.bounces.quoted import replies_in
from posthouse.ingest.bounces.report import Kind
from posthouse.replies.bounce_notices import Place, Says, says
from posthouse.replies.bounce_rules import by_words

_MAX_HEADER: Final = 500
#: Fields that only automatic answers have.
_AUTOMATIC: Final = (
    "x-autoreply", "x-autorespond", "x-autoreply-from", "x-autoresponder", "x-vacation", "x-mail-autoreply",
    "x-apple-action",
)  # fmt: skip
_ANSWERS: Final = ("re:", "fw:", "fwd:", "aw:", "sv:", "wg:", "tr:", "rv:", "回复", "答复", "转发")


def reports(head: Head, words: str) -> bool:
    """Whether a mail says something about delivery: then fields of a report in its text are meant."""
    return kind_of_text(head, words) in (Kind.BOUNCE, Kind.DELAYED)


def kind_of_text(head: Head, words: str) -> Kind:
    """`words` is what the reporter says, without the returned mail."""
    subject, text = normal(head.get("subject")[:_MAX_HEADER]), normal(words)
    daemon = _is_daemon(head)
    if not daemon and _answers_for_person(head, subject):
        return Kind.AUTO_REPLY
    if says(Says.OTHER, Place.TEXT, text, sure=True) and not says(Says.FAILED, Place.TEXT, text, sure=True):
        return Kind.OTHER
    if _says_delayed(subject, text):
        return Kind.DELAYED if daemon or not _is_answer(head, subject) else Kind.OTHER
    if _says_failed(head, subject, text, daemon=daemon):
        return Kind.BOUNCE
    if says(Says.AUTO_REPLY, Place.SUBJECT, subject, sure=True):
        return Kind.AUTO_REPLY
    return Kind.OTHER


def _is_daemon(head: Head) -> bool:
    """Whether a mail system sent it, by its own account."""
    sender = f"{head.get('from')} {head.get('sender')}"[:_MAX_HEADER].lower()
    return says(Says.FAILED, Place.SENDER, " ".join(sender.split()), sure=False) or (
        "delivery-status" in head.get("content-type").lower()
    )


def _answers_for_person(head: Head, subject: str) -> bool:
    submitted = head.get("auto-submitted").strip().lower()
    precedence = head.get("precedence").strip().lower().replace("-", "_")
    return (
        says(Says.AUTO_REPLY, Place.SUBJECT, subject, sure=True)
        or any(name in head for name in _AUTOMATIC)
        or submitted.startswith(("auto-replied", "auto_replied"))
        or precedence in ("auto_reply", "autoreply")
    )


def _is_answer(head: Head, subject: str) -> bool:
    """Whether a person answers or forwards."""
    return "in-reply-to" in head or subject.startswith(_ANSWERS)


def _says_delayed(subject: str, text: str) -> bool:
    return says(Says.DELAYED, Place.SUBJECT, subject, sure=True) or says(
        Says.DELAYED, Place.TEXT, text, sure=True
    )


def _says_failed(head: Head, subject: str, text: str, *, daemon: bool) -> bool:
    null_path = head.get("return-path").replace(" ", "") == "<>"
    told = says(Says.FAILED, Place.SUBJECT, subject, sure=False)
    if says(Says.FAILED, Place.TEXT, text, sure=True):
        return daemon or null_path or not _is_answer(head, subject)
    diagnosis = next(replies_in(text), None) is not None or by_words(f"{subject} {text}", "") is not None
    if daemon or null_path:
        return diagnosis or says(Says.FAILED, Place.TEXT, text, sure=False)
    return told and diagnosis and not _is_answer(head, subject)
