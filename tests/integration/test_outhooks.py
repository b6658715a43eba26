"""Outgoing webhooks: events as the house records them, real receivers with every fault, no sleeping."""

import socket
from datetime import timedelta

import pytest
from aiohttp import ThreadedResolver
from aiohttp.abc import ResolveResult
from outhook_house import RETRIES, OuthookHouse, accepted_mails, happen, outhook_house
from receiver import drip, huge, receiving, status
from stored_jobs import Letter

from posthouse.domain.event import EventType
from posthouse.domain.stream import Stream
from posthouse.domain.webhook import DeliveryState, EndpointStatus, EventName, Interest, Tag, notice_name
from posthouse.outhooks.desk import Since
from posthouse.storage import webhooks
from posthouse.storage.db import Database

BOUNCES = Interest(frozenset({EventName.BOUNCED}))


async def disabled(house: OuthookHouse, endpoint: object) -> str | None:
    found = await house.find(endpoint)  # type: ignore[arg-type]
    return found.disabled_reason if found.status is EndpointStatus.DISABLED else None


async def test_every_event_is_told_signed_and_in_the_shape_that_resend_has(database: Database) -> None:
    async with receiving() as app, outhook_house(database, [app]) as house:
        endpoint = await house.endpoint(app)
        (job,) = await accepted_mails(database, 1)
        await happen(database, [job], EventType.BOUNCED, diagnostic="550 5.1.1 no such user")
        await happen(database, [job], EventType.CLICKED, url="https://shop.test/reset", machine=True)
        await house.settle()
        assert app.bad == 0
        by_type = {told.type: told.data for told in app.told.values()}
        assert set(by_type) == {"email.queued", "email.bounced", "email.clicked"}
        bounced = by_type["email.bounced"]
        assert bounced["email_id"] == str(job)
        assert bounced["to"] == [bounced["recipient"]] == ["ann@inbox.test"]
        assert bounced["bounce"] == {
            "type": "Permanent",
            "subType": "General",
            "message": "550 5.1.1 no such user",
            "class": "hard",
            "smtp_code": None,
            "enhanced_code": None,
        }
        clicked = by_type["email.clicked"]["click"]
        assert isinstance(clicked, dict)
        assert (clicked["link"], clicked["machine"]) == ("https://shop.test/reset", True)
        log = await house.log(endpoint.endpoint_id)
        assert {delivery.state for delivery in log} == {DeliveryState.DELIVERED}
        assert {delivery.attempts[0].response for delivery in log} == {"thanks"}


async def test_without_endpoints_nothing_is_put_by(database: Database) -> None:
    jobs = await accepted_mails(database, 3)
    await happen(database, jobs, EventType.DELIVERED)
    async with outhook_house(database, []) as house:
        assert await house.worker.turn() is False


async def test_filters_by_event_stream_domain_tag_and_sandbox(database: Database) -> None:
    async with receiving() as app, outhook_house(database, [app]) as house:
        for interest in (
            BOUNCES,
            Interest(frozenset({EventName.DELIVERED}), stream=Stream.MARKETING),
            Interest(frozenset({EventName.DELIVERED}), from_domains=frozenset({"other.test"})),
            Interest(frozenset({EventName.DELIVERED}), tags=frozenset({Tag("kind", "receipt")})),
            Interest(frozenset({EventName.DELIVERED}), sandbox=True),
        ):
            await house.endpoint(app, interest)
        await happen(database, await accepted_mails(database, 1), EventType.DELIVERED)
        await house.settle()
        assert app.ids == []
        for letter in (Letter(stream=Stream.MARKETING), Letter(sandbox=True)):
            await happen(database, await accepted_mails(database, 1, letter), EventType.DELIVERED)
        await house.settle()
        assert len(app.ids) == 2


async def test_the_retry_list_is_walked_with_one_id_and_then_given_up(database: Database) -> None:
    async with receiving() as app, outhook_house(database, [app]) as house:
        endpoint = await house.endpoint(app, BOUNCES)
        app.always = status(500, "out of \x00 order")
        await happen(database, await accepted_mails(database, 1), EventType.BOUNCED)
        await house.settle()
        for n, wait in enumerate(RETRIES, start=1):
            house.clock.advance(wait.total_seconds() - 0.001)
            await house.settle()
            assert len(app.ids) == n, "before its time"
            await house.later(wait * 0.1)
            assert len(app.ids) == n + 1
        await house.later(timedelta(days=3))
        assert len(app.ids) == len(RETRIES) + 1
        assert len(set(app.ids)) == 1
        (delivery,) = await house.log(endpoint.endpoint_id)
        assert delivery.state is DeliveryState.FAILED
        assert [a.http_status for a in delivery.attempts] == [500] * 4
        assert delivery.attempts[0].error == "answered 500 Internal Server Error"
        assert delivery.attempts[0].response == "out of \ufffd order"


async def test_gone_disables_at_once(database: Database) -> None:
    async with receiving() as app, outhook_house(database, [app]) as house:
        endpoint = await house.endpoint(app, BOUNCES)
        app.answers.append(status(410))
        await happen(database, await accepted_mails(database, 1), EventType.BOUNCED)
        await house.settle()
        assert await disabled(house, endpoint) == "it answered 410 Gone: it wants no more"
        await happen(database, await accepted_mails(database, 1), EventType.BOUNCED)
        await house.later(timedelta(days=1))
        assert len(app.ids) == 1


async def test_days_of_failure_disable_and_a_success_between_does_not(database: Database) -> None:
    async with receiving() as app, outhook_house(database, [app]) as house:
        endpoint = await house.endpoint(app, BOUNCES)
        for day in range(10):
            app.always = status(200 if day == 3 else 503)
            await happen(database, await accepted_mails(database, 1), EventType.BOUNCED)
            house.clock.advance(timedelta(days=1).total_seconds())
            await house.settle()
            assert (await disabled(house, endpoint) is None) == (day < 9), day
        reason = await disabled(house, endpoint)
        assert reason is not None
        assert reason.startswith("every attempt has failed since 20")
        assert reason.endswith("answered 503 Service Unavailable")


async def test_a_pause_that_is_asked_for_is_kept_by_the_whole_endpoint(database: Database) -> None:
    async with receiving() as app, outhook_house(database, [app], concurrency=1) as house:
        await house.endpoint(app, BOUNCES)
        app.answers.append(status(429, retry_after="900"))
        await happen(database, await accepted_mails(database, 2), EventType.BOUNCED)
        await house.settle()
        assert len(app.ids) == 1, "the second waits too"
        house.clock.advance(899)
        await house.settle()
        assert len(app.ids) == 1
        house.clock.advance(2)
        await house.settle()
        assert len(app.told) == 2


async def test_a_redirect_is_not_followed_wherever_it_leads(database: Database) -> None:
    async with receiving() as app, outhook_house(database, [app]) as house:
        endpoint = await house.endpoint(app, BOUNCES)
        app.answers.append(status(302, location="http://169.254.169.254/latest/meta-data"))
        app.answers.append(status(307, location="/elsewhere"))
        await happen(database, await accepted_mails(database, 1), EventType.BOUNCED)
        await house.settle()
        await house.later(RETRIES[0])
        assert set(app.paths) == {"/hooks"}
        (delivery,) = await house.log(endpoint.endpoint_id)
        assert [a.http_status for a in delivery.attempts] == [302, 307]
        assert "redirects are not followed" in delivery.attempts[0].error


@pytest.mark.parametrize(
    "host", ["localhost", "hooks.example", "127.0.0.1", "169.254.169.254", "[::1]", "10.0.0.1"]
)
async def test_no_connection_goes_to_an_address_that_is_not_public(
    database: Database, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL may have been good when it was given, and the name lead elsewhere since: the address that is
    connected to is checked."""
    monkeypatch.setattr(ThreadedResolver, "resolve", to_metadata)
    async with receiving() as app, outhook_house(database, [app]) as house:
        endpoint = await house.endpoint(app, BOUNCES)
        url = f"https://{host}:{app.port + 1}/hooks"
        assert await webhooks.change(
            database, endpoint.endpoint_id, webhooks.Changes(url), house.clock.now(), ""
        )
        await happen(database, await accepted_mails(database, 1), EventType.BOUNCED)
        await house.settle()
        (delivery,) = await house.log(endpoint.endpoint_id)
        (attempt,) = delivery.attempts
        assert attempt.error == "not allowed to connect: its address is not public, or it has no TLS"
        assert delivery.state is DeliveryState.PENDING


async def to_metadata(
    _: ThreadedResolver, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
) -> list[ResolveResult]:
    """A name server of a stranger."""
    address = "127.0.0.1" if host == "localhost" else "169.254.169.254"
    return [ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)]


async def test_a_name_that_no_resolver_takes_is_a_failure_like_others(database: Database) -> None:
    async with receiving() as app, outhook_house(database, [app]) as house:
        endpoint = await house.endpoint(app, BOUNCES)
        changes = webhooks.Changes(f"https://{'a' * 70}.example/")
        await webhooks.change(database, endpoint.endpoint_id, changes, house.clock.now(), "")
        await happen(database, await accepted_mails(database, 1), EventType.BOUNCED)
        await house.settle()
        (delivery,) = await house.log(endpoint.endpoint_id)
        assert delivery.state is DeliveryState.PENDING
        assert delivery.attempts[0].error


async def test_answers_that_never_end_cost_their_time_and_no_memory(database: Database) -> None:
    async with receiving() as app, outhook_house(database, [app]) as house:
        endpoint = await house.endpoint(app, BOUNCES)
        app.answers += [huge, drip, app.hang]
        await happen(database, await accepted_mails(database, 1), EventType.BOUNCED)
        await house.settle()
        house.clock.advance(1)
        await happen(database, await accepted_mails(database, 1), EventType.BOUNCED)
        await house.settle()
        await house.later(RETRIES[0])
        second, first = await house.log(endpoint.endpoint_id)
        assert (first.state, len(first.attempts[0].response)) == (DeliveryState.DELIVERED, 1000)
        assert [attempt.http_status for attempt in second.attempts] == [500, None]
        assert second.attempts[1].error == "no answer within 0.5 s"


async def test_both_secrets_sign_for_a_day_after_a_rotation(database: Database) -> None:
    async with receiving() as app, outhook_house(database, [app]) as house:
        endpoint = await house.endpoint(app, BOUNCES)
        old = list(app.secrets)
        new, until = await house.desk.rotate(endpoint.endpoint_id, house.clock.now())
        assert until == house.clock.now() + timedelta(hours=24)
        for known in (old, [new]):
            app.secrets = list(known)
            await happen(database, await accepted_mails(database, 1), EventType.BOUNCED)
            await house.settle()
        assert (len(app.ids), app.bad) == (2, 0)
        assert [len(signed.split(" ")) for signed in app.signatures] == [2, 2]
        house.clock.advance(timedelta(hours=24, seconds=1).total_seconds())
        await happen(database, await accepted_mails(database, 1), EventType.BOUNCED)
        await house.settle()
        assert len(app.signatures[-1].split(" ")) == 1
        assert app.bad == 0


async def test_redelivery_from_a_time_tells_each_again_under_its_id(database: Database) -> None:
    async with receiving() as app, outhook_house(database, [app]) as house:
        endpoint = await house.endpoint(app, BOUNCES)
        await happen(database, await accepted_mails(database, 2), EventType.BOUNCED)
        await house.settle()
        early = set(app.ids)
        house.clock.advance(3600)
        since = house.clock.now()
        app.always = status(400)
        await happen(database, await accepted_mails(database, 3), EventType.BOUNCED)
        await house.settle()
        app.always = None
        await house.later(RETRIES[0])
        late = set(app.told) - early
        app.ids.clear()
        await house.desk.redeliver(
            await house.find(endpoint), Since(since, only_failed=False), house.clock.now()
        )
        await house.settle()
        assert sorted(app.ids) == sorted(late)
        app.ids.clear()
        await house.desk.redeliver(
            await house.find(endpoint), Since(since, only_failed=True), house.clock.now()
        )
        await house.settle()
        assert app.ids == []
        (one, *_) = await house.log(endpoint.endpoint_id)
        await house.desk.redeliver_one(await house.find(endpoint), one.notice_id, house.clock.now())
        await house.settle()
        assert app.ids == [notice_name(one.notice_id)]


async def test_a_dead_endpoint_and_a_slow_one_hold_up_nobody(database: Database) -> None:
    """Three endpoints, one of which fails and one of which hangs."""
    events = 1000
    async with (
        receiving() as good,
        receiving() as dead,
        receiving() as slow,
        outhook_house(database, [good, dead, slow], concurrency=32) as house,
    ):
        for app in (good, dead, slow):
            await house.endpoint(app, Interest(frozenset({EventName.SENT})))
        dead.always, slow.always = status(500), slow.hang
        await happen(database, await accepted_mails(database, events), EventType.SENT)
        while len(good.told) < events:
            if not await house.worker.turn():
                await house.worker.wait(1.0)
        assert set(good.ids) == set(good.told)
        assert len(good.ids) == events
        assert len(dead.ids) < events / 10, "it is asked one at a time while it fails"
        counted = house.metrics.registry.get_sample_value
        assert (counted("posthouse_webhook_deliveries_total", {"result": "retried"}) or 0) > 0
        errors = {one.url: one.last_error for one in await webhooks.failing(database)}
        assert errors[dead.url] == "answered 500 Internal Server Error"
        assert good.url not in errors


async def test_a_claim_that_was_never_answered_is_sent_again(database: Database) -> None:
    async with receiving() as app, outhook_house(database, [app]) as house:
        await house.endpoint(app, BOUNCES)
        await happen(database, await accepted_mails(database, 1), EventType.BOUNCED)
        async with outhook_house(database, [app]) as doomed:
            app.answers.append(app.hang)
            while not app.ids:
                await doomed.worker.turn()
                await doomed.worker.wait(0.01)
        await house.settle()
        assert len(app.ids) == 1, "it is leased"
        house.clock.advance(61)
        await house.settle()
        assert app.ids == [app.ids[0]] * 2


async def test_an_answer_that_comes_too_late_changes_only_the_log(database: Database) -> None:
    async with receiving() as app, outhook_house(database, [app]) as house:
        endpoint = await house.endpoint(app, BOUNCES)
        await happen(database, await accepted_mails(database, 1), EventType.BOUNCED)
        async with outhook_house(database, [app]) as slow:
            app.answers.append(status(500))
            while not app.ids:
                await slow.worker.turn()
            await slow.worker.wait(1.0)
            house.clock.advance(61)
            await house.settle()
            assert len(app.ids) == 2
            await slow.settle()
        (delivery,) = await house.log(endpoint.endpoint_id)
        assert delivery.state is DeliveryState.DELIVERED
        assert [attempt.http_status for attempt in delivery.attempts] == [500, 200]
