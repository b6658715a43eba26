"""A mail for people: what it is, where each recipient's copy stands, what happened."""

from rich.table import Table
from rich.text import Text

from posthouse.cli.call import cell, table
from posthouse.web.api.email_view import EmailView, EventView


def summary_table(mail: EmailView) -> Table:
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


def recipients_table(mail: EmailView) -> Table:
    shown = table("recipient", "id", "status", "relay", "sent", "opened", "clicked")
    for one in mail.recipients:
        values = (one.email, one.id, one.status, one.relay, one.sent_at, one.opened_at, one.clicked_at)
        shown.add_row(*map(cell, values))
    return shown


def timeline_table(mail: EmailView) -> Table:
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
