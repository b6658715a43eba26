"""The elements of a skeleton, if it is written so plainly that they are the same in every mail made of it.

Plain means: every element is closed by its own end tag; a template's blocks stand between elements and hold
whole ones; variables stand in text and in quoted attribute values that decide nothing. So what is around an
element is the same in every mail, whatever the blocks repeat or leave out, and no mail nests deeper than the
skeleton.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from posthouse.compose.markup import ATTRIBUTES, TOKEN, VOID, end_of_raw_text
from posthouse.compose.skeleton import NotPreparable, Skeleton
from posthouse.compose.style_sheet import SELECTED_ATTRIBUTES

_HEAD: Final = frozenset({"title", "meta", "link", "style"})
_BODY: Final = frozenset(
    {
        "a", "abbr", "acronym", "address", "area", "article", "aside", "b", "bdo", "big", "blockquote", "br",
        "caption", "center", "cite", "code", "col", "colgroup", "dd", "del", "dfn", "div", "dl", "dt", "em",
        "figcaption", "figure", "font", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "i",
        "img", "ins", "kbd", "li", "main", "map", "mark", "nav", "ol", "p", "pre", "q", "s", "samp",
        "section", "small", "span", "strike", "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th",
        "thead", "time", "tr", "tt", "u", "ul", "var", "wbr",
    }
)  # fmt: skip
#: Where each of the elements that make up a document may stand; None is outside of everything.
_DOCUMENT: Final = {"html": (None,), "head": (None, "html"), "body": (None, "html")}
#: Attributes that decide what is done with their element.
_DECISIVE: Final = SELECTED_ATTRIBUTES | {"data-css-inline", "data-posthouse-track", "ses:no-track"}
_SHEET_TAG = re.compile(
    r"<style(?>(?:\s++(?:type=(?:\"text/css\"|'text/css')|media=(?:\"[^\"<>]*+\"|'[^'<>]*+')))*)\s*+>",
    re.IGNORECASE,
)
_BEGIN: Final = frozenset({"for", "if"})
_MIDDLE: Final = frozenset({"elif", "else"})
_END: Final = {"endfor": "for", "endif": "if"}


@dataclass(frozen=True, slots=True)
class Element:
    """`html[start:name_end]` is `<name`. `parent` is a place in the outline."""

    name: str
    start: int
    name_end: int
    tag_end: int
    parent: int | None
    style: tuple[int, int] | None  # where its style attribute stands, with the space before it


@dataclass(frozen=True, slots=True)
class Sheet:
    """A `<style>` element and the text in it."""

    start: int
    end: int
    text: str


@dataclass(slots=True)
class Outline:
    elements: list[Element] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)
    end_of_body: int | None = None  # where `</body>` begins


def outline_of(skeleton: Skeleton) -> Outline:
    """Raises NotPreparable for what is not that plain. Linear."""
    return _Reader(skeleton).read()


class _Reader:
    def __init__(self, skeleton: Skeleton) -> None:
        self._html = skeleton.html
        self._stem = skeleton.stem
        self._statements = skeleton.statements
        self._met = 0  # of the statements
        self._outline = Outline()
        self._open: list[int] = []  # places in the outline
        self._blocks: list[tuple[str, int]] = []  # with the number of elements open where each begins
        self._is_document = False
        self._has_loose_content = False  # outside of all elements

    def read(self) -> Outline:
        position = 0
        while (token := TOKEN.match(self._html, position)) is not None:
            position = token.end()
            if token["name"] is None:
                self._other(token.group())
            elif token["slash"]:
                self._end_tag(token["name"].lower(), token.start())
            else:
                position = self._start_tag(token["name"].lower(), token)
        _expect(position == len(self._html) and not self._open and not self._blocks)
        _expect(self._met == len(self._statements))
        _expect(not (self._is_document and self._has_loose_content))
        return self._outline

    def _start_tag(self, name: str, token: re.Match[str]) -> int:
        """Where to read on."""
        around = self._innermost()
        if name == "style":
            return self._sheet(token)
        if name in _HEAD:
            _expect(self._is_head(around) and not self._blocks)
        elif name in _DOCUMENT:
            _expect(around in _DOCUMENT[name] and not self._blocks)
            self._is_document = True
        else:
            _expect(name in _BODY)
            self._content()
        _expect(name != "a" or all(self._outline.elements[place].name != "a" for place in self._open))
        self._add(name, token)
        return self._title_end(token.end()) if name == "title" else token.end()

    def _add(self, name: str, token: re.Match[str]) -> None:
        place = len(self._outline.elements)
        element = Element(
            name=name,
            start=token.start(),
            name_end=token.end("name"),
            tag_end=token.end(),
            parent=self._open[-1] if self._open else None,
            style=self._checked_attributes(name, token.end("name"), token.end() - 1),
        )
        self._outline.elements.append(element)
        if name not in VOID and name != "title":
            self._open.append(place)

    def _end_tag(self, name: str, start: int) -> None:
        _expect(self._innermost() == name)
        _expect(not self._blocks or len(self._open) > self._blocks[-1][1])
        if name == "body":
            self._outline.end_of_body = start
        self._open.pop()

    def _other(self, written: str) -> None:
        """Text, a comment or a doctype."""
        if not written.startswith("<"):
            if self._stem in written or not written.isspace():
                self._content()
        elif written in self._statements:
            self._met += 1
            self._statement(self._statements[written].word)
        elif self._stem in written:
            # A variable in a comment; a statement there would have ended it.
            _expect(written.startswith("<!--") and f"{self._stem}s" not in written)
        else:
            _expect(written != "<")

    def _statement(self, word: str | None) -> None:
        if word is None:
            return
        self._content()
        if word in _BEGIN:
            self._blocks.append((word, len(self._open)))
            return
        _expect(bool(self._blocks) and self._blocks[-1][1] == len(self._open))
        if word not in _MIDDLE:
            _expect(_END.get(word) == self._blocks.pop()[0])

    def _content(self) -> None:
        """Something that is shown stands here, or may."""
        around = self._innermost()
        _expect(around not in ("html", "head"))
        self._has_loose_content = self._has_loose_content or around is None

    def _sheet(self, token: re.Match[str]) -> int:
        _expect(self._is_head(self._innermost()) and not self._blocks)
        _expect(_SHEET_TAG.fullmatch(token.group()) is not None)
        text, end = self._raw_text("style", token.end())
        self._outline.sheets.append(Sheet(token.start(), end, text))
        _expect(self._stem not in text and self._stem not in token.group())
        return end

    def _title_end(self, start: int) -> int:
        text, end = self._raw_text("title", start)
        _expect(f"{self._stem}s" not in text)
        return end

    def _raw_text(self, name: str, start: int) -> tuple[str, int]:
        """The text, and where the end tag ends."""
        end = end_of_raw_text(self._html, name, start)
        end_tag = TOKEN.match(self._html, end)
        if end_tag is None or not end_tag["slash"]:
            raise NotPreparable
        return self._html[start:end], end_tag.end()

    def _checked_attributes(self, name: str, start: int, end: int) -> tuple[int, int] | None:
        """Where the style attribute stands."""
        seen: set[str] = set()
        style = None
        variables = self._html.count(self._stem, start, end)
        for attribute in ATTRIBUTES.finditer(self._html, start, end):
            key = attribute[1].lower()
            _expect(key not in seen)
            seen.add(key)
            if key == "style":
                style = attribute.span()
            if variables and self._stem in (attribute[2] or ""):
                _expect(attribute[2][0] in "\"'" and f"{self._stem}s" not in attribute[2])
                _expect(key not in _DECISIVE and name != "link")
                variables -= attribute[2].count(self._stem)
        _expect(variables == 0)
        return style

    def _innermost(self) -> str | None:
        return self._outline.elements[self._open[-1]].name if self._open else None

    def _is_head(self, around: str | None) -> bool:
        return around == "head" or (around is None and not self._has_loose_content)


def _expect(is_plain: bool) -> None:
    if not is_plain:
        raise NotPreparable
