"""`posthouse emails list | cancel | reschedule` on mail that waits, is under way, or has ended."""

from datetime import UTC, datetime, timedelta

import msgspec
from cli_shell import Shell, Told, accept, new_job, on_a_terminal

from posthouse.cli.exits import Exit
from posthouse.storage.db import Database


def ids(told: Told) -> list[object]:
    assert told.code == Exit.OK, told.err
    return [one["id"] for one in msgspec.convert(told.json()["data"], list[dict[str, object]])]


async def test_mails_are_listed_by_what_is_asked(shell: Shell, database: Database) -> None:
    jobs = [new_job(number) for number in range(5)]
    async with database.session() as session:
        for job in jobs[:4]:
            await accept(session, job)
        await accept(session, jobs[4], "SENT")
    newest = [str(job) for job in reversed(jobs)]
    assert ids(await shell.posthouse("emails", "list")) == newest
    assert ids(await shell.posthouse("emails", "list", "--status", "sent")) == newest[:1]
    both = await shell.posthouse("emails", "list", "--status", "sent", "--status", "PENDING", "--limit", "3")
    assert ids(both) == newest[:3]
    cursor = str(both.json()["next_cursor"])
    words = ("emails", "list", "--status", "sent", "--status", "pending", "--limit", "3")
    assert ids(await shell.posthouse(*words, "--cursor", cursor)) == newest[3:]
    assert ids(await shell.posthouse("emails", "list", "--stream", "marketing")) == []
    assert ids(await shell.posthouse("emails", "list", "--test")) == []
    assert ids(await shell.posthouse("emails", "list", "--template", "none")) == []
    assert ids(await shell.posthouse("emails", "list", "--until", "2020-01-01")) == []
    assert ids(await shell.posthouse("emails", "list", "--since", "2020-01-01T00:00:00+02:00")) == newest
    assert (await shell.posthouse("emails", "list", "--tag", "no colon")).code == Exit.USAGE
    assert (await shell.posthouse("emails", "list", "--cursor", cursor)).code == Exit.USAGE
    seen = await on_a_terminal(shell, "emails", "list")
    assert newest[0] in seen


async def test_what_waits_is_cancelled(shell: Shell, database: Database) -> None:
    waiting, sent = new_job(1), new_job(2)
    async with database.session() as session:
        await accept(session, waiting)
        await accept(session, sent, "SENT")
    done = await shell.posthouse("emails", "cancel", str(waiting), "--reason", "wrong price")
    assert done.json()["status"] == "cancelled"
    assert "wrong price" in (await shell.posthouse("events", str(waiting))).out
    assert (await shell.posthouse("emails", "cancel", str(waiting))).code == Exit.OK
    ended = await shell.posthouse("emails", "cancel", str(sent))
    assert ended.code == Exit.CONFLICT
    assert (await shell.posthouse("emails", "cancel", str(new_job(3)))).code == Exit.NOT_FOUND
    assert (await shell.posthouse("doctor", "--audit")).out.count('"books","state":"ok"') == 1


async def test_what_waits_for_its_first_try_is_moved(shell: Shell, database: Database) -> None:
    job = new_job(1)
    async with database.session() as session:
        await accept(session, job)
        await session.script(f"UPDATE email_job SET attempt = 0 WHERE job_id = '{job}'")
    later = datetime.now(UTC) + timedelta(days=2)
    words = ("emails", "reschedule", str(job), "--to")
    moved = await shell.posthouse(*words, f"{later:%Y-%m-%dT%H:%M:%S}")
    assert moved.code == Exit.OK, moved.err
    mail = (await shell.posthouse("emails", "get", str(job))).json()
    assert str(mail["scheduled_at"]).startswith(f"{later:%Y-%m-%dT%H:%M:%S}")
    far = await shell.posthouse(*words, f"{later + timedelta(days=60):%Y-%m-%d}")
    assert (far.code, far.error()["pointer"]) == (Exit.USAGE, "/scheduled_at")
    at_once = await shell.posthouse(*words, "2020-01-01T00:00:00+02:00")
    assert at_once.code == Exit.OK
    assert (await shell.posthouse("emails", "get", str(job))).json()["scheduled_at"] is None
