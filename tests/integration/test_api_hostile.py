"""Hostile input over real HTTP: a 4xx with its reason, never a 5xx, and the API lives on."""

import asyncio
import gzip
import json
import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from api_house import MAX_BODY, Answer, ApiHouse, not_a_key, running_api, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posthouse.storage.db import Database
from posthouse.storage.keys import KeySecret
from posthouse.web.api.body import Bodies

MAIL = {"from": "Shop <orders@shop.example>", "to": "jane@inbox.test", "subject": "Hi", "text": "Hello"}

_FIELDS = (
    *("from", "to", "cc", "bcc", "reply_to", "subject", "html", "text", "template", "stream", "scheduled_at"),
    *("expires_at", "tags", "metadata", "headers", "tracking", "attachments", "key", "name", "variables"),
    *("version", "id", "value", "publish", "address", "reason", "scope", "note"),
)
_texts = st.text(max_size=20) | st.sampled_from(
    [
        "jane@inbox.test",
        "orders@shop.example",
        "\x00",
        "a\r\nBcc: x@evil.test",
        "=?utf-8?q?=0A?=",
        "2026-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999-23:59",
        "0001-01-01T00:00:00+23:59",
        "marketing",
        "transactional",
        "{{ x }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "x" * 2000,
    ]
)
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | _texts
_values = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_FIELDS) | _texts, inner, max_size=4)
    ),
    max_leaves=12,
)
_bodies = st.one_of(
    _values,
    st.dictionaries(st.sampled_from(_FIELDS), _values, max_size=8),
    # One field of a good mail gone wrong: these get past the first check.
    st.builds(lambda name, value: {**MAIL, name: value}, st.sampled_from(_FIELDS), _values),
)


@pytest_asyncio.fixture
async def api(database: Database) -> AsyncIterator[ApiHouse]:
    async with running_api(database) as house:
        yield house


def assert_refused(answer: Answer) -> None:
    assert 400 <= answer.status < 500, answer.body
    assert answer.json()["code"]


@given(body=_bodies, path=st.sampled_from(["/v1/emails", "/v1/templates", "/v1/suppressions"]))
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_whatever_json_is_posted_the_answer_is_no_fault_of_ours(
    api: ApiHouse, body: object, path: str
) -> None:
    answer = await api.call("POST", path, raw=json.dumps(body).encode())
    if answer.status >= 300:
        assert_refused(answer)


async def test_what_is_not_json_is_refused(api: ApiHouse) -> None:
    rng = random.Random(5)
    for raw in (
        b"",
        b"{",
        b"nul",
        b"\xff\xfe",
        b'{"from":"\xed\xa0\x80"}',
        b'{"from":"a\x00"}',
        b'{"from":NaN}',
        b'{"from":' + b"9" * 5000 + b"}",
        b'{"template":{"variables":{"a":1e999}}}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"template":{"key":"t","variables":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        json.dumps({**MAIL, "text": "\ud800"}).encode(),
        json.dumps({**MAIL, "text": "\udc00\ud800"}).encode(),
        json.dumps({**MAIL, "text": "\x00"}).encode(),
        *(rng.randbytes(200) for _ in range(20)),
    ):
        assert_refused(await api.call("POST", "/v1/emails", raw=raw))
        assert_refused(await api.call("POST", "/v1/emails", raw=raw, headers={"Idempotency-Key": "k"}))
    assert (await api.call("POST", "/v1/emails", MAIL)).status == 202


async def test_half_a_character_is_told_from_bad_json(api: ApiHouse) -> None:
    lone = await api.call("POST", "/v1/emails", raw=json.dumps({**MAIL, "text": "\ud800"}).encode())
    assert (lone.status, lone.code) == (422, "invalid_text")
    bad = await api.call("POST", "/v1/emails", raw=b'{"text":"\\ud800"')
    assert (bad.status, bad.code) == (400, "malformed_json")


async def test_bodies_of_another_kind_are_refused(api: ApiHouse) -> None:
    for headers in (
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-encoding": "gzip"},
        {"content-encoding": "gzip, gzip"},
    ):
        answer = await api.call("POST", "/v1/emails", MAIL, headers=headers)
        assert (answer.status, answer.code) == (415, "unsupported_media_type")
    good = {"content-type": "application/json; charset=utf-8"}
    assert (await api.call("POST", "/v1/emails", MAIL, headers=good)).status == 202


async def raw_exchange(api: ApiHouse, *parts: bytes) -> bytes:
    """Bytes as they are on a connection of its own; what came back until the other side closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.base.rpartition(":")[2]))
    for part in parts:
        writer.write(part)
        await writer.drain()
    answer = await reader.read()
    writer.close()
    return answer


def head(api: ApiHouse, *more: str) -> bytes:
    lines = ["POST /v1/emails HTTP/1.1", "Host: x", f"Authorization: Bearer {api.secret}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def test_a_body_is_too_large_before_it_is_read(api: ApiHouse) -> None:
    """The client only promises the bytes; the answer comes without one of them."""
    promised = await raw_exchange(api, head(api, f"Content-Length: {10**15}", "Connection: close"), b"x" * 10)
    assert b" 413 " in promised.split(b"\r\n")[0]
    assert b"body_too_large" in promised


async def test_a_body_without_a_length_is_too_large_when_it_is(api: ApiHouse) -> None:
    chunk = b"186a0\r\n" + b"x" * 100_000 + b"\r\n"
    answer = await raw_exchange(
        api, head(api, "Transfer-Encoding: chunked", "Connection: close"), *[chunk] * 11, b"0\r\n\r\n"
    )
    assert b" 413 " in answer.split(b"\r\n")[0]
    assert MAX_BODY < 11 * 100_000


async def test_a_client_that_leaves_in_mid_body_leaves_nothing_behind(api: ApiHouse) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.base.rpartition(":")[2]))
    writer.write(head(api, "Content-Length: 1000") + b"{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    del reader
    assert (await api.call("POST", "/v1/emails", MAIL)).status == 202
    assert sum(api.told.values()) == 1


async def test_a_body_that_does_not_come_is_not_waited_for(api: ApiHouse) -> None:
    impatient = replace(api.deps, bodies=Bodies(max_bytes=10_000, read_seconds=0.05))
    async with serving(impatient) as base:
        slow = replace(api, base=base)
        answer = await raw_exchange(slow, head(api, "Content-Length: 100") + b"{")
    assert b" 408 " in answer.split(b"\r\n")[0]
    assert b"too_slow" in answer


async def test_all_bodies_together_have_a_bounded_room(api: ApiHouse) -> None:
    narrow = replace(api.deps, bodies=Bodies(max_bytes=10_000, room_bytes=10_000))
    async with serving(narrow) as base:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]))
        body = json.dumps({**MAIL, "text": "x" * 6000}).encode()
        writer.write(head(api, f"Content-Length: {len(body)}", "Expect: 100-continue"))
        assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")  # it is being read
        writer.write(body[:-1])
        await writer.drain()
        crowded = replace(api, base=base)
        answer = await crowded.call("POST", "/v1/emails", {**MAIL, "text": "y" * 9000})
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        writer.write(body[-1:])
        assert b" 202 " in await reader.readline()
        writer.close()
        assert (await crowded.call("POST", "/v1/emails", {**MAIL, "text": "y" * 9000})).status == 202


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"1" + b"0" * 400, b"-0", b"-0.0", b"1e-400"])
async def test_numbers_beyond_all_bounds_are_refused_where_a_mail_has_none(
    api: ApiHouse, number: bytes
) -> None:
    for field in (b"subject", b"scheduled_at", b"tracking", b"metadata", b"tags", b"to", b"template"):
        for value in (number, b'{"a":' + number + b"}", b"[" + number + b"]"):
            raw = json.dumps(MAIL).encode()[:-1] + b',"' + field + b'":' + value + b"}"
            assert_refused(await api.call("POST", "/v1/emails", raw=raw))
            assert_refused(await api.call("POST", "/v1/emails/batch", raw=b"[" + raw + b"]"))


async def test_of_a_name_that_comes_twice_the_last_value_counts(api: ApiHouse) -> None:
    raw = json.dumps(MAIL).encode()[:-1] + b',"to":"no address"}'
    answer = await api.call("POST", "/v1/emails", raw=raw)
    assert (answer.status, answer.pointer) == (422, "/to")
    raw = b'{"to":"no address",' + json.dumps(MAIL).encode()[1:]
    assert (await api.call("POST", "/v1/emails", raw=raw)).status == 202


async def test_a_compressed_body_is_refused_unread(api: ApiHouse) -> None:
    """What it would become is nobody's business: not one byte of it is waited for."""
    head_only = head(api, "Content-Encoding: gzip", f"Content-Length: {MAX_BODY}", "Connection: close")
    answer = await raw_exchange(api, head_only)
    assert answer.startswith(b"HTTP/1.1 415 ")
    bomb = gzip.compress(bytes(10_000_000))
    for coding in ("gzip", "deflate", "br", "gzip, identity"):
        sent = {"content-encoding": coding}
        assert (await api.call("POST", "/v1/emails", raw=bomb, headers=sent)).status == 415


@pytest.mark.parametrize(
    "target",
    [
        *("/v1/emails/../keys", "/v1/emails/%2e%2e/keys", "/v1/templates/a%2Fb", "/v1/templates/%00"),
        *("/v1/emails/%00", "/v1/emails/%ff%fe", "/v1/emails;x", "/v1/../../etc/passwd", "*", "/v1\\emails"),
        *("/v1/emails?recipient=%00", "/v1/emails?limit=1e400", "/v1/emails?limit=" + "9" * 400),
        *("/v1/emails?cursor=" + "%00" * 1000, "/v1/" + "x" * 50_000, "/" + "a/" * 25_000),
    ],
)
async def test_tricks_with_paths_are_refused_in_our_words(api: ApiHouse, target: str) -> None:
    for method in ("GET", "DELETE", "BREW"):
        answer = await raw_exchange(api, request_line(api, method, target))
        status, body = int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[2]
        assert 400 <= status < 500
        assert json.loads(body)["instance"].encode() in answer.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize(
    "target", ["//v1/emails", "/v1//emails", "/v1%2Femails", "/v1/emails/", "http://x/v1/emails"]
)
async def test_other_ways_to_write_a_path_need_a_key_as_well(api: ApiHouse, target: str) -> None:
    nobody = replace(api, secret=KeySecret(not_a_key()))
    answer = await raw_exchange(api, request_line(nobody, "GET", target))
    assert answer.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 404 "))


async def test_what_is_no_http_is_refused_by_the_server_itself(api: ApiHouse) -> None:
    for line in (b"GET /v1/\x00 HTTP/1.1", b"GET /v1/emails HTTP/9.9", b"\x16\x03\x01\x02\x00", b"GET"):
        assert (await raw_exchange(api, line + b"\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_head_and_options_are_answered_without_a_body(api: ApiHouse) -> None:
    for method, path, status in (
        ("HEAD", "/v1/emails", 405),
        ("HEAD", "/v1/nope", 404),
        ("OPTIONS", "/v1/emails", 204),
    ):
        answer = await api.call(method, path)
        assert (answer.status, answer.body) == (status, b"")
        assert answer.headers["x-request-id"]


def request_line(api: ApiHouse, method: str, target: str) -> bytes:
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {api.secret}",
        "Connection: close",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def test_unknown_paths_and_methods_have_problems_too(api: ApiHouse) -> None:
    assert (await api.call("GET", "/v1/nope")).code == "not_found"
    assert (await api.call("PATCH", "/v1/emails")).code == "method_not_allowed"
    assert_refused(await api.call("POST", "/v1/../etc/passwd", MAIL))
    assert_refused(await api.call("GET", "/v1/templates/" + "x" * 5000))


@pytest.mark.parametrize(
    ("headers", "secret", "status"),
    [({}, None, 413), ({"content-encoding": "gzip"}, None, 415), ({}, "ph_live_nobody", 403)],
)
async def test_a_refusal_of_a_large_body_is_seen_by_who_sends_it(
    api: ApiHouse, headers: dict[str, str], secret: str | None, status: int
) -> None:
    """Whoever is in the middle of writing must not meet a closed connection in place of the answer."""
    for _ in range(5):
        answer = await api.call("POST", "/v1/emails", raw=b"x" * 8_000_000, headers=headers, secret=secret)
        assert answer.status == status
