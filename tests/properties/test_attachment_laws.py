"""What is posted as a file's content is exactly what becomes of it, or it is refused: never anything else."""

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Final

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posthouse.domain.errors import InvalidInput
from posthouse.intake import attachments
from posthouse.intake.attachments import MAX_NAME_CHARS, decoded, read_attachments
from posthouse.intake.mail import NewFile
from posthouse.intake.posted import PostedEmail, fingerprint

_ROOM: Final = 1_000
_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@pytest.fixture(autouse=True, params=[7, 8, 65_536])
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pieces, so that small contents are cut everywhere."""
    monkeypatch.setattr(attachments, "PIECE", request.param)


def decode(written: str, room: int = _ROOM) -> bytes | None:
    return asyncio.run(decoded(msgspec.Raw(written.encode("utf-8", "surrogatepass")), "/content", room))


def read(**fields: object) -> NewFile:
    (file,) = _read([{"filename": "a.txt", "content": "eA==", **fields}])
    return file


def _read(posted: Sequence[object]) -> tuple[NewFile, ...]:
    body = {"from": "a@shop.example", "to": "b@inbox.test", "attachments": posted}
    email = msgspec.json.decode(json.dumps(body), type=PostedEmail)
    return asyncio.run(read_attachments(email.attachments or [], _ROOM))


@given(st.binary(min_size=1, max_size=100), st.booleans())
@settings(max_examples=100, deadline=None)
def test_both_forms_come_back(content: bytes, spaced: bool) -> None:
    text = base64.b64encode(content).decode()
    assert decode(json.dumps(text)) == content
    assert decode(json.dumps(base64.encodebytes(content).decode())) == content  # in lines, as MIME has it
    assert decode(json.dumps(text).replace("/", "\\/").replace("+", "\\u002B")) == content  # PHP's, .NET's
    assert decode(json.dumps(list(content), separators=None if spaced else (",", ":"))) == content
    assert decode(json.dumps({"type": "Buffer", "data": list(content)})) == content


@given(st.binary(min_size=1, max_size=60), st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_what_is_larger_than_the_room_is_known_to_be(content: bytes, room: int) -> None:
    expected = content if len(content) <= room else None
    assert decode(json.dumps(base64.b64encode(content).decode()), room) == expected
    assert decode(json.dumps(list(content)), room) == expected


@given(_JSON)
@example([[1], 2])
@example(["1,2", 3])
@example([1.5, 256, -1])
@example({"type": "Buffer", "data": "YQ=="})
@example({"type": "Other", "data": [1]})
@example("YQ")
@example("YQ==YQ==")
@example("YQ=" + "=" * 40)
@example("-_-_")
@example("data:text/plain;base64,YQ==")
@settings(max_examples=150, deadline=None)
def test_what_is_neither_form_is_refused(value: object) -> None:
    try:
        found = decode(json.dumps(value))
    except InvalidInput:
        return
    assert found is not None
    if isinstance(value, str):
        assert base64.b64encode(found).decode() == "".join(value.split())
    else:
        assert list(found) == value


@pytest.mark.parametrize("written", ['"\\ud800"', "[" * 30_000 + "]" * 30_000, '"é"', "[1,2,,3]", "{}", "1"])
def test_what_is_hardly_json_is_refused(written: str) -> None:
    with pytest.raises(InvalidInput):
        decode(written)


@given(st.text(max_size=300))
@example("../../etc/passwd")
@example("a\r\nBcc: x@evil.test")
@example("a\x00.txt")
@example("receipt\u202efdp.exe")
@example(". .")
@settings(max_examples=200, deadline=None)
def test_a_name_is_kept_as_it_is_or_refused(name: str) -> None:
    try:
        file = read(filename=name)
    except (InvalidInput, UnicodeEncodeError, msgspec.DecodeError):
        return
    assert file.filename == name
    assert 0 < len(name) <= MAX_NAME_CHARS
    assert not set(name) & set("/\\\r\n\0\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@given(st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_a_content_type_is_one_or_refused(written: str) -> None:
    try:
        file = read(content_type=written)
    except (InvalidInput, UnicodeEncodeError, msgspec.DecodeError):
        return
    kind, _, subtype = file.content_type.partition("/")
    assert kind
    assert subtype
    assert file.content_type.isascii()
    assert file.content_type.isprintable()


@given(st.binary(min_size=1, max_size=40), st.binary(min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_a_retry_is_known_by_its_files_however_they_are_escaped(one: bytes, other: bytes) -> None:
    texts = [base64.b64encode(content).decode() for content in (one, other)]
    plain = _fingerprint([json.dumps(text) for text in texts])
    assert plain == _fingerprint([json.dumps(text).replace("/", "\\/") for text in texts])
    assert _fingerprint([json.dumps(list(one))]) == _fingerprint([json.dumps(list(one), indent=1)])
    if one != other:
        assert plain != _fingerprint([json.dumps(text) for text in reversed(texts)])
        assert plain != _fingerprint([json.dumps("".join(texts)), '""'])


def _fingerprint(contents: Sequence[str]) -> bytes:
    files = ",".join(f'{{"filename":"a","content":{content}}}' for content in contents)
    body = f'{{"from":"a@shop.example","to":"b@inbox.test","attachments":[{files}]}}'
    return fingerprint(msgspec.json.decode(body, type=PostedEmail))
