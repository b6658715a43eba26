"""/v1/webhooks: what is taken, what each key sees, and how it stands."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio
from api_house import Answer, ApiHouse, running_api
from outhook_house import OuthookHouse, accepted_mails, happen, outhook_house
from receiver import Receiver, receiving, status

from posthouse.domain.event import EventType
from posthouse.domain.ids import EndpointId
from posthouse.domain.stream import Stream
from posthouse.domain.webhook import Endpoint
from posthouse.storage import webhooks
from posthouse.storage.db import Database
from posthouse.storage.keys import KeyScope
from posthouse.storage.webhooks import EVERYTHING

HOOK = {"endpoint": "https://app.example/hooks", "events": ["email.bounced", "email.sent"]}


@pytest_asyncio.fixture
async def api(database: Database) -> AsyncIterator[ApiHouse]:
    async with running_api(database) as house:
        yield house


async def make(api: ApiHouse, secret: str | None = None, **fields: object) -> str:
    answer = await api.call("POST", "/v1/webhooks", {**HOOK, **fields}, secret=secret)
    assert answer.status == 201, answer.body
    return str(answer.json()["id"])


async def listed(api: ApiHouse, secret: str | None = None, query: str = "") -> list[str]:
    answer = await api.call("GET", f"/v1/webhooks{query}", secret=secret)
    return [str(one["id"]) for one in msgspec.convert(answer.json()["data"], list[dict[str, object]])]


async def test_made_seen_changed_and_deleted(api: ApiHouse) -> None:
    made = (await api.call("POST", "/v1/webhooks", {**HOOK, "description": "orders"})).json()
    assert str(made["signing_secret"]).startswith("whsec_")
    path = f"/v1/webhooks/{made['id']}"
    seen = (await api.call("GET", path)).json()
    assert seen["signing_secret"] == made["signing_secret"]
    assert (seen["status"], seen["endpoint"], seen["description"]) == ("enabled", HOOK["endpoint"], "orders")
    changed = await api.call("PATCH", path, {"status": "disabled", "events": ["email.opened"]})
    assert changed.json() == {"object": "webhook", "id": made["id"]}
    seen = (await api.call("GET", path)).json()
    assert (seen["status"], seen["events"]) == ("disabled", ["email.opened"])
    assert seen["disabled_reason"] == "disabled over the API with the key test"
    assert seen["description"] == "orders"
    await api.call("PATCH", path, {"status": "enabled"})
    seen = (await api.call("GET", path)).json()
    assert (seen["status"], seen["disabled_reason"], seen["disabled_at"]) == ("enabled", None, None)
    assert (await api.call("DELETE", path)).json() == {"object": "webhook", "id": made["id"], "deleted": True}
    assert (await api.call("GET", path)).code == "not_found"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"endpoint": "http://app.example/"}, "/endpoint"),
        ({"endpoint": "https://169.254.169.254/"}, "/endpoint"),
        ({"endpoint": ""}, "/endpoint"),
        ({"events": []}, "/events"),
        ({"events": ["email.sent", "email.eaten"]}, "/events/1"),
        ({"description": "\x00"}, "/description"),
        ({"stream": "other"}, "/stream"),
        ({"from_domains": ["no domain"]}, "/from_domains/0"),
        ({"tags": [{"name": "a"}]}, "/tags/0/value"),
        ({"secret": "mine"}, "/secret"),
    ],
)
async def test_what_is_refused_is_named(api: ApiHouse, change: dict[str, object], pointer: str) -> None:
    answer = await api.call("POST", "/v1/webhooks", {**HOOK, **change})
    assert (answer.status, answer.pointer) == (422, pointer)
    webhook = await make(api)
    answer = await api.call("PATCH", f"/v1/webhooks/{webhook}", change)
    assert (answer.status, answer.pointer) == (422, pointer)


async def test_a_key_sees_those_that_hear_no_more_than_it_may(api: ApiHouse) -> None:
    bound = await api.another_key(stream=Stream.TRANSACTIONAL, from_domains=["shop.example"])
    tests = await api.another_key(sandbox=True)
    everything, narrow, sandboxed = await make(api), await make(api, bound), await make(api, tests)
    assert await listed(api) == [narrow, everything]
    assert await listed(api, bound) == [narrow]
    assert await listed(api, tests) == [sandboxed]
    seen = (await api.call("GET", f"/v1/webhooks/{narrow}")).json()
    assert (seen["stream"], seen["from_domains"]) == ("transactional", ["shop.example"])
    for method, path in (
        ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/deliveries"), ("POST", "/secret/rotate"),
        ("POST", "/redeliver"), ("POST", "/test"),
    ):  # fmt: skip
        body: dict[str, object] | None = {} if method in ("PATCH", "POST") else None
        if path == "/redeliver":
            body = {"since": "2026-01-01T00:00:00Z"}
        for secret, other in (
            (bound, everything),
            (bound, sandboxed),
            (tests, everything),
            (None, sandboxed),
        ):
            answer = await api.call(method, f"/v1/webhooks/{other}{path}", body, secret=secret)
            assert (answer.status, answer.code) == (404, "not_found")
    wider = await api.call("PATCH", f"/v1/webhooks/{narrow}", {"stream": "marketing"}, secret=bound)
    assert (wider.status, wider.code) == (403, "more_than_this_key")
    await api.call("PATCH", f"/v1/webhooks/{narrow}", {"stream": None, "from_domains": []}, secret=bound)
    seen = (await api.call("GET", f"/v1/webhooks/{narrow}")).json()
    assert (seen["stream"], seen["from_domains"]) == ("transactional", ["shop.example"])


async def test_scopes(api: ApiHouse) -> None:
    webhook = await make(api)
    reader = await api.another_key(scopes=frozenset({KeyScope.READ}))
    seen = (await api.call("GET", f"/v1/webhooks/{webhook}", secret=reader)).json()
    assert seen["signing_secret"] is None
    assert (await api.call("GET", f"/v1/webhooks/{webhook}/deliveries", secret=reader)).status == 200
    for method, path in (("DELETE", ""), ("POST", "/secret/rotate"), ("POST", "/test")):
        answer = await api.call(method, f"/v1/webhooks/{webhook}{path}", raw=b"{}", secret=reader)
        assert (answer.status, answer.code) == (403, "restricted_api_key")


async def test_pages_and_strangers(api: ApiHouse) -> None:
    made = [await make(api) for _ in range(3)]
    first = (await api.call("GET", "/v1/webhooks?limit=2")).json()
    assert first["has_more"] is True
    rest = await listed(api, query=f"?limit=2&cursor={first['next_cursor']}")
    assert rest == [made[0]]
    for name in ("not-an-id", "019ab3f0-6a10-7b52-8c3d-5e9f00aa1c42"):
        assert (await api.call("GET", f"/v1/webhooks/{name}")).code == "not_found"
    assert (await api.call("GET", "/v1/webhooks?cursor=zzz")).code == "invalid_cursor"
    assert (await api.call("GET", f"/v1/webhooks/{made[0]}/deliveries?cursor=zzz")).code == "invalid_cursor"


async def test_there_is_an_end_to_them(api: ApiHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MAX_ENDPOINTS", 2)
    for _ in range(2):
        await make(api)
    answer = await api.call("POST", "/v1/webhooks", HOOK)
    assert (answer.status, answer.code) == (409, "too_many_webhooks")


# ---- with somebody who listens -----------------------------------------------------------------------------


async def placed(api: ApiHouse, house: OuthookHouse, app: Receiver) -> tuple[str, Endpoint]:
    """A webhook of the API at the receiver."""
    webhook = await make(api)
    endpoint = await webhooks.find(api.deps.database, EVERYTHING, EndpointId(UUID(webhook)))
    assert endpoint is not None
    changes = webhooks.Changes(app.url)
    await webhooks.change(api.deps.database, endpoint.endpoint_id, changes, house.clock.now(), "")
    app.secrets.append(str((await api.call("GET", f"/v1/webhooks/{webhook}")).json()["signing_secret"]))
    app.now = house.clock.now
    return f"/v1/webhooks/{webhook}", endpoint


async def deliveries(api: ApiHouse, path: str, query: str = "") -> list[dict[str, object]]:
    answer = await api.call("GET", f"{path}/deliveries{query}")
    assert answer.status == 200, answer.body
    return msgspec.convert(answer.json()["data"], list[dict[str, object]])


async def test_the_log_tells_each_attempt_and_has_pages_and_filters(
    api: ApiHouse, database: Database
) -> None:
    async with receiving() as app, outhook_house(database, [app], box=api.deps.webhooks.box) as house:
        path, _ = await placed(api, house, app)
        app.answers.append(status(500, "<script>alert(1)</script>"))
        for _ in range(3):
            await happen(database, await accepted_mails(database, 1), EventType.BOUNCED)
            await house.settle()
            house.clock.advance(0.01)
        third, second, first = await deliveries(api, path)
        assert (first["status"], first["attempt_count"]) == ("pending", 1)
        assert first["next_attempt_at"] is not None
        (attempt,) = msgspec.convert(first["attempts"], list[dict[str, object]])
        assert (attempt["http_status"], attempt["response_body"]) == (500, "<script>alert(1)</script>")
        assert [one["id"] for one in await deliveries(api, path, "?status=pending")] == [first["id"]]
        assert len(await deliveries(api, path, "?status=delivered")) == 2
        assert await deliveries(api, path, "?status=failed") == []
        page = (await api.call("GET", f"{path}/deliveries?limit=2")).json()
        assert page["has_more"] is True
        rest = await deliveries(api, path, f"?limit=2&cursor={page['next_cursor']}")
        assert [one["id"] for one in rest] == [first["id"]]
        since = str(second["created_at"]).replace("+", "%2B")
        assert [one["id"] for one in await deliveries(api, path, f"?since={since}")] == [
            third["id"],
            second["id"],
        ]
        assert [one["id"] for one in await deliveries(api, path, f"?until={since}")] == [first["id"]]


async def test_redelivered_tested_and_rotated(api: ApiHouse, database: Database) -> None:
    async with receiving() as app, outhook_house(database, [app], box=api.deps.webhooks.box) as house:
        path, _ = await placed(api, house, app)
        await happen(database, await accepted_mails(database, 1), EventType.BOUNCED)
        await house.settle()
        (told,) = await deliveries(api, path)
        one = await api.call("POST", f"{path}/redeliver", {"delivery": told["id"]})
        assert one.status == 202
        house.clock.advance(5)  # the API's clock is the database's, and may be ahead of the test's
        await house.settle()
        since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        assert (await api.call("POST", f"{path}/redeliver", {"since": since})).status == 202
        again = await api.call("POST", f"{path}/redeliver", {"since": since})
        assert (again.status, again.code) == (409, "redelivery_under_way")
        await house.settle()
        assert app.ids == [told["id"]] * 3
        new = (await api.call("POST", f"{path}/secret/rotate", raw=b"")).json()
        app.secrets = [str(new["signing_secret"])]
        test = await api.call("POST", f"{path}/test", {"type": "email.clicked"})
        assert (test.status, test.json()["type"]) == (202, "email.clicked")
        house.clock.advance(5)
        await house.settle()
        assert app.told[str(test.json()["id"])].type == "email.clicked"
        assert app.bad == 0


@pytest.mark.parametrize(
    "body", [{}, {"since": "2026-01-01T00:00:00Z", "delivery": "msg_1"}, {"delivery": "x"}]
)
async def test_a_redelivery_says_which(api: ApiHouse, body: dict[str, object]) -> None:
    webhook = await make(api)
    assert (await api.call("POST", f"/v1/webhooks/{webhook}/redeliver", body)).status == 422


async def test_what_cannot_be_told_now(api: ApiHouse) -> None:
    path = f"/v1/webhooks/{await make(api)}"
    unknown = await api.call(
        "POST", f"{path}/redeliver", {"delivery": "msg_019ab3f17c217d049e1f2b6c00d4e8a1"}
    )
    assert (unknown.status, unknown.code) == (404, "not_found")
    await api.call("PATCH", path, {"status": "disabled"})
    calls: list[Answer] = [
        await api.call("POST", f"{path}/test", {}),
        await api.call("POST", f"{path}/redeliver", {"since": "2026-01-01T00:00:00Z"}),
    ]
    assert [(one.status, one.code) for one in calls] == [(409, "webhook_disabled")] * 2
