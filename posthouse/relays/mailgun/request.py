"""A raw mail as the form of Mailgun's messages.mime, or the reason why it cannot be one."""

import re
from base64 import b64encode
from typing import Final

from yarl import URL

from posthouse.domain.errors import Misconfigured
from posthouse.domain.ids import RelayAccount
from posthouse.domain.message import RawMail
from posthouse.relays.entries import ATTEMPT_KEY, JOB_KEY

#: Documented for the message with its attachments.
MAX_MESSAGE_BYTES: Final = 25_000_000

_PRINTABLE = re.compile(r"[!-~]+")
_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)+")
#: `to` is a list, parted by commas: what could part it must not stand in one address.
_ONE_ADDRESS = re.compile(r"[!-~]+@[!-~]+")
_PARTS_ADDRESSES = re.compile(r'[,;<>"()]')


class CannotExpress(Exception):
    """Mailgun has no way to say this, so the mail is refused instead of sent without it."""


class Credentials:
    """HTTP Basic as the user "api"."""

    def __init__(self, api_key: str, account: RelayAccount) -> None:
        """Raises Misconfigured."""
        if not _PRINTABLE.fullmatch(api_key):
            raise Misconfigured(f"relays.{account}: the API key is missing or is not printable ASCII.")
        self._api_key = api_key
        self._encoded = b64encode(f"api:{api_key}".encode()).decode()
        self.header = f"Basic {self._encoded}"

    def hidden_in(self, words: str) -> str:
        """A server's words without the key, which it may echo."""
        return words.replace(self._api_key, "[redacted]").replace(self._encoded, "[redacted]")


def api_url(base_url: str, domain: str, account: RelayAccount) -> URL:
    """Where one domain's API is. Raises Misconfigured."""
    try:
        url = URL(base_url)
    except ValueError as error:
        raise Misconfigured(f"relays.{account}: base_url is not a URL: {error}.") from error
    if url.scheme not in ("http", "https") or not url.host or url.user or url.query_string or url.fragment:
        raise Misconfigured(
            f"relays.{account}: base_url must be https://api.mailgun.net or https://api.eu.mailgun.net."
        )
    if not _DOMAIN.fullmatch(domain):
        raise Misconfigured(
            f"relays.{account}: domain {domain!r} is not a sending domain like mail.shop.example."
        )
    return url / "v3" / domain


def form_of(mail: RawMail) -> tuple[str, bytes]:
    """Content type and body of the request for one mail to its one recipient. Raises CannotExpress.

    Mailgun's own tracking is off, because we track ourselves. `o:testmode` is never set: such mail is
    accepted, billed and not delivered.
    """
    if mail.smtputf8:
        raise CannotExpress("Mailgun documents no address whose local part is not ASCII (RFC 6531)")
    if not _ONE_ADDRESS.fullmatch(mail.recipient) or _PARTS_ADDRESSES.search(mail.recipient):
        raise CannotExpress("the recipient is not one address that Mailgun's list of recipients can hold")
    if len(mail.data) > MAX_MESSAGE_BYTES:
        raise CannotExpress(f"the mail has {len(mail.data)} bytes; Mailgun takes {MAX_MESSAGE_BYTES}")
    fields = (
        ("to", mail.recipient),
        ("o:tracking", "no"),
        (f"v:{JOB_KEY}", str(mail.job_id)),
        (f"v:{ATTEMPT_KEY}", str(mail.attempt)),
    )
    boundary = _boundary(mail)
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in fields]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="message"; filename="message.eml"\r\n'
        "Content-Type: message/rfc822\r\n\r\n"
    )
    body = b"".join(("".join(parts).encode("ascii"), mail.data, f"\r\n--{boundary}--\r\n".encode("ascii")))
    return f"multipart/form-data; boundary={boundary}", body


def _boundary(mail: RawMail) -> str:
    """One that does not stand in the mail, whoever wrote it (RFC 2046 section 5.1.1)."""
    boundary = f"posthouse-{mail.job_id.hex}"
    while boundary.encode("ascii") in mail.data:
        boundary += "x"
        if len(boundary) > 70:
            raise CannotExpress("the mail holds every boundary that a form around it could have")
    return boundary
