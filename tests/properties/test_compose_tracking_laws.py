"""Tracking against a real HTML parser: the same links, and not a byte changed beside them."""

import re

from compose_kit import JOB_ID
from hypothesis import example, given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from posthouse.compose.guard import check
from posthouse.compose.inline_css import inline_css
from posthouse.compose.limits import Limits
from posthouse.compose.markup import unescape_attribute
from posthouse.compose.tracking import Tracker, hash_text, track_html, track_text
from posthouse.domain.errors import RenderFailed

_BASE = "https://t.test"
_SPACES = re.compile(r"[\t\n\r]")

_urls = st.one_of(
    st.sampled_from(
        [
            "https://x.test/",
            "http://x.test/a?b=1&amp;c=2",
            "mailto:a@x.test",
            "#a",
            "tel:1",
            "https://t.test/u/1",
            "https://x.test/?a&copy=1&reg;",
            "https:&#x2f;&#x2f;x.test",
            "HTTPS://X.test",
            "//x.test",
            " https://x.test ",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12).map(
        lambda t: "https://x.test/" + t
    ),
)
_quotes = st.sampled_from(['"', "'", ""])
_tags = st.sampled_from(["a", "A", "area", "p", "link", "abbr", "img"])
_attributes = st.tuples(st.sampled_from(["href", "HREF", "title", "data-x", "class"]), _urls, _quotes)


def _attribute(parts: tuple[str, str, str]) -> str:
    name, value, quote = parts
    unquoted = re.sub(r"[\s\"'=<>`\x00-\x1f]", "", value) or "x"
    value = value.replace(quote, "") if quote else unquoted
    return f" {name}={quote}{value}{quote}"


_starts = st.tuples(_tags, st.lists(_attributes, max_size=3)).map(
    lambda parts: f"<{parts[0]}{''.join(map(_attribute, parts[1]))}>"
)
_pieces = st.one_of(
    _starts,
    _starts.map(lambda tag: f"<!--{tag}-->"),
    _starts.map(lambda tag: f"<style>{tag}</style>"),
    _starts.map(lambda tag: f"<script>{tag}</script>"),
    _starts.map(lambda tag: f"<p title='{tag.replace(chr(39), '')}'>"),
    st.sampled_from(
        ["</a>", "text", "a < b", "</p>", "<br/>", "<![if mso]>", "<!-->", "--!>", "<b", ">", "&amp;", "é"]
    ),
)
_bodies = st.lists(_pieces, max_size=8).map("".join)


def _links(html: str) -> list[str]:
    """The web links as a parser sees them."""
    found = []
    for node in LexborHTMLParser(html).css("a, area"):
        href = node.attributes.get("href")
        if href is None:
            continue
        url = _SPACES.sub("", href).strip(" \f")
        if re.match(r"https?://", url, re.IGNORECASE) and not url.startswith(f"{_BASE}/u/"):
            found.append(url)
    return found


@given(_bodies)
@settings(max_examples=400, deadline=None)
@example('<a href="https://x.test/"class=b>')
def test_the_links_are_those_a_parser_finds(html: str) -> None:
    tracker = Tracker(_BASE, JOB_ID, b"k")
    track_html(html, tracker)
    assert {link.url for link in tracker.links} >= set(_links(html)) - {
        u for u in _links(html) if u == "https://"
    }


@given(_bodies)
@settings(max_examples=400, deadline=None)
def test_putting_the_links_back_gives_the_body_back(html: str) -> None:
    tracker = Tracker(_BASE, JOB_ID, b"k")
    tracked = track_html(html, tracker)
    assert tracked.count(tracker.pixel) == 1
    urls = {hash_text(link.hash): link.url for link in tracker.links}
    places = re.split(rf"{_BASE}/c/{JOB_ID}/([A-Za-z0-9_-]{{22}})", tracked.replace(tracker.pixel, ""))
    at = 0
    for number, piece in enumerate(places):
        if number % 2 == 0:
            assert html.startswith(piece, at)
            at += len(piece)
        else:
            written = next(
                html[at:end]
                for end in range(at, len(html) + 1)
                if _SPACES.sub("", unescape_attribute(html[at:end])).strip(" \f") == urls[piece]
                and html.startswith(places[number + 1][:1], end)
            )
            at += len(written)
    assert html[at:] == ""


@given(_bodies)
@settings(max_examples=150, deadline=None)
def test_after_the_inliner_too(html: str) -> None:
    body = "<style>a{color:red}</style>" + html
    try:
        check(body, Limits())
    except RenderFailed:
        return
    inlined = inline_css(body)
    tracker = Tracker(_BASE, JOB_ID, b"k")
    tracked = track_html(inlined, tracker)
    assert {link.url for link in tracker.links} == set(_links(inlined))
    assert _shape(tracked.replace(tracker.pixel, "")) == _shape(inlined)


def _shape(html: str) -> list[tuple[str, tuple[str, ...]]]:
    """Elements and their attribute names, in order."""
    root = LexborHTMLParser(html).root
    assert root is not None
    return [(node.tag or "", tuple(node.attributes)) for node in root.traverse()]


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_string_is_only_added_to(text: str) -> None:
    tracker = Tracker(_BASE, JOB_ID, b"k")
    assert len(track_html(text, tracker)) >= len(tracker.pixel)
    assert track_text(text, tracker) is not None


@given(st.text("&;#xX0123456789copyamltgreg=/ \u00e9", max_size=20))
@settings(max_examples=300, deadline=None)
def test_attribute_values_are_unescaped_as_a_parser_does(value: str) -> None:
    node = LexborHTMLParser(f'<p title="{value}">').css_first("p")
    assert node is not None
    assert unescape_attribute(value) == (node.attributes["title"] or "")
