"""Links: which ones are rewritten, and that nothing else is."""

import time
from uuid import UUID

import pytest

from posthouse.compose.markup import unescape_attribute
from posthouse.compose.tracking import (
    MAX_URL_CHARACTERS,
    Tracker,
    hash_text,
    link_hash,
    track_html,
    track_text,
    without_sentence_end,
)
from posthouse.domain.ids import JobId

_JOB = JobId(UUID("01931f3a-0000-7000-8000-0123456789ab"))
_KEY = b"k" * 32
_BASE = "https://t.test"


def tracker() -> Tracker:
    return Tracker(_BASE, _JOB, _KEY)


def target(url: str) -> str:
    return f"{_BASE}/c/{_JOB}/{hash_text(link_hash(url, _KEY))}"


@pytest.mark.parametrize(
    ("before", "url", "after"),
    [
        ('<a href="https://x.test/">x</a>', "https://x.test/", '<a href="@">x</a>'),
        ("<a href='http://x.test'>", "http://x.test", "<a href='@'>"),
        ("<a href=http://x.test/a?b=1>", "http://x.test/a?b=1", "<a href=@>"),
        ("<A\n HREF = 'HTTPS://x.test/' >", "HTTPS://x.test/", "<A\n HREF = '@' >"),
        ('<area shape="rect" href="https://x.test/">', "https://x.test/", '<area shape="rect" href="@">'),
        ('<a class="b"href="https://x.test/"id=c>', "https://x.test/", '<a class="b"href="@"id=c>'),
        ('<a href="https://x.test/"class="b">', "https://x.test/", '<a href="@"class="b">'),
        ('<a/href="https://x.test/">', "https://x.test/", '<a/href="@">'),
        ('<a title="a > b" href="https://x.test/">', "https://x.test/", '<a title="a > b" href="@">'),
        ("<a title=x=\"y href='https://x.test/'>", "https://x.test/", "<a title=x=\"y href='@'>"),
        ('<a href="https://x.test/?a=1&amp;b=2">', "https://x.test/?a=1&b=2", '<a href="@">'),
        ('<a href="https:&#x2f;&#47;x.test&sol;">', "https://x.test/", '<a href="@">'),
        ('<a href="https://x.test/?a=1&copy=2&lt=3">', "https://x.test/?a=1&copy=2&lt=3", '<a href="@">'),
        ('<a href="https://x.test/?&copy&amp">', "https://x.test/?\u00a9&", '<a href="@">'),
        ('<a href=" https://x.test/a\n\tb ">', "https://x.test/ab", '<a href="@">'),
        ('<a href="https://bücher.test/ö?q=ä">', "https://bücher.test/ö?q=ä", '<a href="@">'),
        ("<a href='https://x.test/\"q\"'>", 'https://x.test/"q"', "<a href='@'>"),
        ('<a href="https://x.test/a b">', "https://x.test/a b", '<a href="@">'),
        ('<a href="https://x.test/" href="https://y.test/">', "https://x.test/", None),
        ('<a data-posthouse-track="on" href="https://x.test/">', "https://x.test/", None),
        ('<a href="https://t.test.evil.test/u/x">', "https://t.test.evil.test/u/x", '<a href="@">'),
        ("<textarea><a></textarea><a href='https://x.test/'>", "https://x.test/", None),
        ("<!-- > --><a href='https://x.test/'>", "https://x.test/", None),
        ("<!--><a href='https://x.test/'>", "https://x.test/", None),
        ("<![if !mso]><a href='https://x.test/'>a</a><![endif]>", "https://x.test/", None),
        ("a < b <a href='https://x.test/'>", "https://x.test/", None),
        ("</a title='<a href=\"http://no.test\">'><a href='https://x.test/'>", "https://x.test/", None),
        ("<style></STYLE ><a href='https://x.test/'>", "https://x.test/", None),
    ],
)
def test_web_links_are_rewritten_in_place(before: str, url: str, after: str | None) -> None:
    tracked = tracker()
    result = track_html(before, tracked)
    assert [link.url for link in tracked.links] == [url]
    assert result.removesuffix(tracked.pixel).count(target(url)) == 1
    if after is not None:
        assert result == after.replace("@", target(url)) + tracked.pixel


@pytest.mark.parametrize(
    "html",
    [
        "<a href='mailto:a@x.test'>",
        "<a href='tel:+351'>",
        "<a href='#top'>",
        "<a href='cid:logo'>",
        "<a href='javascript:x()'>",
        "<a href='/relative'>",
        "<a href='//x.test/'>",
        "<a href=''>",
        "<a href>",
        "<a name=x>",
        "<a href=>",
        "<a href='sms:1'>",
        "<a href='ftp://x.test/'>",
        "<a href='{{ url }}'>",
        "<a href='https://t.test/u/token'>",
        "<a href='https://t.test/c/1/2'>",
        "<a href='http:x'>",
        "<link href='https://x.test/'>",
        "<img src='https://x.test/'>",
        "<base href='https://x.test/'>",
        "<abbr href='https://x.test/'>",
        "<article href='https://x.test/'>",
        "<a-b href='https://x.test/'>",
        "<a data-href='https://x.test/'>",
        "<a data-posthouse-track=off href='https://x.test/'>",
        "<a href='https://x.test/' DATA-POSTHOUSE-TRACK=\"OFF\">",
        "<a ses:no-track href='https://x.test/'>",
        "<!-- <a href='https://x.test/'> -->",
        "<!--[if mso]><a href='https://x.test/'>a</a><![endif]-->",
        "<script>'<a href=\"https://x.test/\">'</script>",
        "<style><a href='https://x.test/'></style>",
        "<textarea><a href='https://x.test/'></textarea>",
        "<title><a href='https://x.test/'></title>",
        "<p title=\"<a href='https://x.test/'>\">",
        "<p title='<a href=\"https://x.test/\">'>",
        "<p title=<a href='https://x.test/'",
        "<!-- <a href='https://x.test/'>",
        "<? <a href=https://x.test/ ?>",
        "<style><a href='https://x.test/'>",
        "<iframe><a href='https://x.test/'></iframe>",
        f"<a href='https://x.test/{'a' * MAX_URL_CHARACTERS}'>",
    ],
)
def test_everything_else_stays(html: str) -> None:
    tracked = tracker()
    assert track_html(html, tracked) == html + tracked.pixel
    assert tracked.links == ()


def test_equal_links_are_one_link() -> None:
    tracked = tracker()
    track_html("<a href='https://x.test/?a=1&amp;b'><a href='https://x.test/?a=1&b'>", tracked)
    assert len(tracked.links) == 1


@pytest.mark.parametrize(
    "html",
    [
        "<body>x@</body></html>",
        "<body>x@</BODY\n>",
        "x@",
        "<body><!-- </body> -->x@</body><!-- </body> -->",
        "<body></body>x</body><a href='#'>@</body>",
    ],
)
def test_the_pixel_stands_at_the_end_of_the_body(html: str) -> None:
    tracked = tracker()
    if html.startswith("<body></body>"):  # a link after the first end: the last end counts
        html = html.replace("<a href='#'>", "<a href='https://x.test/'>")
    expected = html.replace("@", tracked.pixel).replace("https://x.test/", target("https://x.test/"))
    assert track_html(html.replace("@", ""), tracked) == expected


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("See https://x.test/a.", "https://x.test/a"),
        ("(https://x.test/a)", "https://x.test/a"),
        ("https://x.test/a_(b)", "https://x.test/a_(b)"),
        ("<https://x.test/a>", "https://x.test/a"),
        ("https://x.test/?a=1&b=2!", "https://x.test/?a=1&b=2"),
        ('"https://x.test"', "https://x.test"),
        ("https://x.test/ö, and", "https://x.test/ö"),
    ],
)
def test_links_of_a_text(text: str, url: str) -> None:
    tracked = tracker()
    assert track_text(text, tracked) == text.replace(url, target(url))
    assert [link.url for link in tracked.links] == [url]


@pytest.mark.parametrize(
    "text", ["xhttps://x.test", "https://t.test/u/token", "ftp://x.test", "https://", "x"]
)
def test_texts_without_a_link_to_track(text: str) -> None:
    tracked = tracker()
    assert track_text(text, tracked) == text


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("&#65;&#x42&#X43;", "ABC"),
        ("&#0;&#xD800;&#x110000;", "\ufffd" * 3),
        ("&#" + "9" * 10_000, "\ufffd"),
        ("&#" + "0" * 10_000 + "65;", "A"),
        ("&#128;&#129;", "\u20ac\x81"),
        ("&#1;", "\x01"),
        ("&#;&#x;&;&nothing;", "&#;&#x;&;&nothing;"),
        ("&amp;lt;", "&lt;"),
    ],
)
def test_character_references(written: str, value: str) -> None:
    assert unescape_attribute(written) == value


def test_a_sentence_of_brackets_is_read_in_linear_time() -> None:
    begun = time.process_time()
    without_sentence_end("https://x.test/" + ")" * 1_000_000)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    "unit",
    [
        "<a ",
        "<!--",
        "<!-",
        "<p a='",
        '<p a="',
        "<style>",
        "<a href=",
        "<",
        "</",
        "<a b=",
        "<!-- --",
        "<title><",
        "<script></scrip",
        "a=",
        "&#",
        "<p a=b",
        "<a href='https://x.test/'>",
        "<?",
        "-",
        "--",
        "<!-->",
    ],
)
def test_no_body_takes_more_than_linear_time(unit: str) -> None:
    body = unit * (400_000 // len(unit))
    begun = time.process_time()
    track_html(body, tracker())
    assert time.process_time() - begun < 2
