"""Write the pages of `docs/` that are made from code. Run it in the project's folder."""

from pathlib import Path

from posthouse.cli.docs import commands, events, lifecycle, reasons, settings
from posthouse.cli.main import program
from posthouse.web.reference import document


def main(folder: Path) -> None:
    """Raises OSError where there is no such folder, ValueError for a page that lost its marks."""
    (folder / "configuration.md").write_text(settings.reference(), encoding="utf-8")
    (folder / "events.md").write_text(events.reference(), encoding="utf-8")
    (folder / "openapi.json").write_bytes(document.encoded())
    (folder / "cli.md").write_text(commands.reference(program()), encoding="utf-8")
    for name, with_table in {
        "architecture.md": lifecycle.with_table,
        "bounces.md": reasons.with_table,
    }.items():
        path = folder / name
        path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(Path("docs"))
