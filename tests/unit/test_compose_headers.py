"""Which headers a client may add, which ones we set, and what unsubscribe and bounce addresses say."""

import base64
from uuid import UUID

import pytest
from compose_kit import JOB_ID, TOKENS

from posthouse.compose.header_text import one_line
from posthouse.compose.headers import HeaderSettings, check_headers, message_id, own_headers
from posthouse.compose.unsubscribe import Unsubscribe, UnsubscribeTokens
from posthouse.domain.errors import InvalidHeader, InvalidInput, Misconfigured
from posthouse.domain.ids import CampaignId
from posthouse.domain.job import Held
from posthouse.domain.return_path import read_return_path, return_path
from posthouse.domain.stream import Stream
from posthouse.domain.suppression import SuppressionScope

_SETTINGS = HeaderSettings("shop.test", "shop.test", "posthouse")
_URL = "https://t.test/u/token"


@pytest.mark.parametrize(
    "name",
    [
        "From",
        "to",
        "CC",
        "Bcc",
        "Date",
        "Subject",
        "Sender",
        "Reply-To",
        "Message-ID",
        "MIME-Version",
        "Content-Type",
        "content-transfer-encoding",
        "Content-Anything",
        "DKIM-Signature",
        "Return-Path",
        "Received",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
        "List-Id",
        "X-Posthouse-Id",
        "X-SES-Source",
        "Resent-To",
        "ARC-Seal",
        "Authentication-Results",
        "Precedence",
        "Feedback-ID",
        "Auto-Submitted",
        "X-SMTPAPI",
        "X-PM-Tag",
        "X-Mailgun-Tag",
        "Errors-To",
        "",
        "a b",
        "a:b",
        "a\r\nb",
        "ä",
        "a\0",
        "x" * 77,
        "\ud800",
        "a\t",
    ],
)
def test_names_that_are_not_the_clients_to_set(name: str) -> None:
    with pytest.raises(InvalidHeader):
        check_headers(((name, "value"),))


@pytest.mark.parametrize(
    "value",
    [
        "a\r\nBcc: x@evil.test",
        "a\nb",
        "a\rb",
        "a\0b",
        "=?utf-8?q?hi=0A?=Bcc: x@evil.test",
        "=?utf-8?Q?=0d?=",
        "=?utf-8?b?aGkK?=",
        "=?iso-8859-1?B?aGkNCkJjYzogeA?=",
        "=?x?q?=00?=",
        "=?utf-8?q?=0A",
        "=?utf-8*en?q?=0a?=",
        "x" * 999,
        "x" * 901,
        "\x0b",
        "\x7f",
        "\ud800",
        "a\u0000",
    ],
)
def test_values_that_could_become_more_than_a_value(value: str) -> None:
    with pytest.raises(InvalidHeader) as caught:
        check_headers((("X-Mine", value),))
    assert caught.value.pointer == "/headers/X-Mine"


@pytest.mark.parametrize(
    "value", ["", "a", "ä" * 100, "100%0d%0a", "=?", "a =?utf-8?q?hi?= b", "word " * 180]
)
def test_values_that_are_only_values(value: str) -> None:
    check_headers((("X-Mine", value), ("In-Reply-To", "<a@b.test>"), ("References", "<a@b.test>")))


def test_no_header_twice_and_not_too_many() -> None:
    with pytest.raises(InvalidHeader):
        check_headers((("X-A", "1"), ("x-a", "2")))
    with pytest.raises(InvalidHeader):
        check_headers(tuple((f"X-{n}", "1") for n in range(51)))


def test_marketing_can_be_left_with_one_click() -> None:
    headers = dict(
        own_headers(
            Stream.MARKETING,
            _SETTINGS,
            unsubscribe_url=_URL,
            campaign_id=CampaignId(UUID(int=5)),
        )
    )
    assert headers == {
        "List-Unsubscribe": f"<{_URL}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "List-Id": "<marketing.shop.test>",
        "Precedence": "bulk",
        "Feedback-ID": f"{UUID(int=5).hex}:shop.test:marketing:posthouse",
    }


def test_a_mailbox_for_unsubscribing_only_where_one_is_read() -> None:
    settings = HeaderSettings("shop.test", "shop.test", "posthouse", unsubscribe_mailbox="leave@shop.test")
    headers = dict(own_headers(Stream.MARKETING, settings, unsubscribe_url=_URL, campaign_id=None))
    assert headers["List-Unsubscribe"] == f"<{_URL}>, <mailto:leave@shop.test?subject=unsubscribe%20token>"


def test_transactional_mail_says_that_nobody_wrote_it() -> None:
    headers = own_headers(Stream.TRANSACTIONAL, _SETTINGS, unsubscribe_url=_URL, campaign_id=None)
    assert headers == (("Auto-Submitted", "auto-generated"),)


def test_message_ids_are_the_same_for_every_attempt() -> None:
    assert message_id(JOB_ID, "shop.test") == f"<{JOB_ID.hex}@shop.test>"


def test_header_text_is_one_line() -> None:
    assert one_line(" a\tb\x0bc\u2028d\x85 ", "x") == "a b c d"


def test_a_return_path_names_its_attempt() -> None:
    for attempt in (1, 2, 65535):
        address = return_path(Held(JOB_ID, attempt), "bounce.test", b"k" * 32)
        local, _, domain = address.partition("@")
        assert domain == "bounce.test"
        assert len(local) <= 64
        assert local == local.lower()
        assert read_return_path(address.upper(), b"k" * 32) == Held(JOB_ID, attempt)
        assert read_return_path(address, b"other" * 4) is None


def test_a_forged_return_path_names_nothing() -> None:
    address = return_path(Held(JOB_ID, 1), "bounce.test", b"k" * 32)
    for place in range(2, 58):
        digit = "0" if address[place] != "0" else "1"
        assert read_return_path(address[:place] + digit + address[place + 1 :], b"k" * 32) is None
    for other in ("", "b+", "b+zz@bounce.test", "a" * 100_000, address[:-20], "b+\u0660" + address[3:]):
        assert read_return_path(other, b"k" * 32) is None


_OLD, _NEW = bytes(64), bytes(range(64))


@pytest.mark.parametrize("address", ["a@b.test", "ä@b.test", "x" * 64 + "@" + "y" * 180 + ".test"])
@pytest.mark.parametrize("scope", SuppressionScope)
def test_unsubscribe_tokens_come_back(address: str, scope: SuppressionScope) -> None:
    unsubscribe = Unsubscribe(address, scope, JOB_ID)
    token = TOKENS.seal(unsubscribe)
    assert TOKENS.open(token) == unsubscribe
    assert TOKENS.seal(unsubscribe) == token
    assert address.encode() not in base64.urlsafe_b64decode(token + "==")
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_old_keys_still_open_and_new_ones_seal() -> None:
    unsubscribe = Unsubscribe("a@b.test", SuppressionScope.MARKETING, JOB_ID)
    old = UnsubscribeTokens([_OLD]).seal(unsubscribe)
    both = UnsubscribeTokens([_NEW, _OLD])
    assert both.open(old) == unsubscribe
    assert both.seal(unsubscribe) == UnsubscribeTokens([_NEW]).seal(unsubscribe)
    with pytest.raises(InvalidInput):
        UnsubscribeTokens([_NEW]).open(old)


def test_no_changed_token_opens() -> None:
    token = TOKENS.seal(Unsubscribe("ann@inbox.test", SuppressionScope.MARKETING, JOB_ID))
    for place in range(len(token)):
        for character in "AZaz09-_":
            if character != token[place]:
                with pytest.raises(InvalidInput):
                    TOKENS.open(token[:place] + character + token[place + 1 :])


@pytest.mark.parametrize("token", ["", "A", "AAAA", "=" * 8, "a b", "é" * 40, "A" * 601, "\ud800", "A" * 86])
def test_what_is_no_token(token: str) -> None:
    with pytest.raises(InvalidInput):
        TOKENS.open(token)


@pytest.mark.parametrize("keys", [[], [b"short"], [bytes(64), b""]])
def test_keys_that_are_none(keys: list[bytes]) -> None:
    with pytest.raises(Misconfigured):
        UnsubscribeTokens(keys)
