"""Plain text against an independent HTML-to-text converter: the same words."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from inscriptis import get_text

from posthouse.compose.plain_text import plain_text

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
