"""The plain text of an HTML mail, as a person would have written it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from posthouse.compose.html_tree import Element, Node, parse_visible
from posthouse.compose.text_page import Page
from posthouse.compose.text_table import Row, aligned

_BLOCKS: Final = {
    "address": 1, "article": 1, "aside": 1, "blockquote": 1, "caption": 0, "center": 0, "dd": 0, "details": 1,
    "div": 0, "dl": 1, "dt": 0, "fieldset": 1, "figcaption": 0, "figure": 1, "footer": 1, "form": 0, "h1": 1,
    "h2": 1, "h3": 1, "h4": 1, "h5": 1, "h6": 1, "header": 1, "li": 0, "main": 1, "nav": 1, "ol": 1, "p": 1,
    "pre": 1, "section": 1, "summary": 0, "table": 1, "tbody": 0, "td": 0, "tfoot": 0, "th": 0, "thead": 0,
    "tr": 0, "ul": 1,
}  # fmt: skip
_UNDERLINES: Final = {"h1": "=", "h2": "-"}
_UNDERLINED_WIDTH: Final = 60
_RULE_WIDTH: Final = 40
_ANY_WIDTH: Final = 1_000_000


@dataclass(slots=True)
class _List:
    """A list that is being written; `number` is the next item's, None for bullets."""

    number: int | None


def plain_text(html: str) -> str:
    """The text of a body that `guard.check` let pass. Links read `text (address)`. Linear in the body."""
    page = Page()
    _Writer(page).write(parse_visible(html))
    return page.finished()


class _Writer:
    """Walks a tree without recursion: the tree is as deep as the mail's author liked."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._lists: list[_List] = []
        self._links: list[int] = []  # marks where the text of each open link begins
        self._cells: list[int] = []  # where each open table cell begins
        self._verbatim = 0

    def write(self, root: Element) -> None:
        steps: list[tuple[Element, Iterator[Node]]] = [(root, iter(root.children))]
        while steps:
            element, children = steps[-1]
            child = next(children, None)
            if child is None:
                self._leave(element)
                steps.pop()
            elif isinstance(child, str):
                self._text(child)
            elif self._enter(child):
                steps.append((child, iter(child.children)))

    def _text(self, text: str) -> None:
        if self._verbatim:
            self._page.verbatim(text)
        else:
            self._page.text(text)

    def _enter(self, element: Element) -> bool:
        """Begin an element; False when nothing in it is to be walked."""
        page, tag = self._page, element.tag
        margin = _BLOCKS.get(tag)
        if margin is not None:
            page.margin(margin if not (self._lists and tag in ("ul", "ol")) else 0)
        if tag == "table" and not element.has_table and (rows := _data_rows(element)):
            page.verbatim("\n".join(aligned(rows)))
            page.margin(1)
            return False
        match tag:
            case "br":
                if page.end_line() == 0:
                    page.margin(1)
            case "hr":
                page.margin(1)
                page.rule("-", _RULE_WIDTH)
                page.margin(1)
            case "img":
                self._image(element)
            case "a":
                self._links.append(page.mark())
            case "pre":
                self._verbatim += 1
            case "ul":
                self._lists.append(_List(None))
            case "ol":
                self._lists.append(_List(_number(element.attributes.get("start", ""), 1)))
            case "li":
                marker = self._next_marker()
                page.indent(" " * len(marker), marker)
            case "td" | "th":
                self._cells.append(page.height())
            case "dd":
                page.indent("  ")
            case "blockquote":
                page.indent("> ")
            case _:
                pass
        return True

    def _leave(self, element: Element) -> None:
        page, tag = self._page, element.tag
        match tag:
            case "a":
                self._link(element, self._links.pop())
            case "pre":
                self._verbatim -= 1
            case "ul" | "ol":
                page.end_line()
                self._lists.pop()
            case "li" | "dd" | "blockquote":
                page.outdent()
            case "td" | "th":
                if page.height() - self._cells.pop() > 1:
                    page.margin(1)
            case "h1" | "h2":
                if page.end_line() == 1 and page.last_line_width() <= _UNDERLINED_WIDTH:
                    page.rule(_UNDERLINES[tag], page.last_line_width())
            case _:
                pass
        margin = _BLOCKS.get(tag)
        if margin is not None:
            page.margin(margin if not (self._lists and tag in ("ul", "ol")) else 0)

    def _next_marker(self) -> str:
        if not self._lists:
            return "* "
        current = self._lists[-1]
        if current.number is None:
            return "* "
        current.number += 1
        return f"{current.number - 1}. "

    def _image(self, element: Element) -> None:
        attributes = element.attributes
        if attributes.get("width") not in ("0", "1") and attributes.get("height") not in ("0", "1"):
            self._page.text(attributes.get("alt", ""))

    def _link(self, element: Element, mark: int) -> None:
        target = _shown_target(element.attributes.get("href", ""))
        if not target:
            return
        text = self._page.since(mark)
        if _same_place(text, target):
            return
        self._page.text(f" ({target})" if text else f" {target}")


def _shown_target(href: str) -> str:
    """Where a link leads, as far as a reader can use it."""
    url = href.strip().replace("\n", "").replace("\t", "").replace(" ", "%20")
    scheme = url.partition(":")[0].lower()
    match scheme:
        case "http" | "https":
            return url
        case "mailto":
            return url[len("mailto:") :].partition("?")[0]
        case "tel":
            return url[len("tel:") :]
        case _:
            return ""


def _same_place(text: str, target: str) -> bool:
    return _bare(text) == _bare(target)


def _bare(address: str) -> str:
    bare = address.strip().casefold()
    for prefix in ("https://", "http://"):
        bare = bare.removeprefix(prefix)
    bare = bare.removeprefix("www.").rstrip("/")
    return "".join(bare.split()) if bare[:1] != "+" else "".join(c for c in bare if c.isdigit() or c == "+")


def _data_rows(table: Element) -> list[Row]:
    """The rows of a table that tells facts rather than places blocks; empty when its cells are blocks."""
    rows = []
    for row in _rows(table):
        cells = []
        for cell in row.children:
            if isinstance(cell, str) or cell.tag not in ("td", "th"):
                continue
            page = Page(_ANY_WIDTH)
            _Writer(page).write(Element("", {}, cell.children))
            cells.append((page.finished().rstrip("\n"), _number(cell.attributes.get("colspan", ""), 1)))
        is_header = any(isinstance(cell, Element) and cell.tag == "th" for cell in row.children)
        rows.append(Row(cells, is_header=is_header))
    return rows if _are_facts(rows) else []


def _rows(table: Element) -> Iterator[Element]:
    for child in table.children:
        if isinstance(child, str):
            continue
        if child.tag == "tr":
            yield child
        elif child.tag in ("tbody", "thead", "tfoot"):
            yield from (row for row in child.children if isinstance(row, Element) and row.tag == "tr")


def _are_facts(rows: list[Row]) -> bool:
    filled = [sum(bool(text) for text, _ in row.cells) for row in rows]
    if max(filled, default=0) < 2:
        return False
    return all("\n" not in text for row in rows for text, _ in row.cells)


def _number(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else default
