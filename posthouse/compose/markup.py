"""The tokens of HTML as a browser splits them (WHATWG HTML section 13.2.5), for code that must not build a
tree.

No expression gives back what it took, so no input makes it more than linear: classes are possessive, groups
are atomic. A possessive group, `(?:...)*+`, means the same, but before Python 3.11.5 it does not match where
something in it could have gone back (https://github.com/python/cpython/issues/106052); Debian 12 has 3.11.2.
"""

import re
from functools import lru_cache
from html.entities import html5
from typing import Final

SPACE: Final = r"[ \t\n\f\r]"
_NAME: Final = r"[A-Za-z][^ \t\n\f\r/>]*+"
_VALUE: Final = r"\"[^\"]*+\"|'[^']*+'|[^ \t\n\f\r>\"'][^ \t\n\f\r>]*+"
_ATTRIBUTE: Final = rf"[ \t\n\f\r/]*+[^ \t\n\f\r/>][^ \t\n\f\r/>=]*+(?>(?:{SPACE}*+={SPACE}*+(?:{_VALUE}))?)"
#: The rest of a tag after its name, up to and with its `>`.
TAG_REST: Final = rf"(?>(?:{_ATTRIBUTE})*)[ \t\n\f\r/]*+>"
#: After `<`: a comment. `<!-->` and `<!--->` are whole ones; `--!>` ends one too.
COMMENT_REST: Final = r"!--(?:-?+>|(?>(?:[^-]++|-(?!-!?+>))*)--!?+>)"
#: After `<`: what a browser reads as a comment up to the first `>`: doctypes, `<![if mso]>`, `<?xml ...>`,
#: `</ >`.
BOGUS_REST: Final = r"(?:!(?!--)|\?|/(?![A-Za-z]))[^>]*+>"
#: After `<`: what makes it a character like others.
NOTHING_REST: Final = r"(?![A-Za-z!?/])"

#: Elements whose content is text up to their own end tag.
RAW_TEXT: Final = frozenset({"iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp"})

#: Elements that have no content and no end tag.
VOID: Final = frozenset(
    {
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
        "track", "wbr",
    }
)  # fmt: skip

TOKEN: Final = re.compile(
    rf"<(?P<slash>/?+)(?P<name>{_NAME})(?P<rest>{TAG_REST})|(?P<other><(?:{COMMENT_REST}|{BOGUS_REST}))|<{NOTHING_REST}|[^<]++"
)
ATTRIBUTES: Final = re.compile(
    rf"[ \t\n\f\r/]*+([^ \t\n\f\r/>][^ \t\n\f\r/>=]*+)(?>(?:{SPACE}*+={SPACE}*+({_VALUE}))?)"
)

#: The longest name of a character that needs no `;`, like `&plusmn`.
_LONGEST_OLD_NAME: Final = 6
_AFTER_NAME: Final = frozenset(" \t\n\f\r/>")
_MAX_CODE: Final = 0x10FFFF
_MAX_CODE_DIGITS: Final = 7
_REFERENCE = re.compile(r"&(?:#[0-9]++;?+|#[xX][0-9a-fA-F]++;?+|[A-Za-z][A-Za-z0-9]*+;?+)")


def end_of_raw_text(body: str, name: str, start: int) -> int:
    """Where the end tag of a raw text element begins; the end of the body when it has none."""
    position = body.find("</", start)
    while position >= 0:
        after = position + 2 + len(name)
        written = body[position + 2 : after]
        if written.isascii() and written.lower() == name and body[after : after + 1] in _AFTER_NAME:
            return position
        position = body.find("</", position + 2)
    return len(body)


def unescape_attribute(value: str) -> str:
    """An attribute's value without character references. `?a=1&copy=2` keeps its `&copy`: here a
    name without `;` is a reference only if neither `=` nor a letter or digit follows (section 13.2.5.73)."""
    if "&" not in value:
        return value
    if value.count("&") == value.count("&amp;"):
        return value.replace("&amp;", "&")
    return _REFERENCE.sub(_reference, value)


def unescape_text(text: str) -> str:
    """Running text without character references. Here `&copyright` is a `&copy` and more."""
    return _REFERENCE.sub(_text_reference, text) if "&" in text else text


def _text_reference(match: re.Match[str]) -> str:
    return _character(match.group())


@lru_cache(maxsize=512)
def _character(written: str) -> str:
    name = written[1:]
    if name[0] == "#":
        return _numbered(name[1:].rstrip(";"))
    if name in html5:
        return html5[name]
    for length in range(min(len(name), _LONGEST_OLD_NAME), 1, -1):
        if name[:length] in html5:
            return html5[name[:length]] + name[length:]
    return written


def _reference(match: re.Match[str]) -> str:
    written = match.group()
    if written[1] == "#":
        return _numbered(written[2:].rstrip(";"))
    if written.endswith(";"):
        return html5.get(written[1:], written)
    follower = match.string[match.end() : match.end() + 1]
    if follower == "=" or written[1:] not in html5:
        return written
    return html5[written[1:]]


def _numbered(digits: str) -> str:
    """The character of a numeric reference (section 13.2.5.80)."""
    base = 16 if digits[0] in "xX" else 10
    significant = digits[base == 16 :].lstrip("0")
    code = int(significant or "0", base) if len(significant) <= _MAX_CODE_DIGITS else 0
    if not 0 < code <= _MAX_CODE or 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    if 0x80 <= code <= 0x9F:
        return bytes((code,)).decode("cp1252", "ignore") or chr(code)
    return chr(code)
