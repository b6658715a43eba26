"""`posthouse emails` and `posthouse events`: what became of mail, and what can still be done."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from posthouse.app.house import policy_of
from posthouse.cli.call import MOMENTS, Call, call_of, cell, in_utc, moment, more, run, table
from posthouse.cli.email_tables import recipients_table, summary_table, timeline_table
from posthouse.cli.reach import reached
from posthouse.clock import SystemClock
from posthouse.domain.address import normalise
from posthouse.domain.errors import InvalidInput, NotFound
from posthouse.domain.ids import JobId, TemplateKey, first_of_moment
from posthouse.domain.job import Status
from posthouse.domain.stream import Stream
from posthouse.status.changes import Changes
from posthouse.status.settle import Resolution, resolve
from posthouse.storage import listing, timeline
from posthouse.storage.db import Database
from posthouse.storage.listing import FIRST, LAST, NOTHING, Filter, Page, Way
from posthouse.storage.timeline import JobRecord
from posthouse.web.api.changes import ChangedEmail, cancel, reschedule
from posthouse.web.api.email_list import list_name, page_view, place_at, tags_of
from posthouse.web.api.email_view import EmailView, email_view

group = typer.Typer(help="Mails: where they stand, and what can still be done.", no_args_is_help=True)

MailId = Annotated[
    UUID, typer.Argument(metavar="ID", help="A message's id, or that of one of its recipients.")
]


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="emails")
    app.command("events")(events)


def events(context: typer.Context, mail_id: MailId) -> None:
    """Everything that happened to a mail, oldest first."""
    call = call_of(context)
    mail = run(_find(call, mail_id))
    call.answer({"data": mail.timeline}, timeline_table(mail))


@group.command("list")
def list_emails(
    context: typer.Context,
    status: Annotated[
        list[Status] | None,
        typer.Option(case_sensitive=False, help="Only in this state; may be given several times."),
    ] = None,
    recipient: Annotated[str | None, typer.Option(help="Only to this address.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Only with this tag, as name:value; may be given several times.")
    ] = None,
    stream: Annotated[Stream | None, typer.Option(help="Only of this stream.")] = None,
    template: Annotated[str | None, typer.Option(help="Only made from the template of this key.")] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=MOMENTS, help="Accepted at or after this time.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=MOMENTS, help="Accepted before this time.")
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="The mail of test keys, not of live ones.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before.")] = None,
) -> None:
    """Mails, one line for each recipient, newest first. Times are in UTC if they have no offset."""
    call = call_of(context)
    wanted = Filter(
        sandbox=test,
        streams=frozenset({stream} if stream else Stream),
        statuses=frozenset(status) if status else None,
        recipient=None if recipient is None else normalise(recipient),
        tags=tags_of(tag or []),
        since=FIRST if since is None else first_of_moment(in_utc(since)),
        until=LAST if until is None else first_of_moment(in_utc(until)),
    )
    wanted, page = run(_list(call, wanted, template, cursor, limit))
    found = page_view(page, Way.OLDER, list_name(wanted))
    shown = table("id", "status", "to", "subject", "accepted")
    for one in found.data:
        shown.add_row(
            *map(cell, (one.id, one.status, ", ".join(one.to), one.subject, moment(one.created_at)))
        )
    call.answer(found, Group(shown, *more(found.next_cursor)))


@group.command("get")
def get(context: typer.Context, mail_id: MailId) -> None:
    """Where a mail stands, for each recipient, and its timeline."""
    call = call_of(context)
    mail = run(_find(call, mail_id))
    shown = (summary_table(mail), Text(), recipients_table(mail), Text(), timeline_table(mail))
    call.answer(mail, Group(*shown))


@group.command("cancel")
def cancel_mail(
    context: typer.Context,
    mail_id: MailId,
    reason: Annotated[str, typer.Option(help="It stays in the timeline.")] = "cancelled by the operator",
) -> None:
    """Cancel what waits. Exit code 4 when it is under way or has ended."""
    call = call_of(context)

    async def change(changes: Changes, jobs: tuple[JobRecord, ...]) -> ChangedEmail:
        return await cancel(changes, jobs, reason, SystemClock().now())

    changed = run(_change(call, mail_id, change))
    call.answer(changed, _stands(changed))


@group.command("reschedule")
def reschedule_mail(
    context: typer.Context,
    mail_id: MailId,
    to: Annotated[
        datetime, typer.Option("--to", formats=MOMENTS, help="In UTC if it has no offset; the past is now.")
    ],
) -> None:
    """Send at another time what waits for its first try. Exit code 4 when it is under way or has ended."""
    call = call_of(context)

    async def change(changes: Changes, jobs: tuple[JobRecord, ...]) -> ChangedEmail:
        return await reschedule(changes, jobs, in_utc(to), SystemClock().now())

    changed = run(_change(call, mail_id, change))
    call.answer(changed, _stands(changed))


@group.command("resolve")
def resolve_doubt(
    context: typer.Context,
    mail_id: Annotated[UUID, typer.Argument(metavar="ID", help="The recipient's id.")],
    resolution: Annotated[
        Resolution,
        typer.Option("--as", help="sent: the relay took it. again: send it again. failed: give up."),
    ],
    reason: Annotated[str, typer.Option(help="How you know. It stays in the timeline.")],
) -> None:
    """Settle an outcome that stayed unknown and is held for you."""
    if not reason.strip():
        raise InvalidInput("Say how you know: --reason must not be empty.", pointer="/reason")
    call = call_of(context)
    run(_resolve(call, JobId(mail_id), resolution, reason))
    call.answer({"id": str(mail_id), "resolved_as": resolution}, f"{mail_id} is settled: {resolution}.")


async def _list(
    call: Call, wanted: Filter, template: str | None, cursor: str | None, limit: int
) -> tuple[Filter, Page]:
    """As many as are wanted, if there are: each look at the database is bounded, not their number."""
    async with reached(call.settings()) as db:
        if template is not None:
            template_id = await listing.template_id(db, TemplateKey(template))
            if template_id is None:
                return wanted, NOTHING
            wanted = replace(wanted, template=template_id)
        place = None if cursor is None else place_at(cursor, list_name(wanted)).at
        return wanted, await _filled(db, wanted, place, limit)


async def _filled(db: Database, wanted: Filter, place: UUID | None, limit: int) -> Page:
    jobs: tuple[JobRecord, ...] = ()
    while True:
        page = await listing.page(db, wanted, place=place, way=Way.OLDER, limit=limit - len(jobs))
        jobs, place = jobs + page.jobs, page.place
        if place is None or len(jobs) == limit:
            return Page(jobs, place)


async def _change(
    call: Call, mail_id: UUID, change: Callable[[Changes, tuple[JobRecord, ...]], Awaitable[ChangedEmail]]
) -> ChangedEmail:
    settings = call.settings()
    async with reached(settings) as db:
        jobs = await timeline.find_jobs(db, mail_id)
        if not jobs:
            raise _no_mail(mail_id)
        return await change(Changes(db, policy_of(settings), random.SystemRandom()), jobs)


async def _find(call: Call, mail_id: UUID) -> EmailView:
    async with reached(call.settings()) as db:
        mail = await timeline.find(db, mail_id)
    if mail is None:
        raise _no_mail(mail_id)
    return email_view(mail)


async def _resolve(call: Call, job_id: JobId, resolution: Resolution, reason: str) -> None:
    settings = call.settings()
    async with reached(settings) as db:
        await resolve(db, job_id, resolution, reason, policy_of(settings), SystemClock().now())


def _stands(changed: ChangedEmail) -> Table:
    shown = table("id", "to", "status")
    for one in changed.recipients:
        shown.add_row(*map(cell, (one.id, one.email, one.status)))
    return shown


def _no_mail(mail_id: UUID) -> NotFound:
    return NotFound(f"There is no mail {mail_id}, or it is older than what is kept.")
