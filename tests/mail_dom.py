"""HTML as a reader's parser has it, so that two spellings of one mail compare equal."""

from collections.abc import Iterator
from typing import TypeAlias

from selectolax.lexbor import LexborHTMLParser, LexborNode

Dom: TypeAlias = "str | tuple[str, tuple[tuple[str, str], ...], tuple[Dom, ...]]"


def dom(html: str) -> tuple[Dom, list[Dom]]:
    """The body: elements with their attributes, comments, texts with their white space collapsed. And what
    stands around it, in no order: the inliner moves a style sheet to the front of the head."""
    root = LexborHTMLParser(html).root
    assert root is not None
    assert root.parent is not None
    body: Dom = ""
    around: list[Dom] = [("html", _attributes(root), ())]
    for node in (*_children(root.parent), *_children(root)):
        if node.tag == "body":
            body = _of(node)
        elif node.tag == "head":
            around += map(_of, (child for child in _children(node) if not child.is_text_node))
        elif node.is_comment_node:
            around.append(_of(node))
    return body, sorted(around, key=repr)


def _of(node: LexborNode) -> Dom:
    if node.is_comment_node:
        return f"<!--{node.comment_content}-->"
    children: list[Dom] = []
    text = ""
    for child in _children(node):
        if child.is_text_node:
            text += child.text_content or ""
        else:
            children += (*_words(text), _of(child))
            text = ""
    return node.tag or "", _attributes(node), (*children, *_words(text))


def _children(node: LexborNode) -> Iterator[LexborNode]:
    child = node.first_child
    while child is not None:
        yield child
        child = child.next


def _attributes(node: LexborNode) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value or "") for name, value in node.attributes.items()))


def _words(text: str) -> list[Dom]:
    collapsed = " ".join(text.split())
    return [collapsed] if collapsed else []
