"""SendEmail's request as SES reads it, and its refusals."""

import re
from base64 import b64decode
from typing import Final

import msgspec

MAX_RECIPIENTS: Final = 50
MAX_MESSAGE_BYTES: Final = 40 * 1024 * 1024
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
_ADDRESS = re.compile(r"[^@\s<>]{1,64}@[^@\s<>]{1,255}")
#: Headers that SES takes once.
_ONCE: Final = frozenset(
    {b"from", b"subject", b"date", b"message-id", b"reply-to", b"sender", b"mime-version", b"content-type",
     b"content-transfer-encoding", b"return-path", b"dkim-signature", b"list-unsubscribe",
     b"list-unsubscribe-post", b"auto-submitted", b"precedence", b"references", b"in-reply-to"}
)  # fmt: skip


class SesError(Exception):
    """A refusal. `name` as x-amzn-ErrorType says it."""

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.name = name
        self.message = message


class Destination(msgspec.Struct, frozen=True, rename="pascal"):
    to_addresses: tuple[str, ...] = ()
    cc_addresses: tuple[str, ...] = ()
    bcc_addresses: tuple[str, ...] = ()

    @property
    def everybody(self) -> tuple[str, ...]:
        return (*self.to_addresses, *self.cc_addresses, *self.bcc_addresses)


class RawContent(msgspec.Struct, frozen=True, rename="pascal"):
    data: str


class Content(msgspec.Struct, frozen=True, rename="pascal"):
    raw: RawContent | None = None


class Tag(msgspec.Struct, frozen=True, rename="pascal"):
    name: str
    value: str


class SendEmail(msgspec.Struct, frozen=True, rename="pascal"):
    content: Content
    destination: Destination = Destination()
    from_email_address: str | None = None
    email_tags: tuple[Tag, ...] = ()
    configuration_set_name: str | None = None


_DECODER = msgspec.json.Decoder(SendEmail)


def parse_send_email(body: bytes) -> tuple[SendEmail, bytes]:
    """A request with its mail. Raises SesError."""
    try:
        asked = _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _bad(f"Could not parse the request: {error}") from error
    if asked.content.raw is None:
        raise _bad("Only raw content is simulated.")
    try:
        mail = b64decode(asked.content.raw.data, validate=True)
    except ValueError as error:
        raise SesError(400, "SerializationException", "Data is not base64") from error
    _check(asked, mail)
    return asked, mail


def _check(asked: SendEmail, mail: bytes) -> None:
    everybody = asked.destination.everybody
    if not 1 <= len(everybody) <= MAX_RECIPIENTS:
        raise _bad(f"Recipient count must be between 1 and {MAX_RECIPIENTS}.")
    for address in everybody:
        if not address.isascii() or not _ADDRESS.fullmatch(address):
            raise _bad(f"Invalid email address<{address}>.")
    for tag in asked.email_tags:
        if not (_TAG.fullmatch(tag.name) and _TAG.fullmatch(tag.value)):
            raise _bad("Tags are letters, digits, _ and -.")
    if len(mail) > MAX_MESSAGE_BYTES:
        raise _bad(f"Message length is more than {MAX_MESSAGE_BYTES} bytes long.")
    head = mail.partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n") if line[:1] not in (b" ", b"\t")]
    if b"from" not in names and asked.from_email_address is None:
        raise _bad("Missing required header 'From'.")
    for name in _ONCE:
        if names.count(name) > 1:
            raise _bad(f"Duplicate header '{name.decode()}'.")


def _bad(message: str) -> SesError:
    return SesError(400, "BadRequestException", message)
