"""`posthouse suppressions list | add | import | remove | why`; `sync` is in suppression_sync.py."""

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, BinaryIO, Final
from uuid import UUID

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from posthouse.cli import suppression_sync
from posthouse.cli.call import (
    MOMENTS,
    Call,
    call_of,
    cell,
    in_utc,
    moment,
    more,
    open_input,
    progress,
    run,
    table,
)
from posthouse.cli.exits import Exit
from posthouse.cli.reach import reached
from posthouse.clock import SystemClock
from posthouse.domain.address import normalise
from posthouse.domain.errors import Conflict, InvalidInput, NotNow
from posthouse.domain.ids import AddressKey
from posthouse.domain.stream import Stream
from posthouse.domain.suppression import (
    Suppression,
    SuppressionReason,
    SuppressionScope,
    SuppressionSource,
    stops,
)
from posthouse.intake.suppressing import PostedSuppression, suppression_of
from posthouse.intake.suppression_import import Imported, SuppressionImport
from posthouse.intake.suppression_lines import ListFormat
from posthouse.storage import relay_lists, suppressions
from posthouse.storage.relay_lists import Standing
from posthouse.storage.suppressions import Cause, Filter, Removal, Remover
from posthouse.web.api.suppressions import page_view, place_at, removal_view, view, why_of

group = typer.Typer(help="Who may not be mailed, and why.", no_args_is_help=True)

_SHOWN_REMOVALS: Final = 100
_Address = Annotated[str, typer.Argument(metavar="ADDRESS")]
_FORMS: Final = {
    ".csv": ListFormat.CSV,
    ".jsonl": ListFormat.JSON_LINES,
    ".ndjson": ListFormat.JSON_LINES,
}
_CHUNK: Final = 65_536  # bytes


def register(app: typer.Typer) -> None:
    suppression_sync.register(group)
    app.add_typer(group, name="suppressions")


@group.command("list")
def list_entries(
    context: typer.Context,
    reason: Annotated[
        SuppressionReason | None, typer.Option(case_sensitive=False, help="Only with this reason.")
    ] = None,
    scope: Annotated[SuppressionScope | None, typer.Option(help="Only of this scope.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before.")] = None,
) -> None:
    """Entries, newest first."""
    call = call_of(context)
    after = None if cursor is None else place_at(cursor)

    async def look() -> list[Suppression]:
        async with reached(call.settings()) as db:
            only = Filter(None, reason, scope)
            return await suppressions.page(db, only=only, after=after, limit=limit + 1)

    found = page_view(run(look()), limit)
    shown = table("address", "reason", "scope", "by", "since", "note")
    for one in found.data:
        values = (one.address, one.reason, one.scope, one.source, moment(one.added_at), one.note)
        shown.add_row(*map(cell, values))
    call.answer(found, Group(shown, *more(found.next_cursor)))


@group.command("add")
def add(
    context: typer.Context,
    address: _Address,
    reason: Annotated[
        SuppressionReason, typer.Option(case_sensitive=False, help="Why.")
    ] = SuppressionReason.MANUAL,
    scope: Annotated[
        SuppressionScope | None,
        typer.Option(help="Which mail it stops (default: marketing for UNSUBSCRIBE, else all)."),
    ] = None,
    expires_at: Annotated[
        datetime | None,
        typer.Option(
            formats=MOMENTS,
            help="Until when, in UTC if it has no offset; never for SPAM (default: for good).",
        ),
    ] = None,
    note: Annotated[str, typer.Option(help="In your words; it stays with the entry.")] = "",
) -> None:
    """Stop mail to an address from now on. An entry that is there already is kept."""
    call = call_of(context)
    posted = PostedSuppression(
        address=address,
        reason=reason,
        scope=scope,
        expires_at=None if expires_at is None else in_utc(expires_at),
        note=note,
    )
    entry = suppression_of(posted, SuppressionSource.API, SystemClock().now())

    async def store() -> Suppression:
        async with reached(call.settings()) as db:
            return await suppressions.add(db, entry)

    stored = run(store())
    call.answer(view(stored), Text(f"{stored.address} is suppressed ({stored.reason}, {stored.scope})."))


@group.command("import")
def import_file(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="The list; -: stdin.")],
    form: Annotated[
        ListFormat | None, typer.Option("--format", help="Default: by the file's name, else addresses.")
    ] = None,
    reason: Annotated[
        SuppressionReason | None,
        typer.Option(case_sensitive=False, help="Of lines that name none (default: MANUAL)."),
    ] = None,
    scope: Annotated[SuppressionScope | None, typer.Option(help="Of lines that name none.")] = None,
    note: Annotated[str, typer.Option(help="Of lines that have none.")] = "",
) -> None:
    """Take over a list of any length, 1,000 lines at a time; running it again changes nothing.

    One entry a line: addresses; CSV (*.csv) whose first line names the columns, of address, reason, scope,
    expires_at and note; or JSON objects (*.jsonl, *.ndjson). Exit code 2 if lines had to be left out.
    """
    call = call_of(context)
    said = {"reason": reason, "scope": scope, "note": note}
    given = {name: str(value) for name, value in said.items() if value}
    done = run(_import(call, file, form or _form_of(file), given))
    view = {"added": done.added, "already": done.already, "invalid": done.invalid, "errors": done.errors}
    call.answer(view, _told(done))
    raise typer.Exit(Exit.USAGE if done.invalid else Exit.OK)


async def _import(call: Call, file: str, form: ListFormat, given: Mapping[str, str]) -> Imported:
    async with reached(call.settings()) as db:
        importing = SuppressionImport(db, form, SystemClock().now(), random.SystemRandom(), given)
        with open_input(file) as source, progress("importing", source.size) as moved:
            try:
                return await importing.run(_chunks(source.stream, moved))
            except NotNow as error:
                error.message += importing.done.how_far()
                raise


async def _chunks(stream: BinaryIO, moved: Callable[[int], None]) -> AsyncIterator[bytes]:
    while chunk := stream.read(_CHUNK):
        moved(len(chunk))
        yield chunk


def _form_of(file: str) -> ListFormat:
    return _FORMS.get(Path(file).suffix.lower(), ListFormat.ADDRESSES)


@group.command("remove")
def remove(
    context: typer.Context,
    address: _Address,
    reason: Annotated[str, typer.Option(help="Why they may be mailed again. It is recorded.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also where they complained about mail as spam.")
    ] = False,
) -> None:
    """Take every entry of an address away: they may be mailed again."""
    call = call_of(context)
    key, why = normalise(address), why_of(reason)
    if not why:
        raise InvalidInput("Say why they may be mailed again: --reason must not be empty.", pointer="/reason")

    async def take_away() -> list[Suppression]:
        async with reached(call.settings()) as db:
            now = SystemClock().now()
            return await suppressions.remove(db, key, Remover(None, why), now, with_complaints=force)

    try:
        removed = run(take_away())
    except Conflict as error:
        raise Conflict(
            "This person complained about mail as spam, which suppresses for good. "
            "To mail them again all the same, repeat with --force.",
            code=error.code,
        ) from error
    call.answer({"removed": [view(entry) for entry in removed]}, Text(f"{key} may be mailed again."))


@dataclass(frozen=True, slots=True)
class _History:
    """All that is known of an address; entries that have ended too."""

    entries: list[Suppression]
    causes: list[Cause]
    removals: list[Removal]
    standings: list[Standing]


@group.command("why")
def why(context: typer.Context, address: _Address) -> None:
    """Why an address is not mailed, or was not: entries, the mails that caused them, and removals."""
    call = call_of(context)
    key = normalise(address)
    history = run(_history(call, key))
    causes = {cause.job_id: cause for cause in history.causes}
    sent = _would_be_sent(history.entries, SystemClock().now())
    answer = {
        "address": key,
        "would_be_sent": sent,
        "suppressions": [view(entry) for entry in history.entries],
        "causes": history.causes,
        "removals": [removal_view(one) for one in history.removals],
        "relay_lists": history.standings,
    }
    verdicts = (f"{stream} mail would {'' if good else 'not '}be sent" for stream, good in sent.items())
    call.answer(answer, Group(Text("; ".join(verdicts), "bold"), Text(), _explained(key, history, causes)))


def _would_be_sent(entries: Sequence[Suppression], now: datetime) -> dict[Stream, bool]:
    return {stream: not any(stops(entry, stream, now) for entry in entries) for stream in Stream}


async def _history(call: Call, key: AddressKey) -> _History:
    async with reached(call.settings()) as db:
        entries = await suppressions.entries_of(db, key)
        return _History(
            entries,
            await suppressions.causes(db, entries),
            await suppressions.removals_of(db, key, limit=_SHOWN_REMOVALS),
            await relay_lists.standings(db, key),
        )


def _explained(key: AddressKey, history: _History, causes: Mapping[UUID, Cause]) -> RenderableType:
    if not (history.entries or history.removals or history.standings):
        return Text(f"{key} is not suppressed and never was.")
    now = SystemClock().now()
    entries = table("reason", "scope", "since", "until", "by", "what happened", title="Entries")
    for one in history.entries:
        cause = None if one.job_id is None else causes.get(one.job_id)
        words = one.note if cause is None else _words(cause)
        entries.add_row(
            *map(cell, (one.reason, one.scope, moment(one.added_at), _until(one, now), one.source, words))
        )
    removals = table("reason", "scope", "removed", "by", "why", title="Removals")
    for gone in history.removals:
        by = "the operator" if gone.removed_by is None else f"key {gone.removed_by}"
        removals.add_row(*map(cell, (gone.reason, gone.scope, moment(gone.removed_at), by, gone.why)))
    return Group(
        *([entries] if history.entries else []),
        *([removals] if history.removals else []),
        *(cell(_sentence(one)) for one in history.standings),
    )


def _sentence(standing: Standing) -> str:
    """Where a relay's own list has the address, and what that has to do with ours."""
    since = "" if standing.since is None else f" since {moment(standing.since)}"
    words = f" ({standing.words})" if standing.words else ""
    if standing.ours:
        what = "put there from ours"
    elif standing.imported_at is not None:
        what = f"imported {moment(standing.imported_at)}"
    else:
        what = "and on ours by itself"
    return f"On the list of relay {standing.account} as {standing.reason}{since}{words}, {what}."


def _until(entry: Suppression, now: datetime) -> str:
    if entry.expires_at is None:
        return "for good"
    return moment(entry.expires_at) + (" (ended)" if entry.expires_at <= now else "")


def _words(cause: Cause) -> str:
    code = " ".join(str(part) for part in (cause.smtp_code, cause.enhanced_code) if part)
    told = " | ".join(part for part in (code, cause.reason, cause.diagnostic) if part)
    return f"mail {cause.message_id} from {cause.from_address}: {told or cause.type}"


def _told(done: Imported) -> RenderableType:
    end = Text(f"{done.added:,} added, {done.already:,} were known, {done.invalid:,} left out.")
    if not done.invalid:
        return end
    shown = table("line", "why it was left out")
    for one in done.errors:
        shown.add_row(cell(one.line), cell(one.message))
    return Group(shown, Text(), end)
