"""`posthouse webhooks`: endpoints that are told what happens to mail, and the log of what they were told."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from rich.text import Text

from posthouse.app.outhooks import webhook_desk
from posthouse.cli.call import MOMENTS, Call, call_of, cell, in_utc, moment, run, table
from posthouse.cli.decode import decode
from posthouse.cli.reach import reached
from posthouse.clock import SystemClock
from posthouse.domain.address import parse_domain
from posthouse.domain.errors import InvalidInput
from posthouse.domain.ids import EndpointId, NoticeId
from posthouse.domain.stream import Stream
from posthouse.domain.webhook import (
    DeliveryState,
    Endpoint,
    EndpointStatus,
    EventName,
    Interest,
    Tag,
    notice_name,
    parse_notice,
)
from posthouse.keyring import load_keyring
from posthouse.outhooks.desk import Desk, Since, Wanted
from posthouse.outhooks.signing import SigningSecret
from posthouse.storage import webhook_deliveries, webhooks
from posthouse.storage.webhook_deliveries import Delivery, Range
from posthouse.storage.webhooks import EVERYTHING, Changes

group = typer.Typer(help="Webhooks to applications, and what relays' webhooks say.", no_args_is_help=True)

_Id = Annotated[UUID, typer.Argument(metavar="ID", help="The webhook's id.")]


def register(app: typer.Typer) -> None:
    group.command("decode")(decode)
    app.add_typer(group, name="webhooks")


@group.command("add")
def add(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="Where events are posted: an https URL.")],
    event: Annotated[
        list[EventName] | None,
        typer.Option(help="What it is told; may be given several times (default: everything)."),
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for, in your words.")] = "",
    stream: Annotated[Stream | None, typer.Option(help="Only about mail of this stream.")] = None,
    from_domain: Annotated[
        list[str] | None, typer.Option(help="Only about mail from this domain; may be given several times.")
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(help="Only about mail with this tag, as NAME=VALUE; may be given several times."),
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="About the mail of test keys, and no other.")] = False,
) -> None:
    """Make a webhook, and show the secret that its receiver verifies with."""
    call = call_of(context)
    interest = Interest(
        frozenset(event or EventName),
        stream,
        frozenset(map(parse_domain, from_domain or [])),
        frozenset(map(_tag, tag or [])),
        test,
    )
    made, secret = run(_add(call, Wanted(url, description, interest)))
    call.answer(
        {**_view(made), "signing_secret": secret},
        Text.assemble((secret, "bold"), "\n", str(made.endpoint_id)),
    )


@group.command("list")
def list_webhooks(context: typer.Context) -> None:
    """Every webhook, newest first, and how it stands."""
    call = call_of(context)
    found = run(_list(call))
    shown = table("id", "endpoint", "events", "standing")
    for endpoint in found:
        shown.add_row(*map(cell, _row(endpoint)))
    call.answer({"data": [_view(endpoint) for endpoint in found]}, shown)


@group.command("remove")
def remove(context: typer.Context, webhook_id: _Id) -> None:
    """Delete a webhook: it is told nothing any more."""
    call = call_of(context)
    run(_remove(call, EndpointId(webhook_id)))
    call.answer({"id": str(webhook_id), "deleted": True}, f"Removed {webhook_id}.")


@group.command("enable")
def enable(context: typer.Context, webhook_id: _Id) -> None:
    """Enable a webhook again that was disabled; what waited for it goes out."""
    call = call_of(context)
    run(_enable(call, EndpointId(webhook_id)))
    call.answer({"id": str(webhook_id), "status": EndpointStatus.ENABLED}, f"Enabled {webhook_id}.")


@group.command("rotate")
def rotate(context: typer.Context, webhook_id: _Id) -> None:
    """Give a webhook a new secret; the old one signs beside it for 24 hours."""
    call = call_of(context)
    secret, until = run(_rotate(call, EndpointId(webhook_id)))
    call.answer(
        {"id": str(webhook_id), "signing_secret": secret, "previous_secret_expires_at": until},
        Text.assemble((secret, "bold"), "\n", f"The old one is good until {moment(until)}."),
    )


@group.command("deliveries")
def deliveries(
    context: typer.Context,
    webhook_id: _Id,
    status: Annotated[DeliveryState | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 20,
) -> None:
    """What a webhook was told, newest first, with the last answer to each."""
    call = call_of(context)
    found = run(_deliveries(call, EndpointId(webhook_id), status, limit))
    shown = table("id", "event", "state", "attempts", "the last answer")
    for delivery in found:
        shown.add_row(*map(cell, _delivery_row(delivery)))
    call.answer({"data": [_delivery_view(delivery) for delivery in found]}, shown)


@group.command("redeliver")
def redeliver(
    context: typer.Context,
    webhook_id: _Id,
    since: Annotated[
        datetime | None, typer.Option(formats=MOMENTS, help="Everything told since then (UTC if no offset).")
    ] = None,
    delivery: Annotated[str | None, typer.Option(help="Only this one: msg_...")] = None,
    only_failed: Annotated[
        bool, typer.Option("--only-failed", help="With --since: only what was never taken.")
    ] = False,
) -> None:
    """Tell a webhook again, under the ids that the messages had."""
    call = call_of(context)
    if (since is None) == (delivery is None):
        raise InvalidInput("Say either --since or --delivery: one of the two.")
    wanted = None if since is None else Since(in_utc(since), only_failed)
    run(_redeliver(call, EndpointId(webhook_id), wanted, delivery))
    call.answer(
        {"id": str(webhook_id), "delivery": delivery, "since": None if since is None else in_utc(since)},
        Text("Asked for: the processor sends it."),
    )


@group.command("test")
def send_example(
    context: typer.Context,
    webhook_id: _Id,
    event: Annotated[EventName, typer.Option(help="What it is an example of.")] = EventName.DELIVERED,
) -> None:
    """Send a webhook an example, about a mail that never was."""
    call = call_of(context)
    notice = notice_name(run(_test(call, EndpointId(webhook_id), event)))
    call.answer({"id": notice, "type": event}, Text(f"{notice} is on its way: see `webhooks deliveries`."))


@asynccontextmanager
async def _desk(call: Call) -> AsyncIterator[Desk]:
    settings = call.settings()
    async with reached(settings) as db:
        yield webhook_desk(db, settings, load_keyring(settings.data_dir, os.environ))


async def _add(call: Call, wanted: Wanted) -> tuple[Endpoint, SigningSecret]:
    async with _desk(call) as desk:
        return await desk.create(wanted, SystemClock().now())


async def _list(call: Call) -> list[Endpoint]:
    async with _desk(call) as desk:
        return await webhooks.page(desk.db, EVERYTHING, None, 2 * webhooks.MAX_ENDPOINTS)


async def _remove(call: Call, endpoint: EndpointId) -> None:
    async with _desk(call) as desk:
        await desk.delete(endpoint)


async def _enable(call: Call, endpoint: EndpointId) -> None:
    async with _desk(call) as desk:
        changes = Changes(status=EndpointStatus.ENABLED)
        await desk.change(endpoint, changes, SystemClock().now(), "")


async def _rotate(call: Call, endpoint: EndpointId) -> tuple[SigningSecret, datetime]:
    async with _desk(call) as desk:
        return await desk.rotate(endpoint, SystemClock().now())


async def _deliveries(
    call: Call, endpoint: EndpointId, state: DeliveryState | None, limit: int
) -> list[Delivery]:
    async with _desk(call) as desk:
        await desk.find(endpoint)
        wanted = Range(UUID(int=(1 << 128) - 1), UUID(int=0), state)
        return await webhook_deliveries.page(desk.db, endpoint, wanted, limit)


async def _redeliver(call: Call, endpoint: EndpointId, since: Since | None, delivery: str | None) -> None:
    async with _desk(call) as desk:
        found, now = await desk.find(endpoint), SystemClock().now()
        if since is not None:
            await desk.redeliver(found, since, now)
            return
        notice = parse_notice(delivery or "")
        if notice is None:
            raise InvalidInput("A delivery's id is the webhook-id that its receiver got: msg_...")
        await desk.redeliver_one(found, notice, now)


async def _test(call: Call, endpoint: EndpointId, name: EventName) -> NoticeId:
    async with _desk(call) as desk:
        return await desk.test(await desk.find(endpoint), name, SystemClock().now())


def _tag(text: str) -> Tag:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InvalidInput(f"{text!r} is no tag: write it as NAME=VALUE.")
    return Tag(name, value)


def _view(endpoint: Endpoint) -> dict[str, object]:
    interest = endpoint.interest
    return {
        "id": str(endpoint.endpoint_id),
        "created_at": endpoint.created_at,
        "status": endpoint.status,
        "endpoint": endpoint.url,
        "events": sorted(interest.names),
        "description": endpoint.description,
        "environment": "test" if interest.sandbox else "live",
        "stream": interest.stream,
        "from_domains": sorted(interest.from_domains),
        "tags": [{"name": tag.name, "value": tag.value} for tag in sorted(interest.tags)],
        "failing_since": endpoint.failing_since,
        "last_error": endpoint.last_error,
        "disabled_reason": endpoint.disabled_reason,
    }


def _row(endpoint: Endpoint) -> tuple[str, str, str, str]:
    """One webhook for people."""
    names = endpoint.interest.names
    events = "everything" if len(names) == len(EventName) else " ".join(sorted(names))
    if endpoint.status is EndpointStatus.DISABLED:
        standing = f"disabled: {endpoint.disabled_reason}"
    elif endpoint.failing_since is not None:
        standing = f"fails since {moment(endpoint.failing_since)}: {endpoint.last_error}"
    else:
        standing = "well"
    return str(endpoint.endpoint_id), endpoint.url, events, standing


def _delivery_view(delivery: Delivery) -> dict[str, object]:
    return {
        "id": notice_name(delivery.notice_id),
        "type": delivery.name,
        "recipient_id": None if delivery.job_id is None else str(delivery.job_id),
        "status": delivery.state,
        "attempt_count": delivery.attempt,
        "next_attempt_at": delivery.due_at if delivery.state is DeliveryState.PENDING else None,
        "attempts": delivery.attempts,
    }


def _delivery_row(delivery: Delivery) -> tuple[str, str, str, str, str]:
    """One delivery for people."""
    last = delivery.attempts[-1] if delivery.attempts else None
    answer = "" if last is None else last.error or f"{last.http_status}"
    return notice_name(delivery.notice_id), delivery.name, delivery.state, str(delivery.attempt), answer
