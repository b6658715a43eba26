"""Whatever the guard lets pass, the parsers survive; deeper than it says, they never get."""

from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from posthouse.compose.guard import MAX_DEPTH, check
from posthouse.compose.inline_css import inline_css
from posthouse.compose.limits import Limits
from posthouse.compose.plain_text import plain_text
from posthouse.domain.errors import RenderFailed

_NAMES = [
    "div",
    "p",
    "b",
    "a",
    "font",
    "table",
    "tr",
    "td",
    "tbody",
    "li",
    "ul",
    "select",
    "option",
    "svg",
    "math",
    "style",
    "script",
    "title",
    "textarea",
    "template",
    "br",
    "h1",
    "span",
    "button",
    "form",
    "noscript",
]
_names = st.sampled_from(_NAMES)
_pieces = st.one_of(
    _names.map(lambda n: f"<{n}>"),
    _names.map(lambda n: f"</{n}>"),
    _names.map(lambda n: f"<{n} title='</{n}>'>"),
    _names.map(lambda n: f"<!--</{n}>-->"),
    _names.map(lambda n: f"<{n} a=\"<{n}>\" b='x'/>"),
    st.sampled_from(
        ["<!--", "-->", "<!", "<?", ">", '"', "'", "=", "<", "</", "x", "--!>", "<![CDATA[", "]]>"]
    ),
)


@given(st.lists(_pieces, min_size=1, max_size=12).map("".join), st.integers(100, 400))
@settings(max_examples=250, deadline=None)
def test_the_tree_is_never_much_deeper_than_the_guard_counts(unit: str, times: int) -> None:
    body = unit * times
    try:
        check(body, Limits())
    except RenderFailed:
        return
    assert _depth(body) <= 3 * MAX_DEPTH + 10  # a <td> brings its <tbody> and <tr>
    plain_text(body)
    inline_css("<style>p{a:b}</style>" + body)


def _depth(body: str) -> int:
    depth = deepest = 0
    node = LexborHTMLParser(body).root
    while node is not None:
        if node.first_child is not None:
            node, depth = node.first_child, depth + 1
            deepest = max(deepest, depth)
            continue
        while node is not None and node.next is None:
            node, depth = node.parent, depth - 1
        node = node.next if node is not None else None
    return deepest
