"""`posthouse keys create | list | revoke`"""

import secrets
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import typer
from rich.text import Text

from posthouse.cli.call import Call, call_of, cell, moment, run, table
from posthouse.cli.reach import reached
from posthouse.clock import SystemClock
from posthouse.domain.errors import NotFound
from posthouse.domain.ids import ApiKeyId
from posthouse.domain.stream import Stream
from posthouse.storage import keys
from posthouse.storage.keys import ALL_SCOPES, ApiKey, KeyScope, KeySecret

group = typer.Typer(help="API keys.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="keys")


@group.command("create")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is for, in your words.")],
    stream: Annotated[Stream | None, typer.Option(help="Only mail of this stream.")] = None,
    from_domain: Annotated[
        list[str] | None, typer.Option(help="Only mail from this domain; may be given several times.")
    ] = None,
    scope: Annotated[
        list[KeyScope] | None,
        typer.Option(help="What it may do; may be given several times (default: everything)."),
    ] = None,
    test: Annotated[
        bool, typer.Option("--test", help="A test key: its mail goes every way but to a relay.")
    ] = False,
) -> None:
    """Make a key. It is shown once and never again: only its SHA-256 is stored."""
    call = call_of(context)
    allowed = frozenset(scope) if scope else ALL_SCOPES
    key, secret = run(_create(call, _New(name, stream, from_domain or [], allowed, test)))
    shown = Text.assemble((secret, "bold"), "\n", "Keep it: it is not shown again.")
    call.answer({**_view(key), "key": secret}, shown)


@group.command("list")
def list_keys(context: typer.Context) -> None:
    """Every key there is or was, newest first."""
    call = call_of(context)
    found = run(_list(call))
    shown = table("id", "name", "may", "for", "last used", "")
    for key in found:
        shown.add_row(*map(cell, _row(key)))
    call.answer({"data": [_view(key) for key in found]}, shown)


@group.command("revoke")
def revoke(context: typer.Context, key_id: Annotated[UUID, typer.Argument(metavar="ID")]) -> None:
    """End a key: every process refuses it within seconds."""
    call = call_of(context)
    if not run(_revoke(call, ApiKeyId(key_id))):
        raise NotFound(f"There is no key {key_id} to revoke; `posthouse keys list` shows all.")
    call.answer({"id": str(key_id), "revoked": True}, f"Revoked {key_id}.")


@dataclass(frozen=True, slots=True)
class _New:
    """What the operator says of a key."""

    name: str
    stream: Stream | None
    from_domains: list[str]
    scopes: frozenset[KeyScope]
    test: bool


async def _create(call: Call, new: _New) -> tuple[ApiKey, KeySecret]:
    async with reached(call.settings()) as db:
        return await keys.create(
            db,
            name=new.name,
            stream=new.stream,
            from_domains=new.from_domains,
            now=SystemClock().now(),
            random_bytes=secrets.token_bytes,
            scopes=new.scopes,
            sandbox=new.test,
        )


async def _list(call: Call) -> list[ApiKey]:
    async with reached(call.settings()) as db:
        return await keys.list_all(db)


async def _revoke(call: Call, key_id: ApiKeyId) -> bool:
    async with reached(call.settings()) as db:
        return await keys.revoke(db, key_id)


def _view(key: ApiKey) -> dict[str, object]:
    return {
        "id": str(key.api_key_id),
        "name": key.name,
        "environment": "test" if key.sandbox else "live",
        "scopes": sorted(key.scopes),
        "stream": key.stream,
        "from_domains": sorted(key.from_domains),
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    }


def _row(key: ApiKey) -> tuple[str, str, str, str, str, str]:
    """One key for people, narrow enough for a terminal of 80 columns."""
    may = ", ".join(sorted(key.scopes))
    whose = " ".join([key.stream or "", *sorted(key.from_domains)]).strip()
    used = "never" if key.last_used_at is None else moment(key.last_used_at)
    state = "revoked" if key.revoked_at is not None else "test" if key.sandbox else "live"
    return str(key.api_key_id), key.name, may, whose or "all mail", used, state
