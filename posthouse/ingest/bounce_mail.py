"""What a mail that came to a bounce address is, and what is to be done about whom.

Layers of evidence, the surest first: reports for programs (RFC 3464, 6533, 5965), fields in which servers
name the recipients, the shapes of known servers' texts, replies quoted in any text. An automatic reply is
never a bounce, and the returned mail is never read as a diagnosis. Total: every mail gets an answer, in
time that grows with its length.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Final, assert_never

from posthouse.ingest.bounces.addresses import find_addresses, one_address
from posthouse.ingest.bounces.arf import is_forwarded_complaint, read_feedback, recipient_in
from posthouse.ingest.bounces.decide import Evidence, decide, told, waiting
from posthouse.ingest.bounces.dsn import Dsn, DsnAction, DsnRecipient, looks_like_dsn, read_dsn
from posthouse.ingest.bounces.gather import Pieces, gather
from posthouse.ingest.bounces.kind import kind_of_text, reports
from posthouse.ingest.bounces.mime import Head, read_mail
from posthouse.ingest.bounces.notice import Named, recipients_in
from posthouse.ingest.bounces.notification import bounces_in, complaints_in
from posthouse.ingest.bounces.original import original_of
from posthouse.ingest.bounces.report import Kind, Original, Recipient, Report
from posthouse.replies.bounce_rules import Reason

#: Fields of the report that name where it was sent to, and of the returned mail that name who sent it.
_OUR_FIELDS: Final = (
    "to",
    "delivered-to",
    "x-original-to",
    "envelope-to",
    "return-path",
    "cc",
    "x-envelope-to",
    "from",
)
_SENDER_FIELDS: Final = ("from", "sender", "return-path", "reply-to", "x-sender", "errors-to")
_WORST_FIRST: Final = (Kind.BOUNCE, Kind.DELAYED, Kind.DELIVERED)


def classify(raw: bytes) -> Report:
    """Never raises."""
    pieces = gather(read_mail(raw))
    dsn = _dsn(pieces)
    original = original_of(pieces.returned, dsn.envelope_id)
    if pieces.feedback:
        return _feedback(pieces, original)
    if dsn.recipients:
        return _by_dsn(dsn, pieces, original)
    if complained := complaints_in(pieces.head, pieces.words):
        return _complaint(complained, original)
    if is_forwarded_complaint(pieces.returned):
        return _complaint([recipient_in(pieces.returned)], original)
    return _by_text(pieces, original)


# ---- reports for programs ----------------------------------------------------------------------------------


def _feedback(pieces: Pieces, original: Original) -> Report:
    feedback = read_feedback(pieces.feedback)
    if not feedback.complains:
        return Report(Kind.OTHER, (), original)
    return _complaint(feedback.recipients or (recipient_in(pieces.returned),), original)


def _complaint(addresses: Sequence[str], original: Original) -> Report:
    found = (told(address, Reason.FEEDBACK, "feedback_report") for address in addresses)
    return Report(Kind.COMPLAINT, tuple(found), original)


def _dsn(pieces: Pieces) -> Dsn:
    """What is said for programs: in parts of its own, in the text, or as Amazon says it."""
    texts = pieces.status
    if not texts and looks_like_dsn(pieces.words) and reports(pieces.head, pieces.words):
        texts = [pieces.words]
    return _joined([*map(read_dsn, texts), bounces_in(pieces.head, pieces.words)])


def _joined(found: Sequence[Dsn]) -> Dsn:
    recipients = tuple(one for dsn in found for one in dsn.recipients)
    return Dsn(recipients, next((dsn.envelope_id for dsn in found if dsn.envelope_id), ""))


def _by_dsn(dsn: Dsn, pieces: Pieces, original: Original) -> Report:
    """Failures hide delays, and delays deliveries: what is left to be done is told."""
    named = recipients_in(pieces.words, _not_recipients(pieces))
    read = [_of_dsn(one, len(dsn.recipients) == 1, named, pieces, original) for one in dsn.recipients]
    kind = next(one for one in _WORST_FIRST if any(found is one for found, _ in read))
    return Report(kind, _once(recipient for found, recipient in read if found is kind), original)


def _of_dsn(
    one: DsnRecipient, alone: bool, named: Sequence[Named], pieces: Pieces, original: Original
) -> tuple[Kind, Recipient]:
    address = one.address or (_named_or_returned(named, original) if alone else "")
    words = pieces.words if alone else _words_about(address, named)
    evidence = Evidence(address, one.status, one.diagnostic, words, pieces.subject if alone else "")
    match one.action or _action_by_status(one.status):
        case DsnAction.FAILED:
            return Kind.BOUNCE, decide(evidence)
        case DsnAction.DELAYED:
            return Kind.DELAYED, waiting(evidence)
        case DsnAction.DELIVERED | DsnAction.RELAYED | DsnAction.EXPANDED:
            return Kind.DELIVERED, told(address, Reason.DELIVERED, "delivery_report", one.status)
        case action:
            assert_never(action)


def _action_by_status(status: str) -> DsnAction:
    """For reports that leave the action out, which RFC 3464 does not allow."""
    return DsnAction.DELIVERED if status.startswith("2") else DsnAction.FAILED


def _words_about(address: str, named: Sequence[Named]) -> str:
    return next((one.words for one in named if one.address.lower() == address.lower()), "")


def _named_or_returned(named: Sequence[Named], original: Original) -> str:
    return named[0].address if named else original.recipient


# ---- texts for people --------------------------------------------------------------------------------------


def _by_text(pieces: Pieces, original: Original) -> Report:
    failed = _failed_recipients(pieces.head)
    kind = kind_of_text(pieces.head, pieces.words)
    if failed and kind is not Kind.DELAYED:
        kind = Kind.BOUNCE
    match kind:
        case Kind.BOUNCE:
            return Report(kind, _once(map(decide, _evidence(failed, pieces, original))), original)
        case Kind.DELAYED:
            return Report(kind, _once(map(waiting, _evidence(failed, pieces, original))), original)
        case Kind.AUTO_REPLY:
            sender = one_address(pieces.head.get("from"))
            return Report(kind, (told(sender, Reason.VACATION, "automatic_reply"),), original)
        case Kind.OTHER | Kind.COMPLAINT | Kind.DELIVERED:
            return Report(kind, (), original)
        case _:
            assert_never(kind)


def _evidence(failed: Sequence[str], pieces: Pieces, original: Original) -> Iterator[Evidence]:
    """One for each recipient; one without an address where nothing names any."""
    notice = f"{pieces.words}\n\n{pieces.subject}"
    named = recipients_in(notice, _not_recipients(pieces))
    addresses = failed or [one.address for one in named] or [original.recipient]
    for address in addresses:
        if len(addresses) == 1:
            yield Evidence(address, words=pieces.words, rest=pieces.subject)
        else:
            yield Evidence(address, words=_words_about(address, named), rest=notice)


def _failed_recipients(head: Head) -> list[str]:
    """X-Failed-Recipients: Exim's and Google's list, over one line or several fields."""
    values = ", ".join(head.all("x-failed-recipients"))
    return list(dict.fromkeys(one.address for one in find_addresses(values)))


def _not_recipients(pieces: Pieces) -> Set[str]:
    """Addresses that a text may name without being about them: ours, and the reporter's."""
    ours = (one_address(value) for name in _OUR_FIELDS for value in pieces.head.all(name))
    senders = (one_address(value) for name in _SENDER_FIELDS for value in pieces.returned.all(name))
    found = {one.lower() for group in (ours, senders) for one in group if one}
    return found - {one_address(pieces.returned.get("to")).lower()}


def _once(recipients: Iterable[Recipient]) -> tuple[Recipient, ...]:
    """Each address once: a report may name one for each of its aliases or attempts."""
    found: dict[str, Recipient] = {}
    for one in recipients:
        found.setdefault(one.address.lower(), one)
    return tuple(found.values())
