"""`posthouse suppressions`: a list that is taken over, looked at, explained, and let go."""

from datetime import UTC, datetime, timedelta

import msgspec
from cli_shell import Shell, Told, accept, new_job, on_a_terminal

from posthouse.cli.exits import Exit
from posthouse.storage.db import Database


class Entry(msgspec.Struct):
    address: str
    reason: str
    scope: str
    source: str
    note: str = ""
    expires_at: datetime | None = None


def entries(told: Told, name: str = "data") -> list[Entry]:
    return msgspec.convert(told.json()[name], list[Entry])


async def test_one_is_added_explained_and_taken_away(shell: Shell) -> None:
    added = await shell.posthouse("suppressions", "add", "Jane@Mail.Example", "--note", "she asked")
    assert added.code == Exit.OK, added.err
    assert added.json()["address"] == "jane@mail.example"
    told = await shell.posthouse("suppressions", "why", "jane@mail.example")
    (entry,) = entries(told, "suppressions")
    assert (entry.reason, entry.scope, entry.note) == ("MANUAL", "all", "she asked")
    assert "she asked" in await on_a_terminal(shell, "suppressions", "why", "jane@mail.example")
    gone = await shell.posthouse("suppressions", "remove", "jane@mail.example", "--reason", "asked back")
    assert len(entries(gone, "removed")) == 1
    after = (await shell.posthouse("suppressions", "why", "jane@mail.example")).json()
    assert after["would_be_sent"] == {"transactional": True, "marketing": True}
    assert after["suppressions"] == []
    (removal,) = msgspec.convert(after["removals"], list[dict[str, str | None]])
    assert (removal["why"], removal["removed_by"]) == ("asked back", None)
    again = await shell.posthouse("suppressions", "remove", "jane@mail.example", "--reason", "x")
    assert again.code == Exit.NOT_FOUND
    assert "never was" in await on_a_terminal(shell, "suppressions", "why", "nobody@mail.example")


async def test_a_complaint_is_only_set_aside_by_force_and_with_a_reason(shell: Shell) -> None:
    await shell.posthouse("suppressions", "add", "a@mail.example", "--reason", "spam")
    words = ("suppressions", "remove", "a@mail.example", "--reason")
    refused = await shell.posthouse(*words, "they called")
    assert (refused.code, refused.error()["code"]) == (Exit.CONFLICT, "complaint_needs_force")
    assert "--force" in str(refused.error()["message"])
    assert (await shell.posthouse(*words, " ", "--force")).code == Exit.USAGE
    assert (await shell.posthouse(*words, "they called", "--force")).code == Exit.OK


async def test_what_cannot_be_an_entry(shell: Shell) -> None:
    for words in (
        ("add", "nobody"),
        ("add", "a@mail.example", "--reason", "BORED"),
        ("add", "a@mail.example", "--reason", "UNSUBSCRIBE", "--scope", "all"),
        ("add", "a@mail.example", "--reason", "SPAM", "--expires-at", "2027-01-01"),
    ):
        assert (await shell.posthouse("suppressions", *words)).code == Exit.USAGE, words


async def test_a_plain_list_from_stdin_and_again(shell: Shell) -> None:
    lines = "".join(f"p{n}@mail.example\n" for n in range(2_500)) + "\np1@mail.example\n"
    words = ("suppressions", "import", "-", "--reason", "bounce", "--note", "old house")
    first = await shell.posthouse(*words, stdin=lines)
    assert first.code == Exit.OK, first.err
    assert first.json() == {"added": 2500, "already": 1, "invalid": 0, "errors": []}
    again = await shell.posthouse(*words, stdin=lines)
    assert (again.json()["added"], again.json()["already"]) == (0, 2501)
    page = await shell.posthouse("suppressions", "list", "--limit", "1000", "--reason", "BOUNCE")
    seen = entries(page)
    assert {(one.reason, one.scope, one.source, one.note) for one in seen} == {
        ("BOUNCE", "all", "import", "old house")
    }
    while page.json()["has_more"]:
        cursor = str(page.json()["next_cursor"])
        page = await shell.posthouse("suppressions", "list", "--limit", "1000", "--cursor", cursor)
        seen += entries(page)
    assert len({one.address for one in seen}) == 2500


async def test_a_table_with_columns_and_lines_that_cannot_be_used(shell: Shell) -> None:
    (shell.folder / "list.csv").write_bytes(
        b"\xef\xbb\xbfaddress,reason,expires_at,note\r\n"
        b"a@mail.example,SPAM,,\r\n"
        b'b@mail.example,UNSUBSCRIBE,,"said, no"\r\n'
        b"c@mail.example,,2031-01-01T00:00:00Z,\r\n"
        b"no address,BOUNCE,,\r\n"
    )
    told = await shell.posthouse("suppressions", "import", "list.csv", "--reason", "bounce")
    assert told.code == Exit.USAGE
    report = told.json()
    assert (report["added"], report["invalid"]) == (3, 1)
    (error,) = msgspec.convert(report["errors"], list[dict[str, object]])
    assert error["line"] == 5
    by_address = {one.address: one for one in entries(await shell.posthouse("suppressions", "list"))}
    assert {(one.reason, one.scope) for one in by_address.values()} == {
        ("SPAM", "all"),
        ("UNSUBSCRIBE", "marketing"),
        ("BOUNCE", "all"),
    }
    assert by_address["b@mail.example"].note == "said, no"
    assert by_address["c@mail.example"].expires_at == datetime(2031, 1, 1, tzinfo=UTC)


async def test_json_lines_and_what_is_no_list(shell: Shell) -> None:
    (shell.folder / "a.jsonl").write_text('{"address": "a@mail.example", "reason": "SPAM"}\n')
    lines = await shell.posthouse("suppressions", "import", "a.jsonl", "--reason", "BOUNCE")
    assert lines.json()["added"] == 1
    (entry,) = entries(await shell.posthouse("suppressions", "list"))
    assert entry.reason == "SPAM"
    (shell.folder / "b.csv").write_text("colour,shape\nred,round\n")
    refused = await shell.posthouse("suppressions", "import", "b.csv")
    assert (refused.code, refused.error()["code"]) == (Exit.USAGE, "invalid_header_line")


async def test_a_file_that_is_not_there(shell: Shell) -> None:
    told = await shell.posthouse("suppressions", "import", "none.csv")
    assert told.code == Exit.USAGE
    assert "none.csv" in str(told.error()["message"])


async def test_a_bar_on_a_terminal(shell: Shell, database: Database) -> None:
    (shell.folder / "list").write_text("".join(f"p{n}@mail.example\n" for n in range(50)))
    seen = await on_a_terminal(shell, "suppressions", "import", "list")
    assert "50 added, 0 were known, 0 left out." in seen


async def test_the_mail_that_caused_an_entry_is_named(shell: Shell, database: Database) -> None:
    job, ends = new_job(1), datetime.now(UTC) + timedelta(days=1)
    async with database.session() as session:
        await accept(session, job, "BOUNCED")
        await session.script(f"""
            INSERT INTO email_event (job_id, event_id, occurred_at, attempt, type, origin, smtp_code,
                                     diagnostic)
            VALUES ('{job}', '{new_job(2)}', now(), 1, 'bounced', 'relay', 550, 'no such user');
            INSERT INTO email_suppression (address_key, scope, reason, source, added_at, expires_at, note,
                                           job_id)
            VALUES ('jane@mail.example', 'all', 'BOUNCE', 'event', now(), '{ends:%Y-%m-%d}', '', '{job}')""")
    told = (await shell.posthouse("suppressions", "why", "jane@mail.example")).json()
    assert told["would_be_sent"] == {"transactional": False, "marketing": False}
    (cause,) = msgspec.convert(told["causes"], list[dict[str, object]])
    assert (cause["message_id"], cause["diagnostic"]) == (str(job), "no such user")
    seen = await on_a_terminal(shell, "suppressions", "why", "jane@mail.example")
    assert "no such" in seen
    assert f"{ends:%Y-%m-%d}" in seen
