"""Bodies as bytes, before any database: typed errors with pointers that exist, canonical fingerprints."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.compose.header_text import refuse_breaks
from posthouse.compose.headers import check_headers
from posthouse.domain.errors import Forbidden, InvalidInput, PosthouseError
from posthouse.domain.ids import ApiKeyId
from posthouse.domain.stream import Stream
from posthouse.intake.plain_json import MAX_DEPTH, check_json, read_object
from posthouse.intake.policy import StreamPolicy
from posthouse.intake.posted import PostedEmail, fingerprint
from posthouse.intake.rows import Moment, RowMaker
from posthouse.intake.validate import Rules, validate
from posthouse.storage.keys import ApiKey
from posthouse.web.api.batch import items_of
from posthouse.web.api.body import decode
from posthouse.web.api.cursor import from_cursor, to_cursor
from posthouse.web.api.problems import HttpError

T = TypeVar("T")

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
POLICY = StreamPolicy(
    frozenset({"shop.example"}), timedelta(hours=1), shows_other_recipients=True, simulated=True
)
RULES = Rules(dict.fromkeys(Stream, POLICY), 50, check_headers, refuse_breaks)
KEY = ApiKey(ApiKeyId(UUID(int=1)), "test", None, frozenset(), NOW)
DECODER = msgspec.json.Decoder(PostedEmail)

_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
_json = st.recursive(
    _scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)
_words = (
    st.sampled_from(["a@shop.example", "b@c.test", "\x00", "\ud800", "\r\n", "=?", "x" * 300]) | st.text()
)
_line = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)
_addresses = st.sampled_from(
    ["b@c.test", "Jané <j@münchen.de>", '"Doe, J" <doe@inbox.test>', "用户@例子.公司"]
)
_label = st.from_regex(r"\A[A-Za-z0-9_-]{1,9}\Z")
_soon = st.integers(1, 29).map(lambda days: (NOW + timedelta(days=days)).isoformat())
_good_mails = st.fixed_dictionaries(
    {
        "from": st.just("Shop <a@shop.example>"),
        "to": _addresses | st.lists(_addresses, min_size=1, max_size=3),
        "subject": _line,
        "text": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=50),
    },
    optional={
        "cc": st.lists(_addresses, max_size=2),
        "html": _line,
        "stream": st.sampled_from(list(Stream)),
        "tags": st.lists(st.fixed_dictionaries({"name": _label, "value": _label}), max_size=2),
        "metadata": st.dictionaries(_line, _line, max_size=3),
        "headers": st.dictionaries(_label.map("X-{}".format), _line, max_size=2),
        "scheduled_at": _soon,
        "tracking": st.booleans(),
    },
)
_FIELDS = ("to", "cc", "bcc", "subject", "text", "html", "metadata", "headers", "tags", "expires_at")
_spoiled = st.sampled_from(_FIELDS), _words | st.lists(_words) | st.dictionaries(_words, _words)
_mails = _good_mails | st.builds(lambda mail, name, value: {**mail, name: value}, _good_mails, *_spoiled)


def outcome(step: Callable[[], T]) -> T | PosthouseError:
    """What a step returns, or the typed error that it raises. Another error fails the test."""
    try:
        return step()
    except PosthouseError as error:
        return error


@given(st.binary(max_size=200) | _json.map(json.dumps).map(str.encode))
@settings(max_examples=300)
def test_any_bytes_are_a_mail_or_a_typed_error(body: bytes) -> None:
    match outcome(lambda: decode(body, DECODER)):
        case HttpError() as error:
            assert error.status == 400
        case PosthouseError() as error:
            assert isinstance(error, InvalidInput)
            assert error.message
            assert error.pointer == "" or error.pointer.startswith("/")
        case posted:
            assert isinstance(posted, PostedEmail)


_keyed = st.builds(lambda mail, key: {**mail, "idempotency_key": key}, _mails, _words)
_variables = _json.map(lambda value: {"template": {"key": "t", "variables": {"v": value}}})
_templated = st.builds(lambda more: {"from": "a", "to": "b", "idempotency_key": "k", **more}, _variables)
_items = _mails | _keyed | _templated | _json
_batches = st.lists(_items, min_size=1, max_size=6)


@given(st.binary(max_size=200) | _json.map(json.dumps).map(str.encode))
@settings(max_examples=300)
def test_any_bytes_are_a_batch_or_a_typed_error(body: bytes) -> None:
    match outcome(lambda: items_of(body)):
        case HttpError() as error:
            assert error.status == 400
        case PosthouseError() as error:
            assert isinstance(error, InvalidInput)
            assert error.message
        case items:
            assert items


@given(_batches, st.sampled_from(["", "/emails"]))
@settings(max_examples=300)
def test_a_mail_of_a_batch_is_what_it_would_be_alone(mails: list[object], base: str) -> None:
    """Whatever its neighbours are, and however the batch is wrapped. Half a character is the exception: the
    body that holds it is not read at all."""
    items = outcome(lambda: items_of(json.dumps({"emails": mails} if base else mails).encode()))
    if isinstance(items, PosthouseError):
        assert items.code == "invalid_text"
        return
    assert [item.pointer for item in items] == [f"{base}/{n}" for n in range(len(mails))]
    for item, mail in zip(items, mails, strict=True):
        alone = outcome(partial(decode, json.dumps(mail).encode(), DECODER))
        if isinstance(alone, PosthouseError):
            assert isinstance(item.posted, InvalidInput)
            assert (item.posted.code, item.posted.pointer) == (alone.code, alone.pointer)
        elif isinstance(item.posted, PostedEmail):
            assert item.posted == alone
            assert (item.idempotency is None) == (alone.idempotency_key is None)


@given(_mails)
@settings(max_examples=500)
def test_a_mail_that_is_found_good_can_be_stored(mail: dict[str, object]) -> None:
    """What passes has no NUL and no lone surrogate left, whatever column it goes to."""
    body = json.dumps(mail).encode()
    good = outcome(lambda: validate(decode(body, DECODER), None, key=KEY, rules=RULES, now=NOW))
    if isinstance(good, PosthouseError):
        assert isinstance(good, InvalidInput | Forbidden | HttpError)
        return
    (rows,) = RowMaker(b"k", lambda bits: (1 << bits) - 1).make([good], Moment(NOW_MS))
    for job in rows.jobs:
        for text in (value for value in job if isinstance(value, str)):
            assert "\x00" not in text
            assert text.encode().decode() == text
        for encoded in (value for value in job if isinstance(value, bytes)):
            assert "\x00" not in json.dumps(json.loads(encoded), ensure_ascii=False)
        assert NOW <= job.due_at <= NOW + timedelta(days=30)
        assert job.due_at < job.expires_at <= job.due_at + timedelta(days=7)


@given(_json)
@settings(max_examples=300)
def test_json_goes_through_unchanged_or_is_refused(value: object) -> None:
    encoded = outcome(lambda: check_json(value, "/x"))
    if isinstance(encoded, PosthouseError):
        assert encoded.pointer == "/x"
        return
    assert msgspec.json.decode(encoded) == value
    assert "\x00" not in json.dumps(json.loads(encoded), ensure_ascii=False)


@given(st.integers(1, 3 * MAX_DEPTH), st.sampled_from([(b'{"a":', b"}"), (b"[", b"]")]))
def test_depth_has_a_limit(depth: int, brackets: tuple[bytes, bytes]) -> None:
    raw = b'{"a":' + brackets[0] * depth + b"1" + brackets[1] * depth + b"}"
    value = read_object(raw, "")
    refused = isinstance(outcome(lambda: check_json(value, "")), InvalidInput)
    assert refused == (depth > MAX_DEPTH)


@given(st.dictionaries(st.text(min_size=1), st.integers(), min_size=1))
def test_the_order_of_members_is_not_part_of_a_fingerprint(variables: dict[str, int]) -> None:
    def posted(values: dict[str, int]) -> PostedEmail:
        body = {"from": "a", "to": "b", "template": {"key": "t", "variables": values}}
        return msgspec.json.decode(json.dumps(body, indent=1).encode(), type=PostedEmail)

    backwards = dict(reversed(variables.items()))
    assert fingerprint(posted(variables)) == fingerprint(posted(backwards))
    name, value = next(iter(variables.items()))
    assert fingerprint(posted({**variables, name: value + 1})) != fingerprint(posted(variables))


@given(st.text(max_size=100))
def test_a_made_up_cursor_is_refused(text: str) -> None:
    place = outcome(lambda: from_cursor(text, list[int]))
    if isinstance(place, PosthouseError):
        assert place.code == "invalid_cursor"
    else:
        assert from_cursor(to_cursor(place), list[int]) == place
