"""What is wrong with a mail that can be sent all the same."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from posthouse.domain.stream import Stream

#: Gmail shows so much of an HTML part and hides the rest, and with it the unsubscribe link and the open
#: pixel, behind "View entire message" (https://www.litmus.com/blog/why-gmail-clips-emails).
CLIPPED_BYTES: Final = 102 * 1024
_SHOWN_LINKS: Final = 3
_SHOWN_CHARACTERS: Final = 200  # of one of them

_INSECURE_ATTRIBUTE = re.compile(r"\b(?:href|src)\s*+=\s*+[\"']?+\s*+(http://[^\s\"'<>]++)", re.IGNORECASE)
_INSECURE_TEXT = re.compile(r"\bhttp://[^\s<>\"]++", re.IGNORECASE)

#: What postal addresses have and other text seldom: a post box; a code of five or six digits, or four that
#: are no year, beside a capitalised word (DE, FR, IT, US, AT, CH, NL ...); British, Canadian and Irish codes.
_POSTAL = re.compile(
    r"\bP\.? ?O\.? ?Box\b|\bPostfach\b"
    r"|\b(?:\d{5,6}|(?!19|20)\d{4}(?: [A-Z]{2})?),? [A-ZÀ-Þ][\w'-]{2}"
    r"|[A-ZÀ-Þ][\w.'-]{1,40},? (?:[A-Z]{2,3},? )?\d{5,6}(?:-\d{3,4})?\b"
    r"|\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b|\b[A-Z]\d[A-Z] ?\d[A-Z]\d\b|\b[A-Z]\d{2} [A-Z\d]{4}\b"
)


class FindingCode(StrEnum):
    MISSING_VARIABLES = "missing_variables"
    NO_SUBJECT = "no_subject"
    HTML_TOO_LARGE = "html_too_large"
    NO_TEXT = "no_text"
    NO_UNSUBSCRIBE_LINK = "no_unsubscribe_link"
    NO_POSTAL_ADDRESS = "no_postal_address"
    INSECURE_LINK = "insecure_link"


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    code: FindingCode
    message: str
    pointer: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A template and the mail that was made of it."""

    stream: Stream
    subject: str
    html: str | None  # with its links as they were written
    text: str
    html_bytes: int  # of the HTML as it is sent
    has_text: bool  # of its own
    links_to_unsubscribe: bool  # by the template's own words
    names: frozenset[str]  # of the variables that the template uses
    missing: tuple[str, ...]
    own_url: str  # what our own links begin with


def findings(seen: Seen) -> list[Finding]:
    """What the author should know, the worst first."""
    found = []
    if seen.missing:
        names = ", ".join(seen.missing)
        found.append(
            Finding(
                FindingCode.MISSING_VARIABLES,
                f"Not given, and so empty here, where a real mail would be refused: {names}.",
                "/variables",
            )
        )
    if not seen.subject:
        found.append(Finding(FindingCode.NO_SUBJECT, "The subject is empty.", "/subject"))
    found += _marketing(seen) if seen.stream is Stream.MARKETING else []
    if seen.html_bytes > CLIPPED_BYTES:
        found.append(
            Finding(
                FindingCode.HTML_TOO_LARGE,
                f"The HTML has {seen.html_bytes} bytes as it is sent. Gmail hides what comes after "
                f"{CLIPPED_BYTES}: the end of the mail, and that it was opened.",
                "/html",
            )
        )
    if not seen.has_text:
        found.append(
            Finding(FindingCode.NO_TEXT, "There is no text: it is made from the HTML. Look at it.", "/text")
        )
    return found + _insecure(seen)


def _marketing(seen: Seen) -> list[Finding]:
    """CAN-SPAM (16 CFR 316) and the rules of Gmail and Yahoo for bulk mail."""
    found = []
    if not seen.links_to_unsubscribe:
        found.append(
            Finding(
                FindingCode.NO_UNSUBSCRIBE_LINK,
                "The template does not say where to unsubscribe: Posthouse adds a plain link at its end. To "
                "place it yourself, link to {{ unsubscribe_url }}.",
                "/text" if seen.html is None else "/html",
            )
        )
    if not _shows_postal_address(seen):
        found.append(
            Finding(
                FindingCode.NO_POSTAL_ADDRESS,
                "No postal address was found, which the law of many countries asks of marketing mail. Looked "
                "for: a post box, a postal code beside a name, a variable with `address` in its name.",
                "/text" if seen.html is None else "/html",
            )
        )
    return found


def _shows_postal_address(seen: Seen) -> bool:
    named = any("address" in name.lower() or "imprint" in name.lower() for name in seen.names)
    return named or _POSTAL.search(seen.text) is not None


def _insecure(seen: Seen) -> list[Finding]:
    found = []
    for pointer, body, pattern in (
        ("/html", seen.html or "", _INSECURE_ATTRIBUTE),
        ("/text", seen.text if seen.has_text else "", _INSECURE_TEXT),
    ):
        urls = dict.fromkeys(match[match.lastindex or 0] for match in pattern.finditer(body))
        insecure = [url for url in urls if not url.startswith(seen.own_url)]
        if insecure:
            shown = ", ".join(url[:_SHOWN_CHARACTERS] for url in insecure[:_SHOWN_LINKS])
            more = f" and {len(insecure) - _SHOWN_LINKS} more" if len(insecure) > _SHOWN_LINKS else ""
            found.append(
                Finding(
                    FindingCode.INSECURE_LINK,
                    f"Anybody on the way can read and change what http: leads to. Use https: {shown}{more}.",
                    pointer,
                )
            )
    return found
