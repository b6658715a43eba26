"""`posthouse bounces read`: a Maildir, an mbox file and single mails into the inbox, once for each run."""

import mailbox
from pathlib import Path

import msgspec
from bounce_mails import failed, report
from cli_shell import Shell

from posthouse.cli.exits import Exit

MAIL = report(failed("ann@example.net", "550 5.1.1 user unknown", "5.1.1"))


async def test_mailboxes_are_read_whole(shell: Shell, tmp_path: Path) -> None:
    maildir, mbox, single = tmp_path / "maildir", tmp_path / "mbox", tmp_path / "one.eml"
    for number in range(3):
        box = mailbox.Maildir(maildir)
        box.add(MAIL + b"%d" % number)
        box.close()
    with_two = mailbox.mbox(mbox)
    with_two.add(MAIL)
    with_two.add(MAIL)
    with_two.close()
    single.write_bytes(MAIL)
    told = await shell.posthouse("bounces", "read", str(maildir), str(mbox), str(single), "--json")
    assert told.code == Exit.OK, told.err
    assert msgspec.json.decode(told.out) == {"mails": 6, "ours": 0}
    again = await shell.posthouse("bounces", "read", str(maildir), "--json")
    assert msgspec.json.decode(again.out) == {"mails": 0, "ours": 0}


async def test_a_path_that_is_not_there_says_so(shell: Shell, tmp_path: Path) -> None:
    told = await shell.posthouse("bounces", "read", str(tmp_path / "missing"))
    assert told.code == Exit.USAGE
    assert "cannot be read" in told.err
