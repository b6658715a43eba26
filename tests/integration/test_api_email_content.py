"""GET /v1/emails/{id}?include=content: a mail as it was sent, or as it would be sent now."""

from collections.abc import AsyncIterator

import compose_kit
import msgspec
import pytest_asyncio
from api_house import ApiHouse, running_api
from msgspec.structs import replace
from recorded_events import Desk, open_desk, sent
from stored_jobs import open_eyes

from posthouse.clock import SystemClock
from posthouse.domain.job import ClaimedJob
from posthouse.domain.message import Rendered
from posthouse.storage.db import Database
from posthouse.worker.composing import Composing

MAIL = {"from": "Shop <orders@shop.example>", "to": "jane@inbox.test", "subject": "Hi", "text": "Hello"}
FROM_TEMPLATE = {
    "from": "Shop <orders@shop.example>",
    "to": "jane@inbox.test",
    "template": {"key": "receipt", "variables": {"total": "49.00"}},
}


class Content(msgspec.Struct):
    sent: bool
    template_version: int | None
    subject: str | None
    html: str | None
    text: str | None
    headers: list[dict[str, str]]
    attachments: list[dict[str, str | int]]
    reason: str | None


@pytest_asyncio.fixture
async def api(database: Database) -> AsyncIterator[ApiHouse]:
    async with running_api(database) as house:
        yield house


@pytest_asyncio.fixture
async def desk(queue_database: Database, api: ApiHouse) -> AsyncIterator[Desk]:
    eyes = await open_eyes(queue_database.dsn)
    yield await open_desk(queue_database, eyes)
    await eyes.close()


async def posted(api: ApiHouse, mail: object) -> str:
    answer = await api.call("POST", "/v1/emails", mail)
    assert answer.status == 202, answer.body
    return str(answer.json()["id"])


async def published(api: ApiHouse, body: str) -> None:
    version = {"subject": "Order", "html": body, "publish": True}
    answer = await api.call("POST", "/v1/templates/receipt/versions", version)
    if answer.status == 404:
        answer = await api.call("POST", "/v1/templates", {"key": "receipt", **version})
    assert answer.status == 201, answer.body


async def content(api: ApiHouse, email_id: str) -> Content:
    answer = await api.call("GET", f"/v1/emails/{email_id}?include=content")
    assert answer.status == 200, answer.body
    return msgspec.convert(answer.json()["content"], Content)


async def sent_as(desk: Desk) -> Rendered:
    """The one mail that is due, composed by a worker and taken by its relay."""
    (job,) = await desk.claim()
    rendered = await composed(desk, job)
    await desk.record([replace(sent(job.held), template_version=rendered.template_version)])
    return rendered


async def composed(desk: Desk, job: ClaimedJob) -> Rendered:
    composer = compose_kit.composer()
    (rendered,) = await Composing(desk.db, composer, SystemClock())([job])
    composer.close()
    assert isinstance(rendered, Rendered)
    return rendered


async def test_a_mail_is_shown_as_it_was_sent_whatever_was_published_since(api: ApiHouse, desk: Desk) -> None:
    await published(api, '<p>First {{ total }} <a href="https://shop.example/">shop</a></p>')
    await desk.eyes.run("CREATE TABLE link_now PARTITION OF link DEFAULT")
    email_id = await posted(api, FROM_TEMPLATE)
    before = await content(api, email_id)
    assert (before.sent, before.template_version) == (False, 1)
    rendered = await sent_as(desk)
    await published(api, "<p>Second {{ total }}</p>")
    shown = await content(api, email_id)
    assert (shown.sent, shown.template_version, shown.reason) == (True, 1, None)
    assert (shown.subject, shown.html, shown.text) == (rendered.subject, rendered.html, rendered.text)
    assert "First 49.00" in str(shown.html)
    assert {"name": "Message-ID", "value": rendered.message_id} in shown.headers


async def test_a_mail_that_waits_is_shown_as_it_would_be_sent_now(api: ApiHouse) -> None:
    await published(api, "<p>First {{ total }}</p>")
    floating = await posted(api, FROM_TEMPLATE)
    pinned = await posted(
        api, {**FROM_TEMPLATE, "template": {"key": "receipt", "version": 1, "variables": {"total": "1"}}}
    )
    await published(api, "<p>Second {{ total }}</p>")
    for email_id, version in ((floating, 2), (pinned, 1)):
        shown = await content(api, email_id)
        assert (shown.sent, shown.template_version) == (False, version)


async def test_a_mail_with_its_own_bodies_is_shown(api: ApiHouse, desk: Desk) -> None:
    email_id = await posted(api, {**MAIL, "headers": {"X-Order": "17"}})
    await sent_as(desk)
    shown = await content(api, email_id)
    assert (shown.sent, shown.subject, shown.text, shown.attachments) == (True, "Hi", "Hello", [])
    assert {"name": "X-Order", "value": "17"} in shown.headers


async def test_what_cannot_be_composed_says_why(api: ApiHouse, desk: Desk) -> None:
    email_id = await posted(api, MAIL)
    await desk.eyes.run("DELETE FROM email_content")
    shown = await content(api, email_id)
    assert (shown.sent, shown.html, shown.text) == (False, None, None)
    assert shown.reason == "Its template version or its content is not there any more."


async def test_a_template_that_needs_the_sandbox_is_shown_too(api: ApiHouse) -> None:
    await published(api, "<p>{% for i in range(n) %}{{ i }}{% endfor %}</p>")
    mail = {**FROM_TEMPLATE, "template": {"key": "receipt", "variables": {"n": 3}}}
    assert "012" in str((await content(api, await posted(api, mail))).html)


async def test_content_is_there_only_when_it_is_asked_for(api: ApiHouse) -> None:
    email_id = await posted(api, MAIL)
    assert "content" not in (await api.call("GET", f"/v1/emails/{email_id}")).json()
    assert (await api.call("GET", f"/v1/emails/{email_id}?include=all")).status == 400
