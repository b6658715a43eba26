"""Variables are data: once, literally, in every place a template can put them."""

import json

import pytest
from compose_kit import NOW, Wish, composer, job, template
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mimecheck import parse, text_of
from selectolax.lexbor import LexborHTMLParser

from posthouse.compose.limits import Limits
from posthouse.compose.mime import to_raw
from posthouse.compose.pipeline import Composed
from posthouse.compose.prepare import prepare
from posthouse.domain.errors import RenderFailed
from posthouse.domain.template import TemplateVersion

_HOUSE = composer()
_MARKERS = [
    "{{ 7 * 7 }}",
    "{{ secret }}",
    "{% raw %}",
    "{# x #}",
    "{%- if x -%}",
    "${7*7}",
    "<%= 7*7 %>",
    "#{7*7}",
    "{{",
    "}}",
    "%7B%7B7*7%7D%7D",
    "{{ unsubscribe_url }}",
    "\\{{ 7 }}",
    "{{{{7*7}}}}",
    "*{7*7}",
    "{{''.__class__}}",
]
_NAUGHTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "</style><script>x</script>",
    "</textarea><b>",
    "<!--",
    "-->",
    "]]>",
    "&lt;b&gt;",
    "&#60;b&#62;",
    '" onclick="x',
    "' onclick='x",
    "` onclick=`x",
    "<a href=//evil.test>",
    "\u202e\u2066",
    "\x7f",
    "\ufeff",
    "İıſK",
    "🧨",
    "\\",
    "%0d%0a",
    "a=b c=d",
    "/*",
    "*/",
    "<\tscript>",
    "<b\n>",
    "&",
    ";",
    "=",
    "<",
    ">",
    '"',
    "'",
    "</title>",
    "<plaintext>",
    "\u2028",
]
_text = st.one_of(
    st.sampled_from(_MARKERS),
    st.sampled_from(_NAUGHTY),
    st.lists(st.sampled_from(_MARKERS + _NAUGHTY), min_size=2, max_size=4).map("".join),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40),
)


def compose(version: TemplateVersion, variables: dict[str, object]) -> Composed:
    composed = _HOUSE.try_compose(job(Wish(variables=variables, tracked=False)), version, NOW)
    assert composed is not None
    return composed


_HTML = "<p title=\"{{ x }}\" lang='{{ x }}'>{{ x }}</p>"
_PREPARED = template(_HTML, "[{{ x }}]", "[{{ x }}]")
_THE_LONG_WAY = template(_HTML + "{{ ''|safe }}", "[{{ x }}]", "[{{ x }}]", version=5)


def test_both_ways_are_tried() -> None:
    assert prepare(_PREPARED.html or "", Limits()) is not None
    assert prepare(_THE_LONG_WAY.html or "", Limits()) is None


@pytest.mark.parametrize("version", [_PREPARED, _THE_LONG_WAY])
@given(_text)
@settings(max_examples=300, deadline=None)
@example("=?utf-8?q?hi?=")
def test_a_value_is_itself_everywhere(version: TemplateVersion, value: str) -> None:
    try:
        mail = compose(version, {"x": value}).rendered
    except RenderFailed:
        assert any(ord(c) < 32 for c in value)  # a line break would have to stand in the subject
        return
    assert mail.text == f"[{value}]"
    message = parse(to_raw(mail).data)
    assert text_of(message, "plain") == f"[{value}]".replace("\r", "\n")
    printable = "".join(" " if c in "\x7f\u2028\u2029\x85" or 0x80 <= ord(c) < 0xA0 else c for c in value)
    assert " ".join(message["Subject"].split()) == " ".join(f"[{printable}]".split())
    assert mail.html is not None
    root = LexborHTMLParser(mail.html).body
    assert root is not None
    (paragraph,) = [node for node in root.traverse() if node.tag != "body"]
    assert paragraph.tag == "p"
    assert set(paragraph.attributes) == {"title", "lang"}
    assert paragraph.attributes["title"] == paragraph.attributes["lang"] == value
    assert paragraph.text() == value.replace("\r", "\n")


@given(_text)
@settings(max_examples=150, deadline=None)
def test_a_value_in_a_url_stays_in_its_attribute(value: str) -> None:
    version = template('<a href="https://x.test/?q={{ x|urlencode }}">a</a>', "t", version=2)
    composed = _HOUSE.try_compose(job(Wish(variables={"x": value})), version, NOW)
    assert composed is not None
    assert len(composed.links) == 1
    assert composed.links[0].url.startswith("https://x.test/?q=")
    assert composed.links[0].url.isascii()


def _expect_a_reason(error: RenderFailed) -> None:
    assert error.message


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4)
    ),
    max_leaves=12,
)


@given(_json)
@settings(max_examples=200, deadline=None)
def test_any_json_renders_or_says_why(value: object) -> None:
    version = template(
        text="{{ x }}{% for i in y %}{{ i }}{% endfor %}", html="{{ x }}", subject="s", version=3
    )
    try:
        compose(version, {"x": value, "y": [value]})
    except RenderFailed as error:
        _expect_a_reason(error)


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_bytes_as_variables_render_or_say_why(data: bytes) -> None:
    broken = job(Wish(variables=data))
    try:
        assert _HOUSE.try_compose(broken, template(text="x", version=4), NOW) is not None
        assert data == b"" or isinstance(json.loads(data), dict)
    except RenderFailed as error:
        _expect_a_reason(error)


@given(st.text("{}%#|()[]'\"\\.,:~+-*/ \nabfornidset0123é", max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_template_renders_or_says_why(source: str) -> None:
    house = composer()
    try:
        house.try_compose(
            job(Wish(variables={"a": "1"})), template(text=source, subject=source, html=source), NOW
        )
    except RenderFailed as error:
        _expect_a_reason(error)
