"""`posthouse emails get | resolve` and `posthouse events`: what became of a mail."""

from typing import Annotated
from uuid import UUID

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from posthouse.app.house import policy_of
from posthouse.cli.call import Call, call_of, cell, run, table
from posthouse.cli.reach import reached
from posthouse.clock import SystemClock
from posthouse.domain.errors import InvalidInput, NotFound
from posthouse.domain.ids import JobId
from posthouse.status.settle import Resolution, resolve
from posthouse.storage import timeline
from posthouse.web.api.email_view import EmailView, EventView, email_view

group = typer.Typer(help="Mails: where they stand, and outcomes in doubt.", no_args_is_help=True)

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
    call.answer({"data": mail.timeline}, _timeline(mail))


@group.command("get")
def get(context: typer.Context, mail_id: MailId) -> None:
    """Where a mail stands, for each recipient, and its timeline."""
    call = call_of(context)
    mail = run(_find(call, mail_id))
    call.answer(mail, Group(_summary(mail), Text(), _recipients(mail), Text(), _timeline(mail)))


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


async def _find(call: Call, mail_id: UUID) -> EmailView:
    async with reached(call.settings()) as db:
        mail = await timeline.find(db, mail_id)
    if mail is None:
        raise NotFound(f"There is no mail {mail_id}, or it is older than what is kept.")
    return email_view(mail)


async def _resolve(call: Call, job_id: JobId, resolution: Resolution, reason: str) -> None:
    settings = call.settings()
    async with reached(settings) as db:
        await resolve(db, job_id, resolution, reason, policy_of(settings), SystemClock().now())


def _summary(mail: EmailView) -> Table:
    shown = table("", "")
    shown.show_header = False
    for name, value in (
        ("id", mail.id),
        ("status", mail.status or "differs by recipient"),
        ("stream", mail.stream),
        ("from", mail.sender),
        ("to", ", ".join(mail.to)),
        ("subject", mail.subject),
        ("template", None if mail.template is None else mail.template.key),
        ("accepted", mail.created_at),
        ("due", mail.due_at),
        ("expires", mail.expires_at),
    ):
        shown.add_row(Text(name, "bold"), cell(value))
    return shown


def _recipients(mail: EmailView) -> Table:
    shown = table("recipient", "id", "status", "relay", "sent", "opened", "clicked")
    for one in mail.recipients:
        values = (one.email, one.id, one.status, one.relay, one.sent_at, one.opened_at, one.clicked_at)
        shown.add_row(*map(cell, values))
    return shown


def _timeline(mail: EmailView) -> Table:
    shown = table("at", "recipient", "attempt", "event", "relay", "what happened")
    addresses = {one.id: one.email for one in mail.recipients}
    for event in mail.timeline:
        values = (
            event.occurred_at,
            addresses.get(event.recipient_id),
            event.attempt or None,
            f"{event.type} (machine)" if event.machine else event.type,
            event.relay,
            _words(event),
        )
        shown.add_row(*map(cell, values))
    return shown


def _words(event: EventView) -> str:
    code = " ".join(str(part) for part in (event.smtp_code, event.enhanced_code) if part)
    return " | ".join(
        part for part in (event.bounce_class, code, event.reason, event.diagnostic, event.url) if part
    )
