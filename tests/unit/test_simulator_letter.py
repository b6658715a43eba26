"""How the simulated recipients read a mail: right for good ones, and unmoved by bad ones."""

import time
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.simulator.letter import Form, Reading, find_form, read_html, read_mail, scan_headers
from posthouse.simulator.loopback import OffMachineError, local_url

HTML = """
<!doctype html><body><!--[if mso]><a href="http://localhost/outlook-only">x</a><![endif]-->
<A HREF='http://localhost/c/1?a=1&amp;b=2' class=x>one</A> <a class="b" href=http://localhost/c/2>two</a>
<a href="http://localhost/c/2">two again</a> <a href="mailto:a@b.test">mail</a> <a href="#top">top</a>
<a href="http://localhost/u/token">leave</a> <abbr title="http://localhost/no">x</abbr>
<img alt="" src="http://localhost/o/1"><img src="cid:logo">
"""


def test_what_a_reader_finds_in_html() -> None:
    reading = read_html(HTML, "<mailto:x@y.test>, <http://localhost/u/token>", "List-Unsubscribe=One-Click")
    assert reading == Reading(
        images=("http://localhost/o/1",),
        links=("http://localhost/c/1?a=1&b=2", "http://localhost/c/2"),
        unsubscribe_links=("http://localhost/u/token",),
        one_click="http://localhost/u/token",
    )


@pytest.mark.parametrize("post", ["", "List-Unsubscribe=Two-Clicks"])
def test_without_both_headers_there_is_no_one_click(post: str) -> None:
    assert read_html(HTML, "<http://localhost/u/token>", post).one_click is None
    assert read_html(HTML, "", "List-Unsubscribe=One-Click").one_click is None


@pytest.mark.parametrize("encoding", ["quoted-printable", "base64", "8bit"])
def test_html_is_found_inside_mime(encoding: str) -> None:
    message = EmailMessage()
    message["Subject"] = "x"
    message["List-Unsubscribe"] = "<http://localhost/u/" + "t" * 30 + ">"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content("plain")
    message.add_alternative("<p>ü</p>" + HTML, subtype="html", cte=encoding)
    message.add_attachment(b"x", maintype="application", subtype="pdf", filename="a.pdf")
    reading = read_mail(message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    assert reading.images == ("http://localhost/o/1",)
    assert reading.one_click == "http://localhost/u/" + "t" * 30


def test_headers_for_the_ledger() -> None:
    raw = (
        b"Received: x\r\nSUBJECT: =?utf-8?q?Gr=C3=BC?=\r\n =?utf-8?q?=C3=9Fe?=\r\nMessage-id: <1@a>\r\n"
        b"X-Posthouse-Id: 0198c0de-0000-7000-8000-000000000002.12\r\nSubject: second\r\n\r\n"
        b"Message-ID: <body@x>\r\n"
    )
    envelope = scan_headers(raw)
    assert envelope.subject == "Grüße"
    assert envelope.message_id == "<1@a>"
    assert (envelope.job_id, envelope.attempt) == ("0198c0de-0000-7000-8000-000000000002", 12)


@pytest.mark.parametrize("value", [b"", b"x", b"a.b", b"1.9999999999", b"a b.1", b"x" * 100 + b".1"])
def test_an_id_that_is_not_ours_is_none(value: bytes) -> None:
    envelope = scan_headers(b"X-Posthouse-Id: " + value + b"\r\n\r\n")
    assert (envelope.job_id, envelope.attempt) == (None, None)


@given(st.binary(max_size=2000))
@settings(max_examples=100)
def test_any_bytes_can_be_read(raw: bytes) -> None:
    scan_headers(b"Subject: " + raw)
    read_mail(b"Content-Type: text/html; charset=" + raw[:20] + b"\r\n\r\n" + raw)
    read_mail(raw)
    assert isinstance(find_form(raw.decode("latin-1")), Form | None)


@pytest.mark.parametrize(
    "html",
    ["<a" * 400_000, "<a href=" * 100_000, "<!--" * 200_000, "<a " + "x=" * 400_000 + ">", "<div>" * 100_000],
)
def test_hostile_html_takes_linear_time(html: str) -> None:
    before = time.process_time()
    read_html(html, "", "")
    assert time.process_time() - before < 1.0


@pytest.mark.parametrize(
    "raw",
    [
        b"Subject: " + b"=?a?q?" * 10_000,
        b"Content-Type: text/html" + b";" * 200_000,
        b"Content-Type: text/html" + b';a="' * 60_000,
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 30_000,
        b"Subject: x\r\n" + b" \r\n" * 60_000,
    ],
)
def test_hostile_mail_takes_bounded_time(raw: bytes) -> None:
    before = time.process_time()
    scan_headers(raw)
    read_mail(raw)
    assert time.process_time() - before < 3.0


def test_nested_mail_is_no_crash() -> None:
    parts = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(3000)
    )
    assert read_mail(parts) == Reading()


def test_a_form_is_found_with_its_fields() -> None:
    page = """<form action=/search><input name=q></form><FORM method="POST" action="/u/t?x=1&amp;y=2">
    <input type=hidden name="scope" value="all"><input type=submit></form><form method=post action=/other>"""
    assert find_form(page) == Form("/u/t?x=1&y=2", (("scope", "all"),))
    assert find_form("<p>nothing</p>") is None


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:80/x", "https://localhost/", "http://[::1]:8080/o", "HTTP://LOCALHOST/"]
)
def test_this_machine_may_be_visited(url: str) -> None:
    assert local_url(url).host in ("127.0.0.1", "localhost", "::1")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "http://127.0.0.1@example.com/",
        "http://127.0.0.1.example.com/",
        "http://localhost.example.com/",
        "http://example.com#@127.0.0.1/",
        "http://example.com\\@127.0.0.1/",
        "http://127.0.0.2/",
        "http://2130706433/",
        "http://0/",
        "http://[::ffff:10.0.0.1]/",
        "http://169.254.169.254/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "//127.0.0.1/",
        "http://",
        "http://[::1",
        "",
    ],
)
def test_no_other_machine_may_be_visited(url: str) -> None:
    with pytest.raises(OffMachineError):
        local_url(url)


@given(st.text(max_size=60))
@settings(max_examples=150)
def test_any_text_is_local_or_refused(text: str) -> None:
    try:
        host = local_url(f"http://{text}").host
    except OffMachineError:
        return
    assert host in ("127.0.0.1", "localhost", "::1")
