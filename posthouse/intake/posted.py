"""The fields of a mail as they are posted: names, types, sizes. What they mean is for `validate` to say."""

import hashlib
import re
from contextlib import suppress
from datetime import datetime
from typing import Annotated

import msgspec

MAX_SUBJECT_CHARS = 998  # RFC 5322 section 2.1.1: no line of a message is longer
MAX_TAGS = 10
_BACKSLASH = re.compile(rb"\\")
_PIECE = 65_536  # of a file, in bytes, put into a digest in one go

_Moment = Annotated[datetime, msgspec.Meta(tz=True)]  # RFC 3339 with its offset
#: Taken apart in pieces, when it is known to be wanted: see `attachments`.
_FILE_CONTENT = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}},
        {"type": "null"},
    ]
}
_TagWord = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,256}\Z")]


class _Posted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base: a field that is not known is an error, so that a typo cannot go unnoticed."""


class PostedTag(_Posted, frozen=True, kw_only=True):
    name: _TagWord
    value: _TagWord


class ChosenTemplate(_Posted, frozen=True, kw_only=True):
    """`id` is another name for `key`, for clients written for it."""

    key: str | None = None
    id: str | None = None
    version: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    #: A JSON object, not taken apart before its size is known: 10 MB of "[]," are 200 MB of lists.
    variables: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": ["object", "null"]})] = (
        msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    )

    @property
    def name(self) -> str | None:
        return self.key if self.key is not None else self.id


class PostedAttachment(_Posted, frozen=True, kw_only=True):
    """`content` is base64, or a list of byte values. A `content_id` makes a file inline: the HTML refers to
    it with cid:. `inline_content_id` is another name for it, for clients written for that. `path` and `url`
    are refused: nothing is fetched."""

    filename: str | None = None
    content: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=_FILE_CONTENT)] = msgspec.field(
        default_factory=lambda: msgspec.Raw(b"")
    )
    path: str | None = None
    url: str | None = None
    content_type: str | None = None
    content_id: str | None = None
    inline_content_id: str | None = None
    disposition: str | None = None


class PostedEmail(_Posted, frozen=True, kw_only=True):
    """The body of POST /v1/emails. Null means the same as a field that is left out: clients send both."""

    sender: str = msgspec.field(name="from")
    to: str | list[str]
    cc: str | list[str] | None = None
    bcc: str | list[str] | None = None
    reply_to: str | list[str] | None = None
    subject: Annotated[str, msgspec.Meta(max_length=MAX_SUBJECT_CHARS)] | None = None
    html: str | None = None
    text: str | None = None
    template: ChosenTemplate | None = None
    stream: str | None = None
    scheduled_at: _Moment | None = None
    expires_at: _Moment | None = None
    tags: Annotated[list[PostedTag], msgspec.Meta(max_length=MAX_TAGS)] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, msgspec.Meta(max_length=40)], Annotated[str, msgspec.Meta(max_length=500)]],
            msgspec.Meta(max_length=50),
        ]
        | None
    ) = None
    headers: Annotated[dict[str, str], msgspec.Meta(max_length=50)] | None = None
    tracking: bool | None = None
    attachments: list[PostedAttachment] | None = None
    #: For mails of a batch; a mail by itself has the header Idempotency-Key, which wins.
    idempotency_key: Annotated[str, msgspec.Meta(pattern=r"\A[\x21-\x7e]{1,256}\Z")] | None = None


def fingerprint(posted: PostedEmail) -> bytes:
    """SHA-256 of the canonical form: keys sorted, no white space, what is empty as if it had been left out.

    Raises msgspec.DecodeError for variables that are not JSON.
    """
    variables: object = None
    template = posted.template
    if template is not None:
        variables = msgspec.json.decode(template.variables)
        variables = {} if variables is None else variables
        template = msgspec.structs.replace(template, variables=msgspec.Raw(b"{}"))
    files = posted.attachments or ()
    plain = msgspec.structs.replace(
        posted,
        cc=posted.cc or None,
        bcc=posted.bcc or None,
        reply_to=posted.reply_to or None,
        tags=posted.tags or None,
        metadata=posted.metadata or None,
        headers=posted.headers or None,
        tracking=posted.tracking is not False,
        template=template,
        attachments=[msgspec.structs.replace(file, content=msgspec.Raw(b"null")) for file in files],
        idempotency_key=None,
    )
    digest = hashlib.sha256(msgspec.json.encode([plain, variables], order="sorted"))
    for file in files:
        digest.update(_digest_of(file.content))
    return digest.digest()


def _digest_of(content: msgspec.Raw) -> bytes:
    """Without the escapes of a text and without white space, which say nothing in either form."""
    written = memoryview(content)
    if _BACKSLASH.search(written) is not None:
        with suppress(ValueError):  # it will be refused, and counts as it was written until then
            written = memoryview(f'"{msgspec.json.decode(content, type=str)}"'.encode())
    digest = hashlib.sha256()
    for start in range(0, len(written), _PIECE):
        digest.update(bytes(written[start : start + _PIECE]).translate(None, b" \t\r\n"))
    return digest.digest()
