"""The visible tokens of any body, by way of the tree that a browser would build."""

from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from posthouse.compose.markup import VOID
from posthouse.compose.text_tokens import NO_ATTRIBUTES, Token, visible

_DROPPED: Final = frozenset(
    {"head", "script", "style", "template", "title", "noscript", "object", "iframe", "svg", "math", "select",
     "textarea", "audio", "video", "-comment", "!doctype"}
)  # fmt: skip


def tree_tokens(html: str) -> list[Token]:
    """The tokens of a body that `guard.check` let pass. Without recursion: a tree is as deep as the mail's
    author liked."""
    tokens: list[Token] = []
    body = LexborHTMLParser(html).body
    node = body.first_child if body is not None else None
    open_tags: list[str] = []
    while node is not None:
        tag = _begin(node, tokens)
        if tag and node.first_child is not None:
            open_tags.append(tag)
            node = node.first_child
            continue
        if tag and tag not in VOID:
            tokens.append(_end(tag))
        while node is not None and node.next is None and open_tags:
            tokens.append(_end(open_tags.pop()))
            node = node.parent
        node = node.next if node is not None else None
    return tokens


def _begin(node: LexborNode, tokens: list[Token]) -> str:
    """Add what can be seen of a node; its tag, if it is an element that can be seen."""
    if node.is_text_node:
        tokens.append((node.text_content or "", "", NO_ATTRIBUTES))
        return ""
    tag = node.tag or ""
    if tag in _DROPPED or not node.is_element_node:
        return ""
    attributes = visible(node.attributes)
    if attributes is None:
        return ""
    tokens.append(("", tag, attributes))
    return tag


def _end(tag: str) -> Token:
    return "", f"/{tag}", NO_ATTRIBUTES
