"""`posthouse relays`: which relays are configured, how they are, and what each kind of relay can do."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from posthouse.app.adapters import vendor_account
from posthouse.app.kinds import KINDS
from posthouse.cli.call import call_of, cell, run, table
from posthouse.cli.doctor.check import Check, State
from posthouse.cli.doctor.relays import relay_check
from posthouse.config import Settings
from posthouse.domain.ids import RelayAccount
from posthouse.relays.base import Capabilities


@dataclass(frozen=True, slots=True)
class Health:
    state: State
    found: str
    todo: str


@dataclass(frozen=True, slots=True)
class AccountView:
    """`health` None: it was not asked for."""

    name: RelayAccount
    kind: str
    streams: list[str]
    server: str
    capabilities: Capabilities
    health: Health | None


@dataclass(frozen=True, slots=True)
class KindView:
    kind: str
    capabilities: Capabilities


def register(app: typer.Typer) -> None:
    app.command("relays")(command)


def command(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option(help="Whether each can be reached and lets us in; sends nothing.")
    ] = True,
) -> None:
    """Every configured relay account with its health, and what each kind of relay can do."""
    call = call_of(context)
    accounts = run(_accounts(call.settings(), check=check))
    kinds = [KindView(name, kind.capabilities) for name, kind in KINDS.items()]
    shown = Group(_account_table(accounts), *_what_to_do(accounts), Text(), _kind_table(kinds))
    call.answer({"accounts": accounts, "kinds": kinds}, shown)


async def _accounts(settings: Settings, *, check: bool) -> list[AccountView]:
    names = list(settings.relays)
    health: Sequence[Health | None] = [None] * len(names)
    if check:
        checks = await asyncio.gather(*(relay_check(settings, name) for name in names))
        health = [_health(one) for one in checks]
    return [_view(settings, name, one) for name, one in zip(names, health, strict=True)]


def _view(settings: Settings, name: RelayAccount, health: Health | None) -> AccountView:
    vendor = vendor_account(name, settings)
    streams = [stream.value for stream, held in settings.streams.items() if name in held.relays]
    return AccountView(name, vendor.kind, streams, vendor.server, vendor.capabilities, health)


def _health(check: Check) -> Health:
    return Health(check.state, check.found, check.todo)


def _account_table(accounts: Sequence[AccountView]) -> Table:
    """Narrow enough for 80 columns: what an account can do, its kind can."""
    shown = table("account", "kind", "streams", "server", "health")
    for one in accounts:
        streams = ", ".join(one.streams) or "none"
        state = "not asked" if one.health is None else one.health.state
        shown.add_row(*map(cell, (one.name, one.kind, streams, one.server, state)))
    return shown


def _what_to_do(accounts: Sequence[AccountView]) -> list[Text]:
    return [
        Text(f"\n{one.name}: {cell(one.health.found).plain}\n  {cell(one.health.todo).plain}")
        for one in accounts
        if one.health is not None and one.health.state is not State.OK
    ]


def _kind_table(kinds: Sequence[KindView]) -> Table:
    shown = table(
        "kind", "mail up to", "batch", "Message-ID", "acceptance", "asked in doubt", title="Every kind"
    )
    for one in kinds:
        shown.add_row(*map(cell, (one.kind, *_abilities(one.capabilities))))
    return shown


def _abilities(can: Capabilities) -> tuple[str, str, str, str, str]:
    return (
        f"{can.max_message_bytes // 1_000_000} MB",
        "one by one" if can.batch == 1 else f"up to {can.batch}",
        "kept" if can.keeps_message_id else "replaced",
        "reported" if can.reports_acceptance else "silent",
        "yes" if can.can_be_asked else "no",
    )
