"""Plain text made from HTML, compared with what a person would send."""

from pathlib import Path

import pytest

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


def test_a_table_too_wide_for_a_line_is_stacked() -> None:
    text = plain_text(f"<table><tr><td>{'a' * 50}</td><td>{'b' * 50}</td></tr></table>")
    assert text == f"{'a' * 50}\n{'b' * 50}\n"


def test_deep_nesting_does_not_deepen_the_margin_for_ever() -> None:
    text = plain_text("<blockquote>" * 200 + "deep" + "</blockquote>" * 200)
    assert len(text.splitlines()[-1]) < 40
