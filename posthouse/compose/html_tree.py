"""A body as a small tree of what plain text needs: no comments, no scripts, nothing hidden."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from selectolax.lexbor import LexborHTMLParser, LexborNode

_DROPPED: Final = frozenset(
    {"head", "script", "style", "template", "title", "noscript", "object", "iframe", "svg", "math", "select",
     "textarea", "audio", "video", "-comment", "!doctype"}
)  # fmt: skip
#: How mail hides a preheader: from its readers, but not from the list of mails.
_HIDING = re.compile(
    r"display\s*+:\s*+none|visibility\s*+:\s*+hidden|mso-hide\s*+:\s*+all"
    r"|(?:^|[;\s])(?:font-size|max-height|max-width|opacity|line-height)\s*+:\s*+0(?:px|pt|em|%)?\s*+(?:;|!|$)",
    re.IGNORECASE,
)
_KEPT_ATTRIBUTES: Final = frozenset({"href", "alt", "colspan", "start", "width", "height"})


@dataclass(slots=True)
class Element:
    tag: str
    attributes: Mapping[str, str]
    children: list["Node"] = field(default_factory=list)
    has_table: bool = False  # anywhere below


Node: TypeAlias = Element | str


def parse_visible(html: str) -> Element:
    """The visible content of a body that `guard.check` let pass."""
    root = Element("body", {})
    body = LexborHTMLParser(html).body
    if body is None:
        return root
    open_elements = [root]
    node = body.first_child
    while node is not None:
        element = _visible(node, open_elements[-1])
        child = node.first_child if element is not None else None
        if element is not None and child is not None:
            open_elements.append(element)
            node = child
            continue
        while node is not None and node.next is None:
            if len(open_elements) == 1:
                return root
            _leave(open_elements)
            node = node.parent
        node = node.next if node is not None else None
    return root


def _visible(node: LexborNode, parent: Element) -> Element | None:
    """Add what can be seen of a node to its parent; the element, if there may be more in it."""
    if node.is_text_node:
        parent.children.append(node.text_content or "")
        return None
    tag = node.tag or ""
    if tag in _DROPPED or not node.is_element_node:
        return None
    attributes = node.attributes
    if attributes:
        if "hidden" in attributes or _HIDING.search(attributes.get("style") or ""):
            return None
        attributes = {name: value for name, value in attributes.items() if name in _KEPT_ATTRIBUTES}
    element = Element(tag, {name: value or "" for name, value in attributes.items()})
    parent.children.append(element)
    if tag == "table":
        parent.has_table = True
    return element


def _leave(open_elements: list[Element]) -> None:
    element = open_elements.pop()
    open_elements[-1].has_table |= element.has_table
