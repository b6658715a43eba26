"""Which templates are prepared, what a prepared one looks like, and which go the long way."""

import re
import time

import pytest
from compose_kit import NOW, Wish, composer, job, template

from posthouse.compose.limits import Limits
from posthouse.compose.prepare import prepare
from posthouse.compose.style_sheet import matches_by_ancestry
from posthouse.domain.errors import RenderFailed
from posthouse.domain.stream import Stream

_STYLE = "<style>p,a{color:red}</style>"


def prepared(html: str) -> str:
    found = prepare(html, Limits())
    assert found is not None
    return found.source


def test_style_goes_into_the_template_and_nothing_else_changes() -> None:
    source = (
        "<!DOCTYPE html>\n<html><head>"
        "<style>td { padding : 4px } .a{margin:0} @media (x) { td { padding: 2px } }</style>\n"
        "<title>{{ x }}</title></head><BODY>{% for r in rows -%}\n<table><tr ><td CLASS=a "
        "style='margin: 1px'>&eacute;{{ r }}</td></tr></table>{% endfor %}</BODY></html>\n"
    )
    assert prepared(source) == (
        "<!DOCTYPE html>\n<html><head>"
        "<style>@media (x) { td { padding: 2px } } </style>\n"
        "<title>{{ x }}</title></head><BODY>{% for r in rows -%}\n<table><tr ><td CLASS=a "
        'style="padding: 4px;margin: 1px">&eacute;{{ r }}</td></tr></table>{% endfor %}'
        "<ph:end></BODY></html>\n"
    )


def test_web_addresses_are_marked_and_so_is_what_may_become_one() -> None:
    assert prepared(
        "<a href='https://x.test/a'>1</a><a href=\"{{ url }}\">2</a><a href='mailto:a@x.test'>3</a>"
        "<area href=https://x.test/b><!-- <a href='https://x.test/'> --><a name=x>4</a>"
        "<a href='https://x.test/' data-posthouse-track=off>5</a>"
    ) == (
        "<a href='<ph:href>https://x.test/a<ph:href>'>1</a><a href=\"<ph:href>{{ url }}<ph:href>\">2</a>"
        "<a href='mailto:a@x.test'>3</a>"
        "<area href=<ph:href>https://x.test/b<ph:href>><!-- <a href='https://x.test/'> --><a name=x>4</a>"
        "<a href='https://x.test/' data-posthouse-track=off>5</a><ph:end>"
    )


def test_the_footer_has_the_style_of_the_template() -> None:
    found = prepare(f"<html><head>{_STYLE}</head><body>x</body></html>", Limits())
    assert found is not None
    assert re.fullmatch(
        r'<p style="color: red;[^"]*text-align:\s?center"><a style="color: red;" href="\w+">.*', found.footer
    )
    wish = Wish(stream=Stream.MARKETING)
    version = template(f"<html><head>{_STYLE}</head><body>x</body></html>", "t")
    composed = composer().try_compose(job(wish), version, NOW)
    assert composed is not None
    assert composed.rendered.html is not None
    assert re.search(
        r'<p [^>]*><a style="color: red;" href="https://t\.marketing\.test/u/[\w-]+">Unsubscribe</a></p>'
        r'<img src="https://t\.marketing\.test/o/[^>]*></body></html>$',
        composed.rendered.html,
    )
    assert composed.links == ()


@pytest.mark.parametrize(
    "html",
    [
        "plain",
        "",
        "{{ x }}",
        "{% if a %}<p>{{ x }}</p>{% else %}<b>y</b>{% endif %}",
        f"{_STYLE}<p>x</p>",
        f"<html><head>{_STYLE}{_STYLE}<link rel=stylesheet href=x></head><body><p>x</p></body></html>",
        f"{_STYLE}<table>{{% for r in rows %}}<tr><td>{{{{ r }}}}</td></tr>{{% endfor %}}</table>",
        f"{_STYLE}<ul>{{% for r in rows %}}<li>{{{{ r }}}}</li>{{% else %}}<li>-</li>{{% endfor %}}</ul>",
        "<p title='{{ a }} and {{ b }}'>{# a note #}</p>",
        "<!--[if mso]><table><tr><td width='{{ w }}'><![endif]--><p>x</p><!--[if mso]></table><![endif]-->",
        "<title>{{ x }}</title>{{ x|default('>') }}",
        "<style type='text/css'>p{}</style><style media='(x:480px)'>.a .b{width:100%}</style><p>x</p>",
    ],
)
def test_what_is_prepared(html: str) -> None:
    assert prepare(html, Limits()) is not None


@pytest.mark.parametrize(
    "html",
    [
        "{{ x|safe }}",
        "{{ x|tojson }}",
        "{% set a = 1 %}",
        "{% raw %}{% endraw %}",
        "{{ ['a'] }}",
        "{{ 'a\\'b' }}",
        "<ph:href>",
        "<p>x",
        "x</p>",
        "<b><i>x</b></i>",
        "<p/>x",
        "{% if a %}<p>{% endif %}x</p>",
        "<p>{% if a %}</p><p>{% endif %}</p>",
        "{% if a %}<p>{% else %}</p>{% endif %}",
        "{% for i in x %}</p><p>{% endfor %}",
        "<{{ tag }}>",
        "<p{{ x }}>y</p>",
        "<p {{ x }}>y</p>",
        "<p {% if a %}hidden{% endif %}>y</p>",
        "<p title={{ x }}>y</p>",
        "<p title='{% if a %}b{% endif %}'>y</p>",
        "<p class='{{ x }}'>y</p>",
        "<p id='{{ x }}'>y</p>",
        "<p style='color:{{ x }}'>y</p>",
        "a&#x2f;b",
        "<a data-posthouse-track='{{ x }}' href='https://x.test'>y</a>",
        "<p a=1 A=2>y</p>",
        "<a href='x'><b><a href='y'>z</a></b></a>",
        "a <{{ x }}",
        "a < b",
        "<style>p{color:{{ x }}}</style>",
        "<style>{% if a %}p{}{% endif %}</style>",
        "{% if a %}<style>p{}</style>{% endif %}",
        "x<style>p{}</style>",
        "<style data-css-inline='ignore'>p{}</style>",
        "<style media='{{ x }}'>p{}</style>",
        "<style>p{}",
        "<title>{% if a %}b{% endif %}</title>",
        "<title>x",
        "<!-- {% if a %} --><p>x</p><!-- {% endif %} -->",
        "<!doctype {{ x }}><p>x</p>",
        "{% if a %}<body>x</body>{% endif %}",
        "<html>{{ x }}<body>y</body></html>",
        "<body>x</body>y",
        "<script>x</script>",
        "<svg></svg>",
        "<select><option>x</option></select>",
        "<form></form>",
        "<template><p>x</p></template>",
        "<noscript>x</noscript>",
        "<textarea>{{ x }}</textarea>",
        "<o:p>x</o:p>",
        "<style>body{margin:0}</style><p>a body that only the parser adds</p>",
        "<style>tbody{margin:0}</style><table><tr><td>x</td></tr></table>",
        "<style>p{color:red}</style><p>x<p>y</p></p>",
        "<style>b{color:red}</style><table><b>x</b><tr><td>y</td></tr></table>",
        "<style>td{color:red}</style><div><td>x</td></div>",
        "<div>" * 300 + "</div>" * 300,
        "x" * 200_000,
        "{{ x",
        "<p title='x>",
    ],
)
def test_what_goes_the_long_way(html: str) -> None:
    assert prepare(html, Limits()) is None


@pytest.mark.parametrize(
    "sheet",
    [
        "",
        "p{color:red}",
        "p, a.b , #c > d *{x:y}",
        "a:hover, a::before{x:'}'}",
        "[class~=x] p[style]{x:y}",
        "/* p:first-child{} */ p{/* } */}",
        "@import url(x); @media x { p:first-child { a:b } @media y { q{} } } p{}",
        '@font-face{src:url("a\'b")}',
        "p{background:url('data:image/svg+xml;utf8,<svg/>')}",
    ],
)
def test_sheets_that_look_only_around(sheet: str) -> None:
    assert matches_by_ancestry(sheet)


@pytest.mark.parametrize(
    "sheet",
    [
        "p:first-child{x:y}",
        "p:not(.a){x:y}",
        "p:nth-of-type(2n){x:y}",
        "p:hover-not{x:y}",
        ":root{x:y}",
        "p + p{x:y}",
        "p ~ p{x:y}",
        "p:empty{x:y}",
        "div:has(p){x:y}",
        "a[href]{x:y}",
        "[title=x]{x:y}",
        "p{x:y;a{b:c}}",
        "@layer x{p{x:y}}",
        "@container x{p{x:y}}",
        "p{x:y",
        "p}",
        "p",
        "p;q{x:y}",
        "p\\:first-child{x:y}",
        "p{x:'y}",
        "<!-- p{x:y} -->",
        ",{x:y}",
        "{x:y}",
        "/* p{}",
        "p|a{}",
        "é{}",
    ],
)
def test_sheets_that_look_further(sheet: str) -> None:
    assert not matches_by_ancestry(sheet)


def test_a_failure_names_the_line_that_the_author_wrote() -> None:
    html = "<style>\np{color:red}\n</style>\n<p>\n{{ name }}</p>"
    assert prepare(html, Limits()) is not None
    with pytest.raises(RenderFailed, match="name is missing in line 5"):
        composer().try_compose(job(Wish(variables={})), template(html, "t"), NOW)


def test_no_source_takes_more_than_linear_time() -> None:
    begun = time.process_time()
    for unit in (
        "<p>",
        "{{ x }}",
        "<!--",
        "<p a=b",
        "p{",
        "<style>p{}",
        "/*",
        "<b>{% if a %}",
        "a,",
        "{% for",
    ):
        prepare(unit * (100_000 // len(unit)), Limits())
        prepare(f"<style>{unit * (100_000 // len(unit))}</style>", Limits())
    assert time.process_time() - begun < 10
