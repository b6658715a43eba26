"""Amazon's notifications of bounces and complaints, as they come to a mail address that subscribed to them.

The text is JSON, and mail servers on the way break its lines: so fields are looked for, not parsed.
Source: https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
"""

import re
from collections.abc import Iterator
from typing import Final

from posthouse.ingest.bounces.dsn import Dsn, DsnAction, DsnRecipient
from posthouse.ingest.bounces.mime import Head

_MAX_READ: Final = 65_536
_KIND = re.compile(r'"(?:notificationType|eventType)"\s{0,4}:\s{0,4}"(\w{1,20})"')
_TYPE = re.compile(r'"bounceType"\s{0,4}:\s{0,4}"(\w{1,20})"')
_RECIPIENT = re.compile(r'"emailAddress"\s{0,4}:\s{0,4}"([^"\s]{1,320})"([^{}]{0,2000})\}')
_STATUS = re.compile(r'"status"\s{0,4}:\s{0,4}"([245]\.\d{1,3}\.\d{1,3})"')
_SAID = re.compile(r'"diagnosticCode"\s{0,4}:\s{0,4}"(?:smtp; ?)?([^"]{0,1000})"')


def bounces_in(head: Head, text: str) -> Dsn:
    """The bounces that a notification names; none in any other mail."""
    if _kind(head, text) != "Bounce":
        return Dsn(())
    bounce = _TYPE.search(text, 0, _MAX_READ)
    permanent = bounce is not None and bounce[1] == "Permanent"
    return Dsn(tuple(_bounced(text, "5.0.0" if permanent else "4.0.0")))


def complaints_in(head: Head, text: str) -> tuple[str, ...]:
    """The addresses from which a notification says that somebody complained."""
    if _kind(head, text) != "Complaint":
        return ()
    return tuple(found[1] for found in _RECIPIENT.finditer(text, 0, _MAX_READ))


def _kind(head: Head, text: str) -> str:
    found = _KIND.search(text, 0, _MAX_READ) if "x-amz-sns-message-id" in head else None
    return "" if found is None else found[1]


def _bounced(text: str, otherwise: str) -> Iterator[DsnRecipient]:
    for found in _RECIPIENT.finditer(text, 0, _MAX_READ):
        status, said = _STATUS.search(found[2]), _SAID.search(found[2])
        yield DsnRecipient(
            address=found[1],
            action=DsnAction.FAILED,
            status=otherwise if status is None else status[1],
            diagnostic="" if said is None else said[1],
        )
