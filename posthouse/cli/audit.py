"""`posthouse audit`: what was promised, what the database says, what arrived."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from posthouse.cli.call import Call, call_of, cell, run, table
from posthouse.cli.exits import Exit
from posthouse.cli.reach import reached
from posthouse.status.audit import Comparison, Finding
from posthouse.status.auditor import Verdict, audit_house

_WORDS = {
    Finding.LOST: "promised, and neither arrived nor ended with a reason nor on their way",
    Finding.DUPLICATE: "arrived again, and nothing in the timeline says why",
    Finding.NOT_ARRIVED: "sent by our word, and never arrived",
    Finding.FOREIGN: "arrived, and unknown here",
    Finding.NO_REASON: "ended without a reason in words",
    Finding.KEY_TWICE: "idempotency keys answered with two messages",
    Finding.LEAKED: "of test keys, and arrived all the same",
}


def register(app: typer.Typer) -> None:
    app.command("audit")(command)


def command(
    context: typer.Context,
    ledger: Annotated[Path, typer.Option(help="What the client was promised: one JSON line for each 2xx.")],
    sink: Annotated[
        Path, typer.Option(help="What arrived: one JSON line for each mail (the simulator's ledger).")
    ],
    settled: Annotated[
        bool, typer.Option("--settled", help="Nothing should be under way any more: what is, counts as lost.")
    ] = False,
) -> None:
    """Compare three ledgers: lost mails, unexplained duplicates, books. Exit code 1 if there is anything."""
    call = call_of(context)
    verdict = run(_audit(call, ledger, sink, settled=settled))
    call.answer(view(verdict), _shown(verdict))
    raise typer.Exit(Exit.OK if verdict.clean else Exit.FOUND)


async def _audit(call: Call, ledger: Path, sink: Path, *, settled: bool) -> Verdict:
    async with reached(call.settings()) as db:
        return await audit_house(db, ledger, sink, settled=settled)


def view(verdict: Verdict) -> dict[str, object]:
    """The verdict for programs."""
    compared, books = verdict.comparison, verdict.books
    return {
        "clean": verdict.clean,
        **_counts(compared),
        "by_status": compared.by_status,
        **{kind.value: found.count for kind, found in compared.findings.items()},
        "examples": {kind.value: found.examples for kind, found in compared.findings.items() if found.count},
        "residual": books.residual,
        "books": books.findings,
    }


def _counts(compared: Comparison) -> dict[str, int]:
    return {
        "promised": compared.promised,
        "sink_messages": compared.mails,
        "arrived": compared.arrived,
        "jobs": compared.jobs,
        "pending": compared.pending,
        "explained_repeats": compared.explained_repeats,
    }


def _shown(verdict: Verdict) -> RenderableType:
    counts = table("", "", title="Ledgers")
    counts.show_header = False
    for name, count in _counts(verdict.comparison).items():
        counts.add_row(name.replace("_", " "), cell(f"{count:,}"))
    findings = table("findings", "", "for example", title="Findings")
    for kind, found in verdict.comparison.findings.items():
        findings.add_row(cell(f"{found.count:,}"), _WORDS[kind], cell(", ".join(found.examples[:3])))
    findings.add_row(
        cell(f"{verdict.books.residual:,}"),
        "the books do not balance by",
        cell("; ".join(verdict.books.findings[:3])),
    )
    end = Text("Clean.", "bold green") if verdict.clean else Text("Not clean.", "bold red")
    return Group(counts, Text(), findings, Text(), end)
