"""The visible tokens of a body whose tags alone tell the tree that a browser would build.

Most mail is such: every element is closed by its own end tag, and stands where no browser would move it or
close another for it. Reading it takes a third of what a parser takes. A body that is not such is left to the
parser.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from posthouse.compose.markup import (
    ATTRIBUTES,
    BOGUS_REST,
    COMMENT_REST,
    VOID,
    unescape_attribute,
    unescape_text,
)
from posthouse.compose.text_tokens import NO_ATTRIBUTES, Token, visible

#: The rest of a tag that has quotes around values only, and `<` and `>` nowhere: it ends in one place only.
_REST = r"[^<>\"'=]*+(?>(?:=[ \t\n\f\r]*+(?:\"[^\"<>]*+\"|'[^'<>]*+'|[^ \t\n\f\r\"'<>=`]++)[^<>\"'=]*+)*)"
#: A comment without its end goes on to the end of the body, for a browser too: nothing is looked at twice.
_TAG = re.compile(
    rf"<(?:(/?+[a-zA-Z][a-zA-Z0-9]*+)(?=[ \t\n\f\r/>])({_REST})>|{COMMENT_REST}|{BOGUS_REST}"
    r"|(?:!|\?|/[^A-Za-z])(?s:.*+))"
)
_ONLY_HREF = re.compile(r" href=\"([^\"]*+)\"")
_SPACE: Final = " \t\n\f\r"

_SECTIONS: Final = frozenset({"tbody", "thead", "tfoot"})
_RAW: Final = frozenset({"title", "style"})
_DROPPED: Final = _RAW | {"head"}
_DOCUMENT: Final = frozenset({"", "html", "body"})
_WITHOUT_TEXT: Final = _SECTIONS | {"head", "table", "tr", "colgroup"}
#: The elements that may stand right in another, for those that do not take all.
_CHILDREN: Final[Mapping[str, frozenset[str]]] = {
    "head": frozenset({"meta", "link", "title", "style"}),
    "title": frozenset(),
    "style": frozenset(),
    "table": _SECTIONS | {"tr", "caption", "colgroup", "col"},
    **dict.fromkeys(_SECTIONS, frozenset({"tr"})),
    "tr": frozenset({"td", "th"}),
    "colgroup": frozenset({"col"}),
}
#: The elements that one must stand right in.
_PARENTS: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(_SECTIONS | {"caption", "colgroup"}, frozenset({"table"})),
    "col": frozenset({"table", "colgroup"}),
    "tr": _SECTIONS | {"table"},
    **dict.fromkeys(("td", "th"), frozenset({"tr"})),
    "li": frozenset({"ul", "ol"}),
    **dict.fromkeys(("dt", "dd"), frozenset({"dl"})),
}
_HEADINGS: Final = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
#: What ends an open paragraph.
_BLOCKS: Final = _HEADINGS | {
    "address", "article", "aside", "blockquote", "center", "dd", "div", "dl", "dt", "figcaption", "figure",
    "footer", "header", "hr", "li", "main", "nav", "ol", "p", "section", "table", "ul",
}  # fmt: skip
_PHRASES: Final = frozenset(
    {
        "a", "abbr", "area", "b", "big", "br", "cite", "code", "del", "em", "font", "i", "img", "ins", "kbd",
        "map", "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "time", "tt", "u",
        "var", "wbr",
    }
)  # fmt: skip
_STARTS: Final = _BLOCKS | _PHRASES | _PARENTS.keys() | _CHILDREN["head"] | {"html", "head", "body"}
_KNOWN: Final[frozenset[str | None]] = _STARTS | {f"/{name}" for name in _STARTS - VOID} | {None}
_REMEMBERED_CHARACTERS: Final = 512


class _NotPlain(Exception):
    """A browser would build another tree than the tags tell, or may."""


def tag_tokens(html: str) -> list[Token] | None:
    """The tokens; None for a body that must be parsed. Linear."""
    pieces = _TAG.split(html)
    texts, names, rests = pieces[::3], pieces[1::3], pieces[2::3]
    if not _KNOWN.issuperset(names):
        names = [name and name.lower() for name in names]
        if not _KNOWN.issuperset(names):
            return None
    if "<" in "".join(texts):  # it may be part of a tag
        return None
    try:
        return _read(texts, [*names, None], [*rests, None])
    except _NotPlain:
        return None


def _read(texts: Sequence[str], names: Sequence[str | None], rests: Sequence[str | None]) -> list[Token]:
    """Each text with the tag that follows it; a comment has no name, nor has the end."""
    tokens: list[Token] = []
    open_tags = [""]
    hidden = 0  # how many were open before the one that hides what is in it; 0: none does
    for text, name, rest in zip(texts, names, rests, strict=True):
        around = open_tags[-1]
        if text:
            if around in _WITHOUT_TEXT and text.strip(_SPACE):
                raise _NotPlain
            if "&" in text:
                text = unescape_text(text)
        if name is None:
            if around in _RAW:  # where it is no comment
                raise _NotPlain
            if not hidden:
                tokens.append((text, "", NO_ATTRIBUTES))
        elif name[0] == "/":
            if name[1:] != around:
                raise _NotPlain
            open_tags.pop()
            if not hidden:
                tokens.append((text, name, NO_ATTRIBUTES))
            elif hidden == len(open_tags):
                hidden = 0
        else:
            if (name in _BLOCKS and "p" in open_tags) or (name == "a" and "a" in open_tags):
                raise _NotPlain
            shown = _shown(name, rest or "", around)
            if not hidden:
                tokens.append((text, "", NO_ATTRIBUTES) if shown is None else (text, name, shown))
                if shown is None and name not in VOID:
                    hidden = len(open_tags)
            if name not in VOID:
                open_tags.append(name)
    if not _DOCUMENT.issuperset(open_tags):
        raise _NotPlain
    return tokens


def _shown(name: str, rest: str, around: str) -> Mapping[str, str] | None:
    """What is kept of a tag's attributes; None for a hidden element. Raises _NotPlain where it must not
    stand."""
    if name == "a" and (only := _ONLY_HREF.fullmatch(rest)) is not None:
        _known_shown(name, "", around)
        return {"href": unescape_attribute(only[1])}  # often new in each mail
    if len(rest) <= _REMEMBERED_CHARACTERS:
        return _known_shown(name, rest, around)
    return _read_shown(name, rest, around)


def _read_shown(name: str, rest: str, around: str) -> Mapping[str, str] | None:
    children, parents = _CHILDREN.get(around), _PARENTS.get(name)
    if (children is not None and name not in children) or (parents is not None and around not in parents):
        raise _NotPlain
    if name in _HEADINGS and around in _HEADINGS:
        raise _NotPlain
    if name in _DROPPED:
        return None
    if not rest or name in _DOCUMENT:
        return NO_ATTRIBUTES
    attributes: dict[str, str] = {}
    for key, value in ATTRIBUTES.findall(rest):
        bare = value[1:-1] if value[:1] in ("'", '"') else value
        attributes.setdefault(key.lower(), unescape_attribute(bare))
    return visible(attributes)


#: The tags of a template are the same in all its mails.
_known_shown = lru_cache(maxsize=2048)(_read_shown)
