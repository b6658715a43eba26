"""Mail addresses in running text. Linear: each "@" is looked at once, and a bounded stretch around it."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

MAX_FOUND: Final = 400
_MAX_LOCAL: Final = 64  # octets (RFC 5321 section 4.5.3.1.1)
_MAX_DOMAIN: Final = 255

_LOCAL_BACKWARDS = re.compile(r"""[\w.!#$%&'*+/=?^`{|}~-]{1,64}""", re.ASCII)
_QUOTED_BACKWARDS = re.compile(r'"[^"<>\n]{1,62}"')
_DOMAIN = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63}){0,12}", re.ASCII)
_BRACKETED = re.compile(r"[^\s<>@,;:]{1,64}@[^\s<>@,;:]{1,255}")
#: What people write before an address without a space.
_GLUED: Final = "'*=`|{"
_PREFIXES = re.compile(r"(?:rfc822|smtp|mailto|to|utf-8)[;=:]", re.IGNORECASE)


class Found(NamedTuple):
    start: int
    end: int
    address: str


def find_addresses(text: str) -> Iterator[Found]:
    """Each address, in order."""
    place = text.find("@")
    for _ in range(MAX_FOUND):
        if place < 0:
            return
        found = _around(text, place)
        if found is not None:
            yield found
        place = text.find("@", place + 1)


def _around(text: str, at: int) -> Found | None:
    before = text[max(0, at - _MAX_LOCAL) : at][::-1]
    after = text[at + 1 : at + 1 + _MAX_DOMAIN]
    local = _QUOTED_BACKWARDS.match(before) or _LOCAL_BACKWARDS.match(before)
    domain = _DOMAIN.match(after)
    if local is None or domain is None:
        return None
    name = local[0][::-1]
    name = name if name.startswith('"') else name.lstrip(_GLUED)
    host = domain[0].rstrip("-_")
    if not name or "." not in host:
        return None
    return Found(at - len(name), at + 1 + len(host), f"{name}@{host}")


def one_address(value: str) -> str:
    """The address of a field that has one: "rfc822; <a@b.example>"; "" if there is none. Any script."""
    value = value.strip()[:1000]
    inner = value[value.find("<") + 1 :] if "<" in value else _PREFIXES.sub("", value, count=1).strip()
    found = _BRACKETED.match(inner)
    if found is not None and found[0].isprintable():
        return found[0].strip("'\"`()[]").rstrip(".")
    return next((one.address for one in find_addresses(value)), "")


def without_addresses(text: str) -> str:
    """The text with "@" for each address, so that no rule reads words that are somebody's name."""
    out: list[str] = []
    place = 0
    for found in find_addresses(text):
        if found.start >= place:
            out.append(text[place : found.start])
            out.append("@")
            place = found.end
    out.append(text[place:])
    return "".join(out)
