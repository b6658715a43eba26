"""`posthouse bounces classify` on files, on stdin, on what cannot be read."""

from pathlib import Path

import msgspec
from bounce_mails import failed, mail, report
from cli_shell import Shell, Told, on_a_terminal

from posthouse.cli.exits import Exit


def lines(told: Told) -> list[dict[str, object]]:
    return [msgspec.json.decode(line, type=dict[str, object]) for line in told.out.splitlines()]


async def test_one_line_for_each_file_in_their_order(shell: Shell, tmp_path: Path) -> None:
    bounced, away = tmp_path / "bounced.eml", tmp_path / "away.eml"
    bounced.write_bytes(report(failed("ann@example.net", "550 5.1.1 user unknown", "5.1.1")))
    away.write_bytes(mail("Back on Monday.", sender="ann@example.net", subject="Out of office"))
    told = await shell.posthouse("bounces", "classify", str(bounced), str(away), "--json")
    assert told.code == Exit.OK
    first, second = lines(told)
    assert first == {
        "file": str(bounced),
        "kind": "bounce",
        "recipients": [
            {
                "address": "ann@example.net",
                "class": "hard",
                "action": "suppress",
                "reason": "user_unknown",
                "status": "5.1.1",
                "diagnostic": "550 5.1.1 user unknown",
                "rule": "mailbox_unknown",
            }
        ],
    }
    assert (second["file"], second["kind"]) == (str(away), "auto_reply")


async def test_what_cannot_be_read_is_told_and_the_others_go_on(shell: Shell, tmp_path: Path) -> None:
    good = tmp_path / "good.eml"
    good.write_bytes(b"")
    told = await shell.posthouse("bounces", "classify", "/no/such.eml", str(tmp_path), str(good))
    assert told.code == Exit.USAGE
    assert [line["file"] for line in lines(told)] == [str(good)]
    assert told.err.count('"code":"validation_error"') == 2


async def test_stdin(shell: Shell) -> None:
    raw = report(failed("ann@example.net", "552 mailbox full")).decode()
    told = await shell.posthouse("bounces", "classify", "-", stdin=raw)
    [line] = lines(told)
    assert (line["file"], line["kind"]) == ("-", "bounce")
    assert '"action":"retry"' in told.out


async def test_a_table_on_a_terminal(shell: Shell, tmp_path: Path) -> None:
    bounced = tmp_path / "bounced.eml"
    bounced.write_bytes(report(failed("ann@example.net", "550 5.1.1 user unknown")))
    seen = await on_a_terminal(shell, "bounces", "classify", str(bounced))
    assert "ann@example.net" in seen
    assert "suppress" in seen
