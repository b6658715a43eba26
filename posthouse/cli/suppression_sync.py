"""`posthouse suppressions sync`: relays' own suppression lists and ours, made the same."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from posthouse.app.relay_lists import build_mirrors, changes
from posthouse.cli.call import Call, call_of, cell, progress, run, table
from posthouse.cli.exits import Exit
from posthouse.cli.reach import reached
from posthouse.clock import SystemClock
from posthouse.config import Settings
from posthouse.domain.errors import NotFound
from posthouse.domain.ids import RelayAccount
from posthouse.status.relay_lists import Manner, Mirror, Mirrored, sync

_SHOWN_REFUSALS = 10


def register(group: typer.Typer) -> None:
    group.command("sync")(sync_lists)


def sync_lists(
    context: typer.Context,
    relay: Annotated[str | None, typer.Option(help="Only this account of [relays].")] = None,
    tries_only: Annotated[
        bool, typer.Option("--dry-run", help="Read the lists, change nothing, tell what would change.")
    ] = False,
    accepts_losses: Annotated[
        bool,
        typer.Option("--accept-losses", help="Believe a list that has lost most of its entries."),
    ] = False,
) -> None:
    """Read each relay's own suppression list, and make it and ours the same: at set-up, or after a change.

    What is there and not here is imported; what was removed here is taken off there; what came only from
    there and is gone there goes here; what is new here is added there, where the relay takes it. Running it
    again changes nothing. The processor does the same every suppressions.mirror_every.
    Exit code 69 if one did not come to its end.
    """
    call = call_of(context)
    done = run(_sync(call, relay, tries_only=tries_only, accepts_losses=accepts_losses))
    call.answer({"dry_run": tries_only, "relays": [_view(one) for one in done]}, _shown(done))
    raise typer.Exit(Exit.UNAVAILABLE if any(one.trouble for one in done) else Exit.OK)


async def _sync(call: Call, relay: str | None, *, tries_only: bool, accepts_losses: bool) -> list[Mirrored]:
    settings, clock = call.settings(), SystemClock()
    mirrors = _chosen(settings, relay)
    done: list[Mirrored] = []
    async with reached(settings) as db:
        for mirror in mirrors:
            with progress(f"the list of {mirror.account}", None) as moved:
                manner = Manner(tries_only, accepts_losses, moved)
                done.append(await sync(db, mirror, clock, manner))
            await mirror.suppressions.close()
    return done


def _chosen(settings: Settings, relay: str | None) -> list[Mirror]:
    """Raises NotFound, Misconfigured."""
    mirrors = build_mirrors(settings, SystemClock())
    if relay is None:
        return mirrors
    if RelayAccount(relay) not in settings.relays:
        raise NotFound(f"There is no [relays.{relay}]: `posthouse relays` shows those there are.")
    chosen = [mirror for mirror in mirrors if mirror.account == relay]
    if not chosen:
        raise NotFound(f"The relay {relay} has no suppression list of its own that can be read.")
    return chosen


def _view(done: Mirrored) -> dict[str, object]:
    return {
        "relay": done.account,
        "read": done.read,
        "unreadable": done.unreadable,
        **changes(done),
        "refusals": dict(done.refused.most_common(_SHOWN_REFUSALS)),
        "trouble": done.trouble or None,
    }


def _shown(done: Sequence[Mirrored]) -> RenderableType:
    if not done:
        return Text("No relay here has a suppression list of its own that can be read.")
    counts = table(
        "relay", "read", "imported", "added there", "removed there", "removed here", "refused", "unreadable"
    )
    for one in done:
        counts.add_row(one.account, *(f"{n:,}" for n in (one.read, *changes(one).values(), one.unreadable)))
    said = [
        cell(f"{one.account}: {reason} ({times:,} times)")
        for one in done
        for reason, times in one.refused.most_common(_SHOWN_REFUSALS)
    ]
    said += [cell(f"{one.account}: {one.trouble}") for one in done if one.trouble]
    return Group(counts, *said)
