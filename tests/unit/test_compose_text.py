"""Plain text made from HTML, compared with what a person would send."""

import time
from pathlib import Path

import pytest

from posthouse.compose.html_tags import tag_tokens
from posthouse.compose.plain_text import plain_text

_GOLDEN = Path(__file__).parent.parent / "golden" / "text"


@pytest.mark.parametrize("name", ["receipt", "newsletter", "password_reset", "long_list", "right_to_left"])
def test_golden_text(name: str) -> None:
    html = (_GOLDEN / f"{name}.html").read_text(encoding="utf-8")
    assert plain_text(html) == (_GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("<p> </p>", ""),
        ("just text", "just text\n"),
        ("a<br>b<br><br>c", "a\nb\n\nc\n"),
        ("<p>a</p>\n<p>b</p>", "a\n\nb\n"),
        ("<a href='https://x.test/'>x.test</a>", "x.test\n"),
        ("<a href='https://x.test/a'>here</a>", "here (https://x.test/a)\n"),
        ("<a href='https://x.test/a'><img alt='Shop' src=x></a>", "Shop (https://x.test/a)\n"),
        ("<a href='https://x.test/a'></a>", "https://x.test/a\n"),
        ("<a href='#top'>up</a> <a href='javascript:x()'>run</a>", "up run\n"),
        ("<a href='mailto:a@x.test?subject=hi'>write</a>", "write (a@x.test)\n"),
        ("<p hidden>no</p><p style='DISPLAY : none'>no</p><p>yes</p>", "yes\n"),
        ("<div style='max-height:0px;overflow:hidden'>no</div>yes", "yes\n"),
        ("<p style='line-height:0.9;opacity:0.5'>yes</p>", "yes\n"),
        ("a\u200bb\u00adc \u200c \u200c d", "abc d\n"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645\n",
        ),
        ("<ol start=3><li>c<li>d</ol>", "3. c\n4. d\n"),
        ("<ul><li></li><li>b</li></ul>", "* b\n"),
        ("<blockquote>a<blockquote>b</blockquote></blockquote>", "> a\n>\n> > b\n"),
        ("<table><tr><td>Name<td>Ann<tr><td>Town<td>Bath</table>", "Name  Ann\nTown  Bath\n"),
        ("<table><caption>Who</caption><tr><td>Name<td>Ann</table>", "Who\nName  Ann\n"),
        ("<table><tr><th>Item<th>Sum<tr><td>Tea<td>2.00</table>", "Item   Sum\n----  ----\nTea   2.00\n"),
        ("<table><tr><td>a<td>b<tr><td><tr><td colspan=2>c</table>", "a  b\nc\n"),
        ("<script>x</script><style>y</style><title>z</title>a<!-- b -->", "a\n"),
        ("5 &lt; 6 &amp; 7", "5 < 6 & 7\n"),
        ("<h1>Hi</h1>", "Hi\n==\n"),
    ],
)
def test_small_pieces(html: str, text: str) -> None:
    assert plain_text(html) == text


def test_long_words_are_never_broken() -> None:
    url = "https://x.test/" + "a" * 300
    text = plain_text(f"<p>{'word ' * 40}<a href='{url}'>there</a> {'word ' * 40}</p>")
    assert f"({url})" in text
    assert all(len(line) <= 78 for line in text.splitlines() if url not in line)


@pytest.mark.parametrize(
    "html",
    [
        "",
        "just &amp; text",
        "<!doctype html><html><head><title>t</title><style>p{}</style></head><body><P>a<br/></P></body>",
        "<!--[if mso]><table><![endif]--><div>x</div>",
        "<table><tr><td>a</td></tr><tbody><tr><th>b</th></tr></tbody></table>",
        "<ul><li>a<ol><li>b</li></ol></li></ul>",
        "<a href='x'><b>y</b></a><img alt=z><p hidden>no</p><p style='display:none'><i>no</i></p>",
        "<html><body>the end tags may be missing <!-- also of a comment",
    ],
)
def test_mail_whose_tags_tell_its_tree(html: str) -> None:
    assert tag_tokens(html) is not None


@pytest.mark.parametrize(
    "html",
    [
        "<p>a<p>b</p>",
        "<p><div>a</div></p>",
        "<b><i>a</b></i>",
        "<div>a",
        "a</div>",
        "<ul><li>a<li>b</ul>",
        "<li>a</li>",
        "<table>a<tr><td>b</td></tr></table>",
        "<table><tr>a<td>b</td></tr></table>",
        "<table><td>b</td></table>",
        "<div><tr><td>b</td></tr></div>",
        "<a href=x><b><a href=y>z</a></b></a>",
        "<h1><h2>a</h2></h1>",
        "a < b",
        "<p title='a > b'>c</p>",
        '<p x" y="z>c</p>',
        "<script>a</script>",
        "<select><option>a</option></select>",
        "<style>a<!-- b --></style>",
        "<title>a<b>c</b></title>",
        "<head>a</head>",
        "<o:p>a</o:p>",
        "<p",
        "</",
    ],
)
def test_mail_that_is_left_to_a_parser(html: str) -> None:
    assert tag_tokens(html) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("&copyright;&copy=&amp;lt;", "\u00a9right;\u00a9=&lt;"),
        ("&notit;&notin;&no;&;&", "\u00acit;\u2209&no;&;&"),
        ("&#65&#x42;&#0;&#128;", "AB\ufffd\u20ac"),
        ("&" + "a" * 100_000, "&" + "a" * 100_000),
    ],
)
def test_character_references_in_text(text: str, value: str) -> None:
    assert plain_text(text).rstrip("\n") == value


@pytest.mark.parametrize(
    "unit",
    ["<p>a</p>", "<td>x", "<p a=", "<p a='", '="', "<!--", "<!-- --", "<!x", "<?", "<!", "word ", "&#", "<"],
)
def test_no_body_takes_more_than_linear_time(unit: str) -> None:
    begun = time.process_time()
    plain_text(unit * (200_000 // len(unit)))
    assert time.process_time() - begun < 2


def test_a_large_table_takes_no_more_than_linear_time() -> None:
    begun = time.process_time()
    rows, cells = "<tr></tr>" * 20_000, "<td></td>" * 20_000
    plain_text(f"<table><tr><td>a</td><td>b</td></tr>{rows}<tr>{cells}</tr></table>")
    assert time.process_time() - begun < 2


def test_a_table_too_wide_for_a_line_is_stacked() -> None:
    text = plain_text(f"<table><tr><td>{'a' * 50}</td><td>{'b' * 50}</td></tr></table>")
    assert text == f"{'a' * 50}\n{'b' * 50}\n"


def test_a_table_in_a_quote_leaves_room_for_the_mark() -> None:
    cells = f"<td>{'a' * 38}</td><td>{'b' * 38}</td>"
    text = plain_text(
        f"<table><tr>{cells}</tr></table><blockquote><table><tr>{cells}</tr></table></blockquote>"
    )
    assert text.splitlines() == [f"{'a' * 38}  {'b' * 38}", "", f"> {'a' * 38}", f"> {'b' * 38}"]


def test_deep_nesting_does_not_deepen_the_margin_for_ever() -> None:
    text = plain_text("<blockquote>" * 200 + "deep" + "</blockquote>" * 200)
    assert len(text.splitlines()[-1]) < 40
