"""Addresses: the one parser for what is posted, what is suppressed and what is put into RCPT TO.

Two parsers that disagree about where an address ends are how mail for one domain reaches another
(CVE-2023-27043 and its kin), so nothing else in Posthouse takes an address apart. Narrower than RFC 5322 on
purpose: no groups, lists, comments, source routes, domain literals, and no quoted local parts (`"a b"@x.org`:
nobody receives mail there, RFC 5321 section 4.1.2 advises against them, and relays read them differently).
"""

import re
import unicodedata
from functools import lru_cache

import email_validator

from posthouse.domain.errors import InvalidAddress
from posthouse.domain.ids import AddressKey
from posthouse.domain.message import Mailbox

MAX_MAILBOX_CHARS = 1000  # the longest text that is looked at: an address of 254 and a generous name
MAX_NAME_CHARS = 256
_MAX_LOCAL_OCTETS = 64  # RFC 5321 section 4.5.3.1.1
_MAX_ADDRESS_OCTETS = 254  # RFC 3696, erratum 1690
_MAX_DOMAIN = 253

#: Line breaks, NUL and other controls; lone surrogates; marks that turn the direction of the text, with
#: which a name can be made to look like another address.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NOT_IN_ADDRESS = frozenset('"<>()[]:;,\\ ')
_WORD = re.compile(r' *(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<atom>[^ "()<>\[\]:;@\\,]+)) *')
_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_ESCAPED = re.compile(r"\\(.)")
_NEEDS_NO_QUOTES = re.compile(r'[^ "()<>\[\]:;@\\,]+(?: [^ "()<>\[\]:;@\\,]+)*')

# The library offers this list to be changed. Its entries (.test, .invalid ...) would fail as bad syntax, but
# a simulator may be mailed there: `is_reserved` is the rule for them.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

_RESERVED_TLDS = frozenset({"test", "example", "invalid", "localhost"})
_RESERVED_DOMAINS = ("example.com", "example.net", "example.org")


def parse_mailbox(text: str) -> Mailbox:
    """`jane@example.org`, `Jane Doe <jane@example.org>`, `"Doe, Jane" <jane@example.org>` (RFC 5322 section
    3.4, RFC 6532).

    The address keeps its local part as given, in NFC; its domain becomes lower-case A-labels. The name is
    plain text. Raises InvalidAddress. Time is linear in the text, which is refused above
    `MAX_MAILBOX_CHARS`.
    """
    if len(text) > MAX_MAILBOX_CHARS:
        raise InvalidAddress(f"This is longer than {MAX_MAILBOX_CHARS} characters: no address is.")
    if _UNPRINTABLE.search(text):
        raise InvalidAddress("An address has no line breaks, control characters or invisible marks.")
    trimmed = text.strip(" ")
    if not trimmed.endswith(">"):
        return Mailbox(_parse_address(trimmed))
    # An address has no "<" of its own, so the last one begins it, whatever a quoted name holds.
    name, opening, address = trimmed[:-1].rpartition("<")
    if not opening:
        raise InvalidAddress('There is a ">" without a "<" before it.')
    return Mailbox(_parse_address(address), _parse_name(name))


def format_mailbox(mailbox: Mailbox) -> str:
    """The text that `parse_mailbox` reads back as the same mailbox. Not a header: names are not encoded."""
    if not mailbox.name:
        return mailbox.address
    if _NEEDS_NO_QUOTES.fullmatch(mailbox.name):
        return f"{mailbox.name} <{mailbox.address}>"
    escaped = mailbox.name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{mailbox.address}>'


def normalise(address: str) -> AddressKey:
    """The key that suppressions compare by: every spelling of one address gives the same one.

    Dots and "+tags" are kept: what they mean is the recipient's server's business. Raises InvalidAddress.
    """
    return key_of(parse_mailbox(address))


def key_of(mailbox: Mailbox) -> AddressKey:
    """`normalise` for an address that `parse_mailbox` has read."""
    local, _, domain = mailbox.address.rpartition("@")
    return AddressKey(f"{unicodedata.normalize('NFC', local.lower())}@{domain}")


def domain_of(mailbox: Mailbox) -> str:
    """The domain as it stands in RCPT TO: what every rule about domains must look at."""
    return mailbox.address.rpartition("@")[2]


def parse_domain(text: str) -> str:
    """A domain as `domain_of` gives it: lower-case A-labels. Raises InvalidAddress."""
    return domain_of(parse_mailbox(f"postmaster@{text}"))


def is_reserved(domain: str) -> bool:
    """Whether a domain can never be anybody's (RFC 2606, RFC 6761): such mail is a mistake or a test."""
    name = domain.lower().rstrip(".")
    return name.rpartition(".")[2] in _RESERVED_TLDS or any(
        name == reserved or name.endswith(f".{reserved}") for reserved in _RESERVED_DOMAINS
    )


def _parse_address(text: str) -> str:
    if not _NOT_IN_ADDRESS.isdisjoint(text) or text.count("@") != 1:
        raise InvalidAddress(
            "Write one address like jane@example.org, or with a name: Jane Doe <jane@example.org>. "
            'A name with any of ()<>[]:;@\\," in it stands in quotes.'
        )
    local, _, domain = text.partition("@")
    # Nearly every address is an ASCII atom at a domain that many others are at: a tenth of the time.
    if _DOT_ATOM.fullmatch(local) and len(domain) <= _MAX_DOMAIN:
        ascii_domain = _ascii_domain(domain)
    else:
        ascii_domain = _validated_domain(text)
    # The library lower-cases some local parts (RFC 2142); what is sent stays as it was given.
    local = unicodedata.normalize("NFC", local)
    if len(local.encode()) > _MAX_LOCAL_OCTETS:
        raise InvalidAddress(f"The part before the @-sign is longer than {_MAX_LOCAL_OCTETS} octets.")
    address = f"{local}@{ascii_domain}"
    if len(address.encode()) > _MAX_ADDRESS_OCTETS:
        raise InvalidAddress(f"The address is longer than {_MAX_ADDRESS_OCTETS} octets.")
    return address


@lru_cache(maxsize=4096)
def _ascii_domain(domain: str) -> str:
    return _validated_domain(f"a@{domain}")


def _validated_domain(address: str) -> str:
    """The domain of a whole address that the library finds valid, as A-labels. Raises InvalidAddress."""
    try:
        return email_validator.validate_email(address, check_deliverability=False, strict=True).ascii_domain
    except email_validator.EmailNotValidError as error:
        raise InvalidAddress(str(error)) from error


def _parse_name(text: str) -> str:
    words: list[str] = []
    position, end = 0, len(text.rstrip(" "))
    while position < end:
        word = _WORD.match(text, position)
        if word is None:
            raise InvalidAddress(
                'The name before "<" holds a character that has a meaning there, one of ()<>[]:;@\\,": '
                'put the whole name in quotes, like "Doe, Jane" <jane@example.org>.'
            )
        quoted = word["quoted"]
        words.append(word["atom"] if quoted is None else _ESCAPED.sub(r"\1", quoted))
        position = word.end()
    name = unicodedata.normalize("NFC", " ".join(words)).strip(" ")
    if len(name) > MAX_NAME_CHARS:
        raise InvalidAddress(f"The name is longer than {MAX_NAME_CHARS} characters.")
    return name
