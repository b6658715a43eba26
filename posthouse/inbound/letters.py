"""A mail that came in, as the inbox holds it beside the relays' callbacks."""

from datetime import datetime

from posthouse.domain.bounce_mail import INBOUND, INBOUND_ACCOUNT, RECEIVED_HEADER, RECIPIENT_HEADER
from posthouse.relays.base import RawCallback


def letter(mail: bytes, recipient: str, received_at: datetime) -> RawCallback:
    """`recipient`: the envelope's; "" where the mail was found in a mailbox that does not say."""
    headers = {RECIPIENT_HEADER: recipient, RECEIVED_HEADER: received_at.isoformat()}
    return RawCallback(INBOUND, INBOUND_ACCOUNT, headers, mail)
