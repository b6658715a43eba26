"""`posthouse migrate`"""

import typer

from posthouse.cli.call import Call, call_of, run
from posthouse.cli.reach import reached_dsn
from posthouse.storage.migrate import migrate


def register(app: typer.Typer) -> None:
    app.command("migrate")(command)


def command(context: typer.Context) -> None:
    """Bring the database's schema to this version. Two at once are safe."""
    call = call_of(context)
    applied = run(_migrate(call))
    words = f"Applied {', '.join(applied)}." if applied else "Nothing to do: the schema is up to date."
    call.answer({"applied": applied}, words)


async def _migrate(call: Call) -> list[str]:
    async with reached_dsn(call.settings()) as dsn:
        return await migrate(dsn)
