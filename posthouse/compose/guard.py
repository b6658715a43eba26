"""What a body must be like before a native parser sees it. One pass, no tree.

The CSS inliner recurses over the tree it builds: 15,000 nested elements end the process by a segmentation
fault, and no exception tells of it. It also copies unclosed formatting elements into every later block, and
matches every rule with every element. So depth, copies and products are bounded here.

The count errs upwards. An element leaves it only by what makes every parser leave it: its own end tag right
above it, or a start or end tag that implies it. Where parsers may split the text differently (raw text inside
`<svg>` or `<select>`, script escapes), the body is refused.

Every mail is checked, not every template: `|safe` and posted bodies let data bring markup of their own. A
small body passes on its length and its number of tags alone, which costs a microsecond.
"""

import re
from typing import Final

from posthouse.compose.limits import Limits
from posthouse.compose.markup import ATTRIBUTES, RAW_TEXT, TOKEN, VOID, end_of_raw_text
from posthouse.domain.errors import RenderFailed

MAX_DEPTH: Final = 256
_MAX_COPIES: Final = 200_000
_MAX_ATTRIBUTES: Final = 500
_MAX_STYLE_MARKS: Final = 3_000  # declarations and rules
_MAX_STYLE_WORK: Final = 500_000_000  # marks^2 * tags: about a second
_MAX_SELECTOR_WORK: Final = 20_000_000

_SMALL_CHARACTERS: Final = 64_000
_SMALL_TAGS: Final = 256
_SMALL_STYLE_MARKS: Final = 512

_FORMATTING = frozenset(
    {"a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"}
)
_FOREIGN = frozenset({"svg", "math"})
_REFUSED = frozenset({"frameset", "plaintext"})  # they end the document's structure

_CELL = frozenset({"td", "th", "p"})
_ROW = _CELL | {"tr"}
_SECTION = _ROW | {"tbody", "thead", "tfoot"}
_ITEM = frozenset({"li", "p", "dt", "dd", "option"})
#: What a start tag closes when it is open right above (elements whose end tag may be left out).
_CLOSED_BY_START = {
    "li": frozenset({"li", "p"}), "dt": frozenset({"dt", "dd", "p"}), "dd": frozenset({"dt", "dd", "p"}),
    "option": frozenset({"option"}), "td": _CELL, "th": _CELL, "tr": _ROW,
    "tbody": _SECTION, "tfoot": _SECTION,
    **dict.fromkeys(("p", "div", "ul", "ol", "dl", "hr"), frozenset({"p"})),
    **dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), frozenset({"p"})),
}  # fmt: skip
#: What an end tag closes on its way to its own start tag.
_CLOSED_BY_END = {
    "table": _SECTION, "tbody": _ROW, "thead": _ROW, "tfoot": _ROW, "tr": _CELL,
    **dict.fromkeys(("td", "th", "div", "center", "ul", "ol", "dl", "li", "blockquote", "section"), _ITEM),
}  # fmt: skip
_NOTHING: frozenset[str] = frozenset()


def check(html: str, limits: Limits) -> None:
    """Raises RenderFailed, in words for the template's author, when a parser should not be given `html`."""
    size = check_text(html, limits)
    tags = html.count("<")
    marks = html.count(";") + html.count("{")
    if tags <= _SMALL_TAGS and marks <= _SMALL_STYLE_MARKS and size <= _SMALL_CHARACTERS:
        return
    _check_styles(html, tags)
    _Tree().check(html)


def check_text(html: str, limits: Limits) -> int:
    """Only that it is text, and no more of it than a mail may hold: its bytes. Raises RenderFailed."""
    if "\x00" in html:
        raise _refused("holds a NUL character")
    size = _encoded_size(html)
    if size > limits.html_bytes:
        raise _refused(f"is larger than {limits.html_bytes >> 10} KB")
    return size


def _encoded_size(html: str) -> int:
    try:
        return len(html.encode())
    except UnicodeEncodeError as error:
        raise _refused("holds half a character (a lone surrogate)") from error


def _check_styles(html: str, tags: int) -> None:
    marks = selectors = 0
    for sheet in _style_sheets(html):
        marks += sheet.count("{") + sheet.count(";")
        selectors += sheet.count(",") + sheet.count("{")
    if marks > _MAX_STYLE_MARKS or marks * marks * tags > _MAX_STYLE_WORK:
        raise _refused(f"has {marks} style rules and declarations for {tags} tags: more than can be inlined")
    if selectors * tags > _MAX_SELECTOR_WORK:
        raise _refused(f"has {selectors} style selectors for {tags} tags: more than can be inlined")


def _style_sheets(html: str) -> list[str]:
    """The text after each `<style` up to its end, or to the end of the body."""
    pieces = re.split(r"<style\b", html, flags=re.IGNORECASE)[1:]
    return [re.split(r"</style", piece, maxsplit=1, flags=re.IGNORECASE)[0] for piece in pieces]


class _Tree:
    """The open elements while the tokens of one body go by."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._formatting = 0  # of the open ones
        self._foreign = False  # an <svg> or <math> was seen: implied ends do not hold in it
        self._misnested = False
        self._copies = 0

    def check(self, html: str) -> None:
        position = 0
        while (token := TOKEN.match(html, position)) is not None:
            position = token.end()
            written_name = token["name"]
            if written_name is None:
                self._check_other(token["other"])
                continue
            # Only ASCII letters: the Kelvin sign of `<lin\u212a>` would become the k of a void element.
            name = written_name.lower() if written_name.isascii() else written_name
            self._count_copies()
            if token["slash"]:
                self._end(name)
                continue
            self._check_attributes(name, token["rest"])
            if name in RAW_TEXT:
                position = self._skip_raw_text(html, name, position)
            elif name not in VOID:
                self._start(name)

    def _start(self, name: str) -> None:
        if name in _REFUSED:
            raise _refused(f"has a <{name}> tag")
        self._foreign = self._foreign or name in _FOREIGN
        if not self._foreign:
            self._close_implied(_CLOSED_BY_START.get(name, _NOTHING), least=0)
        self._open.append(name)
        self._formatting += name in _FORMATTING
        if len(self._open) > MAX_DEPTH:
            raise _refused(f"nests more than {MAX_DEPTH} tags, or leaves as many open")

    def _end(self, name: str) -> None:
        if not self._foreign:
            self._close_up_to(name)
        if self._open and self._open[-1] == name:
            self._open.pop()
            self._formatting -= name in _FORMATTING
        else:
            self._misnested = True

    def _close_up_to(self, name: str) -> None:
        """Close what an end tag implies, if its own element is right below that."""
        implied = _CLOSED_BY_END.get(name, _NOTHING)
        depth = len(self._open) - 1
        while depth >= 0 and self._open[depth] != name and self._open[depth] in implied:
            depth -= 1
        if depth >= 0 and self._open[depth] == name:
            self._close_implied(implied, least=depth + 1)

    def _close_implied(self, implied: frozenset[str], *, least: int) -> None:
        while len(self._open) > least and self._open[-1] in implied:
            self._open.pop()

    def _count_copies(self) -> None:
        """After one misnested end, a parser may repeat all open formatting elements at any tag."""
        if not self._misnested:
            return
        self._copies += self._formatting
        if self._copies > _MAX_COPIES:
            raise _refused("leaves formatting tags like <b> or <font> open over many others")

    def _skip_raw_text(self, html: str, name: str, start: int) -> int:
        end = end_of_raw_text(html, name, start)
        if name == "script" and "<!--" in html[start:end]:
            raise _refused("has a comment in a script")
        if (self._foreign or "select" in self._open) and "<" in html[start:end]:
            raise _refused(f"has a <{name}> tag with markup inside <svg>, <math> or <select>")
        return end

    def _check_other(self, other: str | None) -> None:
        if self._foreign and other is not None and other.startswith("<![CDATA["):
            raise _refused("has a CDATA section")

    def _check_attributes(self, name: str, rest: str) -> None:
        if len(rest) > _MAX_ATTRIBUTES and len(ATTRIBUTES.findall(rest)) > _MAX_ATTRIBUTES:
            raise _refused(f"has a <{name[:20]}> tag with more than {_MAX_ATTRIBUTES} attributes")


def _refused(reason: str) -> RenderFailed:
    return RenderFailed(f"The HTML {reason}.", code="html_refused")
