"""The plain text of an HTML mail, as a person would have written it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from posthouse.compose.html_tags import tag_tokens
from posthouse.compose.html_tree import tree_tokens
from posthouse.compose.text_page import Page, shown
from posthouse.compose.text_table import Row, aligned
from posthouse.compose.text_tokens import Token

_BLOCKS: Final = {
    "address": 1, "article": 1, "aside": 1, "blockquote": 1, "caption": 0, "center": 0, "dd": 0, "details": 1,
    "div": 0, "dl": 1, "dt": 0, "fieldset": 1, "figcaption": 0, "figure": 1, "footer": 1, "form": 0, "h1": 1,
    "h2": 1, "h3": 1, "h4": 1, "h5": 1, "h6": 1, "header": 1, "li": 0, "main": 1, "nav": 1, "ol": 1, "p": 1,
    "pre": 1, "section": 1, "summary": 0, "table": 1, "tbody": 0, "td": 0, "tfoot": 0, "th": 0, "thead": 0,
    "tr": 0, "ul": 1,
}  # fmt: skip
_MARGINS: Final = _BLOCKS | {f"/{name}": margin for name, margin in _BLOCKS.items()}
_LISTS: Final = frozenset({"ul", "ol", "/ul", "/ol"})
_UNDERLINED_WIDTH: Final = 60
_RULE_WIDTH: Final = 40
_ANY_WIDTH: Final = 1_000_000


@dataclass(slots=True)
class _List:
    """A list that is being written; `number` is the next item's, None for bullets."""

    number: int | None


def plain_text(html: str) -> str:
    """The text of a body that `guard.check` let pass. Links read `text (address)`. Linear in the body."""
    tokens = tag_tokens(html)
    if tokens is None:
        tokens = tree_tokens(html)
    page = Page()
    _Writer(page).write(tokens)
    return page.finished()


class _Writer:
    """Writes tokens to a page."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._lists: list[_List] = []
        self._links: list[tuple[int, str]] = []  # where the text of each open link begins, and its address
        self._cells: list[int] = []  # where each open table cell begins
        self._verbatim = 0

    def write(self, tokens: Sequence[Token]) -> None:
        page, lists = self._page, self._lists
        done = 0  # a table of facts is written all at once
        for place, (text, tag, attributes) in enumerate(tokens):
            if place < done:
                continue
            if text:
                page.text(text) if not self._verbatim else page.verbatim(text)
            if not tag:
                continue
            begin, end, margin = _BEGIN.get(tag), _END.get(tag), _MARGINS.get(tag)
            if end is not None:
                end(self)
            if margin is not None:
                page.margin(margin if not (lists and tag in _LISTS) else 0)
            if begin is not None:
                begin(self, attributes)
            elif tag == "table":
                done = self._facts(tokens, place + 1)

    def begin_line(self, _: Mapping[str, str]) -> None:
        if self._page.end_line() == 0:
            self._page.margin(1)

    def begin_rule(self, _: Mapping[str, str]) -> None:
        self._page.margin(1)
        self._page.rule("-", _RULE_WIDTH)
        self._page.margin(1)

    def begin_image(self, attributes: Mapping[str, str]) -> None:
        if attributes.get("width") not in ("0", "1") and attributes.get("height") not in ("0", "1"):
            self._page.text(attributes.get("alt", ""))

    def begin_link(self, attributes: Mapping[str, str]) -> None:
        self._links.append((self._page.mark(), attributes.get("href", "")))

    def end_link(self) -> None:
        mark, href = self._links.pop()
        target = _shown_target(href)
        if not target:
            return
        text = self._page.since(mark)
        if not _same_place(text, target):
            self._page.text(f" ({target})" if text else f" {target}")

    def begin_verbatim(self, _: Mapping[str, str]) -> None:
        self._verbatim += 1

    def end_verbatim(self) -> None:
        self._verbatim -= 1

    def begin_bullets(self, _: Mapping[str, str]) -> None:
        self._lists.append(_List(None))

    def begin_numbers(self, attributes: Mapping[str, str]) -> None:
        self._lists.append(_List(_number(attributes.get("start", ""), 1)))

    def end_list(self) -> None:
        self._page.end_line()
        self._lists.pop()

    def begin_item(self, _: Mapping[str, str]) -> None:
        marker = self._next_marker()
        self._page.indent(" " * len(marker), marker)

    def begin_definition(self, _: Mapping[str, str]) -> None:
        self._page.indent("  ")

    def begin_quote(self, _: Mapping[str, str]) -> None:
        self._page.indent("> ")

    def end_indented(self) -> None:
        self._page.outdent()

    def begin_cell(self, _: Mapping[str, str]) -> None:
        self._cells.append(self._page.height())

    def end_cell(self) -> None:
        if self._page.height() - self._cells.pop() > 1:
            self._page.margin(1)

    def end_title(self) -> None:
        self._underline("=")

    def end_subtitle(self) -> None:
        self._underline("-")

    def _underline(self, character: str) -> None:
        page = self._page
        if page.end_line() == 1 and page.last_line_width() <= _UNDERLINED_WIDTH:
            page.rule(character, page.last_line_width())

    def _next_marker(self) -> str:
        if not self._lists:
            return "* "
        current = self._lists[-1]
        if current.number is None:
            return "* "
        current.number += 1
        return f"{current.number - 1}. "

    def _facts(self, tokens: Sequence[Token], start: int) -> int:
        """Write a table that tells facts; the place after it, 0 when it is to be written as blocks."""
        end = _end_of_table(tokens, start)
        rows = _data_rows(tokens, start, end)
        if not _are_facts(rows):
            return 0
        if tokens[start][1] == "caption":
            self.write(tokens[start : _place_of("/caption", tokens, start)])
            self._page.end_line()
        self._page.lines(aligned(rows, self._page.room()))
        self._page.margin(1)
        return end + 1


_BEGIN: Final[Mapping[str, Callable[[_Writer, Mapping[str, str]], None]]] = {
    "a": _Writer.begin_link, "blockquote": _Writer.begin_quote, "br": _Writer.begin_line,
    "dd": _Writer.begin_definition, "hr": _Writer.begin_rule, "img": _Writer.begin_image,
    "li": _Writer.begin_item, "ol": _Writer.begin_numbers, "pre": _Writer.begin_verbatim,
    "td": _Writer.begin_cell, "th": _Writer.begin_cell, "ul": _Writer.begin_bullets,
}  # fmt: skip
_END: Final[Mapping[str, Callable[[_Writer], None]]] = {
    "/a": _Writer.end_link, "/blockquote": _Writer.end_indented, "/dd": _Writer.end_indented,
    "/h1": _Writer.end_title, "/h2": _Writer.end_subtitle, "/li": _Writer.end_indented,
    "/ol": _Writer.end_list, "/pre": _Writer.end_verbatim, "/td": _Writer.end_cell, "/th": _Writer.end_cell,
    "/ul": _Writer.end_list,
}  # fmt: skip


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
    if target[:1] != "+" and _last_letter(text) != _last_letter(target):
        return False  # most links; the rest costs more
    return _bare(text) == _bare(target)


def _last_letter(address: str) -> str:
    return address.rstrip("/")[-1:].casefold()


def _bare(address: str) -> str:
    bare = address.strip().casefold()
    for prefix in ("https://", "http://"):
        bare = bare.removeprefix(prefix)
    bare = bare.removeprefix("www.").rstrip("/")
    return "".join(bare.split()) if bare[:1] != "+" else "".join(c for c in bare if c.isdigit() or c == "+")


def _end_of_table(tokens: Sequence[Token], start: int) -> int:
    """The place of its end tag; `start` when another table is in it: then it places blocks."""
    for place in range(start, len(tokens)):
        tag = tokens[place][1]
        if tag == "/table":
            return place
        if tag == "table":
            break
    return start


def _data_rows(tokens: Sequence[Token], start: int, end: int) -> list[Row]:
    rows: list[Row] = []
    place = start
    while place < end:
        _, tag, attributes = tokens[place]
        place += 1
        if tag == "tr":
            rows.append(Row([]))
        elif tag in ("td", "th") and rows:
            begin = place
            place = _place_of(f"/{tag}", tokens, begin)
            span = _number(attributes.get("colspan", ""), 1) if attributes else 1
            rows[-1].is_header |= tag == "th"
            rows[-1].cells.append((_cell(tokens, begin, place), span))
    return rows


def _place_of(tag: str, tokens: Sequence[Token], start: int) -> int:
    place = start
    while tokens[place][1] != tag:
        place += 1
    return place


def _cell(tokens: Sequence[Token], start: int, end: int) -> str:
    """The text of the tokens before the end tag at `end`."""
    if start == end:
        return shown(tokens[end][0])
    page = Page(_ANY_WIDTH)
    _Writer(page).write(tokens[start:end])
    page.text(tokens[end][0])
    return page.finished().rstrip("\n")


def _are_facts(rows: Sequence[Row]) -> bool:
    """Whether a table tells facts rather than places blocks: short texts beside each other."""
    texts = [[text for text, _ in row.cells if text] for row in rows]
    return max(map(len, texts), default=0) > 1 and not any("\n" in text for row in texts for text in row)


def _number(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else default
