"""Mail as bytes, read back by a strict reader and by the standard library."""

from email.message import EmailMessage

import pytest
from compose_kit import JOB_ID, NOW, rendered
from mimecheck import header_names, mailboxes_of, parse, text_of, violations
from msgspec.structs import replace

from posthouse.compose.mime import to_raw
from posthouse.compose.mime_headers import encoded_words, unstructured
from posthouse.domain.errors import InvalidHeader
from posthouse.domain.message import Addressing, Attachment, Disposition, Mailbox, Rendered


def parsed(mail: Rendered) -> EmailMessage:
    return parse(to_raw(mail).data)


def test_a_text_mail() -> None:
    raw = to_raw(rendered(text="Hello\nAnn"))
    assert (raw.job_id, raw.attempt, raw.recipient) == (JOB_ID, 1, "ann@inbox.test")
    assert not raw.smtputf8
    message = parse(raw.data)
    assert message["From"] == "Shop <hello@shop.test>"
    assert message["Subject"] == "Hello"
    assert message["Date"].datetime == NOW
    assert message["Message-ID"] == f"<{JOB_ID.hex}@shop.test>"
    assert message["X-Posthouse-Id"] == f"{JOB_ID}.1"
    assert message.get_content_type() == "text/plain"
    assert text_of(message, "plain") == "Hello\nAnn\n"


def test_html_has_its_text_before_it() -> None:
    message = parsed(rendered(text="t", html="<p>h</p>"))
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert text_of(message, "plain") == "t"
    assert text_of(message, "html") == "<p>h</p>"


def test_attachments_and_pictures_have_their_places() -> None:
    picture = Attachment("logo.png", "image/png", b"\x89PNG" * 100, "logo@shop.test", Disposition.INLINE)
    paper = Attachment("Rechnung.pdf", "application/pdf", bytes(range(256)))
    message = parsed(replace(rendered(html="<img src='cid:logo@shop.test'>"), attachments=(picture, paper)))
    shape = [part.get_content_type() for part in message.walk()]
    assert shape == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "application/pdf",
    ]
    parts = list(message.walk())
    assert parts[5]["Content-ID"] == "<logo@shop.test>"
    assert parts[5].get_content_disposition() == "inline"
    assert parts[5].get_payload(decode=True) == picture.content
    assert parts[6].get_filename() == "Rechnung.pdf"
    assert parts[6].get_payload(decode=True) == paper.content


@pytest.mark.parametrize(
    "name",
    [
        "a.txt",
        'a"b\\c%.txt',
        "Rechnung März.pdf",
        "资料" * 60 + ".pdf",
        "x" * 255,
        "é" * 200,
        "a;b=c.txt",
        "..",
        "a b.txt",
    ],
)
def test_file_names_come_back(name: str) -> None:
    attachment = Attachment(name, "text/plain", b"x")
    (part,) = parsed(replace(rendered(), attachments=(attachment,))).iter_attachments()
    assert part.get_filename() == name


@pytest.mark.parametrize("name", ["a\r\nBcc: x@evil.test", "a\0", 'a"; x="b'])
def test_file_names_cannot_leave_their_header(name: str) -> None:
    message = parsed(replace(rendered(), attachments=(Attachment(name, "text/plain", b"x"),)))
    (part,) = message.iter_attachments()
    assert (part.get_filename(), message["Bcc"]) == (name, None)


@pytest.mark.parametrize("content_id", ["", "a b", "<a>b", "a\r\n", "ä", "x" * 201])
def test_content_ids_that_are_none(content_id: str) -> None:
    with pytest.raises(InvalidHeader):
        to_raw(replace(rendered(), attachments=(Attachment("a", "text/plain", b"", content_id),)))


@pytest.mark.parametrize(
    "written",
    [
        "",
        "text",
        "text/",
        "/x",
        "a b/c",
        "text/plain\r\nX: y",
        "multipart/mixed",
        "message/rfc822",
        "x/" + "y" * 99,
    ],
)
def test_content_types_that_are_none_travel_as_bytes(written: str) -> None:
    (part,) = parsed(replace(rendered(), attachments=(Attachment("a", written, b"x"),))).iter_attachments()
    assert part.get_content_type() == "application/octet-stream"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("plain", "7bit"),
        ("x" * 990, "7bit"),
        ("x" * 991, "quoted-printable"),
        ("From here", "quoted-printable"),
        ("a\nFrom here", "quoted-printable"),
        ("a\x01b", "quoted-printable"),
        ("Grüße aus Köln und noch ein ganzes Stück mehr Text, in dem nichts steht", "quoted-printable"),
        ("שלום עולם", "base64"),
        ("资料" * 100, "base64"),
    ],
)
def test_bodies_take_the_plainest_safe_encoding(text: str, encoding: str) -> None:
    raw = to_raw(rendered(text=text))
    message = parse(raw.data)
    assert message["Content-Transfer-Encoding"] == encoding
    assert text_of(message, "plain").removesuffix("\n") == text
    assert b"\r\nFrom " not in raw.data.split(b"\r\n\r\n", 1)[1]
    assert raw.data.isascii()


@pytest.mark.parametrize(
    "end", ["\n.\n", "\r\n.\r\n", "\r.\r", "\n.\r\n", "\r.\n", "\r\n.\n", "\0", "\r\n\r\n.\r\n"]
)
def test_no_end_of_data_is_smuggled(end: str) -> None:
    assert violations(to_raw(rendered(text=f"a{end}MAIL FROM:<x@evil.test>", html=f"b{end}")).data) == []


@pytest.mark.parametrize(
    "text",
    ["trailing \n", "tab\t\n", "\n\n", " ", "", "=", "=20", "é ", "a\r\nb", "a\rb", "é\r\n.\r\n", "\u2028é"],
)
def test_bodies_come_back_to_the_character(text: str) -> None:
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    message = parsed(rendered(text=text, html="<p>"))
    assert text_of(message, "plain") == expected


_NAMES = [
    "Ann",
    "Ann Lee",
    "Lee, Ann",
    'A "B" C',
    "a\\b",
    "Ånn",
    "安娜",
    "=?utf-8?q?x?=",
    "a@b.test",
    "(c)",
    "x" * 70,
    "x" * 256,
    "O'Neil",
    "a.b",
    "é" * 100,
    "👩‍💻" * 20,
    "A; B: C",
    "<evil@x.test>",
    "x" * 70 + " é",
]


@pytest.mark.parametrize("name", _NAMES)
def test_names_come_back(name: str) -> None:
    sender = Mailbox("hello@shop.test", name)
    message = parsed(replace(rendered(), sender=sender))
    assert mailboxes_of(message, "From") == [sender]


def test_many_recipients() -> None:
    to = tuple(Mailbox(f"a{n}@inbox.test", name) for n, name in enumerate(_NAMES))
    message = parsed(replace(rendered(), addressing=Addressing(to=to, cc=to[:2], reply_to=to[3:4])))
    assert mailboxes_of(message, "To") == list(to)
    assert mailboxes_of(message, "Cc") == list(to[:2])
    assert mailboxes_of(message, "Reply-To") == list(to[3:4])


def test_a_hidden_recipient_is_in_no_header() -> None:
    raw = to_raw(replace(rendered(), addressing=Addressing(), recipient="hidden@inbox.test"))
    assert b"hidden" not in raw.data
    assert parse(raw.data)["To"] == "undisclosed-recipients:;"


def test_international_domains_are_a_labels_and_local_parts_need_smtputf8() -> None:
    raw = to_raw(replace(rendered(), sender=Mailbox("hi@bücher.test"), recipient="ann@bücher.test"))
    assert raw.recipient == "ann@xn--bcher-kva.test"
    assert b"hi@xn--bcher-kva.test" in raw.data
    assert not raw.smtputf8
    assert to_raw(replace(rendered(), recipient="änn@inbox.test")).smtputf8
    raw = to_raw(replace(rendered(), addressing=Addressing(to=(Mailbox("änn@inbox.test"),))))
    assert raw.smtputf8
    assert "änn@inbox.test".encode() in raw.data


@pytest.mark.parametrize(
    "address",
    ["", "a", "a b@x.test", "a@x.test\r\nBcc: b@x.test", "<a@x.test>", "a@x.test,b@x.test", "\ud800@x.test"],
)
def test_addresses_that_cannot_stand_in_a_header(address: str) -> None:
    for mail in (
        replace(rendered(), recipient=address),
        replace(rendered(), sender=Mailbox(address)),
        replace(rendered(), addressing=Addressing(cc=(Mailbox(address),))),
    ):
        with pytest.raises(InvalidHeader):
            to_raw(mail)


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "Hello",
        "x" * 68,
        "x" * 69,
        "word " * 30 + "end",
        "x" * 899,
        "x" * 2000,
        "a  b " * 30 + "c",
        "Größe",
        "你好" * 100,
        "=?utf-8?q?hi=3F?=",
        "a =?b",
        "é" * 65 + "👩‍💻" * 9,
        "ends in é",
        "tab\there",
        "{{ 7*7 }}",
        "x" * 905 + " y",
    ],
)
def test_subjects_come_back(subject: str) -> None:
    assert parsed(rendered(subject=subject))["Subject"] == subject


@pytest.mark.parametrize("subject", ["a\r\nBcc: x@evil.test", "a\n", "\r", "a\0", "\ud800"])
def test_subjects_with_line_breaks_are_refused(subject: str) -> None:
    with pytest.raises(InvalidHeader):
        to_raw(rendered(subject=subject))


def test_encoded_words_never_split_a_character() -> None:
    for word in encoded_words("€" * 100 + "e" * 100 + "👩" * 30):
        assert len(word) <= 75
        assert (
            "\ufffd"
            not in parse(to_raw(rendered(subject="x")).data.replace(b"Hello", word.encode()))["Subject"]
        )


def test_headers_are_folded_under_78() -> None:
    for line in unstructured("X-Mine", "word " * 100 + "end").split("\r\n"):
        assert len(line) <= 78


def test_the_same_mail_has_the_same_bytes_and_attempts_have_their_own() -> None:
    mail = rendered(text="t", html="h")
    assert to_raw(mail).data == to_raw(mail).data
    assert to_raw(mail).data != to_raw(replace(mail, attempt=2)).data


def test_a_body_that_knows_the_boundary_gets_another_one() -> None:
    plain = to_raw(rendered(text="t", html="h")).data
    boundary = plain.split(b'boundary="')[1].split(b'"')[0].decode()
    message = parsed(rendered(text=f"x\n--{boundary}\nContent-Type: text/evil\n\n--{boundary}--\n", html="h"))
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


def test_header_names_are_those_that_were_meant() -> None:
    mail = replace(
        rendered(text="t"), headers=(("X-Mine", "1"), ("List-Unsubscribe", "<https://t.test/u/x>"))
    )
    assert header_names(to_raw(mail).data) == [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "X-Posthouse-Id",
        "MIME-Version",
        "X-Mine",
        "List-Unsubscribe",
        "Content-Type",
        "Content-Transfer-Encoding",
    ]
    with pytest.raises(InvalidHeader):
        to_raw(replace(mail, headers=(("X\r\nBcc", "1"),)))
    with pytest.raises(InvalidHeader):
        to_raw(replace(mail, headers=(("List-Id", "<a>\r\nBcc: x@evil.test"),)))
