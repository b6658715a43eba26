"""Reports out of another server's mailbox: each once to the log, none lost when the log is away."""

import mailbox
from collections.abc import Sequence
from pathlib import Path

import pytest

from posthouse.clock import ManualClock
from posthouse.domain.bounce_mail import INBOUND, RECIPIENT_HEADER
from posthouse.domain.errors import InvalidInput, Misconfigured, NotNow
from posthouse.inbound.maildir import SET, Maildir
from posthouse.inbound.mbox import mails_of
from posthouse.relays.base import RawCallback


class Shelf:
    def __init__(self, *, away_after: int | None = None) -> None:
        self.letters: list[RawCallback] = []
        self._away_after = away_after

    async def keep(self, letters: Sequence[RawCallback]) -> None:
        if self._away_after is not None and len(self.letters) >= self._away_after:
            raise NotNow("the database is away")
        self.letters += letters


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As a mail server makes one."""
    mailbox.Maildir(tmp_path / "box").close()
    return tmp_path / "box"


def deliver(folder: Path, number: int, body: bytes = b"") -> None:
    (folder / "new" / f"1700000000.{number:05}.host").write_bytes(body or b"Subject: %d\n\nx\n" % number)


def maildir(folder: Path) -> Maildir:
    return Maildir(folder, 1000)


async def test_every_mail_goes_to_the_log_once_and_out_of_new(folder: Path) -> None:
    for number in range(2 * SET + 7):
        deliver(folder, number)
    shelf, box = Shelf(), maildir(folder)
    assert await box.read(shelf.keep, ManualClock()) == 2 * SET + 7
    assert await box.read(shelf.keep, ManualClock()) == 0
    assert sorted(letter.body for letter in shelf.letters) == sorted(
        b"Subject: %d\n\nx\n" % number for number in range(2 * SET + 7)
    )
    assert {(letter.relay, letter.headers[RECIPIENT_HEADER]) for letter in shelf.letters} == {(INBOUND, "")}
    assert list((folder / "new").iterdir()) == []
    assert len(mailbox.Maildir(folder)) == 2 * SET + 7


async def test_what_the_log_did_not_take_is_read_again(folder: Path) -> None:
    for number in range(2 * SET):
        deliver(folder, number)
    with pytest.raises(NotNow):
        await maildir(folder).read(Shelf(away_after=SET).keep, ManualClock())
    assert len(list((folder / "new").iterdir())) == SET
    shelf = Shelf()
    assert await maildir(folder).read(shelf.keep, ManualClock()) == SET


async def test_no_more_of_a_mail_is_read_than_is_looked_at(folder: Path) -> None:
    deliver(folder, 1, b"x" * 5000)
    shelf = Shelf()
    await maildir(folder).read(shelf.keep, ManualClock())
    assert len(shelf.letters[0].body) == 1000


async def test_links_and_hidden_files_are_no_mails(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not a mail")
    (folder / "new" / "1700000000.1.host").symlink_to(secret)
    (folder / "new" / ".lock").write_text("")
    assert await maildir(folder).read(Shelf().keep, ManualClock()) == 0
    assert secret.read_text() == "not a mail"


def test_a_folder_that_is_no_maildir_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no Maildir"):
        Maildir(tmp_path, 1000)


def test_mails_of_an_mbox_file(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    box = mailbox.mbox(path)
    for number in range(3):
        box.add(f"Subject: {number}\n\nFrom here it is quoted\n")
    box.close()
    mails = list(mails_of(path, 1000))
    assert [mail.splitlines()[0] for mail in mails] == [b"Subject: 0", b"Subject: 1", b"Subject: 2"]
    assert [len(mail) for mail in mails_of(path, 5)] == [5, 5, 5]


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        list(mails_of(tmp_path / "missing", 1000))
