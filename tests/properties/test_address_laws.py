"""Whatever text comes: a mailbox that is safe to put into RCPT TO, or InvalidAddress."""

import email_validator
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.domain.address import domain_of, format_mailbox, key_of, normalise, parse_mailbox
from posthouse.domain.errors import InvalidAddress
from posthouse.domain.message import Mailbox

_SPECIALS = "<>()[]:;@\\,\" .'\r\n\x00\t\u0301\u202e\ud800=?"
_ATEXT = "abcXYZ019!#$%&'*+-/=?^_`{|}~"

_noise = st.text(st.sampled_from(_SPECIALS + "ab1é用ß\u0130"), max_size=30)
_atom = st.text(st.sampled_from(_ATEXT + "éÉ用İ"), min_size=1, max_size=8)
_local = st.lists(_atom, min_size=1, max_size=3).map(".".join)
_domain = st.sampled_from(
    [
        "example.org",
        "EXAMPLE.org",
        "münchen.de",
        "xn--mnchen-3ya.de",
        "a.test",
        "faß.de",
        "例子.公司",
        "b\u3002co",
    ]
)
_address = st.builds("{}@{}".format, _local, _domain)
_name = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from(_SPECIALS), max_size=30)


def _quoted(name: str, address: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{address}>'


_texts = (
    _noise
    | _address
    | st.builds("{} <{}>".format, _name, _address)
    | st.builds(_quoted, _name, _address)
    | st.builds("{}{}{}".format, _noise, _address, _noise)
    | st.text(max_size=60)
)


def _parsed(text: str) -> Mailbox | None:
    try:
        return parse_mailbox(text)
    except InvalidAddress:
        return None


@given(_texts)
@settings(max_examples=1000)
def test_what_is_read_is_one_plain_address(text: str) -> None:
    box = _parsed(text)
    if box is None:
        return
    local, _, domain = box.address.partition("@")
    assert box.address.count("@") == 1
    assert not set(box.address) & set('<>()[]:;,\\" \r\n\x00\t')
    assert domain == domain_of(box) == domain.lower()
    assert domain.isascii()
    assert len(local.encode()) <= 64
    assert len(box.address.encode()) <= 254
    assert not set(box.name) & set("\r\n\x00\u202e")


@given(_texts)
@settings(max_examples=500)
def test_reading_again_changes_nothing(text: str) -> None:
    box = _parsed(text)
    if box is None:
        return
    assert parse_mailbox(box.address) == Mailbox(box.address)
    assert parse_mailbox(format_mailbox(box)) == box
    assert normalise(box.address) == key_of(box)


@given(_address)
@settings(max_examples=300)
def test_the_key_forgets_case_and_spelling(address: str) -> None:
    box = _parsed(address)
    if box is None:
        return
    key = key_of(box)
    assert normalise(key) == key
    local, _, domain = box.address.partition("@")
    assert normalise(f"{local}@{domain.upper()}") == key
    if local.isascii():
        assert normalise(f"{local.upper()}@{domain}") == key


@given(_address | _noise)
@settings(max_examples=500)
def test_agrees_with_the_library_about_bare_addresses(text: str) -> None:
    """The short cut for ASCII local parts takes nothing that the library refuses as a whole."""
    box = _parsed(text)
    try:
        theirs = email_validator.validate_email(text.strip(" "), check_deliverability=False, strict=True)
    except email_validator.EmailNotValidError:
        assert box is None or text.strip(" ").endswith(">")
    else:
        if box is not None:
            assert domain_of(box) == theirs.ascii_domain
            assert box.address.partition("@")[0].lower() == (theirs.local_part or "").lower()
