"""A raw mail as the JSON of SESv2's SendEmail, or the reason why it cannot be one.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html
"""

import re
from typing import Final

import msgspec

from posthouse.domain.message import RawMail
from posthouse.relays.entries import ATTEMPT_KEY, JOB_KEY

#: Documented for one message (https://docs.aws.amazon.com/ses/latest/dg/quotas.html).
MAX_MESSAGE_BYTES: Final = 40_000_000

#: The From header, with the lines that it is folded into (RFC 5322 section 2.2.3).
_FROM = re.compile(rb"(?:\A|\r\n)from:((?:[^\r\n]|\r\n[ \t])*)\r\n", re.IGNORECASE)
_FOLD = re.compile(r"\r\n[ \t]+")


class CannotExpress(Exception):
    """SES has no way to say this, so the mail is refused instead of sent otherwise."""


class _Destination(msgspec.Struct, rename="pascal"):
    to_addresses: list[str]


class _Raw(msgspec.Struct, rename="pascal"):
    data: bytes  # msgspec writes bytes as base64


class _Content(msgspec.Struct, rename="pascal"):
    raw: _Raw


class _Tag(msgspec.Struct, rename="pascal"):
    name: str
    value: str


class _Request(msgspec.Struct, omit_defaults=True, rename="pascal"):
    from_email_address: str
    destination: _Destination
    content: _Content
    email_tags: list[_Tag]
    configuration_set_name: str = ""


_ENCODER = msgspec.json.Encoder()


def request_body(mail: RawMail, configuration_set: str) -> bytes:
    """The request for one mail to its one recipient. Raises CannotExpress.

    `Destination` is the envelope alone; the To and Cc that people see stand in the mail, so a copy may show
    others.
    """
    if mail.smtputf8:
        raise CannotExpress("SES takes no address whose local part is not ASCII (RFC 6531)")
    if not mail.recipient or not mail.recipient.isascii():
        raise CannotExpress("SES needs a recipient in ASCII")
    if len(mail.data) > MAX_MESSAGE_BYTES:
        raise CannotExpress(f"the mail has {len(mail.data)} bytes; SES takes {MAX_MESSAGE_BYTES}")
    return _ENCODER.encode(
        _Request(
            from_email_address=_sender(mail.data),
            destination=_Destination([mail.recipient]),
            content=_Content(_Raw(mail.data)),
            # They come back in every event (`mail.tags`); SES takes letters, digits, "-" and "_" in them.
            email_tags=[_Tag(JOB_KEY, str(mail.job_id)), _Tag(ATTEMPT_KEY, str(mail.attempt))],
            configuration_set_name=configuration_set,
        )
    )


def _sender(data: bytes) -> str:
    """The mail's own From, name and all: SES checks this identity, and may write it over the header."""
    head = data.partition(b"\r\n\r\n")[0] + b"\r\n"
    found = _FROM.search(head)
    sender = _FOLD.sub(" ", found[1].decode("utf-8", "replace")).strip() if found else ""
    if not sender:
        raise CannotExpress("the mail has no From header")
    return sender
