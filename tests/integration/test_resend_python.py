"""Resend's own client for Python, its base URL pointed at ours: what it sends, and what it raises."""

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio
import resend
from api_house import ApiHouse, looking, not_a_key, running_api
from resend.exceptions import (
    ApplicationError,
    InvalidApiKeyError,
    MissingApiKeyError,
    MissingRequiredFieldsError,
    RateLimitError,
    ResendError,
    ValidationError,
)

from posthouse.domain.ids import NoticeId
from posthouse.outhooks.signing import headers_of, new_secret
from posthouse.storage.db import Database
from posthouse.storage.keys import KeyScope
from posthouse.web.api.rate_limit import RateLimit

T = TypeVar("T")

MAIL: resend.Emails.SendParams = {
    "from": "Shop <orders@shop.example>",
    "to": ["jane@inbox.test"],
    "subject": "Your receipt",
    "html": "<p>Thank you</p>",
}
_STORED = """\
-- name: headers
SELECT headers FROM email_job;
"""


@pytest_asyncio.fixture
async def api(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiHouse]:
    async with running_api(database) as house:
        point_at(house, monkeypatch)
        yield house


def point_at(house: ApiHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resend, "api_url", f"{house.base}/v1")
    monkeypatch.setattr(resend, "api_key", house.secret)


async def call(made: Callable[[], T]) -> T:
    """The client blocks, and the server runs in this loop."""
    return await asyncio.to_thread(made)


async def shown(email_id: str) -> Mapping[str, object]:
    """As the client gets it, with what its type does not know of ours."""
    return await call(lambda: resend.Emails.get(email_id))


async def refused(kind: type[ResendError], made: Callable[[], object]) -> ResendError:
    """The error of a call; of exactly this class."""
    with pytest.raises(ResendError) as caught:
        await call(made)
    assert type(caught.value) is kind
    return caught.value


def mail(**fields: object) -> resend.Emails.SendParams:
    return msgspec.convert({**MAIL, **fields}, dict)  # type: ignore[return-value]  # wrong ones are sent too


def later(hours: int) -> datetime:
    return (datetime.now(UTC) + timedelta(hours=hours)).replace(microsecond=0)


# ---- what it sends -----------------------------------------------------------------------------------------


async def test_send_and_get(api: ApiHouse, pg_dsn: str) -> None:
    posted = mail(
        cc="Cc <cc@inbox.test>",
        bcc=["bcc@inbox.test"],
        reply_to="help@shop.example",
        text="Thank you",
        tags=[{"name": "kind", "value": "receipt"}],
        headers={"X-Order": "4711"},
    )
    sent = await call(lambda: resend.Emails.send(posted))
    got = await shown(sent["id"])
    assert {name: got[name] for name in ("object", "id", "to", "cc", "reply_to", "from", "subject")} == {
        "object": "email",
        "id": sent["id"],
        "to": ["jane@inbox.test"],
        "cc": ["Cc <cc@inbox.test>"],
        "reply_to": ["help@shop.example"],
        "from": "Shop <orders@shop.example>",
        "subject": "Your receipt",
    }
    assert got["tags"] == [{"name": "kind", "value": "receipt"}]
    async with looking(pg_dsn, _STORED) as wire:
        assert {row[0] for row in await wire.fetch("headers")} == {b'[["X-Order", "4711"]]'}


async def test_a_retry_under_an_idempotency_key_is_one_mail(api: ApiHouse) -> None:
    options: resend.Emails.SendOptions = {"idempotency_key": "order-4711"}
    ids = {(await call(lambda: resend.Emails.send(MAIL, options)))["id"] for _ in range(2)}
    assert len(ids) == 1
    other = await refused(ResendError, lambda: resend.Emails.send(mail(subject="Other"), options))
    assert (other.code, other.error_type) == (422, "invalid_idempotent_request")
    wrong: resend.Emails.SendOptions = {"idempotency_key": "two words"}
    assert (await refused(ResendError, lambda: resend.Emails.send(MAIL, wrong))).code == 400


async def test_a_template_is_named_by_its_id(api: ApiHouse) -> None:
    template = {"key": "welcome", "subject": "Hi {{ name }}", "html": "<p>{{ name }}</p>", "publish": True}
    assert (await api.call("POST", "/v1/templates", template)).status == 201
    posted: resend.Emails.SendParams = {
        "from": MAIL["from"],
        "to": "jane@inbox.test",
        "template": {"id": "welcome", "variables": {"name": "Jane"}},
    }
    sent = await call(lambda: resend.Emails.send(posted))
    assert (await api.call("GET", f"/v1/emails/{sent['id']}")).json()["template"] == {
        "key": "welcome",
        "version": None,
    }


async def test_scheduled_moved_and_cancelled(api: ApiHouse) -> None:
    sent = await call(lambda: resend.Emails.send(mail(scheduled_at=later(1).isoformat())))
    moved: resend.Emails.UpdateParams = {"id": sent["id"], "scheduled_at": later(2).isoformat()}
    assert (await call(lambda: resend.Emails.update(moved)))["id"] == sent["id"]
    got = await shown(sent["id"])
    assert got["scheduled_at"] == later(2).isoformat().replace("+00:00", "Z")
    cancelled = await call(lambda: resend.Emails.cancel(sent["id"]))
    assert (cancelled["object"], cancelled["id"]) == ("email", sent["id"])
    assert (await shown(sent["id"]))["last_event"] == "canceled"
    gone = await refused(ResendError, lambda: resend.Emails.update(moved))
    assert gone.code == 409


async def test_files_go_in_both_forms(api: ApiHouse) -> None:
    """As its own examples have them: the bytes of a file as a list, and base64."""
    posted = mail(
        html='<p><img src="cid:logo"></p>',
        attachments=[
            {"filename": "invoice.pdf", "content": list(b"%PDF-1.7")},
            {"filename": "a.txt", "content": base64.b64encode(b"text").decode()},
            {"filename": "logo.png", "content": list(b"\x89PNG"), "content_id": "logo"},
            {"filename": "also.png", "content": list(b"\x89PNG"), "inline_content_id": "also"},
        ],
    )
    sent = await call(lambda: resend.Emails.send(posted))
    got = await api.call("GET", f"/v1/emails/{sent['id']}?include=content")
    content = msgspec.convert(got.json()["content"], dict[str, object])
    files = msgspec.convert(content["attachments"], list[dict[str, object]])
    assert [tuple(file.values()) for file in files] == [
        ("invoice.pdf", "application/pdf", 8, None, "attachment"),
        ("a.txt", "text/plain", 4, None, "attachment"),
        ("logo.png", "image/png", 4, "logo", "inline"),
        ("also.png", "image/png", 4, "also", "inline"),
    ]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ({"path": "http://169.254.169.254/latest", "filename": "a.txt"}, "server-side request forgery"),
        ({"filename": "a.exe", "content": [1]}, ".exe"),
        ({"filename": "a.txt", "content": "not base64!"}, "neither base64"),
    ],
)
async def test_files_that_are_not_taken(api: ApiHouse, file: Mapping[str, object], words: str) -> None:
    error = await refused(ResendError, lambda: resend.Emails.send(mail(attachments=[file])))
    assert (error.code, error.error_type) == (422, "invalid_attachment")
    assert words in error.message


async def test_a_batch_is_taken_whole_or_not_at_all(api: ApiHouse) -> None:
    options: resend.Batch.SendOptions = {"idempotency_key": "orders"}
    sent = await call(lambda: resend.Batch.send([MAIL, mail(to="john@inbox.test")], options))
    again = await call(lambda: resend.Batch.send([MAIL, mail(to="john@inbox.test")], options))
    assert [each["id"] for each in again["data"]] == [each["id"] for each in sent["data"]]
    assert [(await shown(each["id"]))["to"] for each in sent["data"]] == [
        ["jane@inbox.test"],
        ["john@inbox.test"],
    ]
    error = await refused(ValidationError, lambda: resend.Batch.send([MAIL, mail(to="nobody")]))
    assert error.message.startswith("/1/to: ")


async def test_a_permissive_batch_says_which_mails_are_wrong(api: ApiHouse) -> None:
    options: resend.Batch.SendOptions = {"batch_validation": "permissive"}
    sent = await call(lambda: resend.Batch.send([mail(to="nobody"), MAIL], options))
    assert [(await shown(each["id"]))["to"] for each in sent["data"]] == [["jane@inbox.test"]]
    assert [each["index"] for each in sent["errors"]] == [0]


async def test_an_id_that_is_not_the_one_of_the_path_is_refused(api: ApiHouse) -> None:
    sent = await call(lambda: resend.Emails.send(mail(scheduled_at=later(1).isoformat())))
    change = {"id": "another", "scheduled_at": later(2).isoformat()}
    assert (await api.call("PATCH", f"/v1/emails/{sent['id']}", change)).pointer == "/id"


async def test_lists_are_walked_by_the_last_id(api: ApiHouse) -> None:
    ids = [(await call(lambda: resend.Emails.send(MAIL)))["id"] for _ in range(3)]
    first = await call(lambda: resend.Emails.list({"limit": 2}))
    assert (first["object"], first["has_more"]) == ("list", True)
    seen = [each["id"] for each in first["data"]]
    rest = await call(lambda: resend.Emails.list({"limit": 2, "after": seen[-1]}))
    assert [*seen, *(each["id"] for each in rest["data"])] == ids[::-1]
    assert not rest["has_more"]


# ---- what it raises ----------------------------------------------------------------------------------------


async def test_a_missing_key(api: ApiHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resend, "api_key", "")
    error = await refused(MissingApiKeyError, lambda: resend.Emails.send(MAIL))
    assert (error.code, error.error_type) == (401, "missing_api_key")


@pytest.mark.parametrize("secret", [None, "re_of_resend", not_a_key()])
async def test_a_key_that_is_not_valid(
    api: ApiHouse, monkeypatch: pytest.MonkeyPatch, secret: str | None
) -> None:
    monkeypatch.setattr(resend, "api_key", secret)
    error = await refused(InvalidApiKeyError, lambda: resend.Emails.send(MAIL))
    assert (error.code, error.error_type) == (403, "invalid_api_key")


async def test_a_key_that_may_not(api: ApiHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resend, "api_key", await api.another_key(scopes=frozenset({KeyScope.READ})))
    error = await refused(ResendError, lambda: resend.Emails.send(MAIL))
    assert (error.code, error.error_type) == (403, "restricted_api_key")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"to": ["jane@inbox.test", "nobody"]}, "/to/1: Write one address"),
        ({"topic_id": "t"}, "topic_id"),
        ({"scheduled_at": "in 1 min"}, "/scheduled_at: Invalid RFC3339"),
        ({"tags": [{"name": "no spaces", "value": "x"}]}, "regex"),
    ],
)
async def test_a_mail_that_is_wrong(api: ApiHouse, fields: Mapping[str, object], words: str) -> None:
    error = await refused(ValidationError, lambda: resend.Emails.send(mail(**fields)))
    assert (error.code, error.error_type) == (422, "validation_error")
    assert words in error.message
    assert error.headers["x-request-id"]


@pytest.mark.parametrize("missing", ["from", "to", "subject", "html"])
async def test_a_mail_that_lacks_something(api: ApiHouse, missing: str) -> None:
    lacking = mail()
    lacking.pop(missing)  # type: ignore[misc]  # each of them in turn
    error = await refused(MissingRequiredFieldsError, lambda: resend.Emails.send(lacking))
    assert (error.code, error.error_type) == (422, "missing_required_field")


async def test_no_such_mail(api: ApiHouse) -> None:
    nobodys = "019ab3f0-5d7e-7c41-9f0a-4a6c1f0e2b11"
    for made in (lambda: resend.Emails.get(nobodys), lambda: resend.Emails.cancel(nobodys)):
        error = await refused(ResendError, made)
        assert (error.code, error.error_type) == (404, "not_found")


async def test_too_fast(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_api(database, RateLimit(per_second=0.1, burst=1)) as house:
        point_at(house, monkeypatch)
        await call(lambda: resend.Emails.send(MAIL))
        error = await refused(RateLimitError, lambda: resend.Emails.send(MAIL))
        assert (error.code, error.error_type) == (429, "rate_limit_exceeded")
        assert (error.headers["retry-after"], error.headers["ratelimit-remaining"]) == ("10", "0")


async def test_a_fault_of_ours(api: ApiHouse, pg_dsn: str) -> None:
    async with looking(pg_dsn, "") as wire:
        await wire.script("ALTER TABLE email_template RENAME TO lost")
    error = await refused(ApplicationError, lambda: resend.Emails.send(mail(html=None, template={"id": "t"})))
    assert (error.code, error.error_type) == (500, "application_error")


async def test_webhooks_are_made_seen_changed_and_deleted(api: ApiHouse) -> None:
    params: resend.Webhooks.CreateParams = {
        "endpoint": "https://app.example/hooks",
        "events": ["email.sent", "email.bounced"],
    }
    made = await call(lambda: resend.Webhooks.create(params))
    webhook = await call(lambda: resend.Webhooks.get(made["id"]))
    assert (webhook["endpoint"], webhook["status"]) == (params["endpoint"], "enabled")
    assert webhook["signing_secret"] == made["signing_secret"]
    assert [one["id"] for one in (await call(resend.Webhooks.list))["data"]] == [made["id"]]
    change: resend.Webhooks.UpdateParams = {"webhook_id": made["id"], "status": "disabled"}
    assert (await call(lambda: resend.Webhooks.update(change)))["id"] == made["id"]
    assert (await call(lambda: resend.Webhooks.get(made["id"])))["status"] == "disabled"
    assert (await call(lambda: resend.Webhooks.remove(made["id"])))["deleted"] is True


async def test_what_webhooks_were_told_is_seen_and_told_again(api: ApiHouse) -> None:
    params: resend.Webhooks.CreateParams = {"endpoint": "https://app.example/hooks", "events": ["email.sent"]}
    webhook = (await call(lambda: resend.Webhooks.create(params)))["id"]
    test = await api.call("POST", f"/v1/webhooks/{webhook}/test", {"type": "email.sent"})
    event_id = str(test.json()["id"])
    (listed,) = (await call(lambda: resend.Webhooks.list_events(webhook)))["data"]
    assert (listed["id"], listed["type"], listed["status"]) == (event_id, "email.sent", "pending")
    after: resend.Webhooks.ListEventsParams = {"after": event_id}
    assert (await call(lambda: resend.Webhooks.list_events(webhook, after)))["data"] == []
    event = await call(lambda: resend.Webhooks.get_event(webhook, event_id))
    assert event["payload"]["type"] == "email.sent"
    assert (await call(lambda: resend.Webhooks.list_event_attempts(webhook, event_id)))["data"] == []
    assert (await call(lambda: resend.Webhooks.replay_event(webhook, event_id)))["id"] == event_id
    with pytest.raises(ResendError):
        await call(lambda: resend.Webhooks.get_event(webhook, "msg_unknown"))
    secret = (await call(lambda: resend.Webhooks.rotate_signing_secret(webhook)))["signing_secret"]
    assert (await call(lambda: resend.Webhooks.get(webhook)))["signing_secret"] == secret


def test_their_verification_takes_our_signatures() -> None:
    secret, body = new_secret(secrets.token_bytes), '{"type":"email.sent"}'
    signed = headers_of(NoticeId(UUID(int=7)), int(time.time()), body.encode(), [secret])
    options: resend.VerifyWebhookOptions = {
        "payload": body,
        "headers": {
            "id": signed["webhook-id"],
            "timestamp": signed["webhook-timestamp"],
            "signature": signed["webhook-signature"],
        },
        "webhook_secret": secret,
    }
    assert resend.Webhooks.verify(options)["type"] == "email.sent"
