"""Names, types and places of attachments: what is taken, what it becomes, what is refused."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from posthouse.domain.errors import InvalidInput
from posthouse.domain.message import Disposition
from posthouse.intake.attachments import MAX_FILES, read_attachments
from posthouse.intake.mail import NewFile
from posthouse.intake.posted import PostedAttachment

ROOM = 100


def read(*files: object, room: int = ROOM) -> tuple[NewFile, ...]:
    posted = msgspec.json.decode(msgspec.json.encode(files), type=list[PostedAttachment])
    return asyncio.run(read_attachments(posted, room))


def one(**fields: object) -> NewFile:
    (file,) = read({"filename": "a.txt", "content": "eA==", **fields})
    return file


def refused(*files: object, room: int = ROOM) -> tuple[str, str]:
    with pytest.raises(InvalidInput) as raised:
        read(*files, room=room)
    return raised.value.code, raised.value.pointer


def one_refused(**fields: object) -> tuple[str, str]:
    return refused({"filename": "a.txt", "content": "eA==", **fields})


@pytest.mark.parametrize(
    "name",
    [
        *("setup.exe", "SETUP.EXE", "a.pdf.exe", "a.exe.", "a.exe. . ", "a.exe\u00a0", "a.exe\u200b", ".exe"),
        *("a.exe::$DATA", "a.txt:b.exe", "C:a.exe", "a.js", "a.jar", "photo.jpg.scr", "disk.iso", "x.lnk"),
    ],
)
def test_what_runs_when_it_is_opened_is_refused(name: str) -> None:
    assert one_refused(filename=name) == ("attachment_type_blocked", "/attachments/0/filename")


@pytest.mark.parametrize("written", ["application/x-msdownload", "Application/X-MSDownload; name=x"])
def test_what_says_that_it_runs_is_refused_whatever_its_name(written: str) -> None:
    assert one_refused(content_type=written) == ("attachment_type_blocked", "/attachments/0/content_type")


@pytest.mark.parametrize(
    "name",
    [
        *("a.pdf", "exe", "a.exe.pdf", "archive.zip", "a.tar.gz", "Rechnung für Müller.pdf", "12:30.pdf"),
        *("请求.pdf", "com", "..pdf", "a" * 255, "a..b", " a.pdf", "javascript"),
    ],
)
def test_other_names_are_kept(name: str) -> None:
    assert one(filename=name).filename == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", " ", "a/b.pdf", "..\\b.pdf", "a\r\nX: y", "a\0", "a\u202efdp.txt", "a" * 256, "\u2066a"],
)
def test_names_that_are_none(name: str) -> None:
    assert one_refused(filename=name) == ("invalid_attachment", "/attachments/0/filename")


@pytest.mark.parametrize(
    ("fields", "content_type"),
    [
        ({"content_type": "application/pdf"}, "application/pdf"),
        ({"content_type": "text/plain; charset=utf-8"}, "text/plain"),
        ({"filename": "a.pdf"}, "application/pdf"),
        ({"filename": "a.png"}, "image/png"),
        ({"filename": "a.tar.gz"}, "application/octet-stream"),
        ({"filename": "a"}, "application/octet-stream"),
        ({"filename": "data:a,b"}, "text/plain"),
    ],
)
def test_the_type_is_the_one_given_or_that_of_the_name(fields: dict[str, str], content_type: str) -> None:
    assert one(**fields).content_type == content_type


@pytest.mark.parametrize(
    "written",
    ["", "pdf", "a/", "/b", "text/plain\r\nX: y", "a b/c", "ä/b", "x/" + "y" * 61, "a/b/c", 'a/"b"'],
)
def test_types_that_are_none(written: str) -> None:
    assert one_refused(content_type=written) == ("invalid_attachment", "/attachments/0/content_type")


@pytest.mark.parametrize(
    ("fields", "content_id", "disposition"),
    [
        ({}, None, Disposition.ATTACHMENT),
        ({"content_id": "logo"}, "logo", Disposition.INLINE),
        ({"inline_content_id": "logo"}, "logo", Disposition.INLINE),
        ({"content_id": "<logo@shop.example>"}, "logo@shop.example", Disposition.INLINE),
        ({"content_id": "logo", "disposition": "inline"}, "logo", Disposition.INLINE),
        ({"content_id": "logo", "disposition": "attachment"}, "logo", Disposition.ATTACHMENT),
        ({"disposition": "attachment"}, None, Disposition.ATTACHMENT),
    ],
)
def test_a_content_id_makes_a_file_inline(
    fields: dict[str, str], content_id: str | None, disposition: Disposition
) -> None:
    file = one(**fields)
    assert (file.content_id, file.disposition) == (content_id, disposition)


@pytest.mark.parametrize("written", ["", "<>", "a b", "a>b", 'a"b', "ä", "a\r\nX: y", "a" * 129])
def test_content_ids_that_are_none(written: str) -> None:
    assert one_refused(content_id=written) == ("invalid_attachment", "/attachments/0/content_id")


def test_an_inline_file_needs_its_content_id() -> None:
    assert one_refused(disposition="inline") == ("invalid_attachment", "/attachments/0/content_id")
    assert one_refused(disposition="hidden") == ("invalid_attachment", "/attachments/0/disposition")


@pytest.mark.parametrize("field", ["path", "url"])
@pytest.mark.parametrize("url", ["https://shop.example/a.pdf", "http://169.254.169.254/", "/etc/passwd", ""])
def test_nothing_is_fetched(field: str, url: str) -> None:
    code = ("attachment_url_refused", f"/attachments/0/{field}")
    assert refused({field: url}) == code
    assert one_refused(**{field: url}) == code


def test_what_is_missing_is_named() -> None:
    assert refused({"filename": "a.txt"}) == ("invalid_attachment", "/attachments/0/content")
    assert one_refused(content=None) == ("invalid_attachment", "/attachments/0/content")
    assert one_refused(content="") == ("invalid_attachment", "/attachments/0/content")
    assert one_refused(content=[]) == ("invalid_attachment", "/attachments/0/content")
    assert refused({"content": "eA=="}) == ("missing_required_field", "/attachments/0/filename")


@pytest.mark.parametrize(
    ("sizes", "good"), [((60, 40), True), ((100,), True), ((60, 41), False), ((101,), False)]
)
def test_all_files_together_have_a_limit(sizes: Sequence[int], good: bool) -> None:
    files = [{"filename": "a", "content": [0] * size} for size in sizes]
    if good:
        assert [len(file.content) for file in read(*files)] == list(sizes)
    else:
        assert refused(*files) == ("attachments_too_large", "/attachments")


def test_there_are_so_many_files_and_no_more() -> None:
    files = [{"filename": "a", "content": [1]}] * MAX_FILES
    assert len(read(*files)) == MAX_FILES
    assert refused(*files, files[0]) == ("too_many_attachments", "/attachments")
