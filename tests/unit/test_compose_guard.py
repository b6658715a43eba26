"""What native parsers are never given. Each body here would end a process or stop it."""

import time

import pytest

from posthouse.compose.guard import check
from posthouse.compose.inline_css import inline_css
from posthouse.compose.limits import Limits
from posthouse.compose.plain_text import plain_text
from posthouse.domain.errors import RenderFailed

_STYLE = "<style>a{b:c}</style>"
_HOSTILE = {
    "nested": _STYLE + "<div>" * 15_000,
    "nested and closed": _STYLE + "<div>" * 15_000 + "</div>" * 15_000,
    "just too deep": "<div>" * 257 + "</div>" * 257,
    "ends in comments": "<div><!--</div>-->" * 15_000,
    "ends in conditional comments": "<div><!--[if mso]></div><![endif]-->" * 15_000,
    "ends in attributes": "<div title='</div>'></b>" * 15_000,
    "ends in unquoted attributes": "<div a=</div>x" * 15_000,
    "ends in styles": "<div><style></div></style>" * 15_000,
    "ends in scripts": "<div><script></div></script>" * 15_000,
    "ends in titles": "<div><title></div></TITLE>" * 15_000,
    "ends of others": "<div></span></p></b>" * 15_000,
    "ends that tables ignore": "<div><table></div>" * 15_000,
    "foster parents": "<table><a>" * 15_000,
    "svg": "<svg><g>" * 15_000,
    "cells in svg": "<svg>" + "<td>" * 15_000,
    "kelvin sign": "<lin\u212a>" * 15_000,
    "voids that are none": "<brr>" * 15_000,
    "templates": "<template>" * 15_000,
    "selects": "<select><option>" * 15_000,
    "style in select": "<select><style></select><div></style>" * 300,
    "escaped scripts": "<script><!--<script></script>" + "<div>" * 300,
    "never closed cells": "<td><div>" * 15_000,
    "self-closing": "<div/>" * 15_000,
    "plaintext": "<plaintext>" + "<" * 300,
    "frameset": "<frameset>" + "<b>" * 200 + "</b>" * 200,
    "cdata in svg": "<svg><![CDATA[</svg>" * 100 + "<b>" * 200,
    "formatting": "<p>" + "".join(f"<font a={n}>" for n in range(200)) + "</p>" + "<p>x</p>" * 50_000,
    "attributes": "<p " + " ".join(f"a{n}" for n in range(50_000)) + ">x",
    "rules": "<style>" + "".join(f"p{{b{n}:c}}" for n in range(5000)) + "</style>" + "<p>x</p>" * 2000,
    "declarations": "<style>p{" + "".join(f"b{n}:c;" for n in range(5000)) + "}</style>" + "<p>x</p>" * 2000,
    "selectors": "<style>" + ",".join(["p"] * 30_000) + "{b:c}</style>" + "<p>x</p>" * 1000,
    "bytes": "<p>x</p>" * 200_000,
    "NUL": "<p>\x00</p>",
    "half a character": "<p>\ud800</p>",
    "half a character in much": "<p>\udfff</p>" * 1000,
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_hostile_bodies_are_refused_in_good_time(name: str) -> None:
    begun = time.process_time()
    with pytest.raises(RenderFailed) as caught:
        check(_HOSTILE[name], Limits())
    assert time.process_time() - begun < 2
    assert caught.value.code == "html_refused"
    assert len(caught.value.message) < 200


_ROW = "<tr><td class=a>Hat<td><a href='https://x.test/'><b>Hat</b></a><br><td>9.99"
_HARMLESS = {
    "rows without ends": _STYLE + "<table>" + _ROW * 2000 + "</table>",
    "rows with ends": "<table><tbody>" + "<tr><td><p>a</p></td><td><img src=x></td></tr>" * 2000 + "</table>",
    "list without ends": "<ul>" + "<li>a<ul><li>b</ul>" * 2000 + "</ul>",
    "paragraphs without ends": "<p>a<br>b" * 5000,
    "conditional comments": (
        "<!--[if mso]><table><tr><td><![endif]--><div>a</div><!--[if mso]></td></tr></table><![endif]-->"
        * 1000
    ),
    "downlevel-revealed": "<![if !mso]><p>a</p><![endif]>" * 1000,
    "many layout tables": "<table><tr><td><table><tr><td>x</td></tr></table></td></tr></table>" * 1000,
    "a few unclosed fonts": "<font color=red>" * 20 + "<p>x</p>" * 3000,
    "a deep but allowed body": "<div>" * 250 + "x" + "</div>" * 250,
    "inline svg": "<svg><title>Logo</title><path d='M0'/></svg>" + "<p>x</p>" * 1000,
    "structured data": '<script type=\'application/ld+json\'>{"a": "<b>"}</script>' + "<p>x</p>" * 1000,
    "definition list": "<dl>" + "<dt>a<dd>b" * 2000 + "</dl>",
    "comparison signs": "<p>1 < 2 and 3 > 2</p>" * 1000,
    "a long data URI": f"<img src='data:image/png;base64,{'A' * 100_000}'>",
    "outlook resets": "<style>"
    + "".join(f".c{n}{{a:b;c:d}}" for n in range(150))
    + "</style>"
    + "<p>x</p>" * 500,
}


@pytest.mark.parametrize("name", _HARMLESS)
def test_real_newsletters_pass_and_can_be_parsed(name: str) -> None:
    body = _HARMLESS[name]
    check(body, Limits())
    assert inline_css(body)
    assert len(plain_text(body)) < len(body) * 8 + 100


def test_a_small_body_is_cheap() -> None:
    body = _STYLE + "<p>hello</p>" * 60
    begun = time.process_time()
    for _ in range(1000):
        check(body, Limits())
    assert time.process_time() - begun < 0.05


def test_style_sheets_are_inlined_and_nothing_is_fetched() -> None:
    html = inline_css(
        "<link rel=stylesheet href='http://127.0.0.1:9/x.css'><style>@import url(http://127.0.0.1:9/y.css);"
        "p{color:red}@media (prefers-color-scheme:dark){p{color:blue}}</style><p>x</p>"
    )
    assert '<p style="color: red;">' in html
    assert "prefers-color-scheme:dark" in html


def test_html_without_a_style_sheet_is_left_alone() -> None:
    body = "<P Class=a  >x"
    assert inline_css(body) is body
