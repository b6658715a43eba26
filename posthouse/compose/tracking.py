"""Click and open tracking: only what must change is changed, every other byte stays as it was.

A parser would serialise the whole body anew, and cost more than everything else that compose does. This reads
tokens and splices.
"""

import re
from binascii import b2a_base64
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from posthouse.compose.markup import (
    ATTRIBUTES,
    BOGUS_REST,
    COMMENT_REST,
    NOTHING_REST,
    RAW_TEXT,
    TAG_REST,
    unescape_attribute,
)
from posthouse.domain.ids import JobId, LinkHash

HASH_BYTES: Final = 16
#: A longer address is left as it is: browsers and servers would not take it through a redirect either.
MAX_URL_CHARACTERS: Final = 16_384

#: Most links stand in every mail of their template; what is known of them is kept.
_KNOWN_LINKS: Final = 2048
_KNOWN_CHARACTERS: Final = 512  # of one of them

_END_OF_NAME = r"(?=[ \t\n\f\r/>])"


def _any_case(name: str) -> str:
    """The re module's IGNORECASE makes every class slow; these few names spell their cases out."""
    return "".join(f"[{letter}{letter.upper()}]" for letter in name)


def _raw_text(name: str) -> str:
    """A raw text element from its name to its end tag, or to the end of the body when it has none."""
    spelled = _any_case(name)
    return rf"{spelled}{_END_OF_NAME}{TAG_REST}[^<]*+(?>(?:<(?!/{spelled}{_END_OF_NAME})[^<]*+)*)"


_LINK = rf"{_any_case('a')}(?>(?:{_any_case('rea')})?){_END_OF_NAME}"
_END_OF_BODY = rf"/{_any_case('body')}{_END_OF_NAME}"
_RAW = "|".join(map(_raw_text, sorted(RAW_TEXT)))
#: The rest of a usual tag: every value in double quotes and without `<` and `>`, so it can end in
#: one place only.
_PLAIN_REST = r"[^<>\"'=]*+(?>(?:=\"[^\"<>]*+\"[^<>\"'=]*+)*)>"
_PLAIN_TAG = rf"(?:/(?![bB])[A-Za-z]|[b-hj-mo-ru-wyzB-HJ-MO-RU-WYZ]){_PLAIN_REST}"
_ANY_TAG = rf"/?+[A-Za-z][^ \t\n\f\r/>]*+{TAG_REST}"
#: Everything that holds no link, in one step, so that only links cost Python time.
_SKIP = (
    rf"(?>(?:[^<]*+<(?:{_PLAIN_TAG}|{_RAW}"
    rf"|(?!{_LINK}|{_END_OF_BODY})(?:{_ANY_TAG}|{COMMENT_REST}|{BOGUS_REST}|{NOTHING_REST})))*)"
)
_NEXT = re.compile(
    rf"{_SKIP}[^<]*+<(?:(?P<link>{_LINK})(?>(?:[ \t\n\f\r]++href=\"(?P<href>[^\"]*+)\")?){TAG_REST}"
    rf"|(?P<body>{_END_OF_BODY}{TAG_REST}))"
)
_WEB: Final = ("https://", "http://")
_STRIPPED_BY_BROWSERS = re.compile(r"[\t\n\r]")
_TEXT_LINK = re.compile(r"https?://[^\s<>\"\x00-\x1f]++")
_CLOSERS = {")": "(", "]": "[", "}": "{"}
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class Link(Struct, frozen=True):
    """What `/c/{job_id}/{hash}` leads to."""

    hash: LinkHash
    url: str


class Tracker:
    """Tracks the links of one mail and remembers them. `base` is the stream's tracking URL, no final
    slash."""

    def __init__(self, base: str, job_id: JobId, key: bytes) -> None:
        job = str(job_id)
        self._own_pages = (f"{base}/u/", f"{base}/c/", f"{base}/o/")
        self._prefix = f"{base}/c/{job}/"
        self._key = key
        self._links: dict[str, Link] = {}
        self.pixel = (
            f'<img src="{base}/o/{job}" width="1" height="1" alt="" '
            'style="display:block;border:0;width:1px;height:1px">'
        )

    @property
    def links(self) -> tuple[Link, ...]:
        return tuple(self._links.values())

    def tracked(self, url: str) -> str:
        """The address that redirects to `url`."""
        find = _known_link if len(url) <= _KNOWN_CHARACTERS else _link
        link, text = find(url, self._key)
        self._links[url] = link
        return self._prefix + text

    def href(self, written: str) -> str:
        """What a link's `href` becomes; itself when it is not to be tracked."""
        url = web_address(written)
        return written if url is None or self.exempts(url) else self.tracked(url)

    def exempts(self, url: str) -> bool:
        """Our own pages: an unsubscribe link must work without a detour, and must not count as a click."""
        return url.startswith(self._own_pages)


def _link(url: str, key: bytes) -> tuple[Link, str]:
    link = Link(link_hash(url, key), url)
    return link, hash_text(link.hash)


_known_link = lru_cache(_KNOWN_LINKS)(_link)


def link_hash(url: str, key: bytes) -> LinkHash:
    """A keyed hash: nobody without the key can tell whether a known address is in a mail, nor forge one."""
    return LinkHash(blake2b(url.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES, key=key).digest())


def hash_text(value: LinkHash) -> str:
    """22 characters that are safe in a URL."""
    return b2a_base64(value, newline=False).translate(_URL_SAFE, b"=").decode("ascii")


def track_html(html: str, tracker: Tracker) -> str:
    """The HTML with its web links rewritten and the pixel before `</body>`, or at the end without one.

    Links in comments (also conditional ones), in scripts and in attributes of other elements stay.
    """
    hrefs, end_of_body = places(html)
    pieces: list[str] = []
    done = 0
    for start, end in hrefs:
        pieces += (html[done:start], tracker.href(html[start:end]))
        done = end
    if end_of_body < done:  # none, or links after it
        return "".join([*pieces, html[done:], tracker.pixel])
    return "".join([*pieces, html[done:end_of_body], tracker.pixel, html[end_of_body:]])


def places(html: str) -> tuple[list[tuple[int, int]], int]:
    """Where the values of all links' `href`s stand, without their quotes, and where the last `</body>`
    begins: -1 when there is none."""
    hrefs: list[tuple[int, int]] = []
    position = 0
    end_of_body = -1
    may_opt_out = "track" in html.lower()
    while (match := _NEXT.match(html, position)) is not None:
        position = match.end()
        if match["link"] is None:
            end_of_body = match.start("body") - 1
            continue
        start, end = match.span("href")
        if start < 0 or may_opt_out:
            start, end = _href(html, match, may_opt_out=may_opt_out)
        if start < end:
            hrefs.append((start, end))
    return hrefs, end_of_body


def _href(html: str, tag: re.Match[str], *, may_opt_out: bool) -> tuple[int, int]:
    """Where the first href's value stands, without its quotes; an empty place when none is to be tracked."""
    start, end = tag.end("link"), tag.end() - 1
    if may_opt_out and _opts_out(html, start, end):
        return end, end
    if tag["href"] is not None:
        return tag.span("href")
    for attribute in ATTRIBUTES.finditer(html, start, end):
        if attribute[1].lower() == "href":
            value_start, value_end = attribute.span(2)
            if value_start < 0:
                return end, end
            quoted = html[value_start] in "\"'"
            return value_start + quoted, value_end - quoted
    return end, end


def _opts_out(html: str, start: int, end: int) -> bool:
    for attribute in ATTRIBUTES.finditer(html, start, end):
        name = attribute[1].lower()
        if name == "ses:no-track":
            return True
        if name == "data-posthouse-track" and (attribute[2] or "").strip("\"' ").lower() == "off":
            return True
    return False


def web_address(written: str) -> str | None:
    """The address that a browser would go to, if it is a web address that can be tracked."""
    if len(written) <= _KNOWN_CHARACTERS:
        return _known_web_address(written)
    return _web_address(written) if len(written) <= MAX_URL_CHARACTERS else None


def _web_address(written: str) -> str | None:
    url = unescape_attribute(written)
    if not url.isprintable():
        url = _STRIPPED_BY_BROWSERS.sub("", url).strip(" \f")
    elif url[:1] == " " or url[-1:] == " ":
        url = url.strip(" ")
    return url if url.startswith(_WEB) or url[:8].lower().startswith(_WEB) else None


_known_web_address = lru_cache(_KNOWN_LINKS)(_web_address)


def track_text(text: str, tracker: Tracker) -> str:
    """A text body with its web links rewritten. Punctuation that ends a sentence is not part of a link."""

    def rewritten(match: re.Match[str]) -> str:
        written = match.group()
        if match.start() and text[match.start() - 1].isalnum():
            return written
        url = without_sentence_end(written)
        if len(url) > MAX_URL_CHARACTERS or tracker.exempts(url):
            return written
        return tracker.tracked(url) + written[len(url) :]

    return _TEXT_LINK.sub(rewritten, text)


def without_sentence_end(url: str) -> str:
    """Drop what the sentence around a link put after it; a closing bracket stays if the link opens it."""
    end = len(url)
    if url[-1:].isalnum() or url[-1:] == "/":
        return url
    opened = {closer: url.count(opener) - url.count(closer) for closer, opener in _CLOSERS.items()}
    while end > 0:
        last = url[end - 1]
        if last in _CLOSERS:
            if opened[last] >= 0:
                break
            opened[last] += 1
        elif last not in ".,;:!?'*_…":
            break
        end -= 1
    return url[:end]
