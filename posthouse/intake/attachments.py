"""Posted attachments become files: names that are safe, bytes within bounds.

A file is decoded in pieces: a list of byte values taken apart at once would be eight bytes for each of its
own, and 10 MB in one go would hold up every other request.
"""

import asyncio
import mimetypes
import re
import tomllib
from binascii import a2b_base64
from collections.abc import Iterator, Sequence
from importlib.resources import files as resource_files
from typing import Annotated, Final, Literal

import msgspec

from posthouse.domain.errors import InvalidInput
from posthouse.domain.message import Disposition
from posthouse.intake.mail import NewFile
from posthouse.intake.posted import PostedAttachment

MAX_FILES: Final = 50
MAX_NAME_CHARS: Final = 255
MAX_CONTENT_ID_CHARS: Final = 128
#: Bytes of JSON that are decoded in one go.
PIECE: Final = 65_536

_OCTET_STREAM: Final = "application/octet-stream"
#: In no file name: what separates folders, ends a line, or turns the order in which the rest is read around
#: (a name that is shown as "receipt_exe.pdf" and ends in .exe).
_NOT_IN_NAMES: Final = re.compile(
    "[/\\\\\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_TAIL: Final = re.compile(r"\W+\Z")
_CONTENT_TYPE: Final = re.compile(r"[!#$&^_.+A-Za-z0-9-]{1,60}/[!#$&^_.+A-Za-z0-9-]{1,60}")
_CONTENT_ID: Final = re.compile(r"[!#-'*-;=?-\[\]-~]+")
_WHITE: Final = b" \t\r\n"
_BACKSLASH: Final = re.compile(rb"\\")
_COMMA: Final = re.compile(rb",")

_blocked = tomllib.loads(resource_files("posthouse.intake").joinpath("attachments.toml").read_text())
_BLOCKED_EXTENSIONS: Final = frozenset(_blocked["extensions"])
_BLOCKED_TYPES: Final = frozenset(_blocked["types"])
#: Without what this machine's own files say, so that a name means the same everywhere.
_types: Final = mimetypes.MimeTypes()
_read_text = msgspec.json.Decoder(str).decode
_read_bytes = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=0, le=255)]]).decode


async def read_attachments(posted: Sequence[PostedAttachment], max_bytes: int) -> tuple[NewFile, ...]:
    """The files of a mail, at most `max_bytes` together. Others have their turn between the pieces of a large
    one. Raises InvalidInput.
    """
    if len(posted) > MAX_FILES:
        raise InvalidInput(
            f"A mail has at most {MAX_FILES} attachments.",
            code="too_many_attachments",
            pointer="/attachments",
        )
    named = [_named(one, f"/attachments/{index}") for index, one in enumerate(posted)]
    room = max_bytes
    for index, (one, file) in enumerate(zip(posted, named, strict=True)):
        content = await decoded(one.content, f"/attachments/{index}/content", room)
        if content is None:
            raise InvalidInput(
                f"The attachments of a mail have at most {max_bytes} bytes together, decoded. Link to large "
                "files instead.",
                code="attachments_too_large",
                pointer="/attachments",
            )
        room -= len(content)
        named[index] = msgspec.structs.replace(file, content=content)
    return tuple(named)


async def decoded(content: msgspec.Raw, pointer: str, room: int) -> bytes | None:
    """The bytes that a JSON text of base64, or a JSON list, stands for; None if they are more than `room`.
    Raises InvalidInput.
    """
    pieces: list[bytes] = []
    size = 0
    try:
        for piece in _pieces(memoryview(content)):
            size += len(piece)
            if size > room:
                return None
            if pieces:
                await asyncio.sleep(0)
            pieces.append(piece)
    except (ValueError, RecursionError) as error:
        raise _invalid(
            "The content is neither base64 (standard alphabet, padded) nor a list of byte values.", pointer
        ) from error
    if not size:
        raise _invalid("An attachment needs content: at least one byte.", pointer)
    return b"".join(pieces)


class _Buffer(msgspec.Struct):
    """A Buffer of Node, as JSON.stringify writes it when the client has not encoded it."""

    type: Literal["Buffer"]
    data: msgspec.Raw


_read_buffer = msgspec.json.Decoder(_Buffer).decode


def _pieces(content: memoryview) -> Iterator[bytes]:
    """Raises ValueError."""
    match bytes(content[:1]):
        case b"{":
            return _listed(memoryview(_read_buffer(content).data))
        case b"[":
            return _listed(content)
        case b'"' if _BACKSLASH.search(content):
            return _from_base64(memoryview(_read_text(content).encode("ascii")))
        case b'"':
            return _from_base64(content[1:-1])
        case b"" | b"n":  # left out, or null
            return iter(())
        case _:
            raise ValueError("neither a text nor a list")


def _from_base64(text: memoryview) -> Iterator[bytes]:
    """Padding may stand at the very end, so the last four characters of each piece wait for the next."""
    rest = b""
    for start in range(0, len(text), PIECE):
        rest += bytes(text[start : start + PIECE]).translate(None, _WHITE)
        cut = max(0, (len(rest) - 1) // 4 * 4)
        if b"=" in rest[:cut]:
            raise ValueError("padded before its end")
        yield a2b_base64(rest[:cut], strict_mode=True)
        rest = rest[cut:]
    yield a2b_base64(rest, strict_mode=True)


def _listed(written: memoryview) -> Iterator[bytes]:
    """Cut at commas. A comma within a text or another list leaves pieces that are no JSON, and such a list is
    refused anyway."""
    if written[0] != ord("["):
        raise ValueError("not a list")
    values = written[1:-1]
    start = 0
    while start < len(values):
        comma = _COMMA.search(values, start + PIECE)
        end = len(values) if comma is None else comma.start()
        yield bytes(_read_bytes(b"[%b]" % bytes(values[start:end])))
        start = end + 1


def _named(posted: PostedAttachment, pointer: str) -> NewFile:
    """All of a file but its content."""
    for name, url in (("path", posted.path), ("url", posted.url)):
        if url is not None:
            raise InvalidInput(
                "Files are not fetched from a URL: whoever names one could read what only this house can "
                "reach (server-side request forgery). Send the bytes as content.",
                code="attachment_url_refused",
                pointer=f"{pointer}/{name}",
            )
    if posted.filename is None:
        raise InvalidInput(
            "An attachment needs a file name.", code="missing_required_field", pointer=f"{pointer}/filename"
        )
    _check_name(posted.filename, f"{pointer}/filename")
    content_id = _content_id(posted, pointer)
    return NewFile(
        posted.filename,
        _content_type(posted, posted.filename, pointer),
        b"",
        content_id,
        _disposition(posted, content_id, pointer),
    )


def _check_name(filename: str, pointer: str) -> None:
    if (
        len(filename) > MAX_NAME_CHARS
        or not filename.strip(". ")
        or _NOT_IN_NAMES.search(filename) is not None
    ):
        raise _invalid(
            f"A file name has 1 to {MAX_NAME_CHARS} characters, and no slashes, line breaks, control "
            "characters and characters that turn the direction of writing around.",
            pointer,
        )
    for extension in _extensions(filename):
        if extension in _BLOCKED_EXTENSIONS:
            raise _runs(f".{extension}", pointer)


def _extensions(filename: str) -> Iterator[str]:
    """What may be taken for the extension. Windows drops dots and spaces at the end of a name, and takes what
    follows a colon for a part of the same file; other programs drop what cannot be seen."""
    for part in filename.split(":"):
        _, dot, extension = _TAIL.sub("", part).rpartition(".")
        if dot:
            yield extension.lower()


def _content_type(posted: PostedAttachment, filename: str, pointer: str) -> str:
    if posted.content_type is None:
        guessed, compressed = _types.guess_type(filename)
        return _OCTET_STREAM if guessed is None or compressed is not None else guessed
    bare = posted.content_type.partition(";")[0].strip()
    if not _CONTENT_TYPE.fullmatch(bare):
        raise _invalid("A content type looks like application/pdf.", f"{pointer}/content_type")
    if bare.lower() in _BLOCKED_TYPES:
        raise _runs(bare, f"{pointer}/content_type")
    return bare


def _content_id(posted: PostedAttachment, pointer: str) -> str | None:
    written = posted.content_id if posted.content_id is not None else posted.inline_content_id
    if written is None:
        return None
    bare = written[1:-1] if written.startswith("<") and written.endswith(">") else written
    if len(bare) > MAX_CONTENT_ID_CHARS or not _CONTENT_ID.fullmatch(bare):
        raise _invalid(
            f"A content id has 1 to {MAX_CONTENT_ID_CHARS} visible ASCII characters, and no brackets, "
            "quotes and backslashes.",
            f"{pointer}/content_id",
        )
    return bare


def _disposition(posted: PostedAttachment, content_id: str | None, pointer: str) -> Disposition:
    """What has a content id is inline unless it says that it is not."""
    if posted.disposition is None:
        return Disposition.ATTACHMENT if content_id is None else Disposition.INLINE
    try:
        disposition = Disposition(posted.disposition)
    except ValueError:
        raise _invalid(f"It is {' or '.join(Disposition)}.", f"{pointer}/disposition") from None
    if disposition is Disposition.INLINE and content_id is None:
        raise _invalid(
            "An inline file needs the content_id that the HTML refers to with cid:.", f"{pointer}/content_id"
        )
    return disposition


def _runs(what: str, pointer: str) -> InvalidInput:
    return InvalidInput(
        f"Mailboxes refuse files that run when they are opened ({what}). Link to it instead.",
        code="attachment_type_blocked",
        pointer=pointer,
    )


def _invalid(message: str, pointer: str) -> InvalidInput:
    return InvalidInput(message, code="invalid_attachment", pointer=pointer)
