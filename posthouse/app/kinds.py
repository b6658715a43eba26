"""Every kind of relay that there is: what it can do, and a reader of its callbacks that proves nothing.

The reader is for payloads at hand, of which nobody asks whose they are: it works without an account.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from posthouse.clock import Clock
from posthouse.domain.ids import RelayAccount
from posthouse.net.client import HttpClient
from posthouse.net.guard import EgressPolicy
from posthouse.relays.base import CallbackReader, Capabilities
from posthouse.relays.mailgun.callbacks import MailgunCallbacks
from posthouse.relays.mailgun.sender import capabilities as mailgun_capabilities
from posthouse.relays.postmark import PostmarkCallbacks, PostmarkSecrets
from posthouse.relays.postmark.sender import CAPABILITIES as POSTMARK
from posthouse.relays.sendgrid import SendGridCallbacks
from posthouse.relays.sendgrid.sender import CAPABILITIES as SENDGRID
from posthouse.relays.ses.callbacks import SesCallbacks
from posthouse.relays.ses.sender import capabilities as ses_capabilities
from posthouse.relays.ses.sns_web import SnsHttp
from posthouse.relays.smtp_account import SMTP_CAPABILITIES


@dataclass(frozen=True, slots=True)
class RelayKind:
    """`reader` None: nobody calls back."""

    capabilities: Capabilities
    reader: Callable[[RelayAccount, Clock], CallbackReader] | None


def _sendgrid(account: RelayAccount, clock: Clock) -> CallbackReader:
    nobodys = ec.generate_private_key(ec.SECP256R1()).public_key()
    shown = nobodys.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return SendGridCallbacks(account, base64.b64encode(shown).decode(), clock)


def _postmark(account: RelayAccount, clock: Clock) -> CallbackReader:
    return PostmarkCallbacks(account, PostmarkSecrets(user="nobody", password=token_urlsafe()), clock)


def _mailgun(account: RelayAccount, clock: Clock) -> CallbackReader:
    return MailgunCallbacks(account, token_urlsafe(), clock)


def _ses(account: RelayAccount, clock: Clock) -> CallbackReader:
    return SesCallbacks(account, [], SnsHttp(HttpClient(EgressPolicy())), clock)


#: By the word that `kind = "..."` has in [relays.NAME].
KINDS: Final[Mapping[str, RelayKind]] = {
    "mailgun": RelayKind(mailgun_capabilities(hears_acceptance=True), _mailgun),
    "postmark": RelayKind(POSTMARK, _postmark),
    "sendgrid": RelayKind(SENDGRID, _sendgrid),
    "ses": RelayKind(ses_capabilities(hears_events=True), _ses),
    "smtp": RelayKind(SMTP_CAPABILITIES, None),
}
