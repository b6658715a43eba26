"""What plain text is made from: the texts and tags of a body that can be seen, in their order."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

#: A text, the tag that follows it (`/p` ends a `p`; an empty one is none), and what is kept of the tag's
#: attributes. Every tag that begins an element is followed by the one that ends it, except for void elements.
Token: TypeAlias = tuple[str, str, Mapping[str, str]]

NO_ATTRIBUTES: Final[Mapping[str, str]] = MappingProxyType({})
_KEPT: Final = frozenset({"href", "alt", "colspan", "start", "width", "height"})
#: How mail hides a preheader: from its readers, but not from the list of mails.
_HIDING = re.compile(
    r"display\s*+:\s*+none|visibility\s*+:\s*+hidden|mso-hide\s*+:\s*+all"
    r"|(?:^|[;\s])(?:font-size|max-height|max-width|opacity|line-height)\s*+:\s*+0(?:px|pt|em|%)?\s*+(?:;|!|$)",
    re.IGNORECASE,
)


def visible(attributes: Mapping[str, str | None]) -> Mapping[str, str] | None:
    """What is kept of an element's attributes; None when the element is hidden."""
    style = attributes.get("style")
    if "hidden" in attributes or (style and _HIDING.search(style) is not None):
        return None
    return {name: value or "" for name, value in attributes.items() if name in _KEPT}
