"""Plain text against an independent HTML-to-text converter: the same words."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from inscriptis import get_text

from posthouse.compose.html_tags import tag_tokens
from posthouse.compose.html_tree import tree_tokens
from posthouse.compose.plain_text import plain_text
from posthouse.compose.text_tokens import Token

_words = st.text("abcdefgäöש", min_size=1, max_size=8)
_inline = st.recursive(
    _words,
    lambda inner: st.tuples(
        st.sampled_from(["b", "em", "span", "code", "font"]), st.lists(inner, max_size=3)
    ).map(lambda parts: f" <{parts[0]}>{' '.join(parts[1])}</{parts[0]}> "),
    max_leaves=6,
)
_blocks = st.recursive(
    _inline,
    lambda inner: st.one_of(
        st.tuples(
            st.sampled_from(["p", "div", "h1", "h2", "blockquote", "section", "center"]),
            st.lists(inner, max_size=3),
        ).map(lambda parts: f"<{parts[0]}>{' '.join(parts[1])}</{parts[0]}>"),
        st.lists(inner, max_size=3).map(
            lambda items: "<ul>" + "".join(f"<li>{i}</li>" for i in items) + "</ul>"
        ),
        st.lists(st.lists(inner, min_size=1, max_size=3), max_size=3).map(
            lambda rows: (
                "<table>"
                + "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
                + "</table>"
            )
        ),
    ),
    max_leaves=10,
)


def _bag(text: str) -> list[str]:
    return sorted(re.findall(r"[a-gäöש]+", text))


@given(_blocks)
@settings(max_examples=200, deadline=None)
def test_the_same_words_as_another_converter(body: str) -> None:
    html = f"<html><body>{body}</body></html>"
    assert _bag(plain_text(html)) == _bag(get_text(html))


@given(_blocks)
@settings(max_examples=100, deadline=None)
def test_lines_are_short_and_tidy(body: str) -> None:
    text = plain_text(body)
    assert "\n\n\n" not in text
    assert text == "" or (text.endswith("\n") and not text.startswith("\n"))
    for line in text.splitlines():
        assert len(line) <= 78
        assert line == line.rstrip()


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_string_has_a_text(html: str) -> None:
    assert isinstance(plain_text(html.encode("utf-8", "replace").decode()), str)


_attributes = st.lists(
    st.sampled_from(
        [
            " class=a", ' style="color:red"', " style='display:none'", " hidden", " href='//x.test/?a&amp;b'",
            " HREF=x.test/", " href='a > b'", " alt='&lt;'", " colspan=2", ' title="a\'b"', " a=b'c", " /",
            " =", ' x" y="z', " alt = 1",
        ]
    ),
    max_size=2,
).map("".join)  # fmt: skip
_texts = st.sampled_from(
    [
        "a",
        " ",
        "\n",
        "&amp;",
        "&copy",
        "&notit;",
        "&#8364;",
        "\u00a0",
        "x < y",
        "<!-- c -->",
        "<!-->",
        "<![if x]>",
        "a &",
    ]
)
_names = st.sampled_from(
    [
        "p", "div", "a", "b", "span", "h1", "h2", "ul", "ol", "li", "table", "tbody", "tr", "td", "th",
        "caption", "blockquote", "dl", "dd", "title", "style", "head", "body", "html", "DIV", "pre", "select",
        "colgroup",
    ]
)  # fmt: skip
_loose = st.recursive(
    st.one_of(_texts, st.sampled_from(["<br>", "<img alt=x>", "<hr/>", "<col>", "<meta x>", "</p>", "<p>"])),
    lambda inner: st.one_of(
        st.tuples(_names, _attributes, st.lists(inner, max_size=3).map("".join)).map(
            lambda e: f"<{e[0]}{e[1]}>{e[2]}</{e[0]}>"
        ),
        st.lists(st.lists(inner, min_size=1, max_size=2), min_size=1, max_size=2).map(
            lambda rows: (
                "<table>"
                + "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
                + "</table>"
            )
        ),
        st.lists(inner, max_size=3).map(
            lambda items: "<ul>" + "".join(f"<li>{i}</li>" for i in items) + "</ul>"
        ),
    ),
    max_leaves=8,
)


def _essence(tokens: list[Token]) -> list[object]:
    """Without the tags that a parser adds, and with the texts around them as one."""
    essence: list[object] = []
    run = ""
    for text, tag, attributes in tokens:
        run += text
        if tag.removeprefix("/") not in ("", "html", "body", "tbody", "colgroup", "meta"):
            essence += (" ".join(run.split()), tag, dict(attributes))
            run = ""
    return [*essence, " ".join(run.split())]


@given(st.one_of(_loose, _blocks, st.lists(_loose, max_size=3).map("".join)))
@settings(max_examples=600, deadline=None)
def test_tags_that_tell_the_tree_tell_what_a_parser_finds(html: str) -> None:
    tokens = tag_tokens(html)
    if tokens is not None:
        assert _essence(tokens) == _essence(tree_tokens(html))


@given(st.text("<>/=\"' abdivp!-&;\n", max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_string_of_tags(html: str) -> None:
    tokens = tag_tokens(html)
    if tokens is not None:
        assert _essence(tokens) == _essence(tree_tokens(html))
