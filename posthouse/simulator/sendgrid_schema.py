"""SendGrid v3 `POST /v3/mail/send`: what a request may be, and the words in which SendGrid refuses one."""

import re
from collections import Counter
from collections.abc import Iterator

import msgspec

_RECIPIENTS = 1000
_CATEGORIES = 10
_CATEGORY_CHARS = 255
_CUSTOM_ARGS_BYTES = 10_000
_ADDRESS = re.compile(r"[^\s@<>,;\x00-\x1f]{1,64}@[^\s@<>,;\x00-\x1f.]+(?:\.[^\s@<>,;\x00-\x1f.]+)*")
_HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html"
_OUR_HEADERS = frozenset(
    {
        *("x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding"),
        *("to", "from", "subject", "reply-to", "cc", "bcc"),
    }
)
_WHERE = re.compile(r" - at `(?:key in `)?\$?\.?([^`]*)`")


class Address(msgspec.Struct, frozen=True):
    email: str
    name: str | None = None


class Personalization(msgspec.Struct, frozen=True):
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    subject: str | None = None
    headers: dict[str, str] = {}
    custom_args: dict[str, str] = {}

    def everybody(self) -> Iterator[tuple[str, int, Address]]:
        """Field, place in it, address."""
        for field, addresses in (("to", self.to), ("cc", self.cc), ("bcc", self.bcc)):
            for index, address in enumerate(addresses):
                yield field, index, address


class Content(msgspec.Struct, frozen=True):
    type: str
    value: str


class Attachment(msgspec.Struct, frozen=True):
    content: str
    filename: str
    type: str | None = None
    disposition: str | None = None
    content_id: str | None = None


class Switch(msgspec.Struct, frozen=True):
    enable: bool = False


class MailSettings(msgspec.Struct, frozen=True):
    sandbox_mode: Switch = Switch()


class TrackingSettings(msgspec.Struct, frozen=True):
    """Off unless the request switches them on, like an account whose own settings are off."""

    click_tracking: Switch = Switch()
    open_tracking: Switch = Switch()
    subscription_tracking: Switch = Switch()


class MailSend(msgspec.Struct, frozen=True):
    """What the simulator looks at; other documented fields are taken and ignored."""

    personalizations: tuple[Personalization, ...] = ()
    sender: Address | None = msgspec.field(name="from", default=None)
    reply_to: Address | None = None
    reply_to_list: tuple[Address, ...] | None = None
    subject: str | None = None
    content: tuple[Content, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    template_id: str | None = None
    headers: dict[str, str] = {}
    categories: tuple[str, ...] = ()
    custom_args: dict[str, str] = {}
    mail_settings: MailSettings = MailSettings()
    tracking_settings: TrackingSettings = TrackingSettings()

    def html(self) -> str:
        return next((part.value for part in self.content if part.type == "text/html"), "")

    def text(self) -> str:
        return next((part.value for part in self.content if part.type == "text/plain"), "")

    def all_headers(self, personalization: Personalization) -> dict[str, str]:
        """Names in lower case; the personalization's win."""
        merged = {**self.headers, **personalization.headers}
        return {name.lower(): value for name, value in merged.items()}


class ApiError(msgspec.Struct, frozen=True):
    """One entry of SendGrid's `errors`."""

    message: str
    field: str | None = None
    help: str | None = None


class ApiErrors(msgspec.Struct, frozen=True):
    errors: tuple[ApiError, ...]


class BadRequestError(Exception):
    def __init__(self, errors: tuple[ApiError, ...]) -> None:
        super().__init__(errors)
        self.errors = errors


_DECODER = msgspec.json.Decoder(MailSend)


def parse_mail_send(body: bytes) -> MailSend:
    """A request that SendGrid would take. Raises BadRequestError with everything that is wrong."""
    try:
        mail = _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise BadRequestError((_type_error(str(error)),)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError((ApiError("Bad Request"),)) from error
    errors = tuple(_errors(mail))
    if errors:
        raise BadRequestError(errors)
    return mail


def is_address(text: str) -> bool:
    return _ADDRESS.fullmatch(text) is not None


def _errors(mail: MailSend) -> Iterator[ApiError]:
    yield from _personalization_errors(mail)
    yield from _sender_errors(mail)
    yield from _content_errors(mail)
    yield from _header_errors(mail)
    yield from _metadata_errors(mail)


def _personalization_errors(mail: MailSend) -> Iterator[ApiError]:
    if not 1 <= len(mail.personalizations) <= _RECIPIENTS:
        yield ApiError(
            "The personalizations field is required and must have at least one personalization.",
            "personalizations",
            f"{_HELP}#-Personalizations-Errors",
        )
    if sum(1 for p in mail.personalizations for _ in p.everybody()) > _RECIPIENTS:
        yield ApiError("Too many recipients: at most 1,000 in one request.", "personalizations")
    for index, personalization in enumerate(mail.personalizations):
        yield from _recipient_errors(f"personalizations.{index}", personalization)
        if not (personalization.subject or mail.subject):
            yield ApiError(
                "The subject is required. You can get around this requirement if you use a template with a "
                "subject defined or if every personalization has a subject defined.",
                "subject",
                f"{_HELP}#message.subject",
            )


def _recipient_errors(path: str, personalization: Personalization) -> Iterator[ApiError]:
    if not personalization.to:
        yield ApiError(
            "The to array is required for all personalization objects, and must have at least one email "
            "object with a valid email address.",
            f"{path}.to",
            f"{_HELP}#message.personalizations.to",
        )
    for field, index, address in personalization.everybody():
        if not is_address(address.email):
            yield ApiError(
                "Does not contain a valid address.",
                f"{path}.{field}.{index}.email",
                f"{_HELP}#message.personalizations.{field}",
            )
    counted = Counter(address.email.lower() for _, _, address in personalization.everybody())
    twice = next((email for email, number in counted.items() if number > 1), None)
    if twice is not None:
        yield ApiError(
            "Each email address in the personalization block should be unique between to, cc, and bcc. We "
            f"found the first duplicate instance of [{twice}] in the {path} field.",
            path,
            f"{_HELP}#message.recipient-errors",
        )


def _sender_errors(mail: MailSend) -> Iterator[ApiError]:
    if mail.sender is None:
        yield ApiError(
            "The from object must be provided for every email send. It is an object that requires the email "
            "parameter, but may also contain a name parameter.",
            "from",
            f"{_HELP}#message.from",
        )
    elif not is_address(mail.sender.email):
        yield ApiError(
            "The from email does not contain a valid address.", "from.email", f"{_HELP}#message.from"
        )
    if mail.reply_to is not None and mail.reply_to_list is not None:
        yield ApiError("Only one of reply_to and reply_to_list may be given.", "reply_to_list")
    for address in (*([mail.reply_to] if mail.reply_to else []), *(mail.reply_to_list or ())):
        if not is_address(address.email):
            yield ApiError("The reply_to email does not contain a valid address.", "reply_to.email")


def _content_errors(mail: MailSend) -> Iterator[ApiError]:
    if mail.template_id is not None:
        yield ApiError(
            "The template_id must be a valid GUID, you provided one that does not exist.", "template_id"
        )
    elif not mail.content:
        yield ApiError(
            "Unless a valid template_id is provided, the content parameter is required. There must be at "
            "least one defined content block. We typically suggest both text/plain and text/html blocks are "
            "included, but only one block is required.",
            "content",
            f"{_HELP}#message.content",
        )
    for index, part in enumerate(mail.content):
        if not part.value:
            yield ApiError(
                "The content value must be a string at least one character in length.",
                f"content.{index}.value",
            )
        if "/" not in part.type or re.search(r"[;,\s\x00-\x1f]", part.type):
            yield ApiError("The content type is not valid.", f"content.{index}.type")
    types = [part.type for part in mail.content]
    if types != sorted(types, key=_content_rank) or len(types) != len(set(types)):
        yield ApiError(
            "If present, text/plain and text/html may only be provided once, and must be first and second.",
            "content",
        )


def _content_rank(content_type: str) -> int:
    return {"text/plain": 0, "text/html": 1}.get(content_type, 2)


def _header_errors(mail: MailSend) -> Iterator[ApiError]:
    groups = [("headers", mail.headers)]
    groups += [(f"personalizations.{i}.headers", p.headers) for i, p in enumerate(mail.personalizations)]
    for path, headers in groups:
        for name, value in headers.items():
            if name.lower() in _OUR_HEADERS:
                yield ApiError(
                    f"The header {name} is reserved and cannot be set.",
                    f"{path}.{name}",
                    f"{_HELP}#message.headers",
                )
            if not name.isascii() or not value.isascii() or re.search(r"[\r\n\0]", name + value):
                yield ApiError("Header names and values must be printable ASCII.", f"{path}.{name}")


def _metadata_errors(mail: MailSend) -> Iterator[ApiError]:
    if len(mail.categories) > _CATEGORIES or len(set(mail.categories)) != len(mail.categories):
        yield ApiError("There may be at most 10 categories, each one unique.", "categories")
    if any(len(category) > _CATEGORY_CHARS for category in mail.categories):
        yield ApiError("A category name may be at most 255 characters.", "categories")
    for personalization in mail.personalizations:
        merged = {**mail.custom_args, **personalization.custom_args}
        if len(msgspec.json.encode(merged)) > _CUSTOM_ARGS_BYTES:
            yield ApiError("The combined size of custom_args must be less than 10,000 bytes.", "custom_args")


def _type_error(text: str) -> ApiError:
    """`Expected ..., got ... - at `$.a[0].b`` in SendGrid's notation."""
    where = _WHERE.search(text)
    field = re.sub(r"\[(\d+)\]", r".\1", where[1].replace("[...]", "")) if where else None
    return ApiError(f"Invalid type. {text.partition(' - at ')[0]}.", field)
