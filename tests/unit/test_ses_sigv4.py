"""SigV4 against AWS's published test suite (aws-sig-v4-test-suite; its first edition for paths)."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from posthouse.relays.ses.sigv4 import Credentials, Scope, Unsigned, canonical_request, signed_headers

KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SCOPE = Scope("us-east-1", "service")
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
BASE = "https://example.amazonaws.com"
UNRESERVED = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflf"
    "KD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd"
    "8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3i"
    "SIlTJabIQwj2ICCR/oLxBA=="
)


@pytest.mark.parametrize(
    ("request_", "signature"),
    [
        pytest.param(request, signature, id=name)
        for name, request, signature in (
            (
                "get-vanilla",
                Unsigned("GET", URL(f"{BASE}/"), {}, b""),
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "post-vanilla",
                Unsigned("POST", URL(f"{BASE}/"), {}, b""),
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "get-vanilla-query-order-key-case",
                Unsigned("GET", URL(f"{BASE}/?Param2=value2&Param1=value1"), {}, b""),
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "get-vanilla-query-order-value",
                Unsigned("GET", URL(f"{BASE}/?Param1=value2&Param1=Value1"), {}, b""),
                "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1",
            ),
            (
                "get-vanilla-query-unreserved",
                Unsigned("GET", URL(f"{BASE}/?{UNRESERVED}={UNRESERVED}"), {}, b""),
                "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
            ),
            (
                "get-header-value-trim",
                Unsigned(
                    "GET", URL(f"{BASE}/"), {"My-Header1": " value1", "My-Header2": ' "a   b   c"'}, b""
                ),
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
            (
                "post-x-www-form-urlencoded",
                Unsigned("POST", URL(f"{BASE}/"), FORM, b"Param1=value1"),
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        )
    ],
)
def test_published_signatures(request_: Unsigned, signature: str) -> None:
    authorization = signed_headers(request_, KEYS, SCOPE, NOW)["Authorization"]
    assert authorization.startswith(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders="
    )
    assert authorization.endswith(f", Signature={signature}")


def test_a_session_token_is_signed_with_the_rest() -> None:
    lent = Credentials(KEYS.access_key_id, KEYS.secret_access_key, TOKEN)
    headers = signed_headers(Unsigned("POST", URL(f"{BASE}/"), {}, b""), lent, SCOPE, NOW)
    assert headers["X-Amz-Security-Token"] == TOKEN
    assert headers["Authorization"].endswith(
        "SignedHeaders=host;x-amz-date;x-amz-security-token, "
        "Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
    )


def test_an_encoded_path_is_encoded_again() -> None:
    request = Unsigned("GET", URL("http://host.foo.com/%20/foo", encoded=True), {}, b"")
    headers = {"date": "Mon, 09 Sep 2011 23:36:00 GMT", "host": "host.foo.com"}
    assert canonical_request(request, headers, "date;host") == (
        "GET\n/%2520/foo\n\ndate:Mon, 09 Sep 2011 23:36:00 GMT\nhost:host.foo.com\n\ndate;host\n"
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def test_a_port_that_is_not_the_schemes_own_is_part_of_the_host() -> None:
    one = signed_headers(Unsigned("GET", URL("http://127.0.0.1:8031/"), {}, b""), KEYS, SCOPE, NOW)
    other = signed_headers(Unsigned("GET", URL("http://127.0.0.1:8032/"), {}, b""), KEYS, SCOPE, NOW)
    assert one["Authorization"] != other["Authorization"]


@given(st.text(max_size=30), st.text(max_size=30), st.binary(max_size=30))
def test_secrets_stand_in_no_header_and_any_text_can_be_signed(path: str, value: str, body: bytes) -> None:
    url = (URL(BASE) / path.replace("/", "")).with_query({"a": value}) if path.strip("/.") else URL(BASE)
    headers = signed_headers(Unsigned("PUT", url, {"X-A": "b"}, body), KEYS, SCOPE, NOW)
    assert KEYS.secret_access_key not in "".join(headers.values())
    assert all(value.isascii() for value in headers.values())
