"""Lines of plain text: paragraphs wrapped at 78 columns, with margins, quotes and list markers."""

import re
from collections.abc import Iterable
from typing import Final

WIDTH: Final = 78
_LEAST_WIDTH: Final = 20
_MAX_PREFIXES: Final = 8  # deeper quotes and lists go no further to the right
_SPACES = re.compile(r"[ \t\n\f\r]+")
#: Marks that only hold lines together or apart in HTML. Direction marks stay: they belong to the text.
_INVISIBLE = re.compile("[\u200b\u2060\ufeff\u00ad\u034f\u2800]+")
#: Joiners have a meaning between letters and in emoji, and none beside a space.
_LONE_JOINER = re.compile("(?<![^\\s\u200c\u200d])[\u200c\u200d]+|[\u200c\u200d]+(?![^\\s\u200c\u200d])")
_NO_BREAK_SPACE: Final = "\u00a0"


class Page:
    """Collects text and breaks it into lines."""

    def __init__(self, width: int = WIDTH) -> None:
        self._width = width
        self._lines: list[str] = []
        self._run: list[str] = []  # pieces of the line that is not yet broken
        self._margin = 0  # blank lines due before the next line
        self._margin_depth = _MAX_PREFIXES  # how many prefixes the blank lines are within
        self._prefixes: list[str] = []
        self._marker: str | None = None  # of a list item that has no line yet

    def text(self, text: str) -> None:
        """Running text; white space in it collapses."""
        self._run.append(text)

    def verbatim(self, text: str) -> None:
        """Lines that are not wrapped."""
        self.end_line()
        for line in text.strip("\n").split("\n"):
            self._put(line.rstrip())

    def lines(self, lines: Iterable[str]) -> None:
        """Lines that are wrapped only where they are too long."""
        self.end_line()
        for line in lines:
            for part in self._wrap(line):
                self._put(part)

    def mark(self) -> int:
        """A place in the running text, for `since`."""
        return len(self._run)

    def since(self, mark: int) -> str:
        """The running text after a mark, as it will read. Empty when a line has ended since."""
        return collapsed("".join(self._run[mark:]))

    def end_line(self) -> int:
        """Break the running text into lines; how many there were."""
        if not self._run:
            return 0
        text = collapsed("".join(self._run))
        self._run.clear()
        if not text:
            return 0
        wrapped = self._wrap(text)
        for line in wrapped:
            self._put(line)
        return len(wrapped)

    def margin(self, lines: int) -> None:
        """At least so many blank lines before what comes next. Margins do not add up."""
        if self._run:
            self.end_line()
        if self._marker is None:  # nothing yet stands beside a list item's marker
            self._margin = max(self._margin, lines)
            if lines:
                self._margin_depth = min(self._margin_depth, len(self._prefixes))

    def room(self) -> int:
        """How long a line may be here."""
        return max(_LEAST_WIDTH, self._width - len(self._prefix()))

    def height(self) -> int:
        """Lines so far."""
        self.end_line()
        return len(self._lines)

    def rule(self, character: str, width: int) -> None:
        self.end_line()
        self._put(character * width)

    def last_line_width(self) -> int:
        return len(self._lines[-1]) - len(self._prefix()) if self._lines else 0

    def indent(self, prefix: str, marker: str | None = None) -> None:
        """Begin a quote or list item: every line gets `prefix`, the first one `marker` in its stead."""
        self.end_line()
        if self._marker is not None:
            self._put("")
        self._prefixes.append(prefix)
        self._marker = marker

    def outdent(self) -> None:
        self.end_line()
        self._marker = None
        self._prefixes.pop()

    def finished(self) -> str:
        """All lines, with one line end at the end; empty for an empty page."""
        self.end_line()
        text = "\n".join(self._lines).strip("\n")
        return text.replace(_NO_BREAK_SPACE, " ") + "\n" if text else ""

    def _prefix(self) -> str:
        return "".join(self._prefixes[:_MAX_PREFIXES])

    def _put(self, line: str) -> None:
        if self._margin and self._lines:
            self._lines += ["".join(self._prefixes[: self._margin_depth]).rstrip(" ")] * self._margin
        self._margin = 0
        self._margin_depth = _MAX_PREFIXES
        self._lines.append((self._next_prefix() + line).rstrip(" "))

    def _next_prefix(self) -> str:
        if not self._prefixes:
            return ""
        if self._marker is None:
            return self._prefix()
        outer = "".join(self._prefixes[: min(len(self._prefixes), _MAX_PREFIXES) - 1])
        prefix = outer + self._marker
        self._marker = None
        return prefix

    def _wrap(self, text: str) -> list[str]:
        """Lines as long as they may be; a word that is longer has one of its own."""
        width = self.room()
        lines: list[str] = []
        start = 0
        while len(text) - start > width:
            end = text.rfind(" ", start, start + width + 1)
            if end < 0:
                end = text.find(" ", start + width)
            if end < 0:
                break
            lines.append(text[start:end])
            start = end + 1
        lines.append(text[start:])
        return lines


def shown(text: str) -> str:
    """Running text that stands on a line of its own."""
    return collapsed(text).replace(_NO_BREAK_SPACE, " ")


def collapsed(text: str) -> str:
    """Running text as a browser shows it, without the marks that nobody sees."""
    if text.isascii():
        return " ".join(text.split())
    text = _SPACES.sub(" ", text)
    text = _LONE_JOINER.sub("", _INVISIBLE.sub("", text))
    text = _SPACES.sub(" ", text)
    return text.strip(" " + _NO_BREAK_SPACE)
