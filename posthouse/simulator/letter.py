"""Reading a mail as its recipient would: the headers that matter, and what there is to load and to follow."""

import re
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from html import unescape

_HEADER_BYTES = 64 * 1024
_READ_BYTES = 256 * 1024  # Gmail shows the first 102 KB
_PARAMETERS = 10_000  # the standard library's parser takes quadratic time over the ; of one header
_SUBJECT_CHARS = 2_000  # ... and over the beginnings of encoded words
_HTML_CHARS = 1024 * 1024
_LINKS = 500
_HEADERS = re.compile(
    rb"^(subject|message-id|x-posthouse-id):[ \t]*((?:[^\r\n]|\r\n[ \t])*)",
    re.IGNORECASE | re.MULTILINE,
)
_OUR_ID = re.compile(r"^<?([0-9A-Za-z-]{1,64})\.(\d{1,9})>?$")
_URI = re.compile(r"<([^<>\s]{1,4096})>")
# A tag ends at the next < or >, within bounds, so that no input makes the scan go back over itself; HTML
# parsers, the fast one included, take quadratic time on deep nesting.
_TAG = re.compile(r"<(a|img|form|input)\b([^<>]{0,8192})>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([a-zA-Z-]{1,32})\s{0,8}=\s{0,8}(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the ledger says of a mail, from its headers."""

    subject: str
    message_id: str
    job_id: str | None
    attempt: int | None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader of the HTML part can do. Order as in the mail; `links` are without unsubscribe links."""

    images: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    unsubscribe_links: tuple[str, ...] = ()
    one_click: str | None = None  # RFC 8058: both headers are there, and this is the URI to POST to


@dataclass(frozen=True, slots=True)
class Form:
    """A form on a page: where its button POSTs to (as written; empty: the page itself), and with what."""

    action: str
    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Mime:
    """Headers in order, and the first part of each kind."""

    headers: tuple[tuple[str, str], ...]
    text: str
    html: str


def scan_headers(raw: bytes) -> Envelope:
    """The first of each header that the ledger names; never fails, whatever the bytes."""
    end = raw.find(b"\r\n\r\n", 0, _HEADER_BYTES)
    block = raw[: end if end >= 0 else _HEADER_BYTES]
    found: dict[bytes, str] = {}
    for name, value in _HEADERS.findall(block):
        found.setdefault(name.lower(), value.replace(b"\r\n", b"").decode("utf-8", "replace").strip())
    job_id, attempt = parse_our_id(found.get(b"x-posthouse-id", ""))
    return Envelope(
        subject=_decoded(found.get(b"subject", "")[:_SUBJECT_CHARS]),
        message_id=found.get(b"message-id", ""),
        job_id=job_id,
        attempt=attempt,
    )


def parse_our_id(value: str) -> tuple[str | None, int | None]:
    """`job.attempt` in its two parts."""
    match = _OUR_ID.match(value)
    return (match[1], int(match[2])) if match else (None, None)


def read_mail(raw: bytes) -> Reading:
    """What there is to load and follow in a MIME mail. Nothing, for one that cannot be read."""
    mime = parse_mime(raw)
    if mime is None:
        return Reading()
    headers = {name.lower(): value for name, value in reversed(mime.headers)}
    return read_html(mime.html, headers.get("list-unsubscribe", ""), headers.get("list-unsubscribe-post", ""))


def parse_mime(raw: bytes) -> Mime | None:
    """A mail in its parts; None for one that cannot be read. Looks at the first 256 KB."""
    seen = raw[:_READ_BYTES]
    if seen.count(b";") > _PARAMETERS:
        return None
    try:
        message = BytesParser().parsebytes(seen)
        headers = tuple((name, str(value)) for name, value in message.items())
        return Mime(headers, _part(message, "text/plain"), _part(message, "text/html"))
    except (ValueError, RecursionError, LookupError):  # nesting, charsets and transfer encodings of enemies
        return None


def read_html(html: str, list_unsubscribe: str, list_unsubscribe_post: str) -> Reading:
    """What an HTML body and the unsubscribe headers (RFC 2369, RFC 8058) offer."""
    header_uris = [uri for uri in _URI.findall(list_unsubscribe) if _is_http(uri)]
    images: list[str] = []
    links: list[str] = []
    leave: list[str] = []
    for tag, attributes in _tags(html):
        url = attributes.get("src" if tag == "img" else "href", "")
        if tag not in ("a", "img") or not _is_http(url):
            continue
        into = images if tag == "img" else leave if _leaves(url, header_uris) else links
        if url not in into and len(into) < _LINKS:
            into.append(url)
    one_click = list_unsubscribe_post.replace(" ", "").lower() == "list-unsubscribe=one-click"
    return Reading(
        images=tuple(images),
        links=tuple(links),
        unsubscribe_links=tuple(leave),
        one_click=header_uris[0] if one_click and header_uris else None,
    )


def find_form(page: str) -> Form | None:
    """The first form with method POST on a page."""
    form: str | None = None
    fields: list[tuple[str, str]] = []
    for tag, attributes in _tags(page):
        if tag == "form":
            if form is not None:
                break
            if attributes.get("method", "").lower() == "post":
                form = attributes.get("action", "")
        elif tag == "input" and form is not None and attributes.get("name"):
            fields.append((attributes["name"], attributes.get("value", "")))
    return Form(form, tuple(fields)) if form is not None else None


def _part(message: Message, content_type: str) -> str:
    """The first part of a type, decoded; empty when there is none."""
    for part in message.walk():
        if part.get_content_type() == content_type and part.get_filename() is None:
            payload = part.get_payload(decode=True)
            if isinstance(payload, bytes):
                return _text(payload, part.get_content_charset("utf-8"))
    return ""


def _tags(html: str) -> list[tuple[str, dict[str, str]]]:
    tags: list[tuple[str, dict[str, str]]] = []
    for match in _TAG.finditer(_without_comments(html[:_HTML_CHARS])):
        attributes: dict[str, str] = {}
        for name, double, single, bare in _ATTRIBUTE.findall(match[2]):
            attributes.setdefault(name.lower(), unescape(double or single or bare).strip())
        tags.append((match[1].lower(), attributes))
    return tags


def _without_comments(html: str) -> str:
    """HTML as a reader sees it: what stands in comments (also Outlook's conditional ones) is not there."""
    kept: list[str] = []
    at = 0
    while (start := html.find("<!--", at)) >= 0:
        kept.append(html[at:start])
        end = html.find("-->", start + 4)
        if end < 0:
            return "".join(kept)
        at = end + 3
    kept.append(html[at:])
    return "".join(kept)


def _leaves(url: str, header_uris: list[str]) -> bool:
    return url in header_uris or "/u/" in url.partition("?")[0]


def _is_http(url: str) -> bool:
    return url[:8].lower().startswith(("http://", "https://"))


def _text(payload: bytes, charset: str) -> str:
    try:
        return payload.decode(charset, "replace")
    except (LookupError, ValueError):
        return payload.decode("utf-8", "replace")


def _decoded(header: str) -> str:
    if "=?" not in header:
        return header
    try:
        return str(make_header(decode_header(header)))
    except (HeaderParseError, LookupError, ValueError):
        return header
